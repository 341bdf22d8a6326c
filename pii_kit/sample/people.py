"""Fill the slots of a made-up document: names, links, numbers and addresses, the student's and other people's."""

import random
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from pii_kit.data import TOKENIZER
from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES
from pii_kit.sample import text as words

if TYPE_CHECKING:
    from faker import Faker

NAME, EMAIL, USERNAME, ID_NUM, PHONE_NUM, URL, ADDRESS = PII_TYPES
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
    for role in (NAME, f"{NAME}.mate", f"{NAME}.mate2", *words.PEOPLE):
        fake = faker_of(rng, home if rng.random() < 0.6 else rng.choice(LOCALES))
        first = _new_name(fake.first_name, style, taken)
        last = _new_name(fake.last_name, style, taken)
        middle = style(f" {rng.choice('ABCDEGHJKLMPRST')}.") if rng.random() < 0.08 else ""
        handle = re.sub("[^a-z]", "", without_accents(f"{first}{last}").lower())
        slots |= {role: f"{first}{middle} {last}", f"{role}.first": first, f"{role}.last": last}
        slots[f"{role}.handle"] = handle

    fake, handle = faker_of(rng, home), slots[f"{NAME}.handle"]
    own_handle = f"{handle}{rng.randint(1, 99)}"
    slots[EMAIL] = separable(rng.choice((fake.free_email, lambda: f"{own_handle}@{fake.free_email_domain()}")))
    slots[USERNAME] = separable(rng.choice((fake.user_name, lambda: own_handle)))
    slots[ID_NUM] = _number(rng)
    slots[PHONE_NUM] = separable(fake.phone_number)
    slots[URL] = separable(lambda: rng.choice((*words.PROFILES, fake.uri())).format(handle=handle, code=_code(rng)))
    slots[ADDRESS] = separable(fake.address)

    fake = faker_of(rng, rng.choice(LOCALES))
    slots |= {"faker_company": fake.company(), "faker_phone": fake.phone_number(), "faker_address": fake.address()}
    slots |= {"faker_uri": fake.uri(), "reviewer": fake.user_name(), "code": _code(rng)}
    slots |= {"number": _number(rng), "number2": _number(rng)}
    for slot in words.STICKY:
        slots[slot] = "".join(text for text, _ in words.expand(rng.choice(words.FILLERS[slot]), rng, slots))
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
        tokens = TOKENIZER(f"“{value}.")
        if tokens[0].text == "“" and tokens[-1].text == ".":
            return value


def without_accents(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def _new_name(draw: Callable[[], str], style: Callable[[str], str], taken: set[str]) -> str:
    """Draw a name that shares no part with another name in the document, so that each name means one person."""
    while True:
        name = separable(lambda: style(draw()))
        parts = set(name.casefold().split())
        if not parts & taken:
            taken |= parts
            return name


def _number(rng: random.Random) -> str:
    shape = rng.choice(words.NUMBER_SHAPES)
    return "".join({"#": rng.choice("0123456789"), "?": rng.choice("ABCDEFGHKLMNPRSTUVXYZ")}.get(c, c) for c in shape)


def _code(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijkmnopqrstuvwxyzABCDEFGHKLMNPRSTUVXYZ0123456789", k=11))
