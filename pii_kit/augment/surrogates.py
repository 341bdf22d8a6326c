"""Draw surrogates: names from many countries, e-mail addresses, user names, numbers, links, addresses."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from pii_kit.augment import templates as texts
from pii_kit.documents import english_tokenizer
from pii_kit.lexicon import without_accents
from pii_kit.sample.text import faker_of, separable

# Locale → weight, roughly that of a course with students from all over the world. Names are in Latin script. Faker has
# no romanized Arabic names; Pakistan, Algeria and northern Nigeria take their place.
LOCALES = {
    "en_US": 5, "en_GB": 2, "en_IN": 7, "en_PK": 3, "en_NG": 1, "en_KE": 1, "en_TH": 1, "es_ES": 3, "es_MX": 4,
    "es_CO": 4, "es_AR": 2, "es_CL": 2, "pt_BR": 4, "pt_PT": 1, "fr_FR": 2, "fr_DZ": 3, "it_IT": 3, "de_DE": 2,
    "nl_NL": 1, "sv_SE": 1, "da_DK": 1, "pl_PL": 1, "ro_RO": 1, "hu_HU": 0.5, "hr_HR": 0.5, "cs_CZ": 0.5,
    "tr_TR": 2, "id_ID": 2, "uz_UZ": 0.5, "ha_NG": 1, "yo_NG": 1, "ig_NG": 0.5, "zu_ZA": 0.5, "tw_GH": 0.5,
    "ja_JP": 1, "zh_CN": 1,
}  # fmt: skip
ROMANIZED = {"ja_JP", "zh_CN"}
# Probability that a part of a name is from the person's own locale; the competition's surrogates mix locales.
SAME_PLACE = 0.5
WORD_SHARE = 0.06  # share of names that are also words or places: Rose, Summer, Lima, King
# Locales whose towns are real: Faker invents American ones, and the order of its Italian ones depends on the hash seed.
TOWNS = ("en_IN", "id_ID", "tr_TR", "pl_PL", "de_DE", "hu_HU")
POOL = 600  # draws that make up the pool of a locale
TRIES = 200  # draws from a pool until a name is new; the smallest pool has 20 names
SYMBOLS = {"digit": "0123456789", "upper": "ABCDEFGHJKLMNPQRSTUVWXYZ", "lower": "abcdefghijkmnopqrstuvwxyz"}
FORM_SYMBOLS = {"#": "digit", "?": "upper", "*": "lower"}


@dataclass
class Surrogates:
    """Draw surrogates with `rng` only, so that equal states give equal surrogates.

    No part of a name is in `avoid` (casefolded). Each new name is added to `avoid`: two people never share a name.
    """

    rng: random.Random
    avoid: set[str] = field(default_factory=set)

    def first_name(self, locale: str | None = None) -> str:
        return self._name("first", locale)

    def last_name(self, locale: str | None = None) -> str:
        return self._name("last", locale)

    def place(self) -> str:
        """Draw the locale of a person."""
        return self.rng.choices(list(LOCALES), list(LOCALES.values()))[0]

    def _name(self, part: str, locale: str | None) -> str:
        locale = locale if locale and self.rng.random() < SAME_PLACE else self.place()
        plain = self.rng.random() < 0.6
        if self.rng.random() < WORD_SHARE:
            pool = texts.NAME_WORDS[part]
        else:
            pool = _pool(f"{part}_romanized_name" if locale in ROMANIZED else f"{part}_name", locale)
        for _ in range(TRIES):
            name = self.rng.choice(pool)
            name = without_accents(name) if plain else name
            if name[:1].isupper() and self.avoid.isdisjoint(_parts(name)):
                break
        else:  # the document already holds the pool's names: make up a name of random letters
            length = 5
            while not self.avoid.isdisjoint(_parts(name := self.like("X" + "x" * length))):
                length += 1
        self.avoid |= _parts(name)
        return name

    def word(self, part: str) -> str:
        """Draw a first or last name that is a single token; `part` is "first" or "last"."""
        while True:
            name = self._name(part, None)
            if len(english_tokenizer()(name)) == 1 and name[1:].islower():
                return name

    def email(self, handle: str) -> str:
        fake = faker_of(self.rng, "en_US")
        word, word2 = self._words()

        def draw() -> str:
            hosts = (fake.free_email_domain(), f"{word}{word2}.com", f"{word}.edu", f"uni-{word}.edu", f"{word}.ac.uk")
            return f"{handle}@{self.rng.choices(hosts, (6, 1, 1, 0.5, 0.5))[0]}"

        if self.rng.random() < 0.03:
            prefix = self.rng.choice(("mailto:", "Email:", "E-mail:", "Contact:"))
            return self._one_token(lambda: prefix + draw())
        return self._one_token(fake.free_email if self.rng.random() < 0.45 else draw)

    def username(self, handle: str) -> str:
        """Draw a user name: one of Faker's, or one with the name, at times after "@", or two words."""
        fake = faker_of(self.rng, "en_US")
        forms: tuple[tuple[Callable[[], str], float], ...] = (
            (fake.user_name, 5),
            (lambda: f"{handle}{self.rng.randrange(100)}", 3),
            (lambda: f"@{handle}", 1.5),
            (lambda: "{}{}{}{}".format(*self._words(), self.rng.choice("_-."), self.rng.randrange(1000)), 0.5),
            (lambda: "".join(map(str.capitalize, self._words())) + str(self.rng.randrange(100)), 0.7),
            (lambda: f"{handle}_{self._words()[0]}", 0.7),
            (lambda: f"the{self._words()[0]}{handle}", 0.3),
        )
        return self._one_token(self.rng.choices(*zip(*forms, strict=True))[0])

    def url(self, handle: str) -> str:
        """Draw a personal link: one of Faker's, as in the competition, or a profile, a video, a shared file."""
        fake = faker_of(self.rng, "en_US")
        if self.rng.random() < 0.45:
            return self._one_token(fake.uri)
        return self._one_token(lambda: self._link(texts.pick(self.rng, texts.URL_FORMS), handle))

    def _link(self, form: str, handle: str = "") -> str:
        word, word2 = self._words()
        symbols = SYMBOLS["digit"] + SYMBOLS["upper"] + SYMBOLS["lower"]
        return re.sub("{code}", lambda _: "".join(self.rng.choices(symbols, k=11)), form).format(
            handle=handle, word=word, word2=word2, digits=self.rng.randrange(10_000, 999_999), year=self._year()
        )

    def _words(self) -> list[str]:
        return self.rng.choices(texts.lower("lower"), k=2)

    def _year(self) -> int:
        return self.rng.randrange(2005, 2024)

    def phone(self) -> str:
        if self.rng.random() < 0.6:
            return separable(lambda: self.shaped(texts.pick(self.rng, texts.PHONE_FORMS)))
        return separable(faker_of(self.rng, "en_US" if self.rng.random() < 0.6 else self.place()).phone_number)

    def address(self) -> str:
        """Draw an address, in one or several lines: one of Faker's, or one in the form of another country."""
        if self.rng.random() < 0.55:
            text = separable(faker_of(self.rng, "en_US" if self.rng.random() < 0.7 else self.place()).address)
            return text.replace("\n", ", ") if self.rng.random() < 0.3 else text
        return separable(self._address)

    def _address(self) -> str:
        numbers = {
            "number": self.rng.randrange(1, 400),
            "n": self.rng.randrange(2, 30),
            "letter": self.rng.choice("ABCD"),
        }
        # A surname in a street's name is nobody's name, so it may also be a name in the document.
        last = self.rng.choice(_pool("last_name", self.rng.choice(("es_MX", "en_IN", "pt_BR", "de_DE", "en_NG"))))
        street = self.rng.choice(_pool("street_name", self.rng.choice(("en_US", "en_GB", "fr_FR", "es_ES", "nl_NL"))))
        street_line = texts.pick(self.rng, texts.STREETS).format(last=last, street=street, **numbers)
        postcode = self.shaped(self.rng.choice(("#####", "#####", "######", "####", "##-###", "?# #??", "??## #??")))
        return texts.pick(self.rng, texts.ADDRESSES).format(
            street_line=street_line, city=self.city(), postcode=postcode, country=self.country()
        )

    def company(self) -> str:
        return self.rng.choice(_pool("company", self.place()))

    def town(self) -> str:
        """Draw a country or a real town."""
        return self.country() if self.rng.random() < 0.35 else self.city()

    def country(self) -> str:
        short = self.rng.random() < 0.6
        return self.rng.choice(texts.VOCABULARY["short_country"] if short else _pool("country", "en_US"))

    def city(self) -> str:
        known = self.rng.random() < 0.5
        return self.rng.choice(texts.VOCABULARY["city"] if known else _pool("city", self.rng.choice(TOWNS)))

    def link(self) -> str:
        """Draw a link that is not personal: a course, an encyclopedia, a video, a company's page."""
        return self._link(self.rng.choice(texts.LINK_FORMS))

    def id_number(self) -> str:
        """Draw a number in the form of a student's number, mostly of digits alone."""
        return self.shaped(texts.pick(self.rng, texts.ID_FORMS))

    def shaped(self, form: str) -> str:
        """Put a digit for each "#", a capital letter for each "?" and a small letter for each "*".

        >>> Surrogates(random.Random(0)).shaped("?-##")
        'N-60'
        """
        return "".join(self.rng.choice(SYMBOLS[FORM_SYMBOLS[c]]) if c in FORM_SYMBOLS else c for c in form)

    def like(self, text: str) -> str:
        """Replace each digit by a digit and each letter by a letter, so that the form stays.

        >>> Surrogates(random.Random(0)).like("AB-12/x").translate(str.maketrans("", "", "0123456789")).isascii()
        True
        """
        kinds = ((str.isdigit, "digit"), (str.isupper, "upper"), (str.islower, "lower"))

        def other(character: str) -> str:
            for is_kind, kind in kinds:
                if is_kind(character):
                    return self.rng.choice(SYMBOLS[kind])
            return character

        return "".join(map(other, text))

    def _one_token(self, draw: Callable[[], str]) -> str:
        while True:
            text = separable(draw)
            if len(english_tokenizer()(text)) == 1:
                return text


def _parts(name: str) -> set[str]:
    """Return the parts of a name, split as tokens are, casefolded."""
    return set(name.casefold().replace("-", " ").split())


@cache
def _pool(provider: str, locale: str) -> tuple[str, ...]:
    """Return up to POOL different values of a Faker provider; cached, since seeding Faker takes longer than drawing."""
    draw = getattr(faker_of(random.Random(f"{provider} {locale}"), locale), provider)
    is_name = provider.endswith("_name")
    drawn = {separable(draw) if is_name else draw() for _ in range(POOL)}
    return tuple(sorted({" ".join(text.split()) for text in drawn}))  # a few names contain two spaces
