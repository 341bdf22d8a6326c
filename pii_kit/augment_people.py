"""Who and what is planted in an essay: the slots of the writer, of team mates, and of those who are not PII."""

from collections.abc import Sequence

from pii_kit import augment_text as texts
from pii_kit.surrogates import Surrogates, handle_of


def writer(surrogates: Surrogates, pii_types: Sequence[str]) -> dict[str, str]:
    """The slots of the writer and two team mates, with what they hold of `pii_types`."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for role in ("", ".mate", ".mate2"):
        first, last, full = _person(surrogates)
        slots |= {
            f"{texts.NAME}{role}": full,
            f"{texts.NAME}{role}{'_' if role else '.'}first": first,
            f"{texts.NAME}{role}{'_' if role else '.'}last": last,
        }
    handle = handle_of(slots[f"{texts.NAME}.first"] + slots[f"{texts.NAME}.last"])
    handle += rng.choice(("", "", str(rng.randrange(100))))
    draws = {
        texts.EMAIL: lambda: surrogates.email(handle),
        texts.USERNAME: lambda: surrogates.username(handle),
        texts.ID_NUM: surrogates.id_number,
        texts.PHONE_NUM: surrogates.phone,
        texts.URL: lambda: surrogates.url(handle),
        texts.ADDRESS: surrogates.address,
    }
    slots |= {pii_type: draw() for pii_type, draw in draws.items() if pii_type in pii_types}
    if texts.ID_NUM in slots:
        slots |= {f"{texts.ID_NUM}.mate{n}": surrogates.like(slots[texts.ID_NUM]) for n in ("", "2")}
    return slots | {"company": surrogates.company(), "place": surrogates.town()}


def _person(surrogates: Surrogates) -> tuple[str, str, str]:
    """First name, last name, and the name as its bearer writes it."""
    rng = surrogates.rng
    home = surrogates.place()
    first, last = surrogates.first_name(home), surrogates.last_name(home)
    forms = {
        f"{first} {last}": 80,
        f"{first} {surrogates.first_name(home)} {last}": 6,
        f"{first} {last} {surrogates.last_name(home)}": 6,
        f"{first} {rng.choice('ABCDEFGHJKLMNPRSTVW')}. {last}": 3,
        f"{last} {first}": 1,
        f"{first}": 4,
        f"{first} {last}".upper(): 1,
    }
    return first, last, texts.pick(rng, forms)


def others(surrogates: Surrogates) -> dict[str, str]:
    """The slots of people and things that are not PII."""
    first, last = surrogates.first_name(), surrogates.last_name()
    return {
        "other": f"{first} {last}",
        "other.first": first,
        "other.last": last,
        "other.initial": first[0],
        "another": f"{surrogates.first_name()} {surrogates.last_name()}",
        "company": surrogates.company(),
        "place": surrogates.town(),
        "link": surrogates.link(),
        "number": surrogates.id_number(),
        "hotline": surrogates.phone(),
    }
