import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pii_kit.data import split_documents
from pii_kit.files import KitError, read_json
from pii_kit.metrics import bootstrap_interval, decided_rows, micro_fbeta, threshold_curve
from pii_kit.predict import predict_documents
from pii_kit.rules import DEFAULT_RULES
from pii_kit.submission import true_rows
from pii_kit.training.ensemble import load_ensemble
from pii_kit.training.folds import (
    fold_folders,
    is_whole,
    load_folds_out_of_fold,
    out_of_fold_predictions,
    result_so_far,
    train_folds,
    train_preset,
)
from pii_kit.training.out_of_fold import keep_out_of_fold, load_out_of_fold
from pii_kit.training.runs import load_tagger, save_tagger

pytestmark = pytest.mark.usefixtures("tiny_presets")
CLOCKS = {"seconds", "seconds_per_epoch"}


@pytest.fixture
def run(cross_validated):
    """A finished run of three folds, not to be changed."""
    return cross_validated(0)[0]


@pytest.fixture
def copy(run, tmp_path):
    """A finished run of three folds that a test may change."""
    return shutil.copytree(run, tmp_path / "copy")


def train_copy(documents, folder, **changes):
    settings = {"model": "sha_rnn", "preset": "cpu", "n_folds": 3, "folds": range(3), "seed": 0, "resume": True}
    return train_folds(documents=documents, folder=folder, **{**settings, **changes})


def without_clocks(result: dict) -> dict:
    return {name: value for name, value in result.items() if name not in CLOCKS}


def times(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_document_is_validated_once(run, documents):
    of_folds = [read_json(folder / "run.json")["validation"] for folder in fold_folders(run)]
    assert len(of_folds) == 3 and is_whole(run)
    numbers = sorted(document.document for document in documents)
    assert (
        sorted(number for of_fold in of_folds for number in of_fold)
        == numbers
        == load_folds_out_of_fold(run).documents.tolist()
    )
    assert [document for document, _ in out_of_fold_predictions(run, documents)] == list(documents)


def test_out_of_fold_probabilities_are_those_of_the_tagger_that_never_saw_the_document(run, documents):
    kept = load_folds_out_of_fold(run)
    largest = 0.0
    for k, folder in enumerate(fold_folders(run)):
        _, validation = split_documents(documents, n_folds=3, fold=k, seed=0)
        assert read_json(folder / "run.json")["validation"] == [document.document for document in validation]
        again = keep_out_of_fold(predict_documents([load_tagger(folder)], validation))
        for document in validation:
            np.testing.assert_allclose(again.of(document), kept.of(document), atol=1e-6)
        ((_, scores),) = predict_documents([load_tagger(fold_folders(run)[k - 1])], validation[:1])
        largest = max(largest, np.abs(scores - kept.of(validation[0])).max())
    assert largest > 1e-4  # another fold's tagger says something else


def test_the_cut_off_is_the_best_of_the_curve_and_the_result_is_its_score(run, documents, cross_validated):
    _, result = cross_validated(0)
    predictions = out_of_fold_predictions(run, documents)
    curve = threshold_curve(predictions, rules=DEFAULT_RULES)
    decision = read_json(run / "decision.json")
    assert curve["f5"][decision["o_threshold"]] == curve["f5"].max() == result["f5"]
    assert result["o_threshold"] == decision["o_threshold"]
    assert decision["rules"] == list(DEFAULT_RULES)
    truth = true_rows(documents)
    rows = decided_rows(predictions, o_threshold=decision["o_threshold"], rules=DEFAULT_RULES)
    assert result["f5"] == micro_fbeta(truth, rows).f
    interval = bootstrap_interval(truth, rows, [document.document for document in documents])
    assert (result["f5_low"], result["f5_high"]) == interval
    assert 0 <= result["f5_low"] < result["f5_high"] <= 1
    assert (result["n_models"], result["n_documents"], result["epochs"]) == (3, len(documents), 6)
    assert result == json.loads((run / "result.json").read_text())


def test_a_finished_run_is_left_as_it_is(copy, documents, cross_validated):
    before = times(copy)
    assert train_copy(documents, copy) == cross_validated(0)[1]
    assert times(copy) == before


@pytest.mark.parametrize("killed", ["after a fold's last epoch", "in a fold", "before a fold"])
def test_a_killed_run_goes_on_to_the_same_result(killed, copy, documents, cross_validated):
    (copy / "result.json").unlink()
    if killed == "before a fold":
        (copy / "decision.json").unlink()
        shutil.rmtree(copy / "fold_2")
    else:
        (copy / "fold_1" / "result.json").unlink()
    if killed == "in a fold":
        for name in ("checkpoint", "tagger"):
            shutil.rmtree(copy / "fold_1" / name)
    finished = times(copy / "fold_0")
    assert without_clocks(train_copy(documents, copy)) == without_clocks(cross_validated(0)[1])
    assert times(copy / "fold_0") == finished
    one, other = (load_tagger(folder / "fold_2").model.state_dict() for folder in (copy, cross_validated(0)[0]))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_run_in_the_same_folder_is_refused(copy, documents):
    before = times(copy)
    with pytest.raises(KitError, match="copy: holds a run already; resume it, or choose another folder"):
        train_copy(documents, copy, resume=False)
    assert times(copy) == before


def test_a_folder_with_the_run_of_one_tagger_is_refused(documents, tmp_path):
    train_preset("sha_rnn", documents, tmp_path, preset="cpu", epochs=1)
    with pytest.raises(KitError, match="holds a run already"):
        train_copy(documents, tmp_path, resume=False)
    with pytest.raises(KitError, match=r"folds\.json is missing"):
        train_copy(documents, tmp_path)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"folds": [0]}, r"folds was \[0, 1, 2\], now \[0\]"),
        ({"n_folds": 4}, "n_folds was 3, now 4"),
        ({"preset": "other"}, "preset was 'cpu', now 'other'"),
        ({"model": "mobilebert"}, "model was 'sha_rnn', now 'mobilebert'"),
        ({"seed": 5}, r"fold_0: cannot be resumed: train\.seed was 0, now 5"),
        ({"epochs": 9}, r"train\.epochs was 2, now 9"),
    ],
)
def test_resuming_what_was_started_otherwise_is_refused_by_name(change, needle, copy, documents):
    before = times(copy)
    with pytest.raises(KitError, match=needle):
        train_copy(documents, copy, **change)
    assert times(copy) == before


