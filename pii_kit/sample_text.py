"""The words of made-up essays: templates, and the grammar of two marks that expands them.

`[a|b]` draws one of its alternatives, `{slot}` looks a slot up. A slot whose name begins with a PII type, such as
`{NAME_STUDENT}` or `{NAME_STUDENT.first}`, is that PII; every other slot is not, whatever it looks like. So a template
shows its labels, and the same names, numbers and links stand in both kinds of slot: only what is around them tells.
All sentences are made up for this file.
"""

import random
import re
from collections.abc import Mapping
from typing import NamedTuple

from pii_kit.labels import PII_TYPES

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([\w.]+)\}")


def expand(template: str, rng: random.Random, slots: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """A template to spans of (text, PII type or None); `slots` comes before FILLERS, whose values are templates too.

    Raises KeyError for a slot that neither knows.

    >>> expand("[Hi|Hello], I am {NAME_STUDENT}.", random.Random(1), {"NAME_STUDENT": "Ana Silva"})
    [('Hi, I am ', None), ('Ana Silva', 'NAME_STUDENT'), ('.', None)]
    """
    while CHOICE.search(template):
        template = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    spans = []
    for position, part in enumerate(SLOT.split(template)):
        if position % 2 == 0:
            spans.append((part, None))
        elif part in slots:
            root = part.partition(".")[0]
            spans.append((slots[part], root if root in PII_TYPES else None))
        else:
            spans.extend(expand(rng.choice(FILLERS[part]), rng, slots))
    return [span for span in spans if span[0]]


class Topic(NamedTuple):
    """What one kind of essay is made of; `sentences` stand in the order of the story they tell."""

    titles: tuple[str, ...]
    headings: tuple[str, ...]
    sentences: tuple[str, ...]


# Drawn once an essay, so that the story stays with one company, one tool and one team.
PEOPLE = ("coach", "colleague", "guest", "customer", "friend", "author", "editor")
STICKY = ("company", "business", "team", "product", "problem", "place", "press", "course", "role")

FILLERS: dict[str, tuple[str, ...]] = {
    "company": (
        "Blue River Bank", "Northgate Foods", "Sunrise Clinic", "Green Valley Motors", "Atlas Freight", "{firm}",
        "Lakeside Public Library", "Silver Oak Hotel", "Harbour Lane Bakery", "Delta Power", "Bright Path Academy",
    ),
    "business": ("bank", "hotel", "clinic", "bakery", "school", "call centre", "repair shop", "start-up", "charity"),
    "team": ("sales team", "night shift", "kitchen crew", "youth club", "support desk", "planning group"),
    "product": ("mobile app", "loan form", "lunch menu", "booking page", "training plan", "delivery box", "newsletter"),
    "problem": (
        "long waiting times", "the high number of complaints", "low attendance", "a shrinking budget", "food waste",
        "poor communication between shifts", "falling sales", "forgotten appointments", "unclear instructions",
    ),
    "place": ("Nova Scotia", "São Paulo", "New Delhi", "Costa Rica", "Lake Victoria", "Kraków", "Cebu City", "Lyon",
              "West Java", "San Antonio", "Port Harcourt", "İzmir", "Buenos Aires", "East London"),
    "elsewhere": ("Old Harbour", "a small island", "Green Hill", "the capital", "San Pedro", "my uncle’s farm"),
    "press": ("Northbridge Press", "Hill & Stone Publishers", "Open Shelf Books", "Meridian Case House"),
    "course": ("DT-2041", "BUS 301", "Design Thinking for Beginners", "Innovation Lab 2", "MGT 5120", "EDU-118"),
    "famous": ("Albert Einstein", "Steve Jobs", "Marie Curie", "Nelson Mandela", "Frida Kahlo", "Isaac Newton",
               "Leonardo da Vinci", "Ada Lovelace", "Walt Disney", "Florence Nightingale", "Paulo Freire"),
    "app": ("Google Docs", "Microsoft Excel", "Power Point", "Zoom", "Trello", "Miro", "Google Forms", "WhatsApp"),
    "firm": ("{faker_company}", "{guest.last} & Sons", "{editor.last} Consulting"),
    "month": ("January", "March", "April", "June", "September", "October", "November"),
    "n": ("2", "3", "4", "5", "7", "8", "12", "15", "20", "36"),
    "year": ("1998", "2009", "2014", "2016", "2018", "2019", "2020", "2021", "2022"),
    "date": ("{day} {month} {year}", "{month} {day}, {year}", "{day}/{n}/{year}", "{month} {year}"),
    "day": ("1", "6", "9", "13", "17", "22", "28"),
    "money": ("$1,200", "€350", "2,500 USD", "£80", "Rs. 15,000", "$4.5 million", "about 40 dollars"),
    "people": ("customers", "patients", "visitors", "parents", "guests", "neighbours", "new members", "users"),
    "role": ("nurse", "shop manager", "teacher", "taxi driver", "branch director", "retired engineer", "bookkeeper"),
    "adjective": ("useful", "simple", "surprising", "difficult", "powerful", "honest", "practical", "messy"),
    "also": ("In addition, ", "Moreover, ", "At the same time ", "After that ", "Honestly, ", "For this reason "),
    "instructor": ("[Professor|Prof.|Dr.] {coach}", "[Mr.|Ms.|Dr.|Professor] {coach.last}"),
    "cite": ("({author.last}, {year})", "({author.last} & {editor.last}, {year}, p. {n})", "({editor.last} {year})"),
    "link": (
        "https://en.wikipedia.org/wiki/Design_thinking", "https://www.coursera.org/learn/{course_path}/lecture/{code}",
        "https://en.wikipedia.org/wiki/Marie_Curie", "https://library.northfield.edu/authors/{author.handle}",
        "{faker_uri}", "https://www.youtube.com/watch?v={code}", "https://www.{editor.handle}-books.com",
    ),
    "course_path": ("design-thinking-basics", "visual-notes", "lab-methods", "story-at-work"),
    "smile": ("", "", "", "", "", "", "", " 🙂", " 👍", " 😀", " ;)"),
}  # fmt: skip

REFLECTION_START = (
    "[In this reflection I describe|Below I want to explain] how I used {topic} [at work|in a small project].",
    "[For several months|Since {month}|Last year] {company} [struggled|was struggling] with {problem}.",
    "The {business} [where I work|I visited] is [located in {place}|part of {company}] and serves many {people}.",
    "Our {team} met every [Monday|Friday|second week], but nobody ever [mentioned|spoke about] {problem}.",
    "My [challenge|task] was to [improve|rethink] the {product} [without|with almost no] extra money.",
    "I [chose|selected|decided for] this tool because [it looked {adjective}|the lecture made me curious].",
    "[Before the course|Until {year}] I believed that creativity is [a gift|only for artists], which was wrong.",
)
REFLECTION_END = (
    "First we [collected|wrote down] {n} [facts|complaints|ideas] on [sticky notes|a shared page in {app}].",
    "Then the {team} [voted|discussed|grouped the notes] for {n} minutes[, which felt {adjective}|].",
    "{also}we [asked|invited] {n} {people} to [try|comment on] the new {product}.",
    "The [first|early] version was {adjective}, [yet|but] the {people} [smiled|understood it] at once.",
    "What [surprised|impressed] me most was that {problem} came from a [simple|hidden] cause.",
    "[The result|What we got] was [a list of {n} actions|a clear picture] that [everybody|our {team}] could read.",
    "After {n} weeks the [complaints|delays] went down by {n} percent, although the cost was {money}.",
    "[I learned|My insight is] that [listening|a quick test] is better than [a long report|many meetings].",
    "[Some|A few] {people} [did not like|resisted] the change, and I [understand|respect] them.",
    "[Next time|In future] I would [start earlier|ask more {people}] and [take|keep] more notes.",
    "{also}I would [mix|combine] it with [another tool|a short survey in {app}] to [get|reach] a better balance.",
    "[To sum up|In conclusion], {topic} helped our {team} to see the {product} with [new|fresh] eyes{smile}.",
)
REFLECTION_HEADINGS = (
    "The Challenge", "Choosing The Tool", "How We Applied It", "What I Learned", "Next Steps", "CONTEXT AND GOALS",
    "Part {n}: Results", "{company} Case", "Lessons For {place}", "Final Thoughts", "MY OWN VIEW",
)  # fmt: skip
REFLECTION_TITLES = ("{topic} Reflection", "{topic}", "REFLECTION PAPER", "{topic} at {company}", "{topic} in {place}")


def _reflection(*sentences: str) -> Topic:
    return Topic(REFLECTION_TITLES, REFLECTION_HEADINGS, REFLECTION_START + sentences + REFLECTION_END)


TOPICS: dict[str, Topic] = {
    "Design Thinking": _reflection(
        "The method has [four questions|several phases], and we [stayed longest|lost most time] in the first one.",
        "We watched {people} [in silence|for one morning] and noted what they did, not what they said.",
        "A [persona|journey map] of a typical visitor hung on our wall for {n} weeks.",
        "[Empathy|Going out of the office] changed how the {team} spoke about {people}.",
    ),
    "Mind Mapping": _reflection(
        "In the centre of the map we [put|wrote] “{product}” and drew {n} thick branches around it.",
        "Each branch got [a colour|a small drawing], because [pictures|colours] stay longer in memory.",
        "Two branches [met|crossed] in an unexpected place, and there we saw {problem}.",
        "I had to redraw the map [twice|three times], [it became too crowded|paper was too small].",
    ),
    "Visualization": _reflection(
        "I [sketched|painted] the way of a customer through the {business} as a [river|staircase|comic].",
        "Stick figures are enough; [nobody|no one] in the {team} can draw, me neither.",
        "With [photos|a poster] on the wall the discussion moved from opinions to things we could point at.",
        "The picture showed {n} steps where our {people} only wait.",
    ),
    "Storytelling": _reflection(
        "A good story needs a hero, an obstacle and a change, so I [made|took] one of our {people} as the hero.",
        "I told the story of {guest.first}, a {role} who [lost|almost lost] patience with our {product}.",
        "Numbers alone had never moved the board, [while|but] this story [did|made them silent].",
        "The [hard|tricky] part was to [cut|leave out] details that only I found interesting.",
    ),
    "Learning Launch": _reflection(
        "Our launch was a [small|cheap] experiment of {n} days with {n} {people} and a budget of {money}.",
        "We wrote the assumptions on cards and asked which one would [kill|hurt] the idea if it was false.",
        "One of the assumptions [failed|broke] on the first [day|morning], which saved us {money}.",
        "A launch is not a pilot: [it is made to learn|we wanted data], not to [sell|shine].",
    ),
    "Brainstorming": _reflection(
        "The [only|first] rule was that nobody says no during the first {n} minutes.",
        "Quiet members [wrote|put] their ideas on paper before anybody spoke.",
        "We [got|counted] {n} ideas, [most|half] of them silly, and one of the silly ones [won|was the seed].",
        "A trigger question such as “what would a {role} do?” [opened|broke] the ice.",
    ),
    "Plant Growth": Topic(
        ("Lab Report: {topic}", "The Effect of Light on Plant Growth", "SCIENCE LAB REPORT {n}", "Beans"),
        ("Introduction", "Materials And Methods", "RESULTS", "Discussion", "Sources Of Error", "Conclusion"),
        (
            "The [aim|purpose] of this experiment was to find out how light [affects|changes] bean plants.",
            "My hypothesis was that plants near the window [grow|would grow] {n} percent faster than in the dark.",
            "We [filled|prepared] {n} pots with the same soil and [planted|put] {n} seeds in each[ of them|].",
            "Sample {number} stayed in a closet, while sample {number2} was placed [under a lamp|at the window].",
            "Every [morning|second day] the height was measured with a ruler and written in a table in {app}.",
            "The temperature [was|stayed] about [18|21|24|26] °C, and each pot received {n} ml of water.",
            "After {n} days the plants in the light were {n} cm taller[ on average|], as table {n} shows.",
            "The leaves in the dark were [pale|yellow], which agrees with earlier work {cite}.",
            "A [possible|likely] source of error is that the pots were not [rotated|weighed].",
            "The scale (serial number {number}) was calibrated in {month} {year} by the lab of {author}.",
            "The difference was larger than I expected, [but|although] the sample is small.",
            "[In a repeated trial|Next time] we should use more pots and [a second lamp|different soil].",
            "The data [support|do not contradict] my hypothesis: light is needed to make food.",
            "Photosynthesis was [explained|described] to the class with a video ({link}).",
            "It was [fun|a pleasure] to see the first green tip [on day {n}|after a long weekend]{smile}.",
        ),
    ),
    "Market Entry": Topic(
        ("{company}: A Business Case", "Case Study – {company}", "MARKET ENTRY PLAN", "Growth Options for {company}"),
        ("Executive Summary", "Background", "Options", "FINANCIAL VIEW", "Risks And Limits", "Recommendation"),
        (
            "{company} was founded in {year} in {place} and [today|now] employs {n} people.",
            "The founder, {guest}, [started|opened] the first {business} with {money} from [a cousin|savings].",
            "Its {product} brings [most|a third] of the revenue, but the margin [fell|shrank] because of {problem}.",
            "The question of this case is whether {company} should [go to|enter] {elsewhere} before {month}.",
            "Chief executive {editor} [wants|prefers] to grow [fast|slowly], the bank does not.",
            "Competitors such as {firm} and Delta Foods [lowered|cut] prices in {month} {year}.",
            "Option A is to [buy|rent] a {business}; option B is to sell the {product} online.",
            "Option A costs {money} and pays back after {n} years, [if sales grow as planned|at best].",
            "Option B is [cheaper|lighter], yet the {team} must be trained [for {n} weeks|again].",
            "According to {author}, analyst at {firm}, {people} in the region [value|look for] a personal contact.",
            "The head office at {faker_address} [would|could] stay as it is.",
            "The [largest|main] risk is {problem}, and the [second|next] one is the exchange rate.",
            "A SWOT analysis [shows|gives] {n} strengths and {n} weaknesses.",
            "I recommend option B for the first {n} months[, with a review in {month}|].",
            "If the review is positive, {company} can still [open|build] a {business} in {elsewhere}.",
        ),
    ),
    "A Day To Remember": Topic(
        ("{topic}", "My Personal Narrative", "THE LONG WAY HOME", "What {place} Taught Me"),
        ("The Beginning", "On The Road", "A SURPRISE", "Coming Home", "What It Means Today"),
        (
            "I was [seven|nine|12] years old when my family moved [from {elsewhere}|] to {place}.",
            "The bus left before sunrise, and my [grandmother|aunt] {coach.first} [waved|cried] for a long time.",
            "I carried [a blue bag|one small suitcase], [a book|my old radio] and {money} in my shoe.",
            "Next to me sat {guest}, a {role}, who talked [the whole way|about her garden|without a pause].",
            "[At noon|Later] the engine [stopped|coughed], and all {people} had to walk [to a village|{n} km].",
            "The mayor, {author}, [opened|unlocked] the school and gave us [soup|tea and bread].",
            "I remember the [smell|taste] of the rain[ and of burnt sugar|] until today.",
            "A girl whose name is {colleague} taught me a song [in her language|with {n} verses].",
            "[That night|There] I understood that home is [not a place|made of voices].",
            "My father was [silent|angry], [then|later] he laughed, and everything was [easier|good].",
            "When we [arrived|came] to {place} the next day, nobody [waited|stood] at the station.",
            "I wrote the story down in [a green|my school] notebook, which I still keep.",
            "Years later I met {guest.first} again at {company}; we [laughed|talked] for hours.",
            "[Now|Today] I tell this story to my [children|students] when they are afraid of [a journey|changes].",
            "[Maybe|I think] a journey is only finished when somebody has listened to it{smile}.",
        ),
    ),
}

# Names, numbers, links and addresses that are nobody's PII: they stand in essays with and without PII alike.
TRAPS = (
    "Our instructor {coach} [explained|showed] this [very clearly|in week {n}|with an example from {company}].",
    "{instructor} [told us|mentioned|said] that [every|a good] project starts with {problem}.",
    "My colleague {colleague} [was against it|liked the idea|helped a lot], because the {product} was [old|popular].",
    "I interviewed {guest}, a {role} from {place}, and later {customer}, who was in a hurry.",
    "{colleague.first} said: “[I never|Nobody ever] read that page.”",
    "Our manager, {coach}, asked {colleague.first} to [count|call] the {people} [again|every day].",
    "{customer} [from|of] {firm} sent us {n} [old|printed] copies of the {product}.",
    "The idea is described by {author} in a book of {year} ({press}, ISBN 978-{number}).",
    "As {author.last} and {editor.last} ({year}) [write|argue], a [good|first] question is half of the answer.",
    "“[Imagination is a muscle|Try it, then talk|A map is not the road],” {famous} [would say|might have said].",
    "{famous} is [often named|my favourite example] [for this|], and so is {famous}.",
    "The [hotline|call centre] of {company} ({faker_phone}) [was|is] [busy|closed] [most of the time|on Sundays].",
    "A customer, {customer}, called {faker_phone}, the service number on the box, {n} times.",
    "Order no. {number} and ticket {number2} [were|stayed] open for {n} days.",
    "The office of {company}, {faker_address}, [has|had] only one [door|lift].",
    "There is a [video|page|text] about it ([see|source]: {link}).",
    "The company's page {faker_uri} [explains|lists] the [prices|rules].",
    "Questions go to info(at){course_path}[ or to the counter|], which nobody reads.",
    "A reviewer with the nickname {reviewer} gave the {product} {n} stars[ out of 50|].",
    "The file final_version_{n} was saved by the user {reviewer}, [an intern|the old administrator] of {company}.",
    "My [neighbour|boss|sister] is called {friend}, and [has|had] the same problem.",
    "“{colleague.first}, [can|could] you [help|wait]?” I asked [her|him], and {colleague.first} [nodded|smiled].",
    "A [persona|character] in our story has the name {friend}, a [baker|pilot|widow] with {n} [cats|children].",
)

# Lines at the head, and between paragraphs, that look like an author's line.
TRAP_LINES = (
    "[Instructor|Facilitator|Coordinator|Professor]: {coach}", "Submitted to: {instructor}", "{company} – {topic}",
    "Course: {course}", "{place}, {date}", "Case prepared by {editor}, {press}", "Reviewed by {editor}, {company}",
    "Interview with {guest}, {role}", "[WEEK|MODULE] {n} – ASSIGNMENT {n}", "Case No. {number}", "{date}",
    "Peer Reviewed Assignment", "Based on the book by {author}", "Head office: {faker_address}",
    "Service hotline: {faker_phone}", "Interviewees: {guest}, {colleague} and {editor}", "Company website: {faker_uri}",
)  # fmt: skip

BLOCKS = {
    "bullets": ("{mark} [ask|visit|call] {n} {people}", "{mark} {problem}", "{mark} [new|simpler] {product}",
                "{mark} [test|talk] with {colleague} (phone)", "{mark} {company}, {place}", "{mark} cost: {money}"),
    "table": ("{month}\t{n}\t{money}", "{guest}\t{role}\t{n}", "{place}\t{n}\t{number}", "{product}\t{n}\t[yes|no]"),
    "quote": ("“[Every|A good] {product} [begins|starts] with [a question|somebody who listens].” – {famous}",
              "“[Slow is smooth|Less is more|Nothing is ever finished].” – {author}, {press}"),
    "references": (
        "{author.last}, {author.first} ({year}). [Tools|Notes|Essays] for [Growth|Change|Better Work]. {press}.",
        "{editor.last}, {editor.first} & {author.last}, {author.first} ({year}). [Quiet|Doing]. {link}",
        "{editor} ({year}), [Thinking in Pictures|How Teams Learn], {press}, {place}.", "{link} (accessed {date})",
    ),
}  # fmt: skip
MARKS = ("●", "•", "-", "–", "*", "o")
REFERENCE_HEADINGS = ("References", "REFERENCES", "Sources:", "Works Cited", "Bibliography")

# Where PII stands, by type. Common ways come first: they are drawn the more often.
PII_HEAD: dict[str, tuple[str, ...]] = {
    "NAME_STUDENT": (
        "{NAME_STUDENT}", "[Name|Student|Student name]: {NAME_STUDENT}", "[By|by|By:|Submitted by:] {NAME_STUDENT}",
        "{NAME_STUDENT} – {topic}", "[Team|Members]: {NAME_STUDENT}, {NAME_STUDENT.mate} and {NAME_STUDENT.mate2}",
        "Assignment[ {n}|] – {NAME_STUDENT} – {date}", "{NAME_STUDENT}'s [Reflection|Essay|Report]",
    ),
    "EMAIL": ("[Email|E-mail|email]: {EMAIL}", "{EMAIL}"),
    "USERNAME": ("[Username|User name]: {USERNAME}",),
    "ID_NUM": ("[Student ID|ID|ID number]: {ID_NUM}", "[Roll No.|Student no.|Matric number] {ID_NUM}"),
    "PHONE_NUM": ("[Phone|Mobile|Tel.]: {PHONE_NUM}",),
    "URL_PERSONAL": ("[My blog|LinkedIn|My portfolio|My profile]: {URL_PERSONAL}",),
    "STREET_ADDRESS": ("[Address|Home address]: {STREET_ADDRESS}",),
}  # fmt: skip
PII_BODY: dict[str, tuple[str, ...]] = {
    "NAME_STUDENT": (
        "[My name is|Hello, my name is] {NAME_STUDENT} and I [work|study|live] in {place}.",
        "[Hi|Hello|Good day], I am {NAME_STUDENT}, [a student|a {role}] [at {company}|from {place}].",
        "I, {NAME_STUDENT}, [confirm|declare] that [this|the text below] is my own work.",
    ),
    "EMAIL": ("You can [reach|contact] me at {EMAIL} [for questions|if you want the map].",),
    "USERNAME": ("My [username|handle|nickname] [in the forum|online] is {USERNAME}, so you can find me there.",),
    "ID_NUM": ("I am enrolled in the course with the student number {ID_NUM} [since|from] {month}.",),
    "PHONE_NUM": ("[Call|Text|Ring] me on {PHONE_NUM} if you [want|like] to see the {product}.",),
    "URL_PERSONAL": ("I [put|posted] my [photos|notes] on my [page|channel] {URL_PERSONAL} [last week|for all].",),
    "STREET_ADDRESS": ("I live at {STREET_ADDRESS} and [walk|drive] to the {business} every day.",),
}  # fmt: skip
PII_FOOT: dict[str, tuple[str, ...]] = {
    "NAME_STUDENT": (
        "[Sincerely|Best regards|Kind regards],\n{NAME_STUDENT}", "[Thank you|Thanks] for reading. {NAME_STUDENT}",
        "[Written|Submitted] by me, {NAME_STUDENT}, [on {date}|in {place}]",
    ),
    "EMAIL": ("[Contact|Email]: {EMAIL}",),
    "USERNAME": ("[Username|My username]: {USERNAME}",),
    "ID_NUM": ("[Student ID|ID]: {ID_NUM}",),
    "PHONE_NUM": ("[My phone|Phone]: {PHONE_NUM}",),
    "URL_PERSONAL": ("[My channel|My blog|My portfolio]: {URL_PERSONAL}",),
    "STREET_ADDRESS": ("[Address|My address]: {STREET_ADDRESS}",),
}  # fmt: skip
# Only after the full name has been told somewhere.
NAME_AGAIN = (
    "[My boss|A neighbour] asked me: “{NAME_STUDENT.first}, [can|could] you [draw it|help us|stay]?”",
    "“[Well done|Thank you|Come on], {NAME_STUDENT.first},” [they|the others] said to me.",
)
NAME_AGAIN_LINE = "{NAME_STUDENT} – [page|p.] {n}"

PROFILES = (
    "https://www.linkedin.com/in/{handle}", "https://github.com/{handle}", "https://{handle}.wordpress.com",
    "https://www.youtube.com/watch?v={code}", "www.behance.net/{handle}",
)  # fmt: skip
NUMBER_SHAPES = ("########", "#########", "##########", "############", "??######", "??-#####", "####-####-##")

# Slips of writers in a hurry or in a second language; an essay that has one has it all through.
SLIPS = {
    " the ": " ", "because": "becouse", " which ": " wich ", "their": "thier", " a ": " ", "different": "diferent",
    "understood": "understand", " was ": " were ", "everybody": "every body", "nobody": "no body", ". ": " . ",
}  # fmt: skip
