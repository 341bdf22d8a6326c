from dataclasses import replace

import numpy as np
import pytest

from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE_ID
from pii_kit.predict import Cascade, Stage, predict_documents
from pii_kit.sample import make_documents
from pii_kit.submission import true_rows
from pii_kit.training.cascade import _pass_below, make_cascade
from pii_kit.training.ensemble import load_ensemble
from pii_kit.training.folds import load_folds_out_of_fold, train_folds


def cascade_of(first, second, *, pass_below):
    return Cascade((Stage((first,), (0.25,), pass_below), Stage((second,), (0.75,), 1.0)))


def predictions(taggers, documents, **how):
    return [scores for _, scores in predict_documents(taggers, documents, **how)]


def test_a_cascade_that_passes_everything_on_gives_the_weighted_mean(sha_rnn_tagger, mobilebert_tagger, documents):
    both = [sha_rnn_tagger, mobilebert_tagger]
    cascade = cascade_of(*both, pass_below=1.1)
    pairs = zip(predictions([cascade], documents), predictions(both, documents, weights=(0.25, 0.75)), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_later_taggers_change_suspect_tokens_alone(sha_rnn_tagger, mobilebert_tagger, documents):
    alone = predictions([sha_rnn_tagger], documents)
    bound = float(np.quantile(np.concatenate(alone)[:, OUTSIDE_ID], 0.05))
    found = predictions([cascade_of(sha_rnn_tagger, mobilebert_tagger, pass_below=bound)], documents)
    n_suspect = 0
    for before, after in zip(alone, found, strict=True):
        suspect = before[:, OUTSIDE_ID] < bound
        n_suspect += suspect.sum()
        np.testing.assert_allclose(after[~suspect], before[~suspect], atol=1e-6)
        assert not suspect.any() or np.abs(after[suspect] - before[suspect]).max(1).min() > 0
        np.testing.assert_allclose(after.sum(1), 1, atol=1e-5)
    assert 0 < n_suspect < 0.06 * sum(map(len, alone))


def test_the_threshold_is_the_one_above_the_lowest_that_keeps_enough_rows():
    scores = np.array([0.1, 0.55, 0.75, 0.9985])
    assert _pass_below(scores, 3) == 0.9  # three are below .8
    assert _pass_below(scores, 2) == 0.7  # two are below .6
    assert _pass_below(scores, 3.5) == 1.0  # all four are below .999
    assert _pass_below(np.array([1.0]), 1) == 1.0


def test_the_stages_of_two_runs_hold_each_tagger_once_and_lose_no_row(cross_validated):
    runs = [cross_validated(0)[0]] * 2
    ensemble = load_ensemble(runs)
    cascade, recalls = make_cascade(ensemble, runs)
    (tagger,) = cascade.taggers
    assert [len(stage.taggers) for stage in tagger.stages] == [1, 1, len(ensemble.taggers) - 2]
    places = {id(member): place for place, member in enumerate(ensemble.taggers)}
    first, second, *rest = (places[id(member)] for stage in tagger.stages for member in stage.taggers)
    assert {first, second} == {ensemble.of_run.index(run) for run in (0, 1)}
    assert sorted([first, second, *rest]) == list(range(len(ensemble.taggers)))
    assert sum(weight for stage in tagger.stages for weight in stage.weights) == pytest.approx(1)
    assert cascade.n_models == ensemble.n_models == len(ensemble.taggers)
    for recall in recalls:
        assert 0.995 * recall.n_rows <= recall.n_passed <= recall.n_rows
        assert recall.pass_below >= ensemble.o_threshold
    assert len(recalls) == 2


def test_no_token_that_a_threshold_labels_is_dropped(cross_validated):
    runs = [cross_validated(0)[0]] * 2
    for changes in ({"o_threshold": 0.9999}, {"by_type": {"EMAIL": 0.9999}}):
        (cascade,) = make_cascade(replace(load_ensemble(runs), **changes), runs)[0].taggers
        assert cascade.stages[0].pass_below >= 0.9999


def half_run(documents, folder):
    train_folds("mobilebert", documents[:12], folder, preset="cpu", n_folds=3, folds=range(2), epochs=1)
    return folder


def test_documents_that_a_run_has_not_validated_are_left_out(cross_validated, documents, tiny_presets, tmp_path):
    """As when the time of one training ran out before all folds were trained."""
    runs = [cross_validated(0)[0], half_run(documents, tmp_path / "half")]
    _, (*_, recall) = make_cascade(load_ensemble(runs, mixed_data=True), runs)
    validated = set(load_folds_out_of_fold(runs[1]).documents.tolist())
    assert recall.n_rows == len(true_rows(document for document in documents if document.number in validated)) > 0


def test_runs_of_different_documents_are_no_cascade(cross_validated, tiny_presets, tmp_path):
    runs = [cross_validated(0)[0], half_run(make_documents(12, seed=7), tmp_path / "other")]
    with pytest.raises(KitError, match="no out-of-fold rows of the same documents; predict without a cascade"):
        make_cascade(load_ensemble(runs, mixed_data=True), runs)
