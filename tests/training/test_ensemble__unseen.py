import shutil
from dataclasses import replace

import numpy as np
import pytest

from pii_kit.predict import predict_documents
from pii_kit.sample import make_documents
from pii_kit.training.ensemble import load_ensemble, predict_unseen
from pii_kit.training.folds import load_folds_out_of_fold, train_folds
from pii_kit.training.out_of_fold import average_out_of_fold
from pii_kit.training.runs import load_tagger, save_tagger

OTHERS = [replace(document, document=document.document + 9000) for document in make_documents(6, seed=5)]


def unseen(runs, documents):
    ensemble = load_ensemble(runs)
    return ensemble, predict_unseen(ensemble, runs, documents)


@pytest.fixture
def one_fold(documents, tiny_presets, tmp_path):
    """A run of the first of three folds alone."""
    train_folds("sha_rnn", documents, tmp_path / "one", preset="cpu", n_folds=3, folds=[0], epochs=1, seed=0)
    return tmp_path / "one"


def test_essays_of_the_training_are_out_of_fold_and_others_predicted_in_the_order_of_the_file(
    cross_validated, documents
):
    run, _ = cross_validated(0)
    mixed = [*OTHERS[:3], *reversed(documents), *OTHERS[3:]]
    ensemble, found = unseen([run], mixed)
    assert [document for document, _ in found.predictions] == mixed
    assert (found.n_predicted, found.n_left_out) == (6, 0)
    assert found.counts() == "30 documents, 24 out of fold, 6 predicted"
    kept = load_folds_out_of_fold(run)
    predicted = dict((document.document, scores) for document, scores in ensemble.predict(OTHERS))
    for document, scores in found.predictions:
        expected = predicted[document.document] if document in OTHERS else kept.of(document)
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_several_runs_are_averaged_with_their_weights_in_and_out_of_fold(cross_validated, documents):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    ensemble, found = unseen(runs, [*documents, *OTHERS])
    weights = [sum(ensemble.weights[:3]), sum(ensemble.weights[3:])]
    average = average_out_of_fold([load_folds_out_of_fold(run) for run in runs], weights)
    predicted = dict((document.document, scores) for document, scores in ensemble.predict(OTHERS))
    for document, scores in found.predictions:
        expected = predicted[document.document] if document in OTHERS else average.of(document)
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (len(found.predictions), found.n_predicted) == (30, 6)


def test_what_a_run_of_one_fold_was_trained_on_is_left_out(one_fold, documents):
    _, found = unseen([one_fold], documents)
    assert [document.document for document, _ in found.predictions] == [
        document.document for document in documents if document.document in load_folds_out_of_fold(one_fold).documents
    ]
    assert found.counts() == "8 documents, 8 out of fold, 0 predicted; 16 left out, which may have been trained on"
    _, found = unseen([one_fold], OTHERS)
    assert (found.n_predicted, found.n_left_out) == (6, 0)


def test_what_one_of_several_runs_was_trained_on_is_left_out(one_fold, cross_validated, documents):
    _, found = unseen([cross_validated(0)[0], one_fold], [*documents, *OTHERS])
    assert (len(found.predictions), found.n_predicted, found.n_left_out) == (8, 0, 22)


def test_essays_whose_labels_have_changed_are_left_out(cross_validated, documents):
    changed = [replace(documents[0], labels=("B-EMAIL", *documents[0].labels[1:])), *documents[1:]]
    _, found = unseen([cross_validated(0)[0]], changed)
    assert [document for document, _ in found.predictions] == changed[1:]
    assert found.n_left_out == 1


def test_runs_of_different_essays_say_each_what_they_may(cross_validated, documents, tiny_presets, tmp_path):
    run, _ = cross_validated(0)
    train_folds("mobilebert", OTHERS, tmp_path / "other", preset="every_fold", n_folds=2, epochs=1)
    ensemble, found = unseen([run, tmp_path / "other"], [documents[0], OTHERS[0]])
    assert (found.n_predicted, found.n_left_out) == (2, 0)
    of_run, of_other = (load_folds_out_of_fold(folder) for folder in (run, tmp_path / "other"))
    ((_, one), (_, other)) = found.predictions
    networks = [load_tagger(tmp_path / "other" / f"fold_{k}") for k in range(2)]
    ((_, predicted),) = predict_documents(networks, [documents[0]])
    np.testing.assert_allclose(one, of_run.of(documents[0]) / 2 + predicted / 2, atol=1e-6)
    ((_, predicted),) = predict_documents(ensemble.taggers[:3], [OTHERS[0]])
    np.testing.assert_allclose(other, predicted / 2 + of_other.of(OTHERS[0]) / 2, atol=1e-6)


def test_a_run_that_kept_nothing_predicts_all(sha_rnn_tagger, documents, tmp_path):
    save_tagger(tmp_path, sha_rnn_tagger)
    _, found = unseen([tmp_path], documents[:3])
    assert found.counts() == "3 documents, 0 out of fold, 3 predicted"


def test_no_tagger_is_asked_of_an_essay_that_it_was_trained_on(cross_validated, documents, monkeypatch, tmp_path):
    """Out-of-fold probabilities need no tagger: it makes no difference when all of them are spoiled."""
    run = shutil.copytree(cross_validated(0)[0], tmp_path / "run")
    ensemble = load_ensemble([run])
    monkeypatch.setattr(
        "pii_kit.unseen.predict_documents", lambda taggers, documents, **_: [pytest.fail() for _ in documents]
    )
    assert len(predict_unseen(ensemble, [run], documents).predictions) == len(documents)