def test_resuming_with_other_essays_is_refused(copy, documents):
    with pytest.raises(KitError, match="data was"):
        train_copy(documents[:-1], copy)


def test_one_fold_alone_can_be_trained(documents, tmp_path):
    result = train_copy(documents, tmp_path, folds=[1], epochs=1, resume=False)
    assert fold_folders(tmp_path) == [tmp_path / "fold_1"] and not is_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("fold_*")) == ["fold_1"]
    _, validation = split_documents(documents, n_folds=3, fold=1, seed=0)
    assert (result["n_models"], result["n_documents"]) == (1, len(validation))
    assert [document for document, _ in out_of_fold_predictions(tmp_path, documents)] == validation


@pytest.mark.parametrize(("preset", "n_models"), [("cpu", 1), ("every_fold", 2)])
def test_which_folds_are_trained_is_the_presets_unless_they_are_named(preset, n_models, documents, tmp_path):
    result = train_copy(documents, tmp_path, preset=preset, n_folds=2, folds=None, epochs=1, resume=False)
    assert result["n_models"] == n_models == len(fold_folders(tmp_path))


@pytest.mark.parametrize("folds", [[3], [-1, 0], [0, 0], []])
def test_folds_that_cannot_be_are_named_and_nothing_is_written(folds, documents, tmp_path):
    with pytest.raises(
        KitError, match=rf"folds are {', '.join(map(str, folds)) or 'none'}; expected each once, 0 to 2"
    ):
        train_copy(documents, tmp_path / "run", folds=folds, resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mistake", [{"preset": "huge"}, {"epochs": 0}, {"n_folds": 99}])
def test_a_mistake_does_not_take_the_folder(mistake, documents, tmp_path):
    with pytest.raises(KitError):
        train_copy(documents, tmp_path, folds=[0], resume=False, **mistake)
    train_copy(documents, tmp_path, folds=[0], resume=False, epochs=1)


def test_a_run_without_out_of_fold_probabilities_says_so(sha_rnn_tagger, documents, tmp_path):
    save_tagger(tmp_path, sha_rnn_tagger)
    assert load_folds_out_of_fold(tmp_path) is None and not is_whole(tmp_path)
    with pytest.raises(KitError, match="holds no out-of-fold probabilities"):
        out_of_fold_predictions(tmp_path, documents)


def test_other_essays_with_the_same_numbers_have_no_out_of_fold_probabilities(run, documents):
    fields = ("tokens", "trailing_whitespace", "labels")
    shorter = [replace(document, **{name: getattr(document, name)[:-5] for name in fields}) for document in documents]
    assert out_of_fold_predictions(run, shorter) == []


def test_a_fold_keeps_what_its_own_tagger_said(run):
    for folder in fold_folders(run):
        assert load_out_of_fold(folder / "tagger").documents.tolist() == sorted(
            read_json(folder / "run.json")["validation"]
        )


@pytest.fixture
def one_thread():
    """Folds are trained one after another, in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_out_of_time_predicts_by_what_it_has_and_is_gone_on_with(
    one_thread, run, documents, tmp_path, cross_validated, caplog
):
    folder = tmp_path / "run"
    result = train_copy(documents, folder, resume=False, minutes=0.02)
    assert result["n_finished"] == 0 and 1 <= result["n_models"] <= 3 and "seconds" not in result
    assert f"{folder}: 0 of 3 folds are finished; go on with resume" in caplog.text
    assert not (folder / "result.json").exists()
    begun = fold_folders(folder)
    assert len(begun) == result["n_models"] == len(load_ensemble([folder]).taggers)
    assert len(out_of_fold_predictions(folder, documents)) == result["n_documents"] < len(documents) or len(begun) == 3
    decision = read_json(folder / "decision.json")
    assert (decision["o_threshold"], tuple(decision["rules"])) == (result["o_threshold"], DEFAULT_RULES)

    again = train_copy(documents, folder)
    assert without_clocks(again) == without_clocks(cross_validated(0)[1])
    for of_fold, other in zip(fold_folders(folder), fold_folders(run), strict=True):
        one, two = (load_tagger(each).model.state_dict() for each in (of_fold, other))
        assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_a_fold_that_is_finished_counts_and_one_that_is_not_does_not(copy, documents):
    assert fold_folders(copy) == [copy / f"fold_{k}" for k in range(3)]
    (copy / "result.json").unlink()
    (copy / "fold_1" / "result.json").unlink()
    assert fold_folders(copy) == [copy / "fold_0", copy / "fold_2"] and not is_whole(copy)
    assert result_so_far(copy, documents)["n_finished"] == 2


def test_on_kaggle_a_run_out_of_time_says_what_to_attach(copy, documents, monkeypatch, caplog):
    (copy / "result.json").unlink()
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    result_so_far(copy, documents)
    assert "attach this output to the next session (Add input), and run again" in caplog.text
