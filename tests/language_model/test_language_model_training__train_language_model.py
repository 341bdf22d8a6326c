import resource
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import tiny_language_model
from safetensors.torch import load_file

from pii_kit.files import KitError, read_json
from pii_kit.language_model import bits_per_character, split_bytes, streams
from pii_kit.language_model import training as module
from pii_kit.language_model.training import LanguageModelConfig, fit_language_model, train_language_model
from pii_kit.training.runs import load_language_model

TEXT = b"One fish, two fish, red fish, blue fish. " * 60
CONFIG = LanguageModelConfig(
    epochs=2, half_rate_epochs=1, batch_size=3, window_size=24, eval_steps=7, checkpoint_steps=4, warmup_steps=5,
    memory_drop=0.1, learning_rate=1e-2, optimizer="lamb",
)  # fmt: skip


class Killed(BaseException):
    """Stands for a kill: no handler of the package catches it."""


def fresh(**changes):
    return tiny_language_model(**{"vocab_size": 256, "dropout": 0.2, "memory_size": 50, **changes})


def seeded():
    """A fresh model, and the random state that dropout starts from."""
    model = fresh()
    torch.manual_seed(3)
    return model


def kill_after(steps, monkeypatch):
    """The next training dies in the step after so many."""
    count = 0

    def finite(loss, place, original=module._finite):
        nonlocal count
        count += 1
        if count > steps:
            raise Killed
        return original(loss, place)

    monkeypatch.setattr(module, "_finite", finite)


def without_clocks(history):
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "peak_memory_bytes")} for row in history
    ]


@pytest.mark.parametrize("steps_before_kill", [2, 30, 33, 80, 101])
def test_an_interrupted_training_resumes_to_the_weights_of_an_unbroken_one(steps_before_kill, tmp_path, monkeypatch):
    """Killed before the first checkpoint, at and between checkpoints, in the second epoch, and at half the rate."""
    unbroken, split = seeded(), split_bytes(TEXT)
    history = fit_language_model(unbroken, split, CONFIG, tmp_path / "unbroken")

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(steps_before_kill, patch)
        fit_language_model(seeded(), split, CONFIG, tmp_path / "broken")
    resumed = seeded()
    again = fit_language_model(resumed, split, CONFIG, tmp_path / "broken", resume=True)

    assert history[-1]["step"] > 101
    assert without_clocks(again) == without_clocks(history)
    for name, weight in unbroken.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    one, other = (load_file(tmp_path / run / "checkpoint" / "carried.safetensors") for run in ("unbroken", "broken"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_pass_interrupted_before_its_first_checkpoint_starts_from_the_same_weights(tmp_path, monkeypatch):
    """By then it has already found better weights than those it started from."""
    config = replace(CONFIG, epochs=1, checkpoint_steps=1000, eval_steps=2, memory_drop=0.0)
    unbroken, split = seeded(), split_bytes(TEXT)
    history = fit_language_model(unbroken, split, config, tmp_path / "unbroken")
    n_first = max(row["step"] for row in history if row["epoch"] == 1)
    rows = {row["step"]: row["validation_bpc"] for row in history}
    assert min(rows[n_first + step] for step in (1, 2, 3, 4) if n_first + step in rows) < rows[n_first]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(n_first + 5, patch)
        fit_language_model(seeded(), split, config, tmp_path / "broken")
    resumed = seeded()
    again = fit_language_model(resumed, split, config, tmp_path / "broken", resume=True)
    assert without_clocks(again) == without_clocks(history)
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in unbroken.state_dict().items())


def test_sessions_of_limited_time_add_up_to_one_training(tmp_path):
    """Each session ends right after its first step, with a validation that the unbroken run does not have."""
    config = replace(CONFIG, epochs=1, half_rate_epochs=0, memory_drop=0.0)
    unbroken, split = seeded(), split_bytes(TEXT)
    fit_language_model(unbroken, split, config, tmp_path / "unbroken")
    n_windows = len(list(module.varied_windows(streams(split.train, 3)[0].shape[1], 24, seed="0 0")))
    for session in range(n_windows):
        model = seeded()
        history = fit_language_model(
            model, split, replace(config, minutes=1e-9), tmp_path / "short", resume=session > 0
        )
        assert history[-1]["step"] == session + 1
    assert read_json(tmp_path / "short" / "checkpoint" / "position.json")["epoch"] == 1
    for name, weight in unbroken.state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], msg=name)


