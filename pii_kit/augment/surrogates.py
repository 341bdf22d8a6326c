"""Draw what fills the slots of templates: names from many countries, addresses, numbers, links, headings."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from pii_kit.documents import english_tokenizer
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, ID_NUM, PHONE_NUM, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.lexicon import read_lexicon, without_accents
from pii_kit.templates import FILLERS, Slots, expand_text, pick, read_phrases

# Locales of people with weights, roughly those of a course with students from all over the world; names are in Latin
# script. Faker has no romanized Arabic names; Pakistan, Algeria and northern Nigeria take their place. It invents
# American towns, and the order of its Italian ones depends on the hash seed. `providers` are slots, each with the
# probability that the American one is drawn.
FAKER = read_phrases("faker")
LOCALES: Mapping[str, float] = FAKER["locales"]
SAME_PLACE = 0.5  # probability that a part of a name is from its person's locale; the competition mixes locales
PLAIN_SHARE = 0.6  # share of names that are written without accents
# Names that are also words or places: Rose, Summer, Lima, King.
NAME_WORDS = {part: tuple(FILLERS[f"name_words_{part}"]) for part in ("first", "last")}
WORD_SHARE = 0.06
POOL = 600  # draws that make up the pool of a locale
TRIES = 200  # draws from a pool until a name is new; the smallest pool has 20 names
# In a form "#" stands for a digit, "?" for a capital letter, "*" for a small letter.
SYMBOLS = {"#": "0123456789", "?": "ABCDEFGHJKLMNPQRSTUVWXYZ", "*": "abcdefghijkmnopqrstuvwxyz"}
ONE_TOKEN = (EMAIL, USERNAME, URL_PERSONAL)
INITIALS = "ABCDEFGHJKLMNPRSTVW"
MIDDLE_SHARE = 0.1  # share of other people with a middle initial
ORDINARY_SHARE = 0.4  # share of nouns in title case that are any word of the lexicon
MISSPELT_SHARE = 0.12  # share of headings with a misspelt word
CASES = (str, str.capitalize, str.upper, str.lower)  # what a writer does to the letters of a heading
CASE_WEIGHTS = (12, 3, 2, 0.5)
HEADING_ENDS = ("", ":", ".", "?"), (16, 3, 1, 0.5)


@dataclass
class Surrogates:
    """Draw surrogates with `rng` only, so that equal states give equal surrogates.

    No part of a name is in `avoid` (casefolded). Each new name is added to `avoid`: two people never share a name.
    """

    rng: random.Random
    avoid: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rng, choose = self.rng, self.rng.choice
        # Draws for the slots of templates. A surname in a street's name may also be a name in the document.
        self.slots: dict[str, Callable[[], str]] = {
            **{provider: partial(self._fake, provider, share) for provider, share in FAKER["providers"].items()},
            "address_line": lambda: self._fake("address", FAKER["providers"]["address"]).replace("\n", ", "),
            "Word": lambda: pick(rng, FILLERS["lower"]).capitalize(),
            "code": lambda: "".join(rng.choices("".join(SYMBOLS.values()), k=11)),
            "last": lambda: choose(_pool("last_name", choose(FAKER["street_surnames"]))),
            "street": lambda: choose(_pool("street_name", choose(FAKER["streets"]))),
            "postcode": lambda: self.shaped(expand_text("{postcode_form}", rng, {})),
            "city": lambda: pick(rng, FILLERS["city"] if rng.random() < 0.5 else _pool("city", choose(FAKER["towns"]))),
            "country": lambda: pick(rng, FILLERS["short_country"] if rng.random() < 0.6 else _pool("country", "en_US")),
            "number": lambda: self.pii(ID_NUM),
            "hotline": lambda: self.pii(PHONE_NUM),
            "writer": lambda: self.person()[2],  # of a book
            "WRITER": lambda: self.person()[2].upper(),
            "writer.first": lambda: self.name("first"),
            "writer.last": lambda: self.name("last"),
            "writer.initial": lambda: choose(INITIALS),
            "Noun": self._noun,
            "noun": lambda: self._noun().lower(),
            "verb": lambda: pick(rng, FILLERS["Verb"]).lower(),
            "namelike": self._name_word,
            "heading": self._heading,
        }

    def name(self, part: str, locale: str | None = None) -> str:
        """Draw a name; `part` is "first" or "last", and `locale` that of the person."""
        locale = locale if locale and self.rng.random() < SAME_PLACE else pick(self.rng, LOCALES)
        is_plain = self.rng.random() < PLAIN_SHARE
        if self.rng.random() < WORD_SHARE:
            pool = NAME_WORDS[part]
        else:
            pool = _pool(f"{part}_romanized_name" if locale in FAKER["romanized"] else f"{part}_name", locale)
        for _ in range(TRIES):
            name = self.rng.choice(pool)
            name = without_accents(name) if is_plain else name
            if name[:1].isupper() and self.avoid.isdisjoint(_parts(name)):
                break
        else:  # the document already holds the pool's names
            name = self.shaped("?********")
        self.avoid |= _parts(name)
        return name

    def word(self, part: str) -> str:
        """Draw a name that is a single token in title case."""
        while True:
            name = self.name(part)
            if len(english_tokenizer()(name)) == 1 and name[1:].islower():
                return name

    def pii(self, pii_type: str, handle: str = "") -> str:
        """Draw PII in a form of its type in `fillers.json`, such as `email_form`; `handle` is one of its slots."""
        form = f"{{{pii_type.lower()}_form}}"
        slots: Slots = {**self.slots, "handle": handle}
        while True:
            text = expand_text(form, self.rng, slots).strip()
            text = text if pii_type in (*ONE_TOKEN, STREET_ADDRESS) else self.shaped(text)
            is_token = pii_type not in ONE_TOKEN or len(english_tokenizer()(text)) == 1
            if pii_type == ID_NUM or (is_token and _is_separable(text)):
                return text

    def _fake(self, provider: str, american: float) -> str:
        locale = "en_US" if self.rng.random() < american else pick(self.rng, LOCALES)
        return getattr(faker_of(self.rng, locale), provider)()

    def shaped(self, form: str) -> str:
        """Put a digit for each "#", a capital letter for each "?" and a small letter for each "*".

        >>> Surrogates(random.Random(0)).shaped("?-##")
        'N-60'
        """
        return "".join(self.rng.choice(SYMBOLS[symbol]) if symbol in SYMBOLS else symbol for symbol in form)

    def like(self, text: str) -> str:
        """Replace each digit by a digit and each letter by a letter, so that the form stays."""
        kinds = ("#" if c.isdigit() else "*" if c.islower() else "?" if c.isalnum() else "" for c in text)
        return "".join(self.rng.choice(SYMBOLS[kind]) if kind else c for kind, c in zip(kinds, text, strict=True))

    def person(self) -> tuple[str, str, str]:
        """Draw the first, last and full name of somebody who is not a student."""
        first, last = self.name("first"), self.name("last")
        middle = f" {self.rng.choice(INITIALS)}." if self.rng.random() < MIDDLE_SHARE else ""
        return first, last, f"{first}{middle} {last}"

    def _noun(self) -> str:
        return pick(self.rng, _ordinary_words() if self.rng.random() < ORDINARY_SHARE else FILLERS["Noun"])

    def _name_word(self) -> str:
        """Draw a word that could also be a name, such as Hope or Rose, but is the name of nobody in the document."""
        words = (self.rng.choice(NAME_WORDS[self.rng.choice(("first", "last"))]) for _ in range(20))
        return next((word for word in words if word.casefold() not in self.avoid), "Hope")

    def _heading(self) -> str:
        """Draw a heading of title-case words, at times misspelt or in capitals."""
        text = expand_text("{plain_heading}", self.rng, self.slots)
        if self.rng.random() < MISSPELT_SHARE:
            text = misspell(text, self.rng)
        case, end = self.rng.choices(CASES, CASE_WEIGHTS)[0], self.rng.choices(*HEADING_ENDS)[0]
        return case(text) + end


def handle_of(name: str) -> str:
    """Return a name as it is written in e-mail addresses and user names.

    >>> handle_of("José-María Núñez")
    'josemarianunez'
    """
    return re.sub("[^a-z]", "", without_accents(name).lower()) or "me"


def faker_of(rng: random.Random, locale: str) -> Any:
    """Return the Faker of a locale, which draws with `rng` until the next call. Raise KitError if it is missing."""
    fake = _new_faker(locale)
    fake.random = rng
    return fake


@cache
def _new_faker(locale: str) -> Any:
    # Imported at first use: reading and predicting do not need Faker, and Kaggle's image may lack it.
    try:
        from faker import Faker
    except ImportError:
        raise KitError("made-up text needs Faker: pip install Faker (on Kaggle: attach its wheel)") from None
    return Faker(locale).factories[0]


def _is_separable(text: str) -> bool:
    """Return whether spaCy separates a text from a quote before it and a full stop after it, unlike "Jan."."""
    tokens = english_tokenizer()(f"“{text}.")
    return (tokens[0].text, tokens[-1].text) == ("“", ".")


def _parts(name: str) -> set[str]:
    """Return the parts of a name, split as tokens are, casefolded."""
    return set(name.casefold().replace("-", " ").split())


@cache
def _pool(provider: str, locale: str) -> tuple[str, ...]:
    """Return up to POOL different values of a Faker provider; drawing each value anew would take ten times as long."""
    fake = _new_faker(locale)
    fake.random = random.Random(f"{provider} {locale}")
    drawn = {" ".join(getattr(fake, provider)().split()) for _ in range(POOL)}  # a few names contain two spaces
    return tuple(filter(_is_separable, sorted(drawn)))


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
