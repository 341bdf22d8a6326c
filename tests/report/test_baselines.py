import time
from dataclasses import replace
from itertools import product

import pytest
from conftest import make_document

from pii_kit.decide import repair_bio
from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.metrics import micro_fbeta
from pii_kit.report import baselines
from pii_kit.report.baselines import label_with_patterns, label_with_spacy, train_spacy_ner
from pii_kit.submission import submission_rows, true_rows

FOUND = [
    ("NAME_STUDENT", "Ann Lee\n\nTea is good.", ["Ann", "Lee"]),
    ("NAME_STUDENT", "An essay by Ann B. Lee for class.", ["Ann", "B.", "Lee"]),
    ("NAME_STUDENT", "My name is Ann Lee, hello.", ["Ann", "Lee"]),
    ("EMAIL", "Write to ann.lee@mail.org, please.", ["ann.lee@mail.org"]),
    ("USERNAME", "My user name: ann_lee92 for now.", ["ann_lee92"]),
    ("ID_NUM", "My number is 860407216.", ["860407216"]),
    ("PHONE_NUM", "Call (555) 010-9999 now.", ["(", "555", ")", "010", "-", "9999"]),
    ("URL_PERSONAL", "See https://annlee.me/blog.", ["https://annlee.me/blog"]),
    ("URL_PERSONAL", "See www.annlee.me/12345678, please.", ["www.annlee.me/12345678"]),  # not an ID_NUM
    ("STREET_ADDRESS", "I live at 12 Oak Street, Leeds\nand like tea.", ["12", "Oak", "Street", ",", "Leeds"]),
]
NOT_PII = [
    "In 2015, 1,000,000 people read 7 books; chapter 3.2 and 50% of it were new.",
    "The Student Handbook was written by experts in Design Thinking.\n\nWe met @ noon. My user was happy.",
    "",
]


@pytest.mark.parametrize(("pii_type", "text", "tokens"), [*FOUND, *((None, text, []) for text in NOT_PII)])
def test_a_pattern_labels_every_token_of_its_match_and_no_other(pii_type, text, tokens):
    document = make_document(text)
    labels = label_with_patterns(document)
    expected = [(token, f"{'I' if place else 'B'}-{pii_type}") for place, token in enumerate(tokens)]
    assert [pair for pair in zip(document.tokens, labels, strict=True) if pair[1] != "O"] == expected


UNITS = ["a", "7", "(", "-", ".", "_", "@", "é", "A-", "a.", "a@", "7-", "(7", "Aa", "x1"]
STARTS = ["", "1 ", "by ", "By Ann ", "user: ", "www.", "https://", "a@", "(555) 010-", "AB-"]


@pytest.mark.parametrize("unit", UNITS)
def test_patterns_are_linear_in_the_length_of_one_token(unit):
    """A search of quadratic time would take hours here."""
    for start in STARTS:
        tokens = (start, unit * (10**5 // len(unit)))
        text = "".join(tokens)
        document = Document(number=1, full_text=text, tokens=tokens, trailing_whitespace=(False, False))
        assert len(label_with_patterns(document)) == 2


def introduction(number: int, first: str, last: str) -> Document:
    """Return a document with a name and an e-mail address."""
    email = f"{first.lower()}{number}@mail.org"
    text = f"Tea is good for people. My name is {first} {last} and I like tea. Write to {email} or wait for my essay."
    return make_document(text, number, {first: "B-NAME_STUDENT", last: "I-NAME_STUDENT", email: "B-EMAIL"})


@pytest.fixture(scope="module")
def pipeline():
    people = product(("Ann", "Bo", "Carla", "Dmitri", "Eva"), ("Lee", "Okafor", "Silva", "Novak"))
    return train_spacy_ner([introduction(number, *person) for number, person in enumerate(people)], epochs=16)[0]


def test_spacy_finds_what_it_learned_in_other_documents(pipeline):
    others = [introduction(50, "Greta", "Moreau"), introduction(51, "Hugo", "Tanaka")]
    rows = submission_rows((doc.number, label_with_spacy(pipeline, doc)) for doc in others)
    score = micro_fbeta(true_rows(others), rows)
    assert score.recall > 0.5 and score.precision > 0.5


def test_every_token_of_any_document_gets_one_label_whatever_its_true_ones(pipeline, documents):
    odd = make_document("  \n\n Ann Lee \n\n\t by ann.lee@mail.org \n")
    empty_tokens = replace(odd, tokens=("Ann", "", "Lee"), trailing_whitespace=(True, False, False))
    for document in [*documents, odd, empty_tokens, make_document("")]:
        labels = label_with_spacy(pipeline, document)
        assert len(labels) == len(document.tokens) and set(labels) <= set(LABELS)
        assert repair_bio(labels) == labels == label_with_spacy(pipeline, replace(document, labels=None))


def test_equal_seeds_train_equal_pipelines_and_a_deadline_ends_after_an_epoch(documents):
    trained = [train_spacy_ner(documents[:3], seed=seed, epochs=1) for seed in (3, 3, 4)]
    first, again, other = (pipeline.get_pipe("ner").model.to_bytes() for pipeline, _ in trained)
    assert first == again != other
    assert train_spacy_ner(documents[:3], epochs=9, deadline=time.monotonic())[1] == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["O", "B-EMAIL", "I-EMAIL", "O", "O"], [("Ann", "EMAIL")]),
        (["B-EMAIL", "I-EMAIL", "I-EMAIL", "I-EMAIL", "I-EMAIL"], [("Ann\nLee", "EMAIL")]),
        (["B-EMAIL", "O", "B-EMAIL", "O", "B-EMAIL"], []),
        (["O", "B-EMAIL", "O", "B-USERNAME", "O"], [("Ann", "EMAIL"), ("Lee", "USERNAME")]),
    ],
)
def test_entities_lose_only_the_whitespace_at_their_ends(pipeline, labels, expected):
    tokens = ("\n", "Ann", "\n", "Lee", "\n")
    document = replace(make_document(""), tokens=tokens, trailing_whitespace=(False,) * 5, labels=tuple(labels))
    example = baselines._example(pipeline, document)
    assert [(entity.text, entity.label_) for entity in example.reference.ents] == expected
    assert not example.predicted.ents


def test_documents_without_labels_or_without_pii_are_refused():
    with pytest.raises(KitError, match="document 7: labels missing"):
        train_spacy_ner([make_document("Ann Lee", 7)])
    with pytest.raises(KitError, match="none of 1 documents has PII"):
        train_spacy_ner([make_document("Tea is good .", labels={})])
