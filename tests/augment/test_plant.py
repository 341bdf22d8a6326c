import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from conftest import make_document

from pii_kit.augment.plant import Insertion, Planter, insert, planted, traps
from pii_kit.augment.slots import author, misspell, others
from pii_kit.augment.surrogates import NAME_WORDS, PLANTED, Surrogates
from pii_kit.documents import document_of_spans, join_tokens
from pii_kit.labels import NAME_STUDENT, OUTSIDE, PII_TYPES, spans_of
from pii_kit.templates import FILLERS

ALL = dict.fromkeys(PII_TYPES, 1.0)
PEOPLE = ("NAME_STUDENT.first", "NAME_STUDENT.last", "NAME_STUDENT.mate_first", "NAME_STUDENT.mate_last",
          "NAME_STUDENT.mate2_first", "NAME_STUDENT.mate2_last")  # fmt: skip


def surrogates(document, seed=0):
    return Surrogates(random.Random(seed), {token.casefold() for token in document.tokens})


def planter(text, seed=0, labels=(), *, noise=False):
    document = make_document(text, labels=dict(labels))
    drawn = surrogates(document, seed)
    one = Planter(document, author(drawn, PII_TYPES) | others(drawn), drawn)
    if not noise and one.odd_share < 1:
        one.odd_share = 0.0
    return one


def is_subsequence(few, many):
    many = iter(many)
    return all(token in many for token in few)


@pytest.fixture(scope="module")
def clean(documents):
    return [doc for doc in documents if not doc.types]


def test_parts_are_inserted_before_their_token_and_in_the_given_order():
    doc = make_document("One two.", labels={})
    ann, bo = (document_of_spans(0, [(name, "NAME_STUDENT")]) for name in ("Ann", "Bo"))
    new = insert(doc, [Insertion(2, ann, space=True), Insertion(0, bo), Insertion(2, bo), Insertion(3, ann)])
    assert new.full_text == "BoOne two AnnBo.Ann"
    assert new.tokens == ("Bo", "One", "two", "Ann", "Bo", ".", "Ann")
    assert [label != OUTSIDE for label in new.labels] == [True, False, False, True, True, False, True]


@pytest.mark.parametrize("seed", range(3))
def test_the_tokens_of_the_document_keep_their_order_around_insertions(clean, seed):
    for doc in clean:
        drawn = surrogates(doc, seed)
        insertions = planted(doc, ALL, drawn) + traps(doc, 3, drawn)
        new = insert(doc, insertions)
        assert len(new.tokens) == len(doc.tokens) + sum(len(one.part.tokens) for one in insertions)
        assert is_subsequence(doc.tokens, new.tokens)
        assert [label for one in insertions for label in one.part.labels if label != OUTSIDE]
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text


def test_no_token_of_the_original_document_is_labelled_as_a_name(clean):
    for doc in clean:
        known = {token.casefold() for token in doc.tokens}
        new = insert(doc, planted(doc, {NAME_STUDENT: 1}, surrogates(doc)))
        names = [token for token, label in zip(new.tokens, new.labels, strict=True) if label.endswith(NAME_STUDENT)]
        assert names and known.isdisjoint(name.casefold() for name in names if name.isalpha() and len(name) > 1)


@pytest.mark.parametrize("pii_type", PII_TYPES)
def test_a_single_type_is_planted_alone_or_with_a_name(clean, pii_type):
    for doc in clean:
        types = insert(doc, planted(doc, {pii_type: 1}, surrogates(doc))).types
        assert pii_type in types <= {pii_type, NAME_STUDENT}


def test_traps_are_never_pii_and_have_the_requested_mean_number(clean):
    numbers = []
    for seed in range(5):
        for doc in clean:
            insertions = traps(doc, 2, surrogates(doc, seed))
            numbers.append(len(insertions))
            assert not insert(doc, insertions).types
    assert 1.6 < sum(numbers) / len(numbers) < 3.4  # a story of up to five sentences counts once
    assert traps(clean[0], 0, surrogates(clean[0])) == [] and len(traps(clean[0], 10, surrogates(clean[0]))) >= 10


