import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_PRESETS, make_document, make_documents

from pii_kit import training
from pii_kit.augment import AugmentConfig
from pii_kit.files import KitError, read_json
from pii_kit.metrics import bootstrap_interval, micro_fbeta, recall_bound
from pii_kit.models import encoder
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.rules import DEFAULT_RULES
from pii_kit.split import split_documents, without_near_duplicates
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training import folds
from pii_kit.training.ensemble import predict_labelled
from pii_kit.training.folds import (
    load_folds_out_of_fold,
    out_of_fold_predictions,
    result_so_far,
    train_everywhere,
    train_fold,
    train_folds,
)
from pii_kit.training.loop import Clock
from pii_kit.training.out_of_fold import choose_threshold, keep_out_of_fold, labels_by_other_folds, load_out_of_fold
from pii_kit.training.runs import fingerprint, is_whole, save_tagger

pytestmark = pytest.mark.usefixtures("tiny_presets")
CLOCKS = {"elapsed_seconds", "cpu_seconds", "epoch_seconds", "peak_memory_bytes"}


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


def others_like(documents, n):
    """Made-up documents that share little text with `documents`."""
    return without_near_duplicates(make_documents(3 * n, seed=9), documents)[:n]


def without_clocks(result: dict) -> dict:
    return {name: value for name, value in result.items() if name not in CLOCKS}


