"""The templates of made-up documents, the small grammar that expands them, and what fills their slots.

`[a|b]` draws one of its alternatives; `{slot}` looks up a slot. A slot whose name begins with a PII type, such as
`{NAME_STUDENT}` or `{NAME_STUDENT.first}`, is labelled as that type; every other slot is labelled O. The same names,
numbers and links fill both kinds of slot, so only the context tells them apart. NAME_STUDENT is the student or a fellow
student; family members, friends outside the course, colleagues and bosses are labelled O, here and in
`pii_kit.augment`. All sentences are made up for these files: topics.json holds stories, phrases.json other templates.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pii_kit.documents import Span, english_tokenizer
from pii_kit.files import KitError
from pii_kit.labels import (
    EMAIL,
    ID_NUM,
    NAME_STUDENT,
    PHONE_NUM,
    PII_TYPES,
    STREET_ADDRESS,
    URL_PERSONAL,
    USERNAME,
)
from pii_kit.lexicon import without_accents

if TYPE_CHECKING:
    from faker import Faker

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


_TOPICS, _PHRASES = (
    json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in ("topics.json", "phrases.json")
)
_SHARED = _TOPICS["reflection"]  # what all reflections on a tool have in common
TOPICS = {
    name: Topic(_SHARED["titles"], _SHARED["headings"], _SHARED["start"] + own + _SHARED["end"])
    for name, own in _SHARED["topics"].items()
} | {name: Topic(**topic) for name, topic in _TOPICS["topics"].items()}
FILLERS: dict[str, list[str]] = _PHRASES["fillers"]
# Names, numbers, links and addresses that are not PII; documents with and without PII contain them.
TRAPS: list[str] = _PHRASES["traps"]
TRAP_LINES: list[str] = _PHRASES["trap_lines"]  # lines that look like the line with the author's name
BLOCKS: dict[str, list[str]] = _PHRASES["blocks"]
# Typing errors of writers in a hurry or in a second language; a document has an error throughout or not at all.
TYPING_ERRORS: dict[str, str] = _PHRASES["typing_errors"]
MARKS: list[str] = _PHRASES["marks"]
REFERENCE_HEADINGS: list[str] = _PHRASES["reference_headings"]
# Templates with PII, by type: at the start, in the text, at the end. Earlier ones are drawn more often.
PII_HEAD: dict[str, list[str]] = _PHRASES["pii_head"]
PII_BODY: dict[str, list[str]] = _PHRASES["pii_body"]
PII_FOOT: dict[str, list[str]] = _PHRASES["pii_foot"]
NAME_AGAIN: list[str] = _PHRASES["name_again"]  # only in documents that also hold the full name
NAME_AGAIN_LINE = "{NAME_STUDENT} – [page|p.] {n}"
PROFILES: list[str] = _PHRASES["profiles"]
NUMBER_SHAPES: list[str] = _PHRASES["number_shapes"]
PEOPLE = ("coach", "colleague", "guest", "customer", "friend", "author", "editor")
# Fillers drawn once per document, so that the story keeps to one company, one tool and one team.
STICKY = ("company", "business", "team", "product", "problem", "place", "press", "course", "role")
# Latin script only. Where a locale lacks a provider, such as Turkish addresses, Faker uses the American one.
LOCALES = (
    "en_US", "en_GB", "en_IN", "en_NG", "en_KE", "es_MX", "es_ES", "es_CO", "pt_BR", "fr_FR", "de_DE", "it_IT",
    "tr_TR", "pl_PL", "id_ID", "ro_RO", "sv_SE", "yo_NG",
)  # fmt: skip


def slots(rng: random.Random) -> dict[str, str]:
    """Return the text of each slot of one document."""
    home = rng.choice(LOCALES)
    # All names in a document are written in one style: otherwise lower case would identify the student.
    style = rng.choices((str, without_accents, str.lower, str.upper), (12, 6, 1, 1))[0]
    slots: dict[str, str] = {}
    taken: set[str] = set()
    for role in (NAME_STUDENT, f"{NAME_STUDENT}.mate", f"{NAME_STUDENT}.mate2", *PEOPLE):
        fake = faker_of(rng, home if rng.random() < 0.6 else rng.choice(LOCALES))
        first = _new_name(fake.first_name, style, taken)
        last = _new_name(fake.last_name, style, taken)
        middle = style(f" {rng.choice('ABCDEGHJKLMPRST')}.") if rng.random() < 0.08 else ""
        slots |= {role: f"{first}{middle} {last}", f"{role}.first": first, f"{role}.last": last}
        slots[f"{role}.handle"] = handle_of(first + last)

    fake, handle = faker_of(rng, home), slots[f"{NAME_STUDENT}.handle"]
    own_handle = f"{handle}{rng.randint(1, 99)}"
    slots[EMAIL] = separable(rng.choice((fake.free_email, lambda: f"{own_handle}@{fake.free_email_domain()}")))
    slots[USERNAME] = separable(rng.choice((fake.user_name, lambda: own_handle)))
    slots[ID_NUM] = _number(rng)
    slots[PHONE_NUM] = separable(fake.phone_number)
    slots[URL_PERSONAL] = separable(lambda: rng.choice((*PROFILES, fake.uri())).format(handle=handle, code=_code(rng)))
    slots[STREET_ADDRESS] = separable(fake.address)

    fake = faker_of(rng, rng.choice(LOCALES))
    slots |= {"faker_company": fake.company(), "faker_phone": fake.phone_number(), "faker_address": fake.address()}
    slots |= {"faker_uri": fake.uri(), "reviewer": fake.user_name(), "code": _code(rng)}
    slots |= {"number": _number(rng), "number2": _number(rng)}
    for slot in STICKY:
        slots[slot] = "".join(text for text, _ in expand(rng.choice(FILLERS[slot]), rng, slots))
    return slots


@cache
def _new_faker(locale: str) -> "Faker":
    # Imported at first use: reading and predicting do not need Faker, and Kaggle's image may lack it.
    try:
        from faker import Faker
    except ImportError:
        raise KitError(
            "augmentation and made-up essays need Faker: pip install Faker (on Kaggle: attach its wheel)"
        ) from None
    return Faker(locale)


def faker_of(rng: random.Random, locale: str) -> "Faker":
    """Return the Faker of a locale, seeded from `rng`; it is cached, since creating one is slow.

    Raises KitError if Faker is not installed.
    """
    fake = _new_faker(locale)
    fake.seed_instance(rng.getrandbits(32))
    return fake


def separable(draw: Callable[[], str]) -> str:
    """Draw until spaCy separates the text from a quote before it and a full stop after it, unlike in "Jan."."""
    while True:
        value = draw().strip()
        tokens = english_tokenizer()(f"“{value}.")
        if tokens[0].text == "“" and tokens[-1].text == ".":
            return value


def handle_of(name: str) -> str:
    """Return a name as it is written in e-mail addresses and user names.

    >>> handle_of("José-María Núñez")
    'josemarianunez'
    """
    return re.sub("[^a-z]", "", without_accents(name).lower()) or "me"


def _new_name(draw: Callable[[], str], style: Callable[[str], str], taken: set[str]) -> str:
    """Draw a name that shares no part with another name in the document, so that each name means one person."""
    while True:
        name = separable(lambda: style(draw()))
        parts = set(name.casefold().split())
        if not parts & taken:
            taken |= parts
            return name


def _number(rng: random.Random) -> str:
    shape = rng.choice(NUMBER_SHAPES)
    return "".join({"#": rng.choice("0123456789"), "?": rng.choice("ABCDEFGHKLMNPRSTUVXYZ")}.get(c, c) for c in shape)


def _code(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijkmnopqrstuvwxyzABCDEFGHKLMNPRSTUVXYZ0123456789", k=11))
