"""The words of made-up essays: templates, and the grammar of two marks that expands them.

`[a|b]` draws one of its alternatives, `{slot}` looks a slot up. A slot whose name begins with a PII type, such as
`{NAME_STUDENT}` or `{NAME_STUDENT.first}`, is that PII; every other slot is not, whatever it looks like. So a template
shows its labels, and the same names, numbers and links stand in both kinds of slot: only what is around them tells.
All sentences are made up for this file.
"""

import random
import re
from collections.abc import Mapping, Sequence

from pii_kit.labels import PII_TYPES

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([\w.]+)\}")


def expand(
    template: str,
    rng: random.Random,
    slots: Mapping[str, str],
    fillers: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str, str | None]]:
    """A template to spans of (text, PII type or None); `slots` comes before `fillers`, whose values are templates too.

    `fillers` None are FILLERS. Raises KeyError for a slot that neither knows.

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
            spans.extend(expand(rng.choice((fillers or FILLERS)[part]), rng, slots, fillers))
    return [span for span in spans if span[0]]


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