def test_a_language_model_learns_its_text_and_the_best_weights_are_kept(tmp_path):
    result = train_language_model(TEXT, fresh(dropout=0.0).config, replace(CONFIG, epochs=6), tmp_path)
    history = read_json(tmp_path / "history.json")
    assert history[0]["validation_bpc"] > 3 > 2 > result["validation_bpc"]
    assert result["validation_bpc"] == min(row["validation_bpc"] for row in history)
    kept = load_language_model(tmp_path)
    split = split_bytes(TEXT)
    for part, bpc in ((split.validation, "validation_bpc"), (split.test, "test_bpc")):
        assert bits_per_character(kept, part, window_size=24, n_streams=8) == pytest.approx(result[bpc], abs=1e-5)
    assert read_json(tmp_path / "result.json") == result


def test_the_rate_warms_up_stays_and_is_halved(tmp_path, monkeypatch):
    rates = []

    def set_rate(optimizer, *args, original=module._set_rate):
        original(optimizer, *args)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(module, "_set_rate", set_rate)
    config = replace(CONFIG, epochs=1, learning_rate=0.01)
    history = fit_language_model(fresh(), split_bytes(TEXT), config, tmp_path)
    first = max(row["step"] for row in history if row["epoch"] == 1)
    assert rates[:6] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01, 0.01])
    assert set(rates[5:first]) == {0.01} and set(rates[first:]) == {0.005}


def test_the_second_pass_starts_from_the_best_weights(tmp_path, monkeypatch):
    """The rate is so high that the last weights of the first pass are not the best."""
    config = replace(CONFIG, epochs=1, learning_rate=0.5, memory_drop=0.0, eval_steps=2, optimizer="adamw")
    split, model = split_bytes(TEXT), fresh()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        first = len(list(module.varied_windows(streams(split.train, 3)[0].shape[1], 24, seed="0 0")))
        kill_after(first, patch)
        fit_language_model(model, split, config, tmp_path)
    history = read_json(tmp_path / "history.json")
    best = min(row["validation_bpc"] for row in history)
    assert history[-1]["validation_bpc"] > best
    assert bits_per_character(model, split.validation, window_size=24, n_streams=8) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("optimizer", ["lamb", "adamw"])
@pytest.mark.parametrize("change", [{"attention_layers": []}, {"attention_layers": [0, 1, 2]}, {"memory_size": 0}])
def test_every_variant_trains(optimizer, change, tmp_path):
    config = replace(CONFIG, epochs=3, half_rate_epochs=0, optimizer=optimizer)
    history = fit_language_model(fresh(**change), split_bytes(TEXT), config, tmp_path)
    assert history[-1]["validation_bpc"] < history[0]["validation_bpc"]