def test_insertions_never_split_an_entity():
    address, names = "1. Hill\nSt.\nYork. UK", "Ann Lee"
    doc = document_of_spans(1, [(address, "STREET_ADDRESS"), (" ", None), (names, "NAME_STUDENT"), ("\n", None)])
    assert {".", "\n"} <= set(doc.tokens)
    for seed in range(60):
        new = insert(doc, traps(doc, 8, surrogates(doc, seed)))
        entities = [new.tokens[first:end] for first, end, _ in spans_of(new.labels)]
        assert entities == [doc.tokens[first:end] for first, end, _ in spans_of(doc.labels)]


def test_planted_lines_use_the_line_breaks_of_the_document():
    gaps = {planter("One\n \ntwo\n \nthree", seed).gap for seed in range(40)}
    assert "\n \n" in gaps and gaps <= {"\n \n", "\n\n", "\n", " \n", "   ", "\t"}


def test_planted_text_has_odd_white_space_at_times_and_it_is_never_labelled_outside_an_address():
    template = "My name is {NAME_STUDENT.first} {NAME_STUDENT.last}, {NAME_STUDENT} and {PHONE_NUM} at {STREET_ADDRESS}"
    odd = 0
    for seed in range(150):
        part = planter("One. Two.", seed, noise=True).part(template)
        labels = zip(part.tokens, part.labels, strict=True)
        white = {(token, label) for token, label in labels if token.isspace() and label[2:] != "STREET_ADDRESS"}
        odd += bool(white)
        assert {label for _, label in white} <= {OUTSIDE}
        assert {kind for _, _, kind in spans_of(part.labels)} == {"NAME_STUDENT", "PHONE_NUM", "STREET_ADDRESS"}
    assert 5 < odd < 50


def test_a_name_over_two_lines_is_labelled_on_both():
    one = planter("One. Two.")
    part = one.part("{NAME_STUDENT.first}\n{NAME_STUDENT.last}")
    assert part.full_text == f"{one.slots['NAME_STUDENT.first']}\n{one.slots['NAME_STUDENT.last']}"
    labels = dict(zip(part.tokens, part.labels, strict=True))
    assert labels["\n"] == OUTSIDE and labels[part.tokens[0]] == labels[part.tokens[-1]] == "B-NAME_STUDENT"


def test_the_sentences_of_a_story_are_about_the_same_people_and_in_order():
    text = " ".join("It was good." for _ in range(40))
    for seed in range(30):
        one = planter(text, seed)
        for story in PLANTED["name_stories"]:
            insertions = one.story([story])
            assert [each.place for each in insertions] == sorted(each.place for each in insertions)
            new = insert(one.document, insertions)
            names = {new.tokens[first:end] for first, end, _ in spans_of(new.labels)}
            people = {part for slot in one.slots if slot.startswith(NAME_STUDENT) for part in one.slots[slot].split()}
            assert names and all({*" ".join(name).split()} & people for name in names)
        for story in PLANTED["trap_stories"]:
            insertions = one.story([story])
            assert not insert(one.document, insertions).types
            assert any(one.slots["other.first"] in each.part.full_text or one.slots["other.last"] in each.part.full_text
                       for each in insertions)  # fmt: skip


def test_names_that_are_also_words_occur_as_students_and_as_traps(clean):
    words = {*NAME_WORDS["first"], *NAME_WORDS["last"]}
    counts = Counter()
    for seed in range(12):
        for doc in clean:
            drawn = surrogates(doc, seed)
            for one in planted(doc, {NAME_STUDENT: 1}, drawn) + traps(doc, 4, drawn):
                for token, label in zip(one.part.tokens, one.part.labels, strict=True):
                    if token in words:
                        counts[label[2:]] += 1
    assert counts["NAME_STUDENT"] > 20 and counts[""] > 20


