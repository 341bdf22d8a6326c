"""The stories of made-up essays: titles, headings and sentences of each topic, in the templates of sample_text."""

from typing import NamedTuple


class Topic(NamedTuple):
    """What one kind of essay is made of; `sentences` stand in the order of the story they tell."""

    titles: tuple[str, ...]
    headings: tuple[str, ...]
    sentences: tuple[str, ...]


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
