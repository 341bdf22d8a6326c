"""The templates of made-up documents, and the small grammar that expands them.

`[a|b]` draws one of its alternatives; `{slot}` looks up a slot. A slot whose name begins with a PII type, such as
`{NAME_STUDENT}` or `{NAME_STUDENT.first}`, is labelled as that type; every other slot is labelled O. The same names,
numbers and links fill both kinds of slot, so only the context tells them apart. NAME_STUDENT is the student or a fellow
student; family members, friends outside the course, colleagues and bosses are labelled O, here and in
`pii_kit.augment`. All sentences are made up for these files: topics.json holds the stories, phrases.json the rest.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pii_kit.data import Span
from pii_kit.labels import PII_TYPES

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([\w.]+)\}")


def expand(
    template: str, rng: random.Random, slots: Mapping[str, str], fillers: Mapping[str, Sequence[str]] | None = None
) -> list[Span]:
    """Expand a template into spans of (text, PII type or None).

    Slots are looked up in `slots` first, then in `fillers` (default: FILLERS), whose values are templates themselves.
    Raises KeyError for a slot that is in neither.

    >>> expand("[Hi|Hello], I am {NAME_STUDENT}.", random.Random(1), {"NAME_STUDENT": "Ana Silva"})
    [('Hi, I am ', None), ('Ana Silva', 'NAME_STUDENT'), ('.', None)]
    """
    while CHOICE.search(template):
        template = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    spans: list[Span] = []
    for position, part in enumerate(SLOT.split(template)):
        if position % 2 == 0:
            spans.append((part, None))
        elif part in slots:
            root = part.partition(".")[0]
            spans.append((slots[part], root if root in PII_TYPES else None))
        else:
            spans.extend(expand(rng.choice((fillers or FILLERS)[part]), rng, slots, fillers))
    return [span for span in spans if span[0]]


class Topic(NamedTuple):
    """The templates of documents on one topic; `sentences` are in the order of the story."""

    titles: list[str]
    headings: list[str]
    sentences: list[str]


def _read(name: str) -> dict[str, Any]:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _read_topics() -> dict[str, Topic]:
    data = _read("topics.json")
    shared = data["reflection"]
    reflections = {
        name: Topic(shared["titles"], shared["headings"], shared["start"] + own + shared["end"])
        for name, own in shared["topics"].items()
    }
    return reflections | {name: Topic(**topic) for name, topic in data["topics"].items()}


TOPICS = _read_topics()
_PHRASES = _read("phrases.json")
FILLERS: dict[str, list[str]] = _PHRASES["fillers"]
# Names, numbers, links and addresses that are not PII; documents with and without PII contain them.
TRAPS: list[str] = _PHRASES["traps"]
TRAP_LINES: list[str] = _PHRASES["trap_lines"]  # lines that look like the line with the author's name
BLOCKS: dict[str, list[str]] = _PHRASES["blocks"]
# Typing errors of writers in a hurry or in a second language; a document has an error throughout or not at all.
TYPING_ERRORS: dict[str, str] = _PHRASES["typing_errors"]

PEOPLE = ("coach", "colleague", "guest", "customer", "friend", "author", "editor")
# Fillers drawn once per document, so that the story keeps to one company, one tool and one team.
STICKY = ("company", "business", "team", "product", "problem", "place", "press", "course", "role")
MARKS = ("●", "•", "-", "–", "*", "o")
REFERENCE_HEADINGS = ("References", "REFERENCES", "Sources:", "Works Cited", "Bibliography")
# Templates with PII, by type: at the start, in the text, at the end. Earlier ones are drawn more often.
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
# Only in documents that also hold the full name.
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
