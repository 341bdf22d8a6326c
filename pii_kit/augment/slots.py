"""What fills the slots of templates: the author and fellow students, other people, headings, companies, links."""

import random
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache

from pii_kit.augment.surrogates import NAME_WORDS, PLANTED, Surrogates, handle_of
from pii_kit.labels import EMAIL, ID_NUM, NAME_STUDENT, PHONE_NUM, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.lexicon import read_lexicon
from pii_kit.templates import FILLERS, Slots, expand_text, pick

MATES = ("mate", "mate2", "mate3")
INITIALS = "ABCDEFGHJKLMNPRSTVW"
MIDDLE_SHARE = 0.1  # share of other people with a middle initial
ORDINARY_SHARE = 0.4  # share of nouns in title case that are any word of the lexicon
MISSPELT_SHARE = 0.12  # share of headings with a misspelt word
CASES = (str, str.capitalize, str.upper, str.lower)  # what a writer does to the letters of a heading
CASE_WEIGHTS = (12, 3, 2, 0.5)


def author(surrogates: Surrogates, pii_types: Collection[str]) -> dict[str, str]:
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
    names = slots[f"{NAME_STUDENT}.first"], slots[f"{NAME_STUDENT}.last"]
    draws = {
        EMAIL: lambda: surrogates.email(_handle(rng, *names)),
        USERNAME: lambda: surrogates.username(_handle(rng, *names)),
        ID_NUM: surrogates.id_number,
        PHONE_NUM: surrogates.phone,
        URL_PERSONAL: lambda: surrogates.url(_handle(rng, *names, "-", "")),
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
    home = surrogates.place()
    first, last = surrogates.name("first", home), surrogates.name("last", home)
    slots: Slots = {
        "first": first, "first.initial": first[0], "FIRST": first.upper(), "first.lower": first.lower(),
        "last": last, "last.initial": last[0], "LAST": last.upper(), "last.lower": last.lower(),
        "first2": lambda: surrogates.name("first", home), "last2": lambda: surrogates.name("last", home),
        "initial": lambda: surrogates.rng.choice(INITIALS),
    }  # fmt: skip
    return first, last, expand_text(pick(surrogates.rng, PLANTED["name_forms"]), surrogates.rng, slots)


def _handle(rng: random.Random, first: str, last: str, *joints: str) -> str:
    """Return a name as in an e-mail address: "anasilva", "ana.silva7", "asilva", "silva_ana", "ana"."""
    first, last = handle_of(first), handle_of(last)
    joint = rng.choice(joints or ("", "", ".", ".", "_"))
    handle = rng.choice((first + joint + last, first + joint + last, first[0] + last, last + joint + first, first))
    return handle + rng.choice(("", "", "", str(rng.randrange(100)), str(rng.randrange(1960, 2010))))


def others(surrogates: Surrogates, roles: Sequence[str] = ("other", "another")) -> dict[str, str]:
    """Return the slots of people who are not students."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for who in roles:
        first, last = surrogates.name("first"), surrogates.name("last")
        middle = f" {rng.choice(INITIALS)}." if rng.random() < MIDDLE_SHARE else ""
        slots |= {who: f"{first}{middle} {last}", f"{who}.first": first, f"{who}.last": last}
    return slots


def drawn(surrogates: Surrogates) -> dict[str, Callable[[], str]]:
    """Return the slots that are drawn anew each time: authors of books, words, headings, companies, numbers, links."""
    rng = surrogates.rng

    def noun() -> str:
        return rng.choice(_ordinary_words() if rng.random() < ORDINARY_SHARE else FILLERS["Noun"])

    def name_word() -> str:
        """Return a word that could also be a name, such as Hope or Rose, but is the name of nobody in the document."""
        words = (rng.choice(NAME_WORDS[rng.choice(("first", "last"))]) for _ in range(20))
        return next((word for word in words if word.casefold() not in surrogates.avoid), "Hope")

    draws = {
        **surrogates.slots,
        "writer": lambda: others(surrogates, ["writer"])["writer"],
        "WRITER": lambda: others(surrogates, ["writer"])["writer"].upper(),
        "writer.first": lambda: surrogates.name("first"),
        "writer.last": lambda: surrogates.name("last"),
        "writer.initial": lambda: rng.choice(INITIALS),
        "Noun": noun,
        "noun": lambda: noun().lower(),
        "verb": lambda: rng.choice(FILLERS["Verb"]).lower(),
        "namelike": name_word,
    }
    return draws | {"heading": lambda: _heading(rng, draws)}


@cache
def _ordinary_words() -> list[str]:
    """Return words of the lexicon that are neither places nor common names, in title case, common ones more often."""
    weights = {2: 1, 3: 4, 4: 8}
    return [
        word.title()
        for word, (commonness, place, first, last) in sorted(read_lexicon().items())
        if len(word) > 2 and word.isascii() and not place and max(first, last) < 2
        for _ in range(weights.get(commonness, 0))
    ]


def _heading(rng: random.Random, draws: Slots) -> str:
    """Draw a heading of title-case words, at times misspelt or in capitals."""
    text = expand_text(pick(rng, PLANTED["headings"]), rng, draws)
    if rng.random() < MISSPELT_SHARE:
        text = misspell(text, rng)
    return rng.choices(CASES, CASE_WEIGHTS)[0](text) + rng.choices(("", ":", ".", "?"), (16, 3, 1, 0.5))[0]


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
