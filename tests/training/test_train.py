"""Training a run: what it leaves behind, how it resumes after kills, and how it stops in time."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import torch
from conftest import TINY_PRESETS, make_documents
from safetensors.torch import load_file

from pii_kit.augment import without_pii
from pii_kit.files import KitError, read_json
from pii_kit.metrics import bootstrap_interval, micro_fbeta, recall_bound
from pii_kit.models.encoder import EncoderConfig, EncoderForTokenClassification
from pii_kit.models.network import linear_parameters
from pii_kit.predict import Tagger, fold_folders
from pii_kit.rules import DEFAULT_RULES
from pii_kit.settings import PRESETS, AugmentSettings
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training import runs
from pii_kit.training import train as module
from pii_kit.training.out_of_fold import choose_threshold, labels_by_other_folds, load_out_of_fold, predict_unseen
from pii_kit.training.split import fold_of_documents, split_documents
from pii_kit.training.start import check_sizes
from pii_kit.training.train import Fold, FoldTraining, train, train_fold

pytestmark = pytest.mark.usefixtures("tiny_presets")
CLOCKS = {"elapsed_seconds", "cpu_seconds", "epoch_seconds", "ended"}


class Killed(BaseException):
    """Simulates a kill: no handler of the package catches it."""


def without_clocks(content):
    if isinstance(content, list):
        return [without_clocks(row) for row in content]
    return {name: value for name, value in content.items() if name not in CLOCKS}


def times(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def weights_of(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "tagger" / "model.safetensors")


def are_equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def copy(cross_validated, tmp_path):
    """A finished run of three folds that a test may change."""
    return shutil.copytree(cross_validated(0)[0], tmp_path / "copy")


def train_copy(documents, folder, **changes):
    """Train as `cross_validated` does."""
    how = {"n_folds": 3, "folds": range(3), "changes": {"seed": 0}, "resume": True}
    return train("sha_rnn", documents, folder, **how | changes)


def test_the_result_is_the_score_with_thresholds_of_the_other_folds(cross_validated, documents):
    run, result = cross_validated(0)
    kept = load_out_of_fold(run)
    assert all(map(kept.holds, documents)) and len(kept.folds(documents)) == 3
    labels, _ = labels_by_other_folds([kept], documents, DEFAULT_RULES)
    truth, rows = true_rows(documents), submission_rows((doc.number, labels[doc.number]) for doc in documents)
    o_threshold = choose_threshold([run], documents, DEFAULT_RULES)
    assert read_json(run / "decision.json") == {"o_threshold": o_threshold, "rules": list(DEFAULT_RULES)}
    assert (result["f5"], result["o_threshold"]) == (micro_fbeta(truth, rows).f, o_threshold)
    assert (result["f5_low"], result["f5_high"]) == bootstrap_interval(truth, rows, [doc.number for doc in documents])
    assert result["recall_bound"] == recall_bound(result["tp"], result["fn"])
    assert (result["n_models"], result["n_documents"], result["epochs"]) == (3, len(documents), 6)
    assert result == json.loads((run / "result.json").read_text())
    names = {"run.json", "decision.json", "result.json", "fold_0", "fold_1", "fold_2"}
    assert {path.name for path in run.iterdir()} == names
    of_fold = {"checkpoint.pt", "history.json", "tagger", "out_of_fold.safetensors"}
    assert all({path.name for path in fold.iterdir()} == of_fold for fold in fold_folders(run))
    assert [entry.fold for entry in runs.read_run(run).documents] == fold_of_documents(documents, n_folds=3, seed=0)
    assert result["elapsed_seconds"] > 0 < result["cpu_seconds"] and result["device"] == "CPU, 1 thread"


def test_a_finished_run_is_left_as_it_is_and_a_second_run_in_its_folder_is_refused(copy, documents, cross_validated):
    before = times(copy)
    assert train_copy(documents, copy) == cross_validated(0)[1]
    with pytest.raises(KitError, match="copy: holds a run already; resume it, or choose another folder"):
        train_copy(documents, copy, resume=False)
    with pytest.raises(KitError, match=r"cannot be resumed: settings\.train\.epochs was 2, now 9"):
        train_copy(documents, copy, changes={"epochs": 9})
    with pytest.raises(KitError, match="cannot be resumed: n_documents was 24, now 23"):
        train_copy(documents[:-1], copy)
    assert times(copy) == before


@pytest.mark.parametrize("killed", ["in a fold", "before a fold"])
def test_a_killed_run_resumes_to_the_same_result(killed, copy, documents, cross_validated):
    (copy / "result.json").unlink()
    if killed == "in a fold":
        for name in ("checkpoint.pt", "history.json"):
            (copy / "fold_1" / name).unlink()
    elif killed == "before a fold":
        (copy / "decision.json").unlink()
        shutil.rmtree(copy / "fold_2")
    finished = times(copy / "fold_0")
    assert without_clocks(train_copy(documents, copy)) == without_clocks(cross_validated(0)[1])
    assert times(copy / "fold_0") == finished
    for fold in range(3):
        assert are_equal(*(weights_of(run / f"fold_{fold}") for run in (copy, cross_validated(0)[0])))


def test_extra_documents_are_trained_on_and_near_duplicates_left_out(documents, tmp_path):
    extra = [*make_documents(2, seed=77), replace(documents[3], number=5000)]
    result = train("sha_rnn", documents, tmp_path, n_folds=3, changes={"epochs": 1}, extra=extra)
    record = runs.read_run(tmp_path)
    assert result["n_documents"] == sum(entry.fold == 0 for entry in record.documents)
    assert [entry.digest for entry in record.extra] == [runs.digest_of(document) for document in extra[:2]]


def test_a_student_is_trained_on_a_teachers_targets_and_is_resumed_with_the_same_ones(
    cross_validated, documents, tmp_path
):
    unlabelled = [replace(document, labels=None) for document in make_documents(4, seed=50)]
    teacher, run = cross_validated(0)[0], tmp_path / "student"
    how = {"n_folds": 3, "changes": {"epochs": 1}}
    taught = how | {"teachers": [teacher], "unlabelled": unlabelled}
    result, record = train("sha_rnn", documents, run, **taught), runs.read_run(run)
    assert record.teachers == runs.digest_runs([teacher])
    assert record.taught == [(document.number, len(document.tokens)) for document in unlabelled]
    plain = train("sha_rnn", documents, tmp_path / "plain", **how)
    assert result["epochs"] == plain["epochs"]
    assert not are_equal(*(weights_of(of / "fold_0") for of in (run, tmp_path / "plain")))
    assert (
        predict_unseen(
            Tagger.load(run), [run], [replace(doc, labels=("O",) * len(doc.tokens)) for doc in unlabelled]
        ).n_left_out
        == 4
    )
    (run / "result.json").unlink()
    with pytest.raises(KitError, match="cannot be resumed: taught was"):
        train("sha_rnn", documents, run, **taught | {"unlabelled": unlabelled[:2]}, resume=True)
    assert train("sha_rnn", documents, run, **taught, resume=True)["f5"] == result["f5"]


@pytest.mark.parametrize(("preset", "n_models"), [("cpu", 1), ("every_fold", 2)])
def test_the_preset_decides_whether_all_folds_are_trained(preset, n_models, documents, tmp_path):
    result = train("sha_rnn", documents[:8], tmp_path, preset=preset, n_folds=2, changes={"epochs": 1})
    assert result["n_models"] == n_models == len(fold_folders(tmp_path)) == len(Tagger.load(tmp_path).members)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"folds": [3]}, "folds 3: expected numbers from 0 to 2"),
        ({"folds": [0, 0]}, "folds 0, 0: expected"),
        ({"folds": []}, "folds none: expected"),
        ({"n_folds": 99}, "99 folds"),
        ({"preset": "huge"}, "unknown preset"),
        ({"changes": {"epochs": 0}}, "epochs is 0"),
        ({"changes": {"model.boom_size": 33}}, "sizes do not fit together"),
        ({"weights": "elsewhere"}, "do not fit a preset of random weights"),
        ({"unlabelled": make_documents(1, seed=3)}, "need teachers"),
        ({"teachers": ["nowhere"]}, "teachers need unlabelled documents"),
        (
            {"teachers": ["nowhere"], "unlabelled": make_documents(1, seed=3)},
            "nowhere: not a run folder",
        ),
        ({"model": "mobilebert", "changes": {"window_size": 600}}, "this encoder reads at most 512 pieces"),
        ({"model": "mobilebert", "changes": {"mixed_precision": "fp16"}}, "overflows in fp16"),
    ],
)
def test_after_a_mistake_nothing_is_written(mistake, message, documents, tmp_path):
    with pytest.raises(KitError, match=message):
        train(**{"model": "sha_rnn", "documents": documents, "folder": tmp_path / "run", "n_folds": 3} | mistake)
    assert not (tmp_path / "run").exists()


# One fold in this process


@pytest.fixture
def fold(documents, tmp_path):
    """A function from a folder's name and changes of the settings to a fold that is ready to be trained."""

    def make(name: str, model="sha_rnn", deadline=float("inf"), some=documents[:9], **changes) -> Fold:
        folds = fold_of_documents(some, n_folds=3, seed=0)
        preset = TINY_PRESETS[model]["cpu"]
        train_settings = preset.train.model_copy(update={"batch_size": 4, "epochs": 3, **changes})
        record = runs.RunRecord(
            model=model, preset="cpu", settings=preset.model_copy(update={"train": train_settings}), weights="random",
            weights_sha256=None, n_folds=3, folds=[0], n_documents=9, data="", documents=[], extra=[], teachers=[],
            taught=[],
        )  # fmt: skip
        training, validation = split_documents(some, folds, 0)
        texts = without_pii(training, seed=0)
        return Fold(0, tmp_path / name, record, training, validation, (), (), texts, deadline)

    return make


