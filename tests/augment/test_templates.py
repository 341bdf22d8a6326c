import random
import re
from itertools import product

import pytest

from pii_kit.augment import templates as texts
from pii_kit.augment.slots import Slots, author, drawn, others
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.sample import text as sample_text
from pii_kit.sample.text import CHOICE, SLOT, expand

NAME_TABLES = {
    name: getattr(texts, name) for name in ("NAME_LINES", "NAME_BEHIND", "NAME_ENDS", "NAME_SENTENCES", "NAME_AGAIN")
}
WEIGHTED = [*NAME_TABLES.values(), *texts.LINES.values(), texts.TRAP_LINES, texts.TRAP_SENTENCES, texts.HEADINGS]
FORMS = [texts.ID_FORMS, texts.PHONE_FORMS, texts.URL_FORMS, texts.STREETS, texts.ADDRESSES]
NAME_STORIES = [sentence for story in texts.NAME_STORIES for sentence in (*story.first, *story.more)]
TRAP_STORIES = [sentence for story in texts.TRAP_STORIES for sentence in (*story.first, *story.more)]
TRAPS = [*texts.TRAP_LINES, *texts.TRAP_SENTENCES, *TRAP_STORIES, *texts.STORY_SENTENCES["other_did"]]


def types_of(template: str) -> set[str]:
    return {slot.partition(".")[0] for slot in SLOT.findall(template)} & set(PII_TYPES)


def slots_of(pii_types, *, seed: int = 0, student: bool = True) -> Slots:
    """The slots as they are when a document is planted; those of a trap know no student."""
    surrogates = Surrogates(random.Random(seed))
    fixed = (author(surrogates, pii_types) if student else {}) | others(surrogates)
    draws = drawn(surrogates)
    titles = {"title": draws["heading"], "TITLE": lambda: draws["heading"]().upper()}
    return Slots(fixed | {"gap": "\n\n"}, draws | titles)


def every_choice(template: str) -> list[str]:
    """Return a template with each combination of its alternatives."""
    choices = [match[1].split("|") for match in CHOICE.finditer(template)]
    plain = CHOICE.sub("\0", template).split("\0")
    return [plain[0] + "".join(map("".join, zip(drawn, plain[1:], strict=True))) for drawn in product(*choices)]


def check(template: str, slots: Slots, pii_types: set[str]) -> None:
    for number, plain in enumerate(every_choice(template)):
        for seed in range(3 if number < 30 else 1):
            spans = expand(plain, random.Random(seed), slots, texts.FILLERS)
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


@pytest.mark.parametrize("template", sorted({*NAME_STORIES, *texts.STORY_SENTENCES["mates_did"]}))
def test_every_sentence_of_a_story_about_students_holds_a_name_and_known_slots(template):
    check(template, slots_of([]), {NAME_STUDENT})


def test_no_trap_and_no_filler_holds_pii_and_every_slot_of_a_trap_is_known():
    slots = slots_of([], student=False)
    for trap in [*TRAPS, *texts.HEADINGS]:
        check(trap, slots, set())
    for words in texts.WORDS.values():
        for word in words:
            assert not types_of(word)
            check(word, slots, set())


def test_every_fellow_student_in_a_list_is_labelled():
    """Where a list names the author and fellow students, nobody in it is left to another slot."""
    lists = [one for table in WEIGHTED for one in table if "{NAME_STUDENT.mate2" in one]
    assert len(lists) >= 20
    slots = slots_of(["ID_NUM"], seed=5)
    names = {slots[slot] for slot in slots.fixed if slot.startswith(NAME_STUDENT)}
    others_names = {slots["other"], slots["another"]}
    for template in lists:
        spans = expand(template, random.Random(0), slots, texts.FILLERS)
        assert {text for text, kind in spans if kind == NAME_STUDENT} <= names
        assert sum(kind == NAME_STUDENT for _, kind in spans) >= 2, template
        assert not names & {text for text, kind in spans if kind is None}, template
        assert not others_names & {text for text, _ in spans}, template


def test_weights_are_positive():
    assert all(weight > 0 for table in [*WEIGHTED, *FORMS] for weight in table.values())
    assert all(story.weight > 0 for story in [*texts.NAME_STORIES, *texts.TRAP_STORIES])


def test_brackets_and_braces_are_closed():
    for template in AUGMENT:
        for plain in every_choice(template):
            rest = SLOT.sub("", plain)
            assert not {*"{}[]"} & set(rest), template


def test_a_template_is_picked_by_weight():
    drawn = [texts.pick(random.Random(seed), {"often": 9, "rarely": 1}) for seed in range(300)]
    assert 15 <= drawn.count("rarely") <= 45


# Only students are NAME_STUDENT: a name right after one of these words is not PII.
NOT_STUDENTS = re.compile(
    r"\b(sister|brother|mother|father|grandmother|aunt|uncle|cousin|friend|neighbour|colleague|boss|manager|"
    r"(?<!project )(?<!study )(?<!lab )partner)(,? (is called|named|Mr\.|Ms\.))? \{(?P<slot>[\w.]+)\}"
)
AUGMENT = [template for table in WEIGHTED for template in table] + NAME_STORIES + TRAPS
AUGMENT += texts.STORY_SENTENCES["mates_did"]
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
    assert of_classmate and all(types_of(one) == {NAME_STUDENT} for one in of_classmate)
    assert of_sister and not any(map(types_of, of_sister))
