import itertools
import resource
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import tiny_language_model
from safetensors.torch import load_file

from pii_kit.__main__ import main
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
    """Simulates a kill: no handler of the package catches it."""


def new_model(**changes):
    return tiny_language_model(**{"vocab_size": 256, "dropout": 0.2, "memory_size": 50, **changes})


def seeded():
    """Return a new model, and set the random state that dropout starts from."""
    model = new_model()
    torch.manual_seed(3)
    return model


def kill_after(steps, monkeypatch):
    """Make the next training fail after this many steps."""
    losses = []

    def finite(loss, position, original=module._finite):
        losses.append(loss)
        if len(losses) > steps:
            raise Killed
        return original(loss, position)

    monkeypatch.setattr(module, "_finite", finite)


def check_kill(steps, config, folder, monkeypatch):
    """Compare a run that is killed after some steps and resumed with an uninterrupted one; return the history."""
    split, whole, killed = split_bytes(TEXT), folder / "whole", folder / "killed"
    history = fit_language_model(seeded(), split, config, whole)
    assert steps < history[-1]["step"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(steps, patch)
        fit_language_model(seeded(), split, config, killed)
    fit_language_model(seeded(), split, config, killed, resume=True)
    assert_equal_runs(whole, killed)
    return history


def without_clocks(history):
    clocks = ("elapsed_seconds", "peak_memory_bytes")
    return [{name: value for name, value in row.items() if name not in clocks} for row in history]


def assert_equal_runs(one, other):
    """Compare the kept weights, the history, and the state of training of two run folders, bit for bit."""
    assert without_clocks(read_json(one / "history.json")) == without_clocks(read_json(other / "history.json"))
    for file in ("model/model.safetensors", "checkpoint/pytorch_model.bin", "checkpoint/carried.safetensors"):
        load = torch.load if file.endswith(".bin") else load_file
        tensors, others = load(one / file), load(other / file)
        assert tensors.keys() == others.keys()
        assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"memory_drop": 1.5}, "memory_drop is 1.5; expected 0 to 1"),
        ({"epochs": 0}, "epochs is 0; expected more than 0"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adamw, adam, lamb"),
    ],
)
def test_settings_out_of_range_are_refused(change, needle):
    with pytest.raises(KitError, match=needle):
        LanguageModelConfig(**change)


@pytest.mark.parametrize("steps", [2, 30, 33, 80, 101])
def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(steps, tmp_path, monkeypatch):
    """Killed before the first checkpoint, at and between checkpoints, in the second epoch, and at half the rate."""
    check_kill(steps, CONFIG, tmp_path, monkeypatch)


def test_half_rate_epochs_killed_before_their_first_checkpoint_start_from_the_same_weights(tmp_path, monkeypatch):
    """Before the kill, they have already found better weights than those they started from."""
    config = replace(CONFIG, epochs=1, checkpoint_steps=1000, eval_steps=2, memory_drop=0.0)
    n_first = n_windows(config)
    rows = {row["step"]: row["validation_bpc"] for row in check_kill(n_first + 5, config, tmp_path, monkeypatch)}
    assert min(rows[step] for step in range(n_first + 1, n_first + 5) if step in rows) < rows[n_first]


def n_windows(config):
    """Return the number of windows of the first epoch."""
    n_positions = streams(split_bytes(TEXT).train, config.batch_size)[0].shape[1]
    return len(list(module.varied_windows(n_positions, config.window_size, seed="0 0")))


@pytest.mark.parametrize("eval_steps", [7, None])
def test_a_run_of_many_timed_out_sessions_equals_an_uninterrupted_one(eval_steps, tmp_path):
    """Every session ends after one step; the half-rate epochs start from the kept weights."""
    config = replace(CONFIG, epochs=1, eval_steps=eval_steps, window_size=48, learning_rate=0.3)
    split, whole, timed_out = split_bytes(TEXT), tmp_path / "whole", tmp_path / "timed_out"
    history = fit_language_model(seeded(), split, config, whole)
    bpc = []
    for session in range(history[-1]["step"]):
        model = seeded()
        fit_language_model(model, split, config, timed_out, resume=session > 0, deadline=0.0)
        bpc.append(bits_per_character(model, split.validation, window_size=48, n_streams=8))
    first = [row for row in history if row["epoch"] == 1]  # its best time-out must not change the half-rate epoch
    assert min(bpc[: first[-1]["step"]]) < min(row["validation_bpc"] for row in first)
    assert_equal_runs(whole, timed_out)


