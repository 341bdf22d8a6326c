"""What fills the slots of templates: the author and fellow students, other people, headings, companies, links."""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pii_kit.augment import templates as texts
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import EMAIL, ID_NUM, NAME_STUDENT, PHONE_NUM, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.sample.text import expand, handle_of

MATES = ("mate", "mate2", "mate3")
INITIALS = "ABCDEFGHJKLMNPRSTVW"
PARTICLES = ("de", "da", "dos", "de la", "del", "di", "van", "van der", "von", "bin", "al", "el", "ter", "le")
MISSPELT_SHARE = 0.12  # share of headings with a misspelt word
# What a writer does to the letters of a heading, and its weight.
CASES: tuple[tuple[Callable[[str], str], float], ...] = (
    (str, 12),
    (str.capitalize, 3),
    (str.upper, 2),
    (str.lower, 0.5),
)


@dataclass(frozen=True)
class Slots(Mapping[str, str]):
    """Slots with a fixed text, and slots that are drawn anew each time."""

    fixed: Mapping[str, str]
    draws: Mapping[str, Callable[[], str]]

    def __getitem__(self, slot: str) -> str:
        return self.draws[slot]() if slot in self.draws else self.fixed[slot]

    def __contains__(self, slot: object) -> bool:
        return slot in self.draws or slot in self.fixed

    def __iter__(self) -> Iterator[str]:
        return iter({**self.fixed, **self.draws})

    def __len__(self) -> int:
        return len({**self.fixed, **self.draws})


