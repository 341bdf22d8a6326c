import random

import pytest

from pii_kit.labels import PII_TYPES
from pii_kit.sample import text as sample_text
from pii_kit.sample.people import slots
from pii_kit.sample.text import SLOT, expand


def test_every_template_with_pii_holds_exactly_its_own_type():
    for contexts in (sample_text.PII_HEAD, sample_text.PII_BODY, sample_text.PII_FOOT):
        assert tuple(contexts) == PII_TYPES
        for pii_type, templates in contexts.items():
            for template in templates:
                roots = {slot.partition(".")[0] for slot in SLOT.findall(template)}
                assert roots & set(PII_TYPES) == {pii_type}, template


def test_no_trap_holds_pii():
    innocent = repr((sample_text.TRAPS, sample_text.TRAP_LINES, sample_text.BLOCKS, sample_text.FILLERS))
    assert not any(f"{{{pii_type}" in innocent for pii_type in PII_TYPES)


def test_every_slot_of_every_template_is_known():
    known = {*slots(random.Random(0)), *sample_text.FILLERS, "topic", "mark", "handle"}
    tables = [
        value for name, value in vars(sample_text).items() if name.isupper() and isinstance(value, dict | list | tuple)
    ]
    assert set(SLOT.findall(repr(tables))) <= known


def test_only_slots_named_after_a_type_are_pii():
    filled = {"NAME_STUDENT": "Ann", "NAME_STUDENT.first": "A.", "coach": "Bo"}
    spans = expand("{coach} met {NAME_STUDENT} and {NAME_STUDENT.first}", random.Random(0), filled)
    assert "".join(text for text, _ in spans) == "Bo met Ann and A."
    assert [(text, kind) for text, kind in spans if kind] == [("Ann", "NAME_STUDENT"), ("A.", "NAME_STUDENT")]


@pytest.mark.parametrize("seed", range(5))
def test_exactly_one_alternative_is_drawn(seed):
    ((text, kind),) = expand("[a|b|c]", random.Random(seed), {})
    assert text in "abc" and kind is None


def test_no_topic_holds_pii():
    assert not any(f"{{{pii_type}" in repr(sample_text.TOPICS) for pii_type in PII_TYPES)


def test_every_slot_of_every_topic_is_known():
    known = {*slots(random.Random(0)), *sample_text.FILLERS, "topic"}
    assert set(SLOT.findall(repr(sample_text.TOPICS))) <= known


def test_every_topic_has_titles_headings_and_sentences():
    assert len(sample_text.TOPICS) > 5
    for topic in sample_text.TOPICS.values():
        assert topic.titles and len(topic.headings) > 2 and len(topic.sentences) > 10
