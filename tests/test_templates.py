"""The grammar, and all templates: their slots are known, and only what stands for a student is PII."""

import random
import re
from itertools import product

import pytest

from pii_kit.augment.plant import PLANTED, author, others
from pii_kit.augment.surrogates import Surrogates
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.sample import KINDS, PHRASES, TOPICS, document_slots
from pii_kit.templates import CHOICE, FILLERS, SLOT, expand, expand_text

NAME_TABLES = ("name_lines", "name_behind", "name_ends", "name_sentences", "name_again")
NAME_STORIES = [sentence for story in PLANTED["name_stories"] for sentence in (*story["first"], *story["more"])]
STORIES = [story for kind in PLANTED["traps"] for story in kind.get("stories", ())]
TRAPS = [one for kind in PLANTED["traps"] for one in kind.get("lines", ())]
TRAPS += [sentence for story in STORIES for sentence in (*story["first"], *story["more"])]
NAMES = [*(one for table in NAME_TABLES for one in PLANTED[table]), *NAME_STORIES, *FILLERS["mates_did"]]
LINES = [(one, pii_type) for pii_type, table in PLANTED["lines"].items() for one in table]
PLACES = ("pii_head", "pii_body", "pii_foot")
SAMPLE_PII = [(one, pii_type) for place in PLACES for pii_type, table in PHRASES[place].items() for one in table]
SAMPLE_PII += [(one, NAME_STUDENT) for one in (*PHRASES["name_again"], *PHRASES["name_again_lines"])]
BLOCKS = [*PHRASES["blocks"].values(), PHRASES["references"]]
SAMPLE_TEXT = [
    *PHRASES["traps"], *PHRASES["trap_lines"], *(line for block in BLOCKS for line in block["lines"]),
    *(one for kind in KINDS.values() for part in ("titles", "headings", "start", "end") for one in kind[part]),
    *(sentence for kind, topic in TOPICS for sentence in KINDS[kind]["topics"][topic]),
]  # fmt: skip


def types_of(template: str) -> set[str]:
    return {slot.partition(".")[0] for slot in SLOT.findall(template)} & set(PII_TYPES)


def planted_slots(pii_types=PII_TYPES, *, student: bool = True):
    """The slots as they are when a document is planted; those of a trap know no student."""
    surrogates = Surrogates(random.Random(0))
    slots = (author(surrogates, pii_types) if student else {}) | others(surrogates) | surrogates.slots
    return slots | {"gap": "\n\n", "title": slots["heading"], "TITLE": slots["heading"]}


def every_choice(template: str) -> list[str]:
    """Return a template with each combination of its alternatives."""
    choices = [match[1].split("|") for match in CHOICE.finditer(template)]
    if not choices:
        return [template]
    plain = CHOICE.sub("\0", template).split("\0")
    forms = (plain[0] + "".join(map("".join, zip(drawn, plain[1:], strict=True))) for drawn in product(*choices))
    return [one for form in forms for one in every_choice(form)]


def check(templates, slots, pii_types) -> None:
    """Check that templates, in every form, hold these types only, and that their slots and brackets are complete."""
    for template in templates:
        for number, plain in enumerate(every_choice(template)[:200]):
            assert not {*"{}[]"} & set(SLOT.sub("", plain)), template
            if number < 8:
                spans = expand(plain, random.Random(number), slots)
                assert {pii_type for _, pii_type in spans if pii_type} == pii_types, plain
                assert not {*"{}[]"} & set("".join(text for text, _ in spans)), plain


def test_only_slots_named_after_a_type_are_pii_and_alternatives_are_drawn_one_by_one():
    filled = {"NAME_STUDENT": "Ann", "NAME_STUDENT.first": "A.", "coach": lambda: "Bo"}
    spans = expand("{coach} met {NAME_STUDENT} and {NAME_STUDENT.first}", random.Random(0), filled)
    assert "".join(text for text, _ in spans) == "Bo met Ann and A."
    assert [(text, kind) for text, kind in spans if kind] == [("Ann", "NAME_STUDENT"), ("A.", "NAME_STUDENT")]
    assert {expand_text("[a|b[c|d]|]e", random.Random(seed), {}) for seed in range(60)} == {"ae", "bce", "bde", "e"}


def test_every_planted_template_holds_its_type_and_at_most_a_name():
    assert all(types_of(template) == {NAME_STUDENT} for template in NAMES if "mates_did" not in template)
    check(NAMES, planted_slots([]), {NAME_STUDENT})
    assert set(PLANTED["lines"]) == set(PII_TYPES) - {NAME_STUDENT}
    for template, pii_type in LINES:
        assert pii_type in types_of(template) <= {pii_type, NAME_STUDENT}
        check([template], planted_slots([pii_type]), types_of(template))


def test_no_trap_and_no_filler_holds_pii_and_every_slot_of_a_trap_is_known():
    check(TRAPS, planted_slots(student=False), set())
    slots = document_slots(random.Random(0), ()) | planted_slots(student=False)
    slots |= dict.fromkeys(("handle", "first", "first2", "initial", "last2", "FIRST", "LAST"), "Ann")
    slots |= dict.fromkeys(("first.initial", "first.lower", "last.initial", "last.lower"), "a")
    check([word for name, words in FILLERS.items() if name != "mates_did" for word in words], slots, set())


def test_templates_of_made_up_documents_hold_their_own_type_or_none():
    assert all(tuple(PHRASES[place]) == PII_TYPES for place in PLACES)
    slots = document_slots(random.Random(0), PII_TYPES) | {"topic": "Tea"}
    for template, pii_type in SAMPLE_PII:
        check([template], slots, {pii_type})
    check(SAMPLE_TEXT, slots, set())


def test_every_fellow_student_in_a_list_is_labelled():
    """Where a list names the author and fellow students, nobody in it is left to another slot."""
    lists = [one for one in (*NAMES, *(one for one, _ in LINES)) if "{NAME_STUDENT.mate2" in one]
    assert len(lists) >= 20
    slots = planted_slots(["ID_NUM"])
    names = {text for slot, text in slots.items() if slot.startswith(NAME_STUDENT)}
    for template in lists:
        spans = expand(template, random.Random(0), slots)
        assert {text for text, kind in spans if kind == NAME_STUDENT} <= names
        assert not (names | {slots["other"], slots["another"]}) & {text for text, kind in spans if kind is None}


# Only students are NAME_STUDENT: a name right after one of these words is not PII.
NOT_STUDENTS = re.compile(
    r"\b(sister|brother|mother|father|grandmother|aunt|uncle|cousin|friend|neighbour|colleague|boss|manager|"
    r"(?<!project )(?<!study )(?<!lab )partner)(,? (is called|named|Mr\.|Ms\.))? \{(?P<slot>[\w.]+)\}"
)
PLANTED_TEXT = [*NAMES, *TRAPS, *(one for one, _ in LINES)]


@pytest.mark.parametrize("templates", [PLANTED_TEXT, [*SAMPLE_TEXT, *(one for one, _ in SAMPLE_PII)]])
def test_family_members_friends_and_bosses_are_never_labelled(templates):
    found = [match for one in templates for plain in every_choice(one) for match in NOT_STUDENTS.finditer(plain)]
    assert {"sister", "boss"} <= {match[1] for match in found}
    assert [match[0] for match in found if match["slot"].startswith(NAME_STUDENT)] == []