def test_a_time_out_before_the_first_validation_leaves_a_usable_model_that_the_resumed_run_replaces(tmp_path):
    """The rate rises so far that the weights at the time-out are better than all later ones."""
    warm_up = {"learning_rate": 300.0, "warmup_steps": 1000, "optimizer": "adamw"}
    config = replace(CONFIG, epochs=1, half_rate_epochs=0, eval_steps=None, **warm_up)
    sizes, whole, timed_out = new_model().config, tmp_path / "whole", tmp_path / "timed_out"
    expected = train_language_model(TEXT, sizes, config, whole)
    early = train_language_model(TEXT, sizes, config, timed_out, deadline=0.0)
    assert early["step"] == 1 and early["validation_bpc"] < expected["validation_bpc"]
    kept = load_language_model(timed_out)
    bpc = bits_per_character(kept, split_bytes(TEXT).validation, window_size=24, n_streams=8)
    assert bpc == pytest.approx(early["validation_bpc"], abs=1e-5)

    result = train_language_model(TEXT, sizes, config, timed_out, resume=True)
    assert without_clocks([result]) == without_clocks([expected])
    assert_equal_runs(whole, timed_out)


def test_elapsed_seconds_count_all_sessions(tmp_path, monkeypatch):
    """Each look at the clock takes a second, and an hour passes between the sessions."""
    config = replace(CONFIG, epochs=1, half_rate_epochs=0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    first = train_language_model(TEXT, new_model().config, config, tmp_path, deadline=20)["elapsed_seconds"]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=itertools.count(3600).__next__))
    both = train_language_model(TEXT, new_model().config, config, tmp_path, resume=True)["elapsed_seconds"]
    assert 0 < first < both < 3600


def test_a_language_model_learns_its_text_and_keeps_the_best_weights(tmp_path):
    result = train_language_model(TEXT, new_model(dropout=0.0).config, replace(CONFIG, epochs=6), tmp_path)
    history = read_json(tmp_path / "history.json")
    assert history[0]["validation_bpc"] > 3 > 2 > result["validation_bpc"]
    assert result["validation_bpc"] == min(row["validation_bpc"] for row in history)
    kept = load_language_model(tmp_path)
    split = split_bytes(TEXT)
    for part, bpc in ((split.validation, "validation_bpc"), (split.test, "test_bpc")):
        assert bits_per_character(kept, part, window_size=24, n_streams=8) == pytest.approx(result[bpc], abs=1e-5)
    assert read_json(tmp_path / "result.json") == result


def test_the_learning_rate_warms_up_stays_constant_and_is_halved(tmp_path, monkeypatch):
    rates = []

    def set_rate(optimizer, *args, original=module._set_rate):
        original(optimizer, *args)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(module, "_set_rate", set_rate)
    config = replace(CONFIG, epochs=1, learning_rate=0.01)
    history = fit_language_model(new_model(), split_bytes(TEXT), config, tmp_path)
    first = max(row["step"] for row in history if row["epoch"] == 1)
    assert rates[:6] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01, 0.01])
    assert set(rates[5:first]) == {0.01} and set(rates[first:]) == {0.005}


def test_half_rate_epochs_start_from_the_best_weights(tmp_path, monkeypatch):
    """The rate is so high that the last weights of the full-rate epochs are not the best."""
    config = replace(CONFIG, epochs=1, learning_rate=0.5, memory_drop=0.0, eval_steps=2, optimizer="adamw")
    split, model = split_bytes(TEXT), new_model()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(n_windows(config), patch)
        fit_language_model(model, split, config, tmp_path)
    history = read_json(tmp_path / "history.json")
    best = min(row["validation_bpc"] for row in history)
    assert history[-1]["validation_bpc"] > best
    assert bits_per_character(model, split.validation, window_size=24, n_streams=8) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("optimizer", ["lamb", "adamw"])
@pytest.mark.parametrize("change", [{"attention_layers": []}, {"attention_layers": [0, 1, 2]}, {"memory_size": 0}])
def test_every_variant_trains(optimizer, change, tmp_path):
    config = replace(CONFIG, epochs=3, half_rate_epochs=0, optimizer=optimizer)
    history = fit_language_model(new_model(**change), split_bytes(TEXT), config, tmp_path)
    assert history[-1]["validation_bpc"] < history[0]["validation_bpc"]


