"""Draw surrogates: names from many countries, e-mail addresses, user names, numbers, links, addresses."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from pii_kit.data import TOKENIZER
from pii_kit.sample.text import faker_of, separable, without_accents

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
# Share of names whose parts are both drawn from the person's own locale; the competition's surrogates mix locales.
SAME_PLACE = 0.5
POOL = 600  # draws that make up the pool of a locale
TRIES = 200  # draws from a pool until a name is new; the smallest pool has 20 names
SYMBOLS = {"digit": "0123456789", "upper": "ABCDEFGHJKLMNPQRSTUVWXYZ", "lower": "abcdefghijkmnopqrstuvwxyz"}


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
            if len(TOKENIZER(name)) == 1 and name[1:].islower():
                return name

    def email(self, handle: str) -> str:
        fake = faker_of(self.rng, "en_US")
        without_handle = self.rng.random() < 0.6
        return self._one_token(fake.free_email if without_handle else lambda: f"{handle}@{fake.free_email_domain()}")

    def username(self, handle: str) -> str:
        fake = faker_of(self.rng, "en_US")
        without_handle = self.rng.random() < 0.6
        return self._one_token(fake.user_name if without_handle else lambda: f"{handle}{self.rng.randrange(100)}")

    def url(self, handle: str) -> str:
        """Draw a personal link: mostly one of Faker's, as in the competition, else a profile or a video."""
        fake = faker_of(self.rng, "en_US")
        code = "".join(self.rng.choices(SYMBOLS["digit"] + SYMBOLS["upper"] + SYMBOLS["lower"], k=11))
        profiles = (
            f"https://www.linkedin.com/in/{handle}",
            f"https://github.com/{handle}",
            f"https://youtu.be/{code}",
            f"https://www.youtube.com/watch?v={code}",
        )
        return self._one_token(fake.uri if self.rng.random() < 0.8 else lambda: self.rng.choice(profiles))

    def phone(self) -> str:
        return separable(faker_of(self.rng, "en_US" if self.rng.random() < 0.7 else self.place()).phone_number)

    def address(self) -> str:
        return separable(faker_of(self.rng, "en_US" if self.rng.random() < 0.7 else self.place()).address)

    def company(self) -> str:
        return self.rng.choice(_pool("company", self.place()))

    def town(self) -> str:
        """Draw a country or a real town.

        The locales are those with real towns: Faker invents American ones, and the order of its Italian ones depends
        on the hash seed.
        """
        place = self.rng.choice(("en_US", "en_US", "en_IN", "id_ID", "tr_TR", "pl_PL", "de_DE", "hu_HU"))
        return self.rng.choice(_pool("country" if place == "en_US" else "city", place))

    def link(self) -> str:
        """Draw a link that is not personal: a course, an encyclopedia, a video, a company's page."""
        topic = "_".join(faker_of(self.rng, "en_US").words(2))
        code = "".join(self.rng.choices(SYMBOLS["digit"] + SYMBOLS["upper"] + SYMBOLS["lower"], k=11))
        return self.rng.choice(
            (
                f"https://www.coursera.org/learn/{topic.replace('_', '-')}/lecture/{code[:5]}",
                f"https://en.wikipedia.org/wiki/{topic}",
                f"https://www.youtube.com/watch?v={code}",
                f"https://www.{topic.replace('_', '')}.org/articles/{code[:6].lower()}",
                f"http://www.{topic.replace('_', '-')}.edu/{topic.partition('_')[0]}.pdf",
                f"https://{topic.replace('_', '')}.com",
                f"http://www.{topic.replace('_', '')}.com/",
                f"https://www.{topic.replace('_', '')}.com/{topic.replace('_', '-')}/",
            )
        )

    def id_number(self) -> str:
        """Draw 5 to 13 digits, sometimes with letters before them."""
        digits = "".join(self.rng.choices(SYMBOLS["digit"], k=self.rng.choice((5, 6, 7, 8, 8, 9, 10, 11, 12, 12, 13))))
        if self.rng.random() < 0.25:
            return "".join(self.rng.choices(SYMBOLS["upper"], k=self.rng.randint(1, 3))) + digits
        return digits

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
            if len(TOKENIZER(text)) == 1:
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
