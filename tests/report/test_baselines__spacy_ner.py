import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from conftest import make_document

from pii_kit.data import Document
from pii_kit.decide import repair_bio
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE
from pii_kit.metrics import micro_fbeta
from pii_kit.report.baselines import _doc, _example, _parts, label_with_spacy, train_spacy_ner
from pii_kit.submission import submission_rows, true_rows

ADDRESS = ["12", "Oak", "Street", "\n", "Leeds"]
FIRST_NAMES = ("Ann", "Bo", "Carla", "Dmitri", "Eva")
LAST_NAMES = ("Lee", "Okafor", "Silva", "Novak")


def _introduction(number: int, first: str, last: str) -> Document:
    """An essay of two sentences that hold a name and an e-mail address."""
    email = f"{first.lower()}{number}@mail.org"
    text = f"Tea is good for people. My name is {first} {last} and I like tea. Write to {email} or wait for my essay."
    return make_document(text, number, {first: "B-NAME_STUDENT", last: "I-NAME_STUDENT", email: "B-EMAIL"})


def _weights(pipeline) -> bytes:
    return pipeline.get_pipe("ner").model.to_bytes()


@pytest.fixture(scope="module")
def pipeline():
    people = enumerate(product(FIRST_NAMES, LAST_NAMES))
    return train_spacy_ner([_introduction(number, *person) for number, person in people], epochs=10)


def test_it_finds_in_unseen_essays_what_it_learned_to_find(pipeline):
    unseen = [_introduction(50, "Greta", "Moreau"), _introduction(51, "Hugo", "Tanaka")]
    rows = submission_rows((doc.document, label_with_spacy(pipeline, doc)) for doc in unseen)
    score = micro_fbeta(true_rows(unseen), rows)
    assert score.recall > 0.5 and score.precision > 0.5


def test_every_token_of_any_document_gets_one_label_and_labels_are_sound(pipeline, documents):
    odd = make_document("  \n\n Ann Lee \n\n\t by ann.lee@mail.org \n")
    empty_tokens = replace(odd, tokens=("Ann", "", "Lee"), trailing_whitespace=(True, False, False))
    for document in [*documents, odd, empty_tokens, make_document("")]:
        labels = label_with_spacy(pipeline, document)
        assert len(labels) == len(document.tokens)
        assert set(labels) <= set(LABELS)
        assert repair_bio(labels) == labels


def test_labels_of_the_document_itself_are_never_looked_at(pipeline, documents):
    for document in documents:
        assert label_with_spacy(pipeline, replace(document, labels=None)) == label_with_spacy(pipeline, document)


def test_equal_seeds_train_equal_pipelines(documents):
    first, again, other = (train_spacy_ner(documents[:3], seed=seed, epochs=1) for seed in (3, 3, 4))
    assert _weights(first) == _weights(again) != _weights(other)


def test_training_depends_on_nothing_drawn_before_and_changes_nothing_drawn_after(documents):
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    first = train_spacy_ner(documents[:3], epochs=1)
    after = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert draw() == after
    assert _weights(first) == _weights(train_spacy_ner(documents[:3], epochs=1))


def test_white_space_inside_an_address_is_learned_as_part_of_it():
    texts = [f"Tea is good {n} times . I live at 12 Oak Street\nLeeds and like tea ." for n in "abcdef"]
    address = {token: "I-STREET_ADDRESS" for token in ADDRESS} | {ADDRESS[0]: "B-STREET_ADDRESS"}
    documents = [make_document(text, number, address) for number, text in enumerate(texts)]
    pipeline = train_spacy_ner(documents, epochs=15, batch_size=1, dropout=0.0)
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
def test_entities_lose_white_space_at_their_ends_and_nothing_else(pipeline, labels, expected):
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
def test_parts_hold_every_token_once_and_none_is_too_long(documents, size):
    for document in documents:
        parts = _parts(document.tokens, size)
        assert [index for part in parts for index in part] == list(range(len(document.tokens)))
        assert all(0 < len(part) <= 2 * size for part in parts)
    assert _parts([], size) == []


def test_spacy_sees_the_text_as_it_is(pipeline, documents):
    for document in documents:
        assert _doc(pipeline, document, range(len(document.tokens))).text == document.full_text


def test_a_document_without_labels_is_refused_by_its_number(documents):
    with pytest.raises(KitError, match="document 7: labels missing"):
        train_spacy_ner([*documents, make_document("Ann Lee", 7)])


@pytest.mark.parametrize("clean", [[], [make_document("Tea is good .", labels={})]])
def test_documents_that_hold_nothing_to_find_are_refused(clean):
    with pytest.raises(KitError, match=f"{len(clean)} documents: none holds PII"):
        train_spacy_ner(clean)


def test_documents_that_hold_nothing_but_pii_are_enough():
    document = make_document("Ann", labels={"Ann": "B-NAME_STUDENT"})
    assert set(label_with_spacy(train_spacy_ner([document], epochs=2), document)) <= {OUTSIDE, "B-NAME_STUDENT"}
