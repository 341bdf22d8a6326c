from dataclasses import replace

import pytest

from pii_kit.metrics import threshold_curve
from pii_kit.predict import predict_documents
from pii_kit.training.config import TrainConfig
from pii_kit.training.loop import is_finished, kept_epoch, out_of_patience, validate

CONFIG = TrainConfig(epochs=4, window_size=64, overlap=8)
HISTORY = [{"epoch": 1, "f5": 0.2}, {"epoch": 2, "f5": 0.6}, {"epoch": 3}, {"epoch": 4, "f5": 0.6}]


def test_the_first_of_the_best_epochs_is_kept_or_the_last_that_was_scored():
    assert kept_epoch(HISTORY, "best") is HISTORY[1]
    assert kept_epoch(HISTORY[:3], "last") is HISTORY[1]
    assert kept_epoch(HISTORY, "last") is HISTORY[3]


def test_patience_counts_epochs_since_the_best():
    assert out_of_patience(HISTORY, 2) and not out_of_patience(HISTORY, 3)
    assert not out_of_patience(HISTORY, None) and not out_of_patience(HISTORY[:1], 1)


def test_a_training_is_finished_by_its_epochs_or_its_patience_and_not_by_its_time():
    assert is_finished(HISTORY, CONFIG)
    assert is_finished(HISTORY[:3], replace(CONFIG, patience=1))
    assert not is_finished(HISTORY[:3], CONFIG)
    assert not is_finished([{"epoch": 3.4, "f5": 1.0}], CONFIG) and not is_finished([], CONFIG)


def test_the_threshold_is_the_best_of_the_curve_and_the_score_is_at_it(documents, sha_rnn_tagger):
    tagger, kept, scores = validate(sha_rnn_tagger.model, sha_rnn_tagger.tokenizer, documents, CONFIG)
    curve = threshold_curve(list(predict_documents([tagger], documents)))
    assert scores["f5"] == pytest.approx(curve["f5"].max())
    assert curve.loc[tagger.o_threshold, "f5"] == curve["f5"].max() and scores["o_threshold"] == tagger.o_threshold
    assert kept.documents.tolist() == sorted(doc.document for doc in documents)


def test_a_threshold_that_is_given_is_not_chosen(documents, sha_rnn_tagger):
    tagger, _, scores = validate(
        sha_rnn_tagger.model, sha_rnn_tagger.tokenizer, documents, replace(CONFIG, o_threshold=0.123)
    )
    assert tagger.o_threshold == scores["o_threshold"] == 0.123