def train_here(fold: Fold, kill_after: int | None = None) -> list[dict]:
    """Train a fold in this process, end it after some batches, and return its history."""
    steps = 0

    def report(share: float) -> None:
        nonlocal steps
        steps += share < 1
        if steps == kill_after:
            raise Killed

    torch.manual_seed(random.randrange(10**6))  # a resumed training is another process
    train_fold(fold, device="cpu", report=report)
    return fold.history()


AUGMENTED = {"augment": AugmentSettings(plant_share=0.5), "hidden_share": 0.1, "hidden_lists": 0.1}


@pytest.mark.parametrize(
    ("model", "changes", "kills"),
    [
        ("sha_rnn", AUGMENTED | {"validate_epochs": 2}, [3, 1, 20, 30]),
        ("sha_rnn", {"optimizer": "lamb", "cycle_epochs": 1.0, "empty_share": 0.5}, [7, 25]),
        ("mobilebert", {"optimizer": "adam", "class_weights": "log"}, [9, 28]),
    ],
)
def test_a_killed_fold_resumes_to_the_weights_of_an_unbroken_one(model, changes, kills, fold, monkeypatch):
    history = train_here(fold("unbroken", model, **changes))
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1)  # a checkpoint after each batch
    broken = fold("broken", model, **changes)
    for kill_after in kills:
        with pytest.raises(Killed):
            train_here(broken, kill_after)
        assert not broken.is_finished()
    assert without_clocks(train_here(broken)) == without_clocks(history)
    assert are_equal(*(weights_of(fold(name, model).folder) for name in ("unbroken", "broken")))
    assert broken.is_finished() and [row["epoch"] for row in history] == [1, 2, 3]
    scored = {row["epoch"] for row in history if "f5" in row}
    assert scored == ({2, 3} if "validate_epochs" in changes else {1, 2, 3})


