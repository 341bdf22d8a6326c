import random
import sys

import pytest

from pii_kit.__main__ import main
from pii_kit.augment.surrogates import Surrogates
from pii_kit.documents import english_tokenizer
from pii_kit.files import KitError
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.sample import make_documents
from pii_kit.sample import text as sample_text
from pii_kit.sample.text import PEOPLE, SLOT, _new_faker, expand, slots


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


@pytest.mark.parametrize("seed", range(20))
def test_no_two_people_in_a_document_share_a_part_of_a_name(seed):
    drawn = slots(random.Random(seed))
    names = [drawn[f"{who}.{part}"] for who in (NAME_STUDENT, *PEOPLE) for part in ("first", "last")]
    parts = [part for name in names for part in name.casefold().split()]
    assert len(parts) == len(set(parts))


def test_a_document_has_one_person_per_role_and_a_value_for_each_type():
    drawn = slots(random.Random(0))
    assert {*PII_TYPES, *PEOPLE} <= set(drawn) and all(drawn.values())


@pytest.mark.parametrize("seed", range(20))
def test_values_are_separated_from_a_quote_before_and_a_full_stop_after_them(seed):
    drawn = slots(random.Random(seed))
    for pii_type in PII_TYPES:
        tokens = english_tokenizer()(f"“{drawn[pii_type]}.")
        assert (tokens[0].text, tokens[-1].text) == ("“", ".")


def test_equal_seeds_give_equal_people():
    assert slots(random.Random(3)) == slots(random.Random(3)) != slots(random.Random(4))


@pytest.fixture
def without_faker(monkeypatch):
    monkeypatch.setitem(sys.modules, "faker", None)
    _new_faker.cache_clear()


def test_without_faker_made_up_documents_and_surrogates_say_what_to_install(without_faker):
    for draw in (lambda: make_documents(1, seed=0), lambda: Surrogates(random.Random(0)).email("ann")):
        with pytest.raises(KitError, match=r"need Faker: pip install Faker \(on Kaggle: attach its wheel\)"):
            draw()


def test_without_faker_the_command_sample_prints_one_line(without_faker, tmp_path, capsys):
    assert main(["sample", "--out", str(tmp_path / "essays")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "pip install Faker" in line