@pytest.fixture
def own_precision():
    """Reset Accelerate before and after: it keeps one precision per process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_bf16_trains_and_resumes(tmp_path, monkeypatch, own_precision):
    config = replace(CONFIG, mixed_precision="bf16", epochs=1, half_rate_epochs=0)
    check_kill(10, config, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("sizes", "settings", "text", "needle"),
    [
        ({"hidden_size": 32}, {}, TEXT, r"model\.hidden_size was 16, now 32"),
        ({"attention_layers": [0]}, {}, TEXT, r"model\.attention_layers was \[1\], now \[0\]"),
        ({}, {"window_size": 30}, TEXT, r"training\.window_size was 24, now 30"),
        ({}, {}, TEXT + b"!", r"text\.bytes was 2460, now 2461"),
    ],
)
def test_a_run_is_not_resumed_with_other_sizes_settings_or_text(sizes, settings, text, needle, tmp_path):
    train_language_model(TEXT, new_model().config, replace(CONFIG, epochs=1, half_rate_epochs=0), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(KitError, match=f"{tmp_path.name}: cannot be resumed: {needle}"):
        train_language_model(text, new_model(**sizes).config, replace(CONFIG, **settings), tmp_path, resume=True)
    with pytest.raises(KitError, match="holds a run already"):
        train_language_model(TEXT, new_model().config, CONFIG, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("file", ["carried.safetensors", "pytorch_model.bin", "optimizer.bin", "position.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(file, damage, tmp_path):
    fit_language_model(new_model(), split_bytes(TEXT), CONFIG, tmp_path, deadline=0.0)
    path = tmp_path / "checkpoint" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KitError, match="checkpoint") as error:
        fit_language_model(new_model(), split_bytes(TEXT), CONFIG, tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_finished_run_can_be_trained_further(tmp_path):
    short = train_language_model(TEXT, new_model().config, replace(CONFIG, epochs=1, half_rate_epochs=0), tmp_path)
    longer = train_language_model(TEXT, new_model().config, CONFIG, tmp_path, resume=True)
    assert longer["step"] > short["step"] and longer["validation_bpc"] < short["validation_bpc"]


@pytest.mark.parametrize("n_bytes", [1, 6, 20])
def test_a_text_too_short_for_its_parts_is_refused_and_leaves_no_folder(n_bytes, tmp_path):
    with pytest.raises(KitError, match=rf"the text: {n_bytes} bytes, of which \d+ for (training|validation); expected"):
        train_language_model(TEXT[:n_bytes], new_model().config, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(KitError, match="the loss is nan at epoch 1, window"):
        fit_language_model(new_model(), split_bytes(TEXT), replace(CONFIG, learning_rate=1e30), tmp_path)


@pytest.fixture
def disk():
    """A function that limits the size of files, as a full disk does: the libraries that write weights fail, too."""

    def limit(n_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))

    yield limit
    limit(resource.RLIM_INFINITY)


def test_a_failed_write_is_a_one_line_error_and_keeps_the_last_checkpoint(tmp_path, disk, capsys):
    (tmp_path / "text.txt").write_bytes(TEXT)
    run = tmp_path / "run"
    small = "--width 16 --boom 32 --layers 2 --window-size 24 --batch-size 3 --checkpoint-steps 4 --minutes 0.00001"
    command = ["lm", "train", "--data", str(tmp_path / "text.txt"), "--run", str(run), *small.split()]

    def checkpoint() -> dict:
        return {path: path.read_bytes() for path in (run / "checkpoint").rglob("*") if path.is_file()}

    assert main(command) == 0
    before = checkpoint()
    capsys.readouterr()
    disk(8000)
    assert main([*command, "--resume"]) == 2
    disk(resource.RLIM_INFINITY)
    printed = capsys.readouterr().err
    errors = [line for line in printed.splitlines() if "error: " in line]
    assert "Traceback" not in printed and len(errors) == 1
    assert "cannot be written (its earlier content is unchanged)" in errors[0]
    assert checkpoint() == before
    assert main([*command, "--resume"]) == 0