@pytest.fixture
def own_precision():
    """Accelerate keeps one precision for a process: it is forgotten before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_bf16_trains_and_resumes(tmp_path, monkeypatch, own_precision):
    config = replace(CONFIG, mixed_precision="bf16", epochs=1, half_rate_epochs=0)
    split = split_bytes(TEXT)
    resumed, unbroken = fresh(), seeded()
    fit_language_model(unbroken, split, config, tmp_path / "unbroken")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(10, patch)
        fit_language_model(seeded(), split, config, tmp_path / "broken")
    fit_language_model(resumed, split, config, tmp_path / "broken", resume=True)
    for name, weight in unbroken.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("sizes", "settings", "text", "needle"),
    [
        ({"hidden_size": 32}, {}, TEXT, r"model\.hidden_size was 16, now 32"),
        ({"attention_layers": [0]}, {}, TEXT, r"model\.attention_layers was \[1\], now \[0\]"),
        ({}, {"window_size": 30}, TEXT, r"training\.window_size was 24, now 30"),
        ({}, {}, TEXT + b"!", r"text\.bytes was 2460, now 2461"),
    ],
)
def test_a_run_is_not_resumed_with_anything_else(sizes, settings, text, needle, tmp_path):
    train_language_model(TEXT, fresh().config, replace(CONFIG, epochs=1, half_rate_epochs=0), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(KitError, match=f"{tmp_path.name}: cannot be resumed: {needle}"):
        train_language_model(text, fresh(**sizes).config, replace(CONFIG, **settings), tmp_path, resume=True)
    with pytest.raises(KitError, match="holds a run already"):
        train_language_model(TEXT, fresh().config, CONFIG, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("file", ["carried.safetensors", "model.safetensors", "optimizer.bin", "position.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(file, damage, tmp_path):
    config = replace(CONFIG, minutes=1e-9)
    fit_language_model(fresh(), split_bytes(TEXT), config, tmp_path)
    path = tmp_path / "checkpoint" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KitError, match="checkpoint") as error:
        fit_language_model(fresh(), split_bytes(TEXT), config, tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_finished_run_can_be_trained_further(tmp_path):
    short = train_language_model(TEXT, fresh().config, replace(CONFIG, epochs=1, half_rate_epochs=0), tmp_path)
    longer = train_language_model(TEXT, fresh().config, CONFIG, tmp_path, resume=True)
    assert longer["step"] > short["step"] and longer["validation_bpc"] < short["validation_bpc"]


@pytest.mark.parametrize("n_bytes", [1, 6, 20])
def test_a_text_too_short_for_its_parts_is_refused_and_no_run_begun(n_bytes, tmp_path):
    with pytest.raises(KitError, match=rf"the text: {n_bytes} bytes, of which \d+ for (training|validation); expected"):
        train_language_model(TEXT[:n_bytes], fresh().config, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(KitError, match="the loss is nan at epoch 1, window"):
        fit_language_model(fresh(), split_bytes(TEXT), replace(CONFIG, learning_rate=1e30), tmp_path)


FULL_DISK = """
import resource, sys
from pathlib import Path
from pii_kit.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def test_a_write_that_fails_is_one_line_and_leaves_the_last_checkpoint_whole(tmp_path):
    """A limit on the size of files stands for a full disk: libraries that write weights see a refusal, too."""
    (tmp_path / "text.txt").write_bytes(TEXT)
    run = tmp_path / "run"
    small = "--width 16 --boom 32 --layers 2 --window-size 24 --batch-size 3 --checkpoint-steps 4 --minutes 0.00001"
    command = ["lm", "train", "--data", str(tmp_path / "text.txt"), "--run", str(run), *small.split()]

    def call(limit, *more):
        environment = {"OMP_NUM_THREADS": "1", "PATH": ""}
        line = [sys.executable, "-c", FULL_DISK, str(limit), *command, *more]
        return subprocess.run(line, capture_output=True, text=True, env=environment)

    assert call(resource.RLIM_INFINITY).returncode == 0
    before = {path: path.read_bytes() for path in (run / "checkpoint").rglob("*") if path.is_file()}
    failed = call(8000, "--resume")
    errors = [line for line in failed.stderr.splitlines() if "error: " in line]
    assert failed.returncode == 2 and "Traceback" not in failed.stderr
    assert len(errors) == 1 and "cannot be written (what it held before is whole)" in errors[0]
    assert {path: path.read_bytes() for path in (run / "checkpoint").rglob("*") if path.is_file()} == before
    assert call(resource.RLIM_INFINITY, "--resume").returncode == 0
