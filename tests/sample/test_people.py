import random

import pytest

from pii_kit.data import TOKENIZER
from pii_kit.labels import PII_TYPES
from pii_kit.sample.people import NAME, slots
from pii_kit.sample.text import PEOPLE


@pytest.mark.parametrize("seed", range(20))
def test_nobody_bears_a_part_of_somebody_elses_name(seed):
    drawn = slots(random.Random(seed))
    names = [drawn[f"{who}.{part}"] for who in (NAME, *PEOPLE) for part in ("first", "last")]
    parts = [part for name in names for part in name.casefold().split()]
    assert len(parts) == len(set(parts))


def test_one_essay_has_one_person_of_each_kind_and_a_value_of_each_type():
    drawn = slots(random.Random(0))
    assert {*PII_TYPES, *PEOPLE} <= set(drawn) and all(drawn.values())


@pytest.mark.parametrize("seed", range(20))
def test_what_is_drawn_parts_from_a_quote_before_and_a_stop_behind(seed):
    drawn = slots(random.Random(seed))
    for pii_type in PII_TYPES:
        tokens = TOKENIZER(f"“{drawn[pii_type]}.")
        assert (tokens[0].text, tokens[-1].text) == ("“", ".")


def test_equal_seeds_draw_equal_people():
    assert slots(random.Random(3)) == slots(random.Random(3)) != slots(random.Random(4))
