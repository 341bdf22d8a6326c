import bz2
import gzip
import itertools
import lzma
import math
import resource
import zipfile
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_language_model
from hypothesis import given
from hypothesis import strategies as st

from pii_kit import language_model as module
from pii_kit.files import KitError, read_json
from pii_kit.language_model import (
    IGNORED,
    LanguageModelConfig,
    bits_per_character,
    bpc_by_memory,
    compressed_bpc,
    generate,
    load_language_model,
    read_bytes,
    split_bytes,
    streams,
    train_language_model,
    varied_windows,
)

LINES = "Ä line.\n".encode() * 50
RANDOM = bytes(torch.randint(0, 256, (301,), generator=torch.Generator().manual_seed(0)).tolist())
FISH = b"One fish, two fish, red fish, blue fish. " * 30
SMALL = LanguageModelConfig(epochs=2, batch_size=3, window_size=24, eval_steps=7, warmup_steps=5, learning_rate=1e-2)


@given(st.binary(min_size=0, max_size=500))
def test_the_parts_of_a_split_join_to_the_text(text):
    split = split_bytes(text)
    assert b"".join(split) == text
    assert len(split.train) == len(text) * 90 // 100


@given(st.binary(min_size=2, max_size=300), st.integers(1, 20))
def test_every_byte_except_the_first_is_a_target_once_and_follows_its_input(text, n_streams):
    n_streams = min(n_streams, len(text) - 1)
    inputs, targets = streams(text, n_streams)
    real = targets != IGNORED
    assert inputs.shape == targets.shape and len(inputs) == n_streams
    assert bytes(targets[real].tolist()) == text[1:]
    assert bytes(inputs[real].tolist()) == text[:-1]
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in real)  # padding only at the end


def test_windows_are_consecutive_and_their_lengths_are_distributed_as_in_the_published_code():
    cut = list(varied_windows(2_000_000, 200, seed=0))
    assert [window.start for window in cut] == [0, *(window.stop for window in cut[:-1])] and cut[-1].stop == 2_000_000
    assert cut == list(varied_windows(2_000_000, 200, seed=0)) != list(varied_windows(2_000_000, 200, seed=1))
    lengths = torch.tensor([window.stop - window.start for window in cut[:-1]]).float()
    assert lengths.min() >= 5 and lengths.max() == 200
    half = lengths < 150
    assert half.float().mean().item() == pytest.approx(0.05, abs=0.01)
    assert lengths[half].mean().item() == pytest.approx(100, abs=1)
    assert lengths[half].std().item() == pytest.approx(5, abs=0.6)
    assert (lengths[~half] == 200).float().mean().item() == pytest.approx(0.54, abs=0.03)


def test_packed_files_are_unpacked_and_damaged_ones_are_errors_that_name_them(tmp_path):
    packed = {"xz": lzma.compress(LINES), "gz": gzip.compress(LINES), "bz2": bz2.compress(LINES), "txt": LINES}
    for kind, content in packed.items():
        (tmp_path / f"whole.{kind}").write_bytes(content)
        (tmp_path / f"cut.{kind}").write_bytes(content[:-10] if kind != "txt" else b"")
    for name, members in (("whole.zip", ["enwik8"]), ("two.zip", ["enwik8", "other"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, LINES)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-10])
    assert {read_bytes(path) for path in tmp_path.glob("whole.*")} == {LINES}
    for name in ["nowhere.txt", "two.zip", *(path.name for path in tmp_path.glob("cut.*"))]:
        with pytest.raises(KitError, match=name) as error:
            read_bytes(tmp_path / name)
        assert "\n" not in str(error.value)


def test_compressors_are_measured_in_bits_per_character():
    text = bytes(range(256)) * 4
    alone, after = compressed_bpc(text, after=b""), compressed_bpc(text, after=text)
    assert set(alone) == {"gzip", "bzip2", "xz"}
    assert alone["xz"] == 8 * (len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) - 32) / 1024
    assert all(after[name] < alone[name] < 8 for name in alone)


@torch.no_grad()
def one_by_one(model, text):
    """Compute bpc the slow way: byte by byte, in double precision."""
    state, nats = None, 0.0
    for byte, following in pairwise(text):
        _, logits, state = model(torch.tensor([[byte]]), state=state)
        nats -= logits[0, 0].double().log_softmax(-1)[following].item()
    return nats / (len(text) - 1) / math.log(2)


@pytest.mark.parametrize("n_bytes", [2, 65, 301])
def test_bpc_equals_that_of_reading_byte_by_byte(n_bytes):
    model = tiny_language_model(vocab_size=256, memory_size=1000)
    computed = bits_per_character(model, RANDOM[:n_bytes], window_size=64)
    assert computed == pytest.approx(one_by_one(model, RANDOM[:n_bytes]), abs=1e-5)


