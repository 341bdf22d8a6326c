import random
import re
from itertools import product

import pytest

from pii_kit.augment import templates as texts
from pii_kit.augment.plant import WORDS, author, others
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.sample import text as sample_text
from pii_kit.sample.text import CHOICE, SLOT, expand

NAME_TABLES = {
    name: getattr(texts, name) for name in ("NAME_LINES", "NAME_BEHIND", "NAME_ENDS", "NAME_SENTENCES", "NAME_AGAIN")
}
WEIGHTED = [*NAME_TABLES.values(), *texts.LINES.values()]
TRAPS = (*texts.TRAP_LINES, *texts.TRAP_SENTENCES)


def types_of(template: str) -> set[str]:
    return {slot.partition(".")[0] for slot in SLOT.findall(template)} & set(PII_TYPES)


def slots_of(pii_types) -> dict[str, str]:
    return author(Surrogates(random.Random(0)), pii_types) | {"gap": "\n\n", "title": "My Tool"}


def every_choice(template: str) -> list[str]:
    """Return a template with each combination of its alternatives."""
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
def test_every_template_with_a_name_holds_only_names_and_known_slots(table):
    for template in NAME_TABLES[table]:
        assert types_of(template) == {NAME_STUDENT}
        check(template, slots_of([]), {NAME_STUDENT})


@pytest.mark.parametrize("pii_type", texts.LINES)
def test_every_template_of_another_type_holds_it_and_at_most_a_name_and_known_slots(pii_type):
    for template in texts.LINES[pii_type]:
        assert pii_type in types_of(template) <= {pii_type, NAME_STUDENT}
        check(template, slots_of([pii_type]), types_of(template))


def test_there_are_templates_for_each_type_except_names():
    assert set(texts.LINES) == set(PII_TYPES) - {NAME_STUDENT}


def test_no_trap_and_no_filler_holds_pii_and_every_slot_of_a_trap_is_known():
    slots = others(Surrogates(random.Random(0))) | {"gap": "\n\n", "title": "My Tool"}
    for trap in TRAPS:
        check(trap, slots, set())
    assert not any(types_of(word) for words in WORDS.values() for word in words)


def test_weights_are_positive():
    assert all(weight > 0 for table in WEIGHTED for weight in table.values())


def test_brackets_and_braces_are_closed():
    for template in (*(template for table in WEIGHTED for template in table), *TRAPS):
        for plain in every_choice(template):
            rest = SLOT.sub("", plain)
            assert not {*"{}[]"} & set(rest), template


def test_a_template_is_picked_by_weight():
    drawn = [texts.pick(random.Random(seed), {"often": 9, "rarely": 1}) for seed in range(300)]
    assert 15 <= drawn.count("rarely") <= 45


# Only students are NAME_STUDENT: a name right after one of these words is not PII.
NOT_STUDENTS = re.compile(
    r"\b(sister|brother|mother|father|grandmother|aunt|uncle|cousin|friend|neighbour|colleague|boss|manager|"
    r"(?<!project )(?<!study )partner)(,? (is called|named|Mr\.|Ms\.))? \{(?P<slot>[\w.]+)\}"
)
AUGMENT = [template for table in WEIGHTED for template in table] + [*TRAPS]
SAMPLE = [
    *(template for table in ("PII_HEAD", "PII_BODY", "PII_FOOT") for templates in getattr(sample_text, table).values()
      for template in templates),
    *sample_text.NAME_AGAIN, *sample_text.TRAPS, *sample_text.TRAP_LINES,
    *(sentence for topic in sample_text.TOPICS.values() for sentence in topic.sentences),
]  # fmt: skip


@pytest.mark.parametrize("templates", [AUGMENT, SAMPLE], ids=["augment", "sample"])
def test_family_members_friends_and_bosses_are_never_labelled(templates):
    found = [match for one in templates for plain in every_choice(one) for match in NOT_STUDENTS.finditer(plain)]
    assert {"sister", "boss"} <= {match[1] for match in found}
    assert [match[0] for match in found if match["slot"].startswith(NAME_STUDENT)] == []


def test_fellow_students_are_labelled_where_family_members_are_not():
    """The same sentence, with a classmate and with a sister."""
    plain = [one for template in AUGMENT for one in every_choice(template)]
    of_classmate, of_sister = (
        [one for one in plain if re.search(rf"\bMy {who} \{{[\w.]+\}} and I \{{doing\}}", one)]
        for who in ("classmate", "sister")
    )
    assert [types_of(one) for one in of_classmate] == [{NAME_STUDENT}]
    assert [types_of(one) for one in of_sister] == [set()]
