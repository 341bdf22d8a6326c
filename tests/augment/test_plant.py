import random
import re

import pytest
from conftest import make_document

from pii_kit.augment.plant import PLANTED, Insertion, Planter, author, insert, others, planted, traps
from pii_kit.augment.surrogates import Surrogates, misspell
from pii_kit.documents import document_of_spans, join_tokens
from pii_kit.labels import NAME_STUDENT, OUTSIDE, PII_TYPES, spans_of
from pii_kit.templates import FILLERS

ALL = dict.fromkeys(PII_TYPES, 1.0)


def surrogates(document, seed=0):
    return Surrogates(random.Random(seed), {token.casefold() for token in document.tokens})


def planter(text, seed=0, labels=(), *, noise=False):
    document = make_document(text, labels=dict(labels))
    drawn = surrogates(document, seed)
    one = Planter(document, author(drawn, PII_TYPES) | others(drawn), drawn)
    if not noise and one.odd_share < 1:
        one.odd_share = 0.0
    return one


@pytest.fixture(scope="module")
def clean(documents):
    return [doc for doc in documents if not doc.types]


def test_parts_are_inserted_before_their_token_and_in_the_given_order():
    doc = make_document("One two.\n\nThree", labels={})
    ann, bo = (document_of_spans(0, [(name, "NAME_STUDENT")]) for name in ("Ann", "Bo"))
    insertions = [Insertion(2, ann, space=True), Insertion(0, bo), Insertion(2, bo), Insertion(4, ann, space=True)]
    new = insert(doc, insertions)
    assert new.full_text == "BoOne two AnnBo.\n\nAnnThree"
    assert new.tokens == ("Bo", "One", "two", "Ann", "Bo", ".", "\n\n", "Ann", "Three")
    assert [label != OUTSIDE for label in new.labels] == [True, False, False, True, True, False, False, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_the_tokens_of_the_document_keep_their_order_around_insertions(clean, seed):
    for doc in clean:
        drawn = surrogates(doc, seed)
        insertions = planted(doc, ALL, drawn) + traps(doc, 3, drawn)
        new = insert(doc, insertions)
        assert len(new.tokens) == len(doc.tokens) + sum(len(one.part.tokens) for one in insertions)
        many = iter(new.tokens)
        assert all(token in many for token in doc.tokens)
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text


def test_no_token_of_the_original_document_is_labelled_as_a_name(clean):
    for doc in clean:
        known = {token.casefold() for token in doc.tokens}
        new = insert(doc, planted(doc, {NAME_STUDENT: 1}, surrogates(doc)))
        names = [token for token, label in zip(new.tokens, new.labels, strict=True) if label.endswith(NAME_STUDENT)]
        assert names and known.isdisjoint(name.casefold() for name in names if name.isalpha() and len(name) > 1)


def test_traps_have_the_requested_mean_number(clean):
    drawn = [traps(doc, 2, surrogates(doc, seed)) for seed in range(5) for doc in clean]
    assert 1.6 < sum(map(len, drawn)) / len(drawn) < 3.4  # a story of up to five sentences counts once
    assert traps(clean[0], 0, surrogates(clean[0])) == [] and len(traps(clean[0], 10, surrogates(clean[0]))) >= 10


def test_insertions_never_split_an_entity():
    address, names = "1. Hill\nSt.\nYork. UK", "Ann Lee"
    doc = document_of_spans(1, [(address, "STREET_ADDRESS"), (" ", None), (names, "NAME_STUDENT"), ("\n", None)])
    for seed in range(30):
        new = insert(doc, traps(doc, 8, surrogates(doc, seed)))
        entities = [new.tokens[first:end] for first, end, _ in spans_of(new.labels)]
        assert entities == [doc.tokens[first:end] for first, end, _ in spans_of(doc.labels)]


def test_planted_lines_use_the_line_breaks_and_the_odd_white_space_of_the_document():
    gaps = {planter("One\n \ntwo\n \nthree", seed).slots["gap"] for seed in range(40)}
    assert "\n \n" in gaps and gaps <= {"\n \n", "\n\n", "\n", " \n", "   ", "\t"}
    part = planter("My\xa0essay\xa0has\xa0odd\xa0white\xa0space").part("By {NAME_STUDENT.first} today")
    assert part.tokens.count("\xa0") == 2 and part.tokens[0] == "By"


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


def test_the_sentences_of_a_story_are_about_the_same_people_and_in_order():
    for seed in range(30):
        one = planter(" ".join("It was good." for _ in range(40)), seed)
        people = {word for slot, text in one.slots.items() if slot.startswith(NAME_STUDENT) for word in text.split()}
        for story in PLANTED["name_stories"]:
            insertions = one.story([story])
            assert [each.place for each in insertions] == sorted(each.place for each in insertions)
            new = insert(one.document, insertions)
            names = {new.tokens[first:end] for first, end, _ in spans_of(new.labels)}
            assert names and all({*" ".join(name).split()} & people for name in names)
        for story in PLANTED["traps"][0]["stories"]:
            new = insert(one.document, one.story([story]))
            assert not new.types
            assert one.slots["other.first"] in new.full_text or one.slots["other.last"] in new.full_text


def test_headings_vary_and_some_are_misspelt():
    one = planter("No line breaks here")
    drawn = [one.slots["heading"]() for _ in range(400)]
    assert len(set(drawn)) > 320 and sum(title.isupper() for title in drawn) > 15
    new = {misspell("Design is good", random.Random(seed)) for seed in range(30)}
    assert len(new) > 5 and all(one[0] == "D" and one.endswith(" is good") for one in new)


def test_a_name_after_a_heading_stays_on_its_line():
    one = planter("My Tool\n\nIt was good.")
    new = insert(one.document, [one.insertion("heading", " – {NAME_STUDENT.first}")])
    assert new.full_text.split("\n\n")[0] == f"My Tool – {one.slots['NAME_STUDENT.first']}"


def test_every_template_fits_documents_with_any_white_space():
    names = ("name_lines", "name_behind", "name_ends", "name_sentences", "name_again")
    tables = [FILLERS["mates_did"], *map(PLANTED.__getitem__, names), *PLANTED["lines"].values()]
    for text in ("One. Two.", "One\ntwo\n\nthree", "one\xa0two\xa0three"):
        one = planter(text, noise=True)
        for template in (template for table in tables for template in table):
            part = one.part(template)
            assert set(part.labels) - {OUTSIDE} and part.labels[0][:2] != "I-", template


def test_an_author_has_a_name_in_the_forms_of_students_and_only_the_requested_types():
    people = [author(Surrogates(random.Random(seed)), ["ID_NUM"]) for seed in range(800)]
    for slots in people[:20]:
        assert all(slots.values()) and set(slots) & set(PII_TYPES) == {"ID_NUM", "NAME_STUDENT"}
        assert len({len(slots[slot]) for slot in ("ID_NUM", "ID_NUM.mate", "ID_NUM.mate2")}) == 1
    names = [slots["NAME_STUDENT"] for slots in people]
    plain = [slots["NAME_STUDENT"] == f"{slots['NAME_STUDENT.first']} {slots['NAME_STUDENT.last']}" for slots in people]
    assert 0.5 < sum(plain) / len(plain) < 0.9
    assert sum(name.isupper() for name in names) > 2 and sum(" " not in name for name in names) > 10
    for form in (r"\w+, \w+", r"\w+ [A-Z]\. \w+", r".* (de|van|bin|al) .*", r"\w+-\w+ .*", r"\w+ [A-Z]\.", r".* y .*"):
        assert any(re.fullmatch(form, name) for name in names), form