def test_parallel_streams_equal_the_parts_of_the_text_read_separately():
    model = tiny_language_model(vocab_size=256)
    halves = [bits_per_character(model, part, window_size=10) for part in (RANDOM[:151], RANDOM[150:])]
    together = bits_per_character(model, RANDOM, window_size=10, n_streams=2)
    assert together == pytest.approx(sum(halves) / 2, abs=1e-5)


def test_bpc_is_measured_by_memory_size_and_a_memory_that_no_window_can_see_is_said(caplog):
    model = tiny_language_model(vocab_size=256, memory_size=20)
    table = bpc_by_memory(model, RANDOM, [0, 20], window_size=19)
    assert table["memory"].tolist() == [0, 20] and (table["seconds"] > 0).all() and not caplog.messages
    assert table["bpc"][1] == bits_per_character(model, RANDOM, window_size=19) != table["bpc"][0]
    bits_per_character(model, RANDOM, window_size=20)
    assert "memory of 20 positions" in caplog.messages[0] and "windows of 20" in caplog.messages[0]


@torch.no_grad()
def test_generated_text_has_the_requested_length_and_depends_on_seed_and_temperature():
    model = tiny_language_model(vocab_size=256)
    made = generate(model, b"Hello", n_bytes=40, seed=1)
    assert len(made) == 40
    assert made == generate(model, b"Hello", n_bytes=40, seed=1) != generate(model, b"Hello", n_bytes=40, seed=2)
    assert len(generate(model, b"", n_bytes=3)) == 3

    text, state = bytearray(b"Hello, a prompt that is longer than the memory"), None
    prompt = bytes(text)
    for part in (text[:20], text[20:40], text[40:]):
        _, logits, state = model(torch.tensor([list(part)]), state=state)
    for _ in range(5):
        text.append(int(logits[0, -1].argmax()))
        _, logits, state = model(torch.tensor([[text[-1]]]), state=state)
    assert generate(model, prompt, n_bytes=5, temperature=1e-4) == bytes(text[len(prompt) :])


class Killed(BaseException):
    """Simulates a kill: no handler of the package catches it."""


def sizes(**changes):
    return tiny_language_model(**{"vocab_size": 256, "dropout": 0.2, "memory_size": 50, **changes}).config


def settings(**changes):
    return SMALL.model_copy(update=changes)


def train(folder, config=SMALL, text=FISH, model=None, **options):
    return train_language_model(text, model or sizes(), config, folder, **options)


def without_clocks(rows):
    return [{name: value for name, value in row.items() if name != "elapsed_seconds"} for row in rows]


def assert_equal_runs(one, other):
    """Compare the kept weights, the history, and the state of training of two run folders, bit for bit."""
    assert without_clocks(read_json(one / "history.json")) == without_clocks(read_json(other / "history.json"))
    assert (one / "model/model.safetensors").read_bytes() == (other / "model/model.safetensors").read_bytes()
    states = [torch.load(run / "checkpoint.pt", weights_only=True) for run in (one, other)]
    assert states[0]["position"]["step"] == states[1]["position"]["step"]
    for part in ("model", "state", "random"):
        assert states[0][part].keys() == states[1][part].keys()
        assert [
            name for name, tensor in states[0][part].items() if not torch.equal(tensor, states[1][part][name])
        ] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder


@pytest.mark.parametrize("steps", [2, 17, 26])
def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(steps, whole, tmp_path, monkeypatch):
    """Killed before the first checkpoint, between checkpoints, and in the second epoch."""
    ticks, passed = itertools.count(), []

    def step(self, window, original=module._Training.step):
        passed.append(window)
        if len(passed) > steps:
            raise Killed
        return original(self, window)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module._Training, "step", step)
        patch.setattr(module, "CHECKPOINT_SECONDS", 12)  # every fourth step, by a clock of one second a look
        patch.setattr(module, "time", SimpleNamespace(monotonic=ticks.__next__))
        train(tmp_path / "killed")
    assert (tmp_path / "killed" / "checkpoint.pt").exists() == (steps > 2)
    train(tmp_path / "killed", resume=True)
    assert_equal_runs(whole, tmp_path / "killed")


@pytest.mark.parametrize("eval_steps", [None, 3])
def test_a_training_that_ends_at_each_window_and_is_resumed_equals_an_uninterrupted_one(eval_steps, tmp_path):
    config = settings(epochs=1, eval_steps=eval_steps, window_size=48, learning_rate=0.3)
    whole = train(tmp_path / "whole", config)
    history = read_json(tmp_path / "whole" / "history.json")
    for session in range(history[-1]["step"]):
        result = train(tmp_path / "timed_out", config, resume=session > 0, deadline=0.0)
        kept = load_language_model(tmp_path / "timed_out")  # even before the first validation
        bpc = bits_per_character(kept, split_bytes(FISH).validation, window_size=48, n_streams=8)
        assert bpc == pytest.approx(result["validation_bpc"], abs=1e-5)
    assert without_clocks([result]) == without_clocks([whole])
    assert_equal_runs(tmp_path / "whole", tmp_path / "timed_out")