def times(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_document_is_validated_once(run, documents):
    of_folds = [read_json(folder / "run.json")["validation"] for folder in fold_folders(run)]
    assert len(of_folds) == 3 and is_whole(run)
    numbers = sorted(document.number for document in documents)
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
        assert read_json(folder / "run.json")["validation"] == [document.number for document in validation]
        again = keep_out_of_fold(predict_documents([load_member(folder)], validation))
        for document in validation:
            np.testing.assert_allclose(again.of(document), kept.of(document), atol=1e-6)
        ((_, scores),) = predict_documents([load_member(fold_folders(run)[k - 1])], validation[:1])
        largest = max(largest, np.abs(scores - kept.of(validation[0])).max())
    assert largest > 1e-4  # another fold's tagger predicts something else


def test_the_result_is_the_score_with_thresholds_of_the_other_folds(run, documents, cross_validated):
    _, result = cross_validated(0)
    kept = load_folds_out_of_fold(run)
    folds = [[doc for doc, _ in out_of_fold_predictions(run / f"fold_{k}", documents)] for k in range(3)]
    labels, _ = labels_by_other_folds([kept], folds, DEFAULT_RULES)
    rows = submission_rows((document.number, labels[document.number]) for document in documents)
    o_threshold = choose_threshold([kept], documents, DEFAULT_RULES)
    decision = read_json(run / "decision.json")
    assert result["o_threshold"] == decision["o_threshold"] == o_threshold
    assert decision["rules"] == list(DEFAULT_RULES)
    truth = true_rows(documents)
    assert result["f5"] == micro_fbeta(truth, rows).f
    interval = bootstrap_interval(truth, rows, [document.number for document in documents])
    assert (result["f5_low"], result["f5_high"]) == interval
    assert result["recall_bound"] == recall_bound(result["tp"], result["fn"])
    assert 0 <= result["f5_low"] < result["f5_high"] <= 1
    assert (result["n_models"], result["n_documents"], result["epochs"]) == (3, len(documents), 6)
    assert result == json.loads((run / "result.json").read_text())


def test_a_finished_run_is_left_as_it_is(copy, documents, cross_validated):
    before = times(copy)
    assert train_copy(documents, copy) == cross_validated(0)[1]
    assert times(copy) == before


@pytest.mark.parametrize("killed", ["after a fold's last epoch", "in a fold", "before a fold"])
def test_a_killed_run_resumes_to_the_same_result(killed, copy, documents, cross_validated):
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
    one, other = (load_member(folder / "fold_2").network.model.state_dict() for folder in (copy, cross_validated(0)[0]))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_run_in_the_same_folder_is_refused(copy, documents):
    before = times(copy)
    with pytest.raises(KitError, match="copy: holds a run already; resume it, or choose another folder"):
        train_copy(documents, copy, resume=False)
    assert times(copy) == before


def test_a_folder_with_the_run_of_one_tagger_is_refused(documents, tmp_path):
    train_fold("sha_rnn", documents, tmp_path, preset="cpu", epochs=1)
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
def test_resuming_with_other_folds_or_settings_is_refused_by_name(change, needle, copy, documents):
    before = times(copy)
    with pytest.raises(KitError, match=needle):
        train_copy(documents, copy, **change)
    assert times(copy) == before


def test_resuming_with_other_essays_is_refused(copy, documents):
    with pytest.raises(KitError, match="data was"):
        train_copy(documents[:-1], copy)


def test_extra_documents_are_trained_on_and_never_scored(documents, tmp_path):
    """A near-duplicate of a document that is scored would tell its labels, and is left out."""
    extra = [*others_like(documents, 4), replace(documents[3], number=5000)]
    result = train_folds("sha_rnn", documents, tmp_path, n_folds=3, folds=range(3), seed=0, extra=extra)
    plain = train_folds("sha_rnn", documents, tmp_path / "plain", n_folds=3, folds=range(3), seed=0)
    assert result["n_documents"] == plain["n_documents"] == len(documents)
    assert load_folds_out_of_fold(tmp_path).documents.tolist() == sorted(doc.number for doc in documents)
    manifests = [read_json(folder / "run.json") for folder in fold_folders(tmp_path)]
    assert [manifest["extra"] for manifest in manifests] == [[fingerprint([doc]) for doc in extra[:4]]] * 3
    one, other = (
        load_member(folder / "fold_0").network.model.state_dict() for folder in (tmp_path, tmp_path / "plain")
    )
    assert any(not torch.equal(one[name], other[name]) for name in one if one[name].shape == other[name].shape)
    with pytest.raises(KitError, match="cannot be resumed: extra was"):
        train_folds("sha_rnn", documents, tmp_path, n_folds=3, folds=range(3), seed=0, extra=extra[:2], resume=True)


def test_errors_of_extra_documents_are_not_shown(documents, tmp_path):
    extra, others = others_like(documents, 4), make_documents(2, seed=10)
    train_folds("sha_rnn", documents, tmp_path, n_folds=3, folds=range(3), seed=0, extra=extra[:3])
    labelled = [replace(doc, number=5000 + place) for place, doc in enumerate(others)]
    found = predict_labelled(Tagger.load(tmp_path), [tmp_path], [*documents[:2], *extra, *labelled])
    shown = [document for document, _ in found.predictions]
    assert not set(map(id, extra[:3])) & set(map(id, shown)) and shown[:2] == list(documents[:2])
    assert found.n_left_out >= 3 and shown[-2:] == labelled


def test_one_fold_alone_can_be_trained(documents, tmp_path):
    result = train_copy(documents, tmp_path, folds=[1], epochs=1, resume=False)
    assert fold_folders(tmp_path) == [tmp_path / "fold_1"] and not is_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("fold_*")) == ["fold_1"]
    _, validation = split_documents(documents, n_folds=3, fold=1, seed=0)
    assert (result["n_models"], result["n_documents"]) == (1, len(validation))
    assert [document for document, _ in out_of_fold_predictions(tmp_path, documents)] == validation


@pytest.mark.parametrize(("preset", "n_models"), [("cpu", 1), ("every_fold", 2)])
def test_the_preset_decides_whether_all_folds_are_trained(preset, n_models, documents, tmp_path):
    result = train_copy(documents, tmp_path, preset=preset, n_folds=2, folds=None, epochs=1, resume=False)
    assert result["n_models"] == n_models == len(fold_folders(tmp_path))


