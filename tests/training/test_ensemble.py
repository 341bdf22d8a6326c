import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import likely, random_essays

from pii_kit.decide import O_THRESHOLDS
from pii_kit.files import KitError, read_json, write_json
from pii_kit.labels import LABEL_TO_ID
from pii_kit.predict import Ensemble, predict_documents
from pii_kit.rules import label_document
from pii_kit.training.ensemble import export_run, load_ensemble
from pii_kit.training.folds import fold_folders, load_folds_out_of_fold, train_folds
from pii_kit.training.out_of_fold import VOTES, average_out_of_fold, choose_weights, keep_out_of_fold, score_out_of_fold
from pii_kit.training.runs import load_tagger, save_tagger


def best_of(members, weights) -> float:
    """The highest F5 of a weighted mean at any cut-off."""
    average = average_out_of_fold(members, weights)
    return max(score_out_of_fold(average, o_threshold=threshold).f for threshold in O_THRESHOLDS)


def made_up(seed: int, n_members: int) -> list:
    """Out-of-fold probabilities of several models, each better than the one before it."""
    rng = np.random.default_rng(seed)
    documents = random_essays(rng) + [replace(one, document=one.document + 100) for one in random_essays(rng)]
    truth = [np.eye(15, dtype=np.float32)[[LABEL_TO_ID[label] for label in one.labels]] for one in documents]
    return [
        keep_out_of_fold(
            (one, (likely(rng, one.labels) + 0.2 * place * true.reshape(-1, 15)) / (1 + 0.2 * place))
            for one, true in zip(documents, truth, strict=True)
        )
        for place in range(n_members)
    ]


def test_one_run_is_the_plain_mean_of_its_folds_at_its_own_cut_off(cross_validated, documents):
    run, _ = cross_validated(0)
    ensemble = load_ensemble([run])
    decision = read_json(run / "decision.json")
    assert ensemble.weights == (1 / 3,) * 3
    assert (ensemble.o_threshold, list(ensemble.rules)) == (decision["o_threshold"], decision["rules"])
    of_folds = [[s for _, s in predict_documents([load_tagger(f)], documents)] for f in fold_folders(run)]
    for place, (document, scores) in enumerate(ensemble.predict(documents)):
        np.testing.assert_allclose(scores, np.mean([of_fold[place] for of_fold in of_folds], axis=0), atol=1e-6)
        assert ensemble.label(document, scores) == label_document(
            document, scores, o_threshold=decision["o_threshold"], rules=decision["rules"]
        )


def test_a_runs_rules_are_those_of_its_decision(cross_validated, tmp_path):
    one, other = (shutil.copytree(cross_validated(0)[0], tmp_path / name) for name in ("one", "other"))
    write_json(one / "decision.json", {"o_threshold": 0.5, "rules": ["add_emails", "add_urls"]})
    write_json(other / "decision.json", {"o_threshold": 0.9, "rules": ["add_phones", "add_urls"]})
    assert load_ensemble([one]).o_threshold == 0.5 and load_ensemble([one]).rules == ("add_emails", "add_urls")
    assert load_ensemble([one, other]).rules == ("add_emails", "add_urls", "add_phones")


def test_weights_of_two_runs_are_chosen_out_of_fold(cross_validated):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    ensemble = load_ensemble(runs)
    kept = [load_folds_out_of_fold(run) for run in runs]
    weights, o_threshold = choose_weights(kept)
    assert ensemble.o_threshold == o_threshold in O_THRESHOLDS
    assert len(ensemble.taggers) == 6 and sum(ensemble.weights) == pytest.approx(1)
    assert ensemble.weights == pytest.approx([weight / 3 for weight in weights for _ in range(3)])
    assert score_out_of_fold(average_out_of_fold(kept, weights), o_threshold=o_threshold).f == best_of(kept, weights)
    assert best_of(kept, weights) >= best_of(kept, [0.5, 0.5])


@pytest.mark.parametrize("seed", range(5))
def test_chosen_weights_beat_equal_ones_and_every_first_step_and_no_grid(seed):
    """Two runs: of all shares of up to ten votes the greedy way sees some, equal ones and both 2:1 among them."""
    members = made_up(seed, 2)
    weights, o_threshold = choose_weights(members)
    chosen = best_of(members, weights)
    assert sum(weights) == pytest.approx(1) and min(weights) > 0
    assert score_out_of_fold(average_out_of_fold(members, weights), o_threshold=o_threshold).f == chosen
    seen = ([1 / 2, 1 / 2], [1 / 3, 2 / 3], [2 / 3, 1 / 3])
    grid = {n / n_votes for n_votes in range(2, VOTES + 1) for n in range(1, n_votes)}
    assert max(best_of(members, of_seen) for of_seen in seen) <= chosen
    assert chosen <= max(best_of(members, [share, 1 - share]) for share in grid)


def test_the_better_of_two_runs_gets_more():
    bad, *_, good = made_up(3, 6)
    weights, _ = choose_weights([bad, good])
    assert weights[1] > 0.5
    assert choose_weights([good, bad])[0] == pytest.approx(weights[::-1])
    assert best_of([bad, good], weights) >= max(best_of([bad, good], alone) for alone in ([1, 0], [0, 1])) - 0.02


