import random
from itertools import product

import pytest

from pii_kit.augment import templates as texts
from pii_kit.augment.plant import WORDS, others, writer
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import PII_TYPES
from pii_kit.sample.text import CHOICE, SLOT, expand

NAME_TABLES = {
    name: getattr(texts, name) for name in ("NAME_LINES", "NAME_BEHIND", "NAME_ENDS", "NAME_SENTENCES", "NAME_AGAIN")
}
WEIGHTED = [*NAME_TABLES.values(), *texts.LINES.values()]
TRAPS = (*texts.TRAP_LINES, *texts.TRAP_SENTENCES)


def types_of(template: str) -> set[str]:
    return {slot.partition(".")[0] for slot in SLOT.findall(template)} & set(PII_TYPES)


def slots_of(pii_types) -> dict[str, str]:
    return writer(Surrogates(random.Random(0)), pii_types) | {"gap": "\n\n", "title": "My Tool"}


def every_choice(template: str) -> list[str]:
    """A template in all of its alternatives."""
    choices = [match[1].split("|") for match in CHOICE.finditer(template)]
    plain = CHOICE.sub("\0", template).split("\0")
    return [plain[0] + "".join(map("".join, zip(drawn, plain[1:], strict=True))) for drawn in product(*choices)]


def check(template: str, slots: dict[str, str], pii_types: set[str]) -> None:
    for plain in every_choice(template):
        for seed in range(3):
            spans = expand(plain, random.Random(seed), slots, WORDS)
            assert {kind for _, kind in spans if kind} == pii_types, plain
            assert not {*"{}[]"} & set("".join(text for text, _ in spans)), plain


@pytest.mark.parametrize("table", NAME_TABLES)
def test_every_way_to_tell_a_name_holds_names_alone_and_knows_its_slots(table):
    for template in NAME_TABLES[table]:
        assert types_of(template) == {texts.NAME}
        check(template, slots_of([]), {texts.NAME})


@pytest.mark.parametrize("pii_type", texts.LINES)
def test_every_line_of_a_type_holds_it_with_at_most_a_name_and_knows_its_slots(pii_type):
    for template in texts.LINES[pii_type]:
        assert pii_type in types_of(template) <= {pii_type, texts.NAME}
        check(template, slots_of([pii_type]), types_of(template))


def test_there_are_lines_for_each_type_but_names():
    assert set(texts.LINES) == set(PII_TYPES) - {texts.NAME}


def test_no_trap_and_no_word_names_pii_and_every_trap_knows_its_slots():
    slots = others(Surrogates(random.Random(0))) | {"gap": "\n\n", "title": "My Tool"}
    for trap in TRAPS:
        check(trap, slots, set())
    assert not any(types_of(word) for words in WORDS.values() for word in words)


def test_weights_are_more_than_zero():
    assert all(weight > 0 for table in WEIGHTED for weight in table.values())


def test_marks_are_closed():
    for template in (*(template for table in WEIGHTED for template in table), *TRAPS):
        for plain in every_choice(template):
            rest = SLOT.sub("", plain)
            assert not {*"{}[]"} & set(rest), template


def test_a_template_is_picked_by_weight():
    drawn = [texts.pick(random.Random(seed), {"often": 9, "rarely": 1}) for seed in range(300)]
    assert 15 <= drawn.count("rarely") <= 45