def author(surrogates: Surrogates, pii_types: Sequence[str]) -> dict[str, str]:
    """Return the slots of the author and three fellow students: their names, and the author's PII of `pii_types`."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for mate in ("", *MATES):
        first, last, full = _person(surrogates)
        role, dot = (f"{NAME_STUDENT}.{mate}", "_") if mate else (NAME_STUDENT, ".")
        slots |= {
            role: full,
            f"{role}{dot}first": first,
            f"{role}{dot}last": last,
            f"{role}{dot}reversed": rng.choice((f"{last}, {first}", f"{last}, {first}", f"{last} {first}")),
            f"{role}{dot}short": f"{first} {last[0]}.",
            f"{role}{dot}initials": f"{first[0]}. {last}",
        }
    first, last = slots[f"{NAME_STUDENT}.first"], slots[f"{NAME_STUDENT}.last"]
    draws = {
        EMAIL: lambda: surrogates.email(_handle(rng, first, last)),
        USERNAME: lambda: surrogates.username(_handle(rng, first, last)),
        ID_NUM: surrogates.id_number,
        PHONE_NUM: surrogates.phone,
        URL_PERSONAL: lambda: surrogates.url(_handle(rng, first, last, "-", "")),
        STREET_ADDRESS: surrogates.address,
    }
    slots |= {pii_type: draw() for pii_type, draw in draws.items() if pii_type in pii_types}
    if ID_NUM in slots:
        slots |= {f"{ID_NUM}.{mate}": surrogates.like(slots[ID_NUM]) for mate in MATES}
    if EMAIL in slots:
        slots[f"{EMAIL}.mate"] = surrogates.email(handle_of(slots[f"{NAME_STUDENT}.mate_first"]))
    return slots


def _person(surrogates: Surrogates) -> tuple[str, str, str]:
    """Draw a first name, a last name, and the full name in one of the forms that students use."""
    rng = surrogates.rng
    home = surrogates.place()
    first, last = surrogates.first_name(home), surrogates.last_name(home)
    initial = rng.choice(INITIALS)
    forms: dict[str, float] = {
        f"{first} {last}": 68,
        "second first name": 5,
        "second last name": 6,
        f"{first} {initial}. {last}": 3,
        f"{first} {initial} {last}": 1,
        f"{first} {initial}.{rng.choice(INITIALS)}. {last}": 0.4,
        f"{initial}. {first} {last}": 0.5,
        f"{first[0]}. {last}": 0.8,
        f"{first} {last[0]}.": 0.6,
        f"{first} {rng.choice(PARTICLES)} {last}": 2.5,
        f"{first} {rng.choice(('al', 'Al', 'El', 'Abdul', 'Ben'))}-{last}": 0.8,
        f"{last} {first}": 1.5,
        f"{last}, {first}": 1,
        first: 4,
        f"{first} {last}".upper(): 1.5,
        f"{first} {last.upper()}": 1,
        f"{last.upper()} {first}": 0.5,
        f"{first} {last}".lower(): 0.3,
    }
    form = texts.pick(rng, forms)
    if form == "second first name":
        form = f"{first}{rng.choice(' -')}{surrogates.first_name(home)} {last}"
    elif form == "second last name":
        form = f"{first} {last}{rng.choice((' ', ' ', '-', ' y ', ' de '))}{surrogates.last_name(home)}"
    return first, last, form


def _handle(rng: random.Random, first: str, last: str, *joints: str) -> str:
    """Return a name as in an e-mail address: "anasilva", "ana.silva7", "asilva", "silva_ana", "ana"."""
    first, last = handle_of(first), handle_of(last)
    joint = rng.choice(joints or ("", "", ".", ".", "_"))
    handle = rng.choice((first + joint + last, first + joint + last, first[0] + last, last + joint + first, first))
    return handle + rng.choice(("", "", "", str(rng.randrange(100)), str(rng.randrange(1960, 2010))))


def others(surrogates: Surrogates) -> dict[str, str]:
    """Return the slots of two people who are not students."""
    slots: dict[str, str] = {}
    for who in ("other", "another"):
        first, last = surrogates.first_name(), surrogates.last_name()
        slots |= {who: f"{first} {last}", f"{who}.first": first, f"{who}.last": last, f"{who}.initial": first[0]}
    return slots


def drawn(surrogates: Surrogates) -> dict[str, Callable[[], str]]:
    """Return the slots that are drawn anew each time: authors of books, words, headings, companies, numbers, links."""
    rng = surrogates.rng

    def writer() -> str:
        middle = f" {rng.choice(INITIALS)}." if rng.random() < 0.15 else ""
        return f"{surrogates.first_name()}{middle} {surrogates.last_name()}"

    def word(slot: str, *, low: bool = False) -> str:
        text = rng.choice(texts.ordinary_words() if slot == "Noun" and rng.random() < 0.4 else texts.VOCABULARY[slot])
        return text.lower() if low else text

    draws = {
        "writer": writer,
        "WRITER": lambda: writer().upper(),
        "writer.first": surrogates.first_name,
        "writer.last": surrogates.last_name,
        "writer.initial": lambda: rng.choice(INITIALS),
        "Noun": lambda: word("Noun"),
        "noun": lambda: word("Noun", low=True),
        "verb": lambda: word("Verb", low=True),
        "NounPlural": lambda: _plural(word("Noun")),
        "namelike": lambda: _name_word(surrogates),
        "company": surrogates.company,
        "place": surrogates.town,
        "city": surrogates.city,
        "country": surrogates.country,
        "link": surrogates.link,
        "number": surrogates.id_number,
        "hotline": surrogates.phone,
    }
    return draws | {"heading": lambda: heading(rng, draws)}


def _plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeou" else noun + "s" * (noun[-1] not in "sx")


def _name_word(surrogates: Surrogates) -> str:
    """Return a word that could also be a name, such as Hope or Rose, but is the name of nobody in the document."""
    pool = texts.NAME_WORDS[surrogates.rng.choice(("first", "last"))]
    words = (surrogates.rng.choice(pool) for _ in range(20))
    return next((word for word in words if word.casefold() not in surrogates.avoid), "Hope")


def heading(rng: random.Random, draws: Mapping[str, Callable[[], str]]) -> str:
    """Draw a heading of title-case words, at times misspelt or in capitals."""
    text = texts.pick(rng, texts.HEADINGS)
    text = "".join(part for part, _ in expand(text, rng, Slots({}, draws), texts.FILLERS))
    case, _ = rng.choices(CASES, [weight for _, weight in CASES])[0]
    if rng.random() < MISSPELT_SHARE:
        text = misspell(text, rng)
    return case(text) + rng.choices(("", ":", ".", "?"), (16, 3, 1, 0.5))[0]


def misspell(text: str, rng: random.Random) -> str:
    """Drop, double or swap a letter of one of the words of five letters or more, never its first.

    >>> misspell("The Story", random.Random(3))
    'The Stoyr'
    """
    words = list(re.finditer(r"[^\W\d_]{5,}", text))
    if not words:
        return text
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 1)
    one, two = text[place], text[place + 1]
    return text[:place] + rng.choice((two, one + one + two, two + one)) + text[place + 2 :]