def test_training_learns_by_heart_what_it_is_shown(fold, documents):
    of_fold = fold("run", epochs=60, clip_norm=1.0, validate_epochs=60)
    some = [document for document in documents if document.types][:3]
    history = train_here(replace(of_fold, training=some, validation=some))
    assert history[-1]["f5"] > 0.9 and history[-1]["loss"] < history[0]["loss"] / 5


def test_a_damaged_random_state_or_one_of_another_size_is_refused(fold, monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1)
    of_fold = fold("run")
    with pytest.raises(Killed):
        train_here(of_fold, 3)
    saved = torch.load(of_fold.folder / runs.CHECKPOINT)
    for wrong in ({"cpu": torch.zeros(10, dtype=torch.uint8)}, {"cpu": torch.zeros(5056, dtype=torch.uint8)}, {}):
        torch.save(saved | {"random": wrong}, of_fold.folder / runs.CHECKPOINT)
        with pytest.raises(KitError, match=r"checkpoint\.pt: damaged \(.*\); delete it") as error:
            train_here(of_fold)
        assert "\n" not in str(error.value)


def test_a_loss_that_is_not_finite_stops_with_its_place(fold, monkeypatch):
    monkeypatch.setattr(module, "mean_loss", lambda logits, labels, weights: logits.sum() * float("nan"))
    with pytest.raises(KitError, match=r"the loss is nan at epoch 1, batch 1 \(learning rate"):
        train_here(fold("run"))


@pytest.mark.parametrize("n_batches", [1, 8])
def test_a_training_out_of_time_keeps_a_tagger_and_resumes_to_the_weights_of_an_unbroken_one(
    n_batches, fold, monkeypatch
):
    changes = {"hidden_share": 0.1, "validate_epochs": 2}
    history = train_here(fold("unbroken", **changes))
    left = iter(range(n_batches - 1))
    with monkeypatch.context() as patched:
        patched.setattr(FoldTraining, "is_over", lambda training: next(left, None) is None)
        stopped = train_here(fold("run", **changes))
    of_fold = fold("run", **changes)
    assert "f5" in stopped[-1] and not of_fold.is_finished() and stopped[-1]["epoch"] < 3
    assert are_equal(weights_of(of_fold.folder), runs.load_checkpoint(of_fold.folder, "cpu")["network"])
    assert without_clocks(train_here(of_fold)) == without_clocks(history)
    assert are_equal(*(weights_of(fold(name).folder) for name in ("unbroken", "run")))


