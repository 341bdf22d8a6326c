from dataclasses import replace

import numpy as np
import pytest
from conftest import essay_of_labels, make_document

from pii_kit.kaggle import Deadline
from pii_kit.kaggle import time_limit as device_taggers
from pii_kit.kaggle.time_limit import MEASURED_BY, GroupWork
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Ensemble

NAME = "B-NAME_STUDENT"


@pytest.fixture
def asked(monkeypatch):
    """Numbers of the documents of each question; the models say that the first token of each document is a name."""
    questions = []

    def ask(tagger, documents, *, batch_size):
        questions.append([document.document for document in documents])
        scores = [np.eye(15)[[0] * len(document.tokens)] for document in documents]
        for of_document in scores:
            of_document[:1] = np.eye(15)[1]
        return scores

    monkeypatch.setattr(device_taggers, "predict_group", ask)
    return questions


@pytest.fixture
def work(sha_rnn_tagger, tmp_path):
    """A function from documents to their work for one tagger, without a limit."""
    ensemble = Ensemble(taggers=(sha_rnn_tagger,), weights=(1.0,), of_run=(0,), o_threshold=0.5, rules=())

    def begin(documents, **changes) -> GroupWork:
        settings = {"found": {}, "deadline": Deadline(float("inf")), "n_devices": 1} | changes
        return GroupWork(ensemble, documents, tmp_path / "submission.csv", **settings)

    return begin


def essays(n: int) -> list:
    return [essay_of_labels(number, ["O"] * (5 + number % 3)) for number in range(n)]


def test_every_document_is_labelled_once_after_a_warm_up_and_a_measurement(work, asked):
    documents = essays(3 * DOCUMENTS_AT_A_TIME)
    begun = work(documents)
    begun.label_on("cpu")
    warm_up, measured, *groups = asked
    assert len(warm_up) == 1 and len(measured) == MEASURED_BY
    assert sorted(number for group in groups for number in group) == list(range(len(documents)))
    assert begun.found == {number: [(number, 0, NAME)] for number in range(len(documents))}
    assert begun.n_documents == [0, len(documents)] and begun.tokens_left == 0


def test_groups_are_those_of_the_plain_way_in_an_order_that_is_the_same_each_time(work, asked):
    documents = essays(6 * DOCUMENTS_AT_A_TIME)
    for _ in range(2):
        work(documents).label_on("cpu")
    first, second = asked[2 : len(asked) // 2], asked[len(asked) // 2 + 2 :]
    plain = [list(range(start, start + DOCUMENTS_AT_A_TIME)) for start in range(0, len(documents), DOCUMENTS_AT_A_TIME)]
    assert first == second != plain
    assert sorted(first) == plain


@pytest.mark.parametrize("first", [0, 3, 40])
def test_documents_without_tokens_have_their_turn_and_no_rows(work, asked, first):
    documents = [make_document("", number) for number in range(first)] + [
        replace(document, document=document.document + 1000) for document in essays(2)
    ]
    begun = work(documents)
    begun.label_on("cpu")
    assert begun.n_documents == [0, first + 2]
    assert sum(map(len, begun.found.values())) == 2
    assert set(begun.found) == {document.document for document in documents}


def test_documents_whose_turn_never_comes_keep_their_rows(work, asked):
    found = {0: [(0, 3, "B-EMAIL")]}
    begun = work(essays(2), found=found, deadline=Deadline(float("-inf")))
    begun.label_on("cpu")
    assert begun.found == found and asked == [] and begun.n_documents == [2, 0]
