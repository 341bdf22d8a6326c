import random

import pytest

from pii_kit.augment.plant import others, writer
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import PII_TYPES

PEOPLE = ("NAME_STUDENT.first", "NAME_STUDENT.last", "NAME_STUDENT.mate_first", "NAME_STUDENT.mate_last",
          "NAME_STUDENT.mate2_first", "NAME_STUDENT.mate2_last")  # fmt: skip


def surrogates(seed: int) -> Surrogates:
    return Surrogates(random.Random(seed), {"maria"})


@pytest.mark.parametrize("seed", range(20))
def test_nobody_in_an_essay_bears_a_part_of_somebody_elses_name(seed):
    drawn = surrogates(seed)
    slots = writer(drawn, [])
    slots |= others(drawn)
    names = [set(slots[who].casefold().split()) for who in (*PEOPLE, "other", "another")]
    assert sum(map(len, names)) == len(set.union(*names))


@pytest.mark.parametrize("pii_type", PII_TYPES)
def test_a_writer_has_a_name_and_the_types_asked_for_alone(pii_type):
    slots = writer(surrogates(0), [pii_type])
    assert all(slots.values())
    assert set(slots) & set(PII_TYPES) == {pii_type, "NAME_STUDENT"}


def test_a_full_name_is_mostly_first_and_last():
    slots = [writer(surrogates(seed), []) for seed in range(60)]
    full = [one["NAME_STUDENT"] == f"{one['NAME_STUDENT.first']} {one['NAME_STUDENT.last']}" for one in slots]
    assert 30 < sum(full) < 60


def test_team_mates_have_numbers_of_one_form():
    slots = writer(surrogates(1), ["ID_NUM"])
    lengths = {len(slots[slot]) for slot in ("ID_NUM", "ID_NUM.mate", "ID_NUM.mate2")}
    assert len(lengths) == 1


def test_others_are_never_pii():
    slots = others(surrogates(0))
    assert all(slots.values()) and not any(slot.startswith(PII_TYPES) for slot in slots)
    assert slots["other"] == f"{slots['other.first']} {slots['other.last']}"
    assert slots["other.first"].startswith(slots["other.initial"])