def test_headings_vary_and_some_are_misspelt():
    one = planter("No line breaks here")
    drawn = [one.slots["heading"]() for _ in range(400)]
    assert len(set(drawn)) > 320
    assert sum(" " not in title for title in drawn) > 40 and sum(title.isupper() for title in drawn) > 15
    assert misspell("A to B", random.Random(0)) == "A to B"
    for seed in range(30):
        new = misspell("Design is good", random.Random(seed))
        assert new[0] == "D" and new.endswith(" is good") and abs(len(new) - len("Design is good")) <= 1
    assert len({misspell("Storytelling", random.Random(seed)) for seed in range(60)}) > 20


def test_unusual_white_space_between_words_is_used_between_planted_words_too():
    part = planter("My\xa0essay\xa0has\xa0odd\xa0white\xa0space").part("By {NAME_STUDENT.first} today")
    assert part.tokens.count("\xa0") == 2 and part.tokens[0] == "By"


def test_a_name_after_a_heading_stays_on_its_line():
    one = planter("My Tool\n\nIt was good.")
    new = insert(one.document, [one.after_heading(" – {NAME_STUDENT.first}")])
    first_line = new.full_text.split("\n\n")[0]
    assert first_line == f"My Tool – {one.slots['NAME_STUDENT.first']}"


def test_headings_are_short_lines_without_pii():
    long = "word " * 20
    one = planter(f"My  Tool\nAnn\n{long}\nThe End", labels={"Ann": "B-NAME_STUDENT"})
    assert one.headings == ["My Tool", "The End"]


def test_a_template_whose_pii_fits_no_token_boundary_is_left_out():
    part = planter("One two").part("my{NAME_STUDENT.first}essay")
    assert (part.tokens, part.labels) == ((), ())


def test_every_template_fits_documents_with_any_white_space():
    names = ("name_lines", "name_behind", "name_ends", "name_sentences", "name_again")
    tables = [FILLERS["mates_did"], *map(PLANTED.__getitem__, names), *PLANTED["lines"].values()]
    for text in ("One. Two.", "One\ntwo\n\nthree", "one\xa0two\xa0three"):
        for seed in range(2):
            one = planter(text, seed, noise=True)
            for table in tables:
                for template in table:
                    part = one.part(template)
                    assert set(part.labels) - {OUTSIDE}, template
                    assert replace(part, number=0).labels[0][:2] != "I-"


def some_surrogates(seed):
    return Surrogates(random.Random(seed), {"maria"})


@pytest.mark.parametrize("seed", range(20))
def test_no_two_people_share_a_part_of_a_name(seed):
    drawn = some_surrogates(seed)
    slots = author(drawn, [])
    slots |= others(drawn)
    names = [set(slots[who].casefold().split()) for who in (*PEOPLE, "other", "another")]
    assert sum(map(len, names)) == len(set.union(*names))


@pytest.mark.parametrize("pii_type", PII_TYPES)
def test_an_author_has_a_name_and_only_the_requested_types(pii_type):
    slots = author(some_surrogates(0), [pii_type])
    assert all(slots.values())
    assert set(slots) & set(PII_TYPES) == {pii_type, "NAME_STUDENT"}


def test_a_full_name_is_mostly_first_and_last():
    slots = [author(some_surrogates(seed), []) for seed in range(60)]
    full = [one["NAME_STUDENT"] == f"{one['NAME_STUDENT.first']} {one['NAME_STUDENT.last']}" for one in slots]
    assert 28 < sum(full) < 58


def test_names_have_the_forms_that_students_use():
    names = [author(some_surrogates(seed), [])["NAME_STUDENT"] for seed in range(800)]
    assert sum(name.isupper() for name in names) > 2 and sum(" " not in name for name in names) > 10
    for form in (r"\w+, \w+", r"\w+ [A-Z]\. \w+", r".* (de|van|bin|al) .*", r"\w+-\w+ .*", r"\w+ [A-Z]\.", r".* y .*"):
        assert any(re.fullmatch(form, name) for name in names), form


def test_fellow_students_have_id_numbers_of_the_same_form():
    slots = author(some_surrogates(1), ["ID_NUM"])
    lengths = {len(slots[slot]) for slot in ("ID_NUM", "ID_NUM.mate", "ID_NUM.mate2")}
    assert len(lengths) == 1
    assert "@" in author(some_surrogates(1), ["EMAIL"])["EMAIL.mate"]