@pytest.mark.parametrize("folds", [[3], [-1, 0], [0, 0], []])
def test_folds_that_do_not_exist_are_refused_and_nothing_is_written(folds, documents, tmp_path):
    with pytest.raises(
        KitError, match=rf"folds {', '.join(map(str, folds)) or 'none'}: expected numbers from 0 to 2, each once"
    ):
        train_copy(documents, tmp_path / "run", folds=folds, resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mistake", [{"preset": "huge"}, {"epochs": 0}, {"n_folds": 99}])
def test_after_a_mistake_the_folder_can_be_used(mistake, documents, tmp_path):
    with pytest.raises(KitError):
        train_copy(documents, tmp_path, folds=[0], resume=False, **mistake)
    train_copy(documents, tmp_path, folds=[0], resume=False, epochs=1)


def test_a_run_without_out_of_fold_probabilities_is_refused(sha_rnn_tagger, documents, tmp_path):
    save_tagger(tmp_path, sha_rnn_tagger)
    assert load_folds_out_of_fold(tmp_path) is None and not is_whole(tmp_path)
    with pytest.raises(KitError, match="holds no out-of-fold probabilities"):
        out_of_fold_predictions(tmp_path, documents)


def test_other_essays_with_the_same_numbers_have_no_out_of_fold_probabilities(run, documents):
    fields = ("tokens", "trailing_whitespace", "labels")
    shorter = [replace(document, **{name: getattr(document, name)[:-5] for name in fields}) for document in documents]
    assert out_of_fold_predictions(run, shorter) == []


def test_a_fold_keeps_the_predictions_of_its_own_tagger(run):
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


def test_a_run_out_of_time_predicts_with_the_taggers_it_has_and_can_be_resumed(
    one_thread, run, documents, tmp_path, cross_validated, caplog, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "is_over", lambda clock, batches_per_epoch: True)
        result = train_copy(documents, folder, resume=False, deadline=time.monotonic() + 3600)
    assert (result["n_finished"], result["n_models"]) == (0, 3) and "epochs" not in result
    assert f"{folder}: 0 of 3 folds are finished; resume the run" in caplog.text
    assert not (folder / "result.json").exists()
    begun = fold_folders(folder)
    assert len(begun) == result["n_models"] == len(Tagger.load(folder).members)
    assert len(out_of_fold_predictions(folder, documents)) == result["n_documents"] == len(documents)
    decision = read_json(folder / "decision.json")
    assert (decision["o_threshold"], tuple(decision["rules"])) == (result["o_threshold"], DEFAULT_RULES)

    again = train_copy(documents, folder)
    assert without_clocks(again) == without_clocks(cross_validated(0)[1])
    sessions = [row for of_fold in begun for row in read_json(of_fold / "sessions.json")]
    assert len(sessions) == 6  # each of three folds trained in two sessions, one after another
    assert again["elapsed_seconds"] == pytest.approx(sum(row["elapsed_seconds"] for row in sessions))
    assert again["cpu_seconds"] == pytest.approx(sum(row["cpu_seconds"] for row in sessions))
    assert again["elapsed_seconds"] > result["elapsed_seconds"] > 0 and again["cpu_seconds"] > result["cpu_seconds"] > 0
    for of_fold, other in zip(fold_folders(folder), fold_folders(run), strict=True):
        one, two = (load_member(each).network.model.state_dict() for each in (of_fold, other))
        assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_a_fold_does_not_begin_late(one_thread, copy, documents):
    """But a finished one counts."""
    for name in ("result.json", "fold_2/result.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "fold_2" / "checkpoint")
    before = times(copy / "fold_2")
    assert train_copy(documents, copy, deadline=time.monotonic())["n_finished"] == 2
    assert times(copy / "fold_2") == before


def test_a_fold_that_is_finished_counts_and_one_that_is_not_does_not(copy, documents):
    assert fold_folders(copy) == [copy / f"fold_{k}" for k in range(3)]
    (copy / "result.json").unlink()
    (copy / "fold_1" / "result.json").unlink()
    assert fold_folders(copy) == [copy / "fold_0", copy / "fold_2"] and not is_whole(copy)
    assert result_so_far(copy, documents)["n_finished"] == 2


def test_a_run_out_of_time_says_how_to_resume_it_on_kaggle_too(copy, documents, caplog):
    (copy / "result.json").unlink()
    result_so_far(copy, documents)
    assert "on Kaggle: attach this output to the next session, and run again" in caplog.text


def test_a_result_describes_its_run_whose_tagger_can_be_rebuilt(documents, tmp_path):
    result = train_fold("sha_rnn", documents, tmp_path / "run", preset="cpu", seed=4)
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    tagger = load_member(tmp_path / "run")
    assert result["parameters"] == tagger.network.model.num_parameters()
    assert result["o_threshold"] == tagger.o_threshold
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["validation"] == [doc.number for doc in split_documents(documents, seed=4)[1]]
    assert manifest["weights"] == result["weights"] == "random"
    assert result["epoch_seconds"] < result["elapsed_seconds"] and result["cpu_seconds"] > 0


def test_resuming_a_finished_run_leaves_it_as_it_is(documents, tmp_path):
    result = train_fold("sha_rnn", documents, tmp_path, preset="cpu")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train_fold("sha_rnn", documents, tmp_path, preset="cpu", resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_killed_before_its_first_checkpoint_starts_over(documents, tmp_path):
    whole = train_fold("sha_rnn", documents, tmp_path / "whole", preset="cpu")
    (tmp_path / "killed").mkdir()
    for name in ("run.json", "tokenizer.json", "pieces.json"):
        (tmp_path / "killed" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    again = train_fold("sha_rnn", documents, tmp_path / "killed", preset="cpu", resume=True)
    assert (again["loss"], again["f5"]) == (whole["loss"], whole["f5"])


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"epochs": 3}, r"train\.epochs was 2, now 3"),
        ({"seed": 9}, r"train\.seed was 0, now 9"),
        ({"changes": {"model.hidden_size": 32}}, r"sizes\.hidden_size was None, now 32"),
        ({"augment": AugmentConfig()}, r"train\.augment\.swap_share was None, now 1\.0"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(documents, tmp_path, change, needle):
    train_fold("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match=needle):
        train_fold("sha_rnn", documents, tmp_path, preset="cpu", resume=True, **change)


def test_resuming_one_tagger_with_other_documents_is_refused(documents, tmp_path):
    train_fold("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match="data was"):
        train_fold("sha_rnn", documents[:-1], tmp_path, preset="cpu", resume=True)


def test_a_second_tagger_in_the_same_folder_is_refused(documents, tmp_path):
    train_fold("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match="holds a run already"):
        train_fold("sha_rnn", documents, tmp_path, preset="cpu")


def plain_documents(n: int) -> list:
    return [make_document(f"Essay number {number} is short.", number, labels={}) for number in range(n)]


def test_documents_without_any_pii_are_trained_on_after_a_warning(tmp_path, caplog):
    result = train_folds("sha_rnn", plain_documents(10), tmp_path, preset="cpu")
    assert result["tp"] == result["fn"] == 0
    assert "none of the 10 documents has PII" in caplog.text


@pytest.mark.parametrize(
    ("n", "n_folds", "needle"),
    [
        (0, 5, "0 labelled documents, 5 folds: expected 2 folds or more, and a document for each; add documents"),
        (4, 5, "4 labelled documents, 5 folds"),
        (9, 1, "9 labelled documents, 1 folds: expected 2 folds or more, and a document for each; ask for more folds"),
    ],
)
@pytest.mark.parametrize("n_processes", [None, 2])
def test_too_few_documents_are_refused_before_anything_starts(n, n_folds, needle, n_processes, tmp_path, monkeypatch):
    for name in ("launch", "run_in_parallel", "train_fold", "_open"):
        monkeypatch.setattr(folds, name, None)
    with pytest.raises(KitError, match=needle):
        train_everywhere(
            "sha_rnn", plain_documents(n), tmp_path / "run", n_folds=n_folds, folds=[0], n_processes=n_processes
        )
    assert not (tmp_path / "run").exists()


def test_documents_without_any_token_are_refused(tmp_path):
    empty = [make_document("", number, labels={}) for number in range(6)]
    with pytest.raises(KitError, match="6 labelled documents, but those that train fold 0 have no tokens"):
        train_folds("sha_rnn", empty, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gpu_trains_the_cpu_recipe_on_all_five_folds_unless_another_is_named(documents, tmp_path, monkeypatch):
    calls = []
    monkeypatch.undo()  # the real presets
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    alone = SimpleNamespace(is_main_process=True, num_processes=1, wait_for_everyone=lambda: None)
    monkeypatch.setattr(folds, "rank_state", lambda: alone)
    monkeypatch.setattr(folds, "train_fold", lambda model, documents, folder, **how: calls.append((model, how)))
    monkeypatch.setattr(folds, "result_so_far", lambda folder, documents: {})
    for model in ("sha_rnn", "mobilebert"):
        train_folds(model, documents, tmp_path / model)
    assert [(model, how["preset"], how["fold"]) for model, how in calls] == [
        (model, "cpu", fold) for model in ("sha_rnn", "mobilebert") for fold in range(5)
    ]
    calls.clear()
    train_folds("sha_rnn", documents, tmp_path / "named", preset="original")
    assert [(how["preset"], how["fold"]) for _, how in calls] == [("original", 0)]


@pytest.fixture
def published(monkeypatch):
    """The preset "published" at a tiny size, and a hub on which the weights are not."""
    tiny = replace(TINY_PRESETS["mobilebert"]["cpu"], published=True)
    monkeypatch.setitem(TINY_PRESETS["mobilebert"], "published", tiny)
    for module in (training, encoder):
        monkeypatch.setattr(module, "MOBILEBERT", "pii-kit-tests/nowhere")


def test_published_weights_that_cannot_be_loaded_are_an_error_that_tells_how_to_attach_them(
    published, documents, tmp_path
):
    with pytest.raises(KitError, match=r"nowhere: not on this machine.*Add input.*--weights FOLDER.*random"):
        train_folds("mobilebert", documents, tmp_path / "run", preset="published")
    assert not (tmp_path / "run").exists()


def test_a_random_start_that_is_asked_for_by_name_is_recorded(published, documents, tmp_path):
    how = {"preset": "published", "weights": "random", "n_folds": 3, "folds": [0], "epochs": 1}
    result = train_folds("mobilebert", documents, tmp_path, **how)
    for name in ("result.json", "fold_0/result.json", "fold_0/run.json"):
        assert read_json(tmp_path / name)["weights"] == result["weights"] == "random"
    with pytest.raises(KitError, match=r"no config\.json that names a model_type"):
        train_folds("mobilebert", documents, tmp_path / "other", **how | {"weights": tmp_path})
    (tmp_path / "result.json").unlink()
    assert train_folds("mobilebert", documents, tmp_path, **how, resume=True)["weights"] == "random"


# Trains two folds in two processes, then with a batch that two cannot share. It must not have used torch before.
SCRIPT = """
import sys

from conftest import TINY_PRESETS

from pii_kit.files import KitError
from pii_kit.sample import make_documents
from pii_kit import training as presets
from pii_kit.training.folds import train_everywhere

presets.PRESETS = TINY_PRESETS
settings = {"n_processes": 2, "preset": "cpu", "n_folds": 3, "folds": [0, 1]}
print(train_everywhere("sha_rnn", make_documents(12, seed=1), sys.argv[1], **settings)["n_models"], "models")
try:
    train_everywhere("sha_rnn", make_documents(12, seed=1), sys.argv[1] + "_odd", batch_size=3, **settings)
except KitError as error:
    print(error)
"""


def test_a_notebook_trains_in_two_processes_and_reports_the_error_of_one_of_them(tmp_path, request):
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(request.config.rootpath), str(request.config.rootpath / "tests")])
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 models" in ended.stdout
    assert "\nbatch_size is 3; expected a multiple of the 2 processes\n" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert read_json(tmp_path / "run" / "result.json")["n_models"] == 2


def test_on_a_cpu_it_is_train_folds(tiny_presets, documents, tmp_path):
    settings = {"preset": "cpu", "n_folds": 3, "folds": [1]}
    result, other = (
        train("sha_rnn", documents, tmp_path / train.__name__, **settings) for train in (train_everywhere, train_folds)
    )
    assert without_clocks(result) == without_clocks(other)


def test_gpus_that_do_not_work_are_reported_before_anything_is_written(documents, tmp_path, monkeypatch):
    monkeypatch.setattr("pii_kit.training.parallel.try_gpus", lambda: ("Tesla P100", "Tesla P100: does not work"))
    with pytest.raises(KitError, match="Tesla P100: does not work"):
        train_everywhere("sha_rnn", documents, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not torch.cuda.is_initialized()
