import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from conftest import make_document

from pii_kit.decide import repair_bio
from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES
from pii_kit.metrics import micro_fbeta
from pii_kit.report.baselines import (
    PATTERNS,
    _doc,
    _example,
    _parts,
    label_with_patterns,
    label_with_spacy,
    train_spacy_ner,
)
from pii_kit.submission import submission_rows, true_rows

FOUND = [
    ("NAME_STUDENT", "Ann Lee\n\nTea is good.", ["Ann", "Lee"]),
    ("NAME_STUDENT", "An essay by Ann B. Lee for class.", ["Ann", "B.", "Lee"]),
    ("NAME_STUDENT", "My name is Ann Lee, hello.", ["Ann", "Lee"]),
    ("EMAIL", "Write to ann.lee@mail.org, please.", ["ann.lee@mail.org"]),
    ("USERNAME", "My user name: ann_lee92 for now.", ["ann_lee92"]),
    ("USERNAME", "My handle @ann_92 is old.", ["@ann_92"]),
    ("ID_NUM", "My number is 860407216.", ["860407216"]),
    ("ID_NUM", "The number AB-1234567 was mine.", ["AB-1234567"]),
    ("PHONE_NUM", "Call (555) 010-9999 now.", ["(", "555", ")", "010", "-", "9999"]),
    ("PHONE_NUM", "Call +1 555 010 9999 now.", ["+1", "555", "010", "9999"]),
    ("URL_PERSONAL", "See https://annlee.me/blog.", ["https://annlee.me/blog"]),
    ("URL_PERSONAL", "See www.annlee.me/blog, please.", ["www.annlee.me/blog"]),
    ("STREET_ADDRESS", "I live at 12 Oak Street, Leeds\nand like tea.", ["12", "Oak", "Street", ",", "Leeds"]),
]

NOT_PII = [
    "In 2015, 1,000,000 people read 7 books; chapter 3.2 and 50% of it were new.",
    "The Student Handbook was written by experts in Design Thinking.",
    "We met @ noon. My user was happy, and I can handle it.",
    "A line without a name\n\nand another one",
    "   \n\n\t",
]


@pytest.mark.parametrize(("pii_type", "text", "tokens"), FOUND)
def test_a_pattern_labels_every_token_of_its_match_and_no_other(pii_type, text, tokens):
    document = make_document(text)
    labels = label_with_patterns(document)
    assert len(labels) == len(document.tokens)
    expected = [(tokens[0], f"B-{pii_type}")] + [(token, f"I-{pii_type}") for token in tokens[1:]]
    assert [pair for pair in zip(document.tokens, labels, strict=True) if pair[1] != "O"] == expected


def test_every_type_has_a_pattern_and_a_test_case():
    assert set(PATTERNS) == {pii_type for pii_type, *_ in FOUND} == set(PII_TYPES)


@pytest.mark.parametrize("text", NOT_PII)
def test_ordinary_prose_is_not_labelled(text):
    document = make_document(text)
    assert label_with_patterns(document) == ["O"] * len(document.tokens)


def test_an_empty_document_has_no_labels():
    assert label_with_patterns(make_document("")) == []


@pytest.mark.parametrize(
    ("first", "second", "text", "token"),
    [
        ("EMAIL", "URL_PERSONAL", "Write to ann@www.lee.org/blog today", "ann@www.lee.org/blog"),
        ("URL_PERSONAL", "ID_NUM", "See www.annlee.me/12345678 today", "www.annlee.me/12345678"),
        ("EMAIL", "STREET_ADDRESS", "12 Oak Street, Leeds, ann@mail.org", "ann@mail.org"),
    ],
)
def test_the_first_pattern_that_matches_a_token_labels_it(first, second, text, token):
    assert PATTERNS[first].search(text) and PATTERNS[second].search(text)
    document = make_document(text)
    labels = dict(zip(document.tokens, label_with_patterns(document), strict=True))
    assert labels[token] == f"B-{first}"


LONG = 10**6  # characters
UNITS = ["a", "A", "7", "(", "-", ".", "_", "@", "'", "é", "A-", "a.", "a@", "7-", "-7", "(7", "7.", "Aa", "x1"]
STARTS = ["", "1 ", "by ", "By Ann ", "user: ", "www.", "https://", "a@", "(555) 010-", "AB-"]