def test_a_fold_that_would_begin_late_waits_for_the_next_session(fold):
    late = replace(fold("run"), begin_by=time.monotonic() - 1)
    assert train_here(late) == [] and not (late.folder / "tagger").exists()


def test_a_run_out_of_time_predicts_with_the_taggers_it_has_and_can_be_resumed(
    documents, tmp_path, cross_validated, caplog
):
    run = tmp_path / "run"
    result = train_copy(documents, run, resume=False, deadline=time.monotonic() + 1)
    n_begun = result["n_models"]  # at least one; how many depends on the free cores
    assert result["n_finished"] == 0 and 1 <= n_begun <= 3 and "epochs" not in result
    assert f"{run}: 0 of 3 folds are finished; resume the run" in caplog.text
    assert not (run / "result.json").exists()
    assert len(fold_folders(run)) == len(Tagger.load(run).members) == n_begun
    assert len(load_out_of_fold(run).scored) == result["n_documents"]
    assert without_clocks(train_copy(documents, run)) == without_clocks(cross_validated(0)[1])
    assert are_equal(weights_of(run / "fold_0"), weights_of(cross_validated(0)[0] / "fold_0"))


# Real processes, killed and side by side


SCRIPT = """
import os, sys
os.fork = None
sys.path.insert(0, {tests!r})
from conftest import TINY_PRESETS
from pii_kit import settings
settings.PRESETS = TINY_PRESETS
from pii_kit.files import KitError
from pii_kit.sample import make_documents
from pii_kit.training.start import check_sizes
from pii_kit.training.train import train
if __name__ == "__main__":
    try:
        train("sha_rnn", make_documents(24, seed=1), sys.argv[1], preset="every_fold", n_folds=2, resume=True,
              changes={{"epochs": 6, "hidden_share": 0.1}})
    except KitError as error:
        sys.exit(f"error: {{error}}")
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts a training in a process of its own, in which os.fork is missing."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=os.path.dirname(os.path.dirname(__file__))))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "2"}

    def start(folder) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, script, folder], env=env, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.long
def test_a_training_killed_at_random_moments_leaves_no_process_and_resumes_bit_for_bit(start, tmp_path):
    unbroken = start(tmp_path / "unbroken")
    assert unbroken.wait(300) == 0, unbroken.stderr.read()
    rng = random.Random(os.getpid())
    process = start(tmp_path / "killed")
    while not list((tmp_path / "killed").glob("fold_*")) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 4))
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    alive = psutil.wait_procs(children, timeout=20)[1]  # 5 s on a quiet machine
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive)  # that nobody has asked for
    other = start(tmp_path / "killed")
    second = start(tmp_path / "killed")
    assert {other.wait(300), second.wait(300)} <= {0, 1}
    assert min(other.returncode, second.returncode) == 0
    for process in (other, second):
        if process.returncode:
            assert "killed: another training uses this folder; wait for its end" in process.stderr.read()
    for fold in ("fold_0", "fold_1"):
        assert are_equal(*(weights_of(tmp_path / name / fold) for name in ("unbroken", "killed")))
        histories = [read_json(tmp_path / name / fold / "history.json") for name in ("unbroken", "killed")]
        assert without_clocks(histories[0]) == without_clocks(histories[1])
    assert not list((tmp_path / "killed").rglob("*.partial"))


# Presets


def test_every_preset_fits_its_model_and_its_windows():
    """With random weights, which MobileBERT's preset "published" allows too."""
    for model in ("sha_rnn", "mobilebert"):
        for preset in PRESETS[model].values():
            check_sizes(model, preset, "random")


def test_the_original_projects_mobilebert_has_the_counts_that_it_reports():
    preset = PRESETS["mobilebert"]["original"]
    sizes = preset.model.model_dump(exclude={"n_features"})
    with torch.device("meta"):
        encoder = {"model_type": "mobilebert", "vocab_size": preset.n_pieces, **sizes}
        network = EncoderForTokenClassification(EncoderConfig(encoder=encoder, num_labels=13))
    assert (network.num_parameters(), linear_parameters(network)) == (37_327_885, 20_349_965)