def test_a_language_model_learns_its_text_and_keeps_the_best_weights(tmp_path):
    result = train(tmp_path, settings(epochs=6), model=sizes(dropout=0.0))
    history = read_json(tmp_path / "history.json")
    assert history[0]["validation_bpc"] > 3 > 2 > result["validation_bpc"]
    assert result["validation_bpc"] == min(row["validation_bpc"] for row in history)
    kept, split = load_language_model(tmp_path), split_bytes(FISH)
    for part, bpc in ((split.validation, "validation_bpc"), (split.test, "test_bpc")):
        assert bits_per_character(kept, part, window_size=24, n_streams=8) == pytest.approx(result[bpc], abs=1e-5)
    assert read_json(tmp_path / "result.json") == result


def test_a_second_pass_starts_from_the_best_weights_of_another_run(tmp_path):
    """The rate is so high that the last weights of the first run are not the best."""
    first = train(tmp_path / "first", settings(learning_rate=1.0, eval_steps=2, epochs=1))
    history = read_json(tmp_path / "first" / "history.json")
    assert history[-1]["validation_bpc"] > first["validation_bpc"]
    gentle = settings(learning_rate=1e-9, epochs=1, seed=125)
    second = train(tmp_path / "second", gentle, start=tmp_path / "first")
    assert second["validation_bpc"] == pytest.approx(first["validation_bpc"], abs=1e-4)
    with pytest.raises(KitError, match="cannot be resumed: start_sha256 was '"):
        train(tmp_path / "second", gentle, resume=True)


def test_resuming_a_finished_run_says_so_and_does_nothing_unless_it_has_more_epochs(tmp_path, caplog):
    caplog.set_level("INFO")
    short = train(tmp_path, settings(epochs=1))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert train(tmp_path, settings(epochs=1), resume=True) == short
    assert "finished, 1 of 1 epochs; nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    longer = train(tmp_path, resume=True)
    assert longer["step"] > short["step"] and longer["validation_bpc"] < short["validation_bpc"]


@pytest.mark.parametrize(
    ("change", "optimizer"), [({"attention_layers": []}, "adamw"), ({"attention_layers": [0, 1, 2]}, "adam")]
)
def test_every_variant_trains(change, optimizer, tmp_path):
    train(tmp_path, settings(optimizer=optimizer), model=sizes(**change))
    history = read_json(tmp_path / "history.json")
    assert history[-1]["validation_bpc"] < history[0]["validation_bpc"]


@pytest.mark.parametrize(
    ("changes", "needle"),
    [
        ({"model": sizes(hidden_size=32)}, "hidden_size was 16, now 32"),
        ({"model": sizes(attention_layers=[0])}, r"attention_layers was \[1\], now \[0\]"),
        ({"config": settings(window_size=30)}, "window_size was 24, now 30"),
        ({"text": FISH + b"!"}, "text_sha256 was "),
    ],
)
def test_a_run_is_not_resumed_with_other_sizes_settings_or_text(changes, needle, tmp_path):
    train(tmp_path, deadline=0.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(KitError, match=f"{tmp_path.name}: cannot be resumed: {needle}"):
        train(tmp_path, **changes, resume=True)
    with pytest.raises(KitError, match="holds a run already"):
        train(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", ["cut short", "one bit", "code"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(damage, tmp_path):
    train(tmp_path, deadline=0.0)
    path = tmp_path / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-20] if damage == "cut short" else content)
    if damage == "code":
        torch.save({"position": SimpleNamespace()}, path)
    with pytest.raises(KitError, match=r"checkpoint\.pt: damaged, cannot be resumed from") as error:
        train(tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_text_too_short_for_its_parts_is_refused_and_leaves_no_folder(tmp_path):
    for batch_size, shortest in ((1, 40), (30, 90)):
        config = settings(batch_size=batch_size, epochs=1)
        with pytest.raises(KitError, match=f"the text: {shortest - 1} bytes; expected at least {shortest}"):
            train(tmp_path / "run", config, FISH[: shortest - 1])
        assert not (tmp_path / "run").exists()
        train(tmp_path / f"{batch_size}", config, FISH[:shortest])


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(KitError, match="the loss is nan at epoch 1, window"):
        train(tmp_path, settings(learning_rate=1e30))


def test_a_failed_write_is_a_one_line_error_and_keeps_the_last_checkpoint(tmp_path):
    train(tmp_path, settings(eval_steps=None), deadline=0.0)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))  # as a full disk does
    try:
        with pytest.raises(KitError, match=r"checkpoint\.pt: cannot be written.*unchanged") as error:
            train(tmp_path, settings(eval_steps=None), resume=True, deadline=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "\n" not in str(error.value) and (tmp_path / "checkpoint.pt").read_bytes() == before
    train(tmp_path, settings(eval_steps=None), resume=True)