@pytest.mark.parametrize("unit", UNITS)
def test_patterns_are_linear_in_the_length_of_one_token(unit):
    """A search of quadratic time would take hours here."""
    for start in STARTS:
        tokens = (start, unit * (LONG // len(unit) // len(STARTS)))
        document = Document(
            number=1, full_text="".join(tokens), tokens=tokens, trailing_whitespace=(False, False), labels=None
        )
        assert len(label_with_patterns(document)) == 2


@pytest.mark.parametrize("unit", ["a", "7", "(", "-", "."])
def test_a_token_of_a_million_characters_is_labelled(unit):
    document = Document(
        number=1, full_text=unit * LONG, tokens=(unit * LONG,), trailing_whitespace=(False,), labels=None
    )
    assert label_with_patterns(document) == [OUTSIDE]


ADDRESS = ["12", "Oak", "Street", "\n", "Leeds"]
FIRST_NAMES = ("Ann", "Bo", "Carla", "Dmitri", "Eva")
LAST_NAMES = ("Lee", "Okafor", "Silva", "Novak")


def _introduction(number: int, first: str, last: str) -> Document:
    """Return a document with a name and an e-mail address."""
    email = f"{first.lower()}{number}@mail.org"
    text = f"Tea is good for people. My name is {first} {last} and I like tea. Write to {email} or wait for my essay."
    return make_document(text, number, {first: "B-NAME_STUDENT", last: "I-NAME_STUDENT", email: "B-EMAIL"})


def _weights(pipeline) -> bytes:
    return pipeline.get_pipe("ner").model.to_bytes()


@pytest.fixture(scope="module")
def pipeline():
    people = enumerate(product(FIRST_NAMES, LAST_NAMES))
    return train_spacy_ner([_introduction(number, *person) for number, person in people], epochs=16)


def test_spacy_finds_what_it_learned_in_other_documents(pipeline):
    others = [_introduction(50, "Greta", "Moreau"), _introduction(51, "Hugo", "Tanaka")]
    rows = submission_rows((doc.number, label_with_spacy(pipeline, doc)) for doc in others)
    score = micro_fbeta(true_rows(others), rows)
    assert score.recall > 0.5 and score.precision > 0.5


def test_every_token_of_any_document_gets_one_label_and_labels_are_valid_bio(pipeline, documents):
    odd = make_document("  \n\n Ann Lee \n\n\t by ann.lee@mail.org \n")
    empty_tokens = replace(odd, tokens=("Ann", "", "Lee"), trailing_whitespace=(True, False, False))
    for document in [*documents, odd, empty_tokens, make_document("")]:
        labels = label_with_spacy(pipeline, document)
        assert len(labels) == len(document.tokens)
        assert set(labels) <= set(LABELS)
        assert repair_bio(labels) == labels


def test_predictions_do_not_depend_on_the_labels_of_the_document(pipeline, documents):
    for document in documents:
        assert label_with_spacy(pipeline, replace(document, labels=None)) == label_with_spacy(pipeline, document)


def test_equal_seeds_train_equal_pipelines(documents):
    first, again, other = (train_spacy_ner(documents[:3], seed=seed, epochs=1) for seed in (3, 3, 4))
    assert _weights(first) == _weights(again) != _weights(other)


def test_training_neither_depends_on_the_global_generators_nor_changes_them(documents):
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    first = train_spacy_ner(documents[:3], epochs=1)
    after = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert draw() == after
    assert _weights(first) == _weights(train_spacy_ner(documents[:3], epochs=1))


def test_whitespace_inside_an_address_is_learned_as_part_of_it():
    texts = [f"Tea is good {n} times . I live at 12 Oak Street\nLeeds and like tea ." for n in "abcdef"]
    address = {token: "I-STREET_ADDRESS" for token in ADDRESS} | {ADDRESS[0]: "B-STREET_ADDRESS"}
    documents = [make_document(text, number, address) for number, text in enumerate(texts)]
    pipeline = train_spacy_ner(documents, epochs=50, batch_size=1, dropout=0.0)
    labels = label_with_spacy(pipeline, documents[0])
    assert labels == list(documents[0].labels)
    assert labels[documents[0].tokens.index("\n")] == "I-STREET_ADDRESS"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["O", "B-EMAIL", "I-EMAIL", "O", "O"], [("Ann", "EMAIL")]),
        (["B-EMAIL", "I-EMAIL", "I-EMAIL", "I-EMAIL", "I-EMAIL"], [("Ann\nLee", "EMAIL")]),
        (["B-EMAIL", "O", "B-EMAIL", "O", "B-EMAIL"], []),
        (["O", "B-EMAIL", "O", "B-USERNAME", "O"], [("Ann", "EMAIL"), ("Lee", "USERNAME")]),
        (["O", "I-EMAIL", "O", "O", "O"], [("Ann", "EMAIL")]),
    ],
)
def test_entities_lose_only_the_whitespace_at_their_ends(pipeline, labels, expected):
    document = replace(
        make_document(""),
        tokens=("\n", "Ann", "\n", "Lee", "\n"),
        trailing_whitespace=(False,) * 5,
        labels=tuple(labels),
    )
    example = _example(pipeline, document, range(5))
    assert [(entity.text, entity.label_) for entity in example.reference.ents] == expected
    assert not example.predicted.ents


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_parts_contain_every_token_once_and_none_is_too_long(documents, size):
    for document in documents:
        parts = _parts(document.tokens, size)
        assert [index for part in parts for index in part] == list(range(len(document.tokens)))
        assert all(0 < len(part) <= 2 * size for part in parts)
    assert _parts([], size) == []


def test_spacy_gets_the_unchanged_text(pipeline, documents):
    for document in documents:
        assert _doc(pipeline, document, range(len(document.tokens))).text == document.full_text


def test_a_document_without_labels_is_refused_by_its_number(documents):
    with pytest.raises(KitError, match="document 7: labels missing"):
        train_spacy_ner([*documents, make_document("Ann Lee", 7)])


@pytest.mark.parametrize("clean", [[], [make_document("Tea is good .", labels={})]])
def test_documents_without_pii_are_refused(clean):
    with pytest.raises(KitError, match=f"none of {len(clean)} documents has PII"):
        train_spacy_ner(clean)


def test_documents_with_only_pii_can_be_trained_on():
    document = make_document("Ann", labels={"Ann": "B-NAME_STUDENT"})
    assert set(label_with_spacy(train_spacy_ner([document], epochs=2), document)) <= {OUTSIDE, "B-NAME_STUDENT"}