@pytest.mark.parametrize("n_members", [3, 12])
def test_any_number_of_runs_has_weights(n_members):
    members = made_up(0, n_members)
    weights, _ = choose_weights(members)
    assert len(weights) == n_members and sum(weights) == pytest.approx(1)
    assert best_of(members, weights) >= best_of(members, [1 / n_members] * n_members)


def test_runs_that_say_the_same_count_alike_at_a_middle_cut_off():
    (member,) = made_up(1, 1)
    weights, o_threshold = choose_weights([member] * 2)
    assert weights == [0.5, 0.5]
    scores = [score_out_of_fold(member, o_threshold=threshold).f for threshold in O_THRESHOLDS]
    best = [threshold for threshold, f5 in zip(O_THRESHOLDS, scores, strict=True) if f5 == max(scores)]
    assert o_threshold == best[(len(best) - 1) // 2]


def test_runs_of_different_documents_count_alike(cross_validated, documents, tiny_presets, tmp_path):
    run, result = cross_validated(0)
    other = train_folds("mobilebert", documents[:12], tmp_path, preset="cpu", n_folds=3, folds=range(2), epochs=1)
    ensemble = load_ensemble([run, tmp_path])
    assert ensemble.weights == pytest.approx([1 / 6] * 3 + [1 / 4] * 2)
    assert ensemble.o_threshold == pytest.approx((result["o_threshold"] + other["o_threshold"]) / 2)


def test_a_run_of_one_tagger_stands_beside_a_cross_validated_one(cross_validated, sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path, sha_rnn_tagger)
    run, result = cross_validated(0)
    assert load_ensemble([tmp_path]).o_threshold == sha_rnn_tagger.o_threshold
    ensemble = load_ensemble([tmp_path, run])
    assert ensemble.weights == pytest.approx([1 / 2] + [1 / 6] * 3)
    assert ensemble.o_threshold == pytest.approx((result["o_threshold"] + sha_rnn_tagger.o_threshold) / 2)


def test_exported_runs_say_the_same_with_the_same_weights(cross_validated, documents, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    exported = [tmp_path / str(seed) for seed in (0, 1)]
    assert max(export_run(*pair) for pair in zip(runs, exported, strict=True)) < 1e-3
    one, other = load_ensemble(runs), load_ensemble(exported)
    assert (other.weights, other.o_threshold, other.rules) == (one.weights, one.o_threshold, one.rules)
    assert load_ensemble(exported[:1]).o_threshold == load_ensemble(runs[:1]).o_threshold
    for (_, scores), (_, again) in zip(one.predict(documents[:4]), other.predict(documents[:4]), strict=True):
        np.testing.assert_allclose(scores, again, atol=1e-4)


@pytest.mark.parametrize("missing", ["fold_1", "fold_1/tagger"])
def test_a_missing_fold_is_named(missing, cross_validated, tmp_path):
    copy = shutil.copytree(cross_validated(0)[0], tmp_path / "copy")
    shutil.rmtree(copy / missing)
    with pytest.raises(KitError, match=f"{copy}/fold_1: not a run folder with a trained model") as error:
        load_ensemble([copy])
    assert "\n" not in str(error.value)
    with pytest.raises(KitError, match=f"{copy}/fold_1: not a run folder"):
        export_run(copy, tmp_path / "exported")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(KitError, match=f"{tmp_path}: not a run folder"):
        load_ensemble([tmp_path])


def test_what_is_left_of_a_run_keeps_the_runs_weight():
    """Runs of two folds and of three, weights .4 and .6; a run alone has all the weight, whatever it was."""
    ensemble = Ensemble(
        taggers=(None,) * 5, weights=(0.2, 0.2, 0.2, 0.2, 0.2), of_run=(0, 0, 1, 1, 1), o_threshold=0.5, rules=()
    )
    assert ensemble.weights_of([0, 2]) == pytest.approx([0.4, 0.6])
    assert ensemble.weights_of([0, 1, 4]) == pytest.approx([0.2, 0.2, 0.6])
    assert ensemble.weights_of([3, 2]) == pytest.approx([0.5, 0.5])
    assert ensemble.weights_of([1]) == [1]


def test_all_taggers_have_the_ensembles_own_weights_to_the_last_bit(cross_validated):
    ensemble = load_ensemble([cross_validated(seed)[0] for seed in (0, 1)])
    assert tuple(ensemble.weights_of(range(6))) == ensemble.weights
    assert ensemble.of_run == (0, 0, 0, 1, 1, 1)


def test_a_copy_on_another_device_leaves_the_first_one_where_it_is(cross_validated):
    """The meta device stands for a second GPU."""
    ensemble = load_ensemble([cross_validated(0)[0]])
    assert ensemble.on("cpu") == ensemble
    copy = ensemble.on("meta")
    assert {tagger.model.device.type for tagger in copy.taggers} == {"meta"}
    assert {tagger.model.device.type for tagger in ensemble.taggers} == {"cpu"}
    assert (copy.weights, copy.o_threshold, copy.rules) == (ensemble.weights, ensemble.o_threshold, ensemble.rules)
