import bz2
import gzip
import lzma
import math
import zipfile
from itertools import pairwise

import pytest
import torch
from conftest import tiny_language_model
from hypothesis import given
from hypothesis import strategies as st

from pii_kit.files import KitError
from pii_kit.language_model import (
    IGNORED,
    bits_per_character,
    bpc_by_memory,
    compressed_bpc,
    generate,
    read_bytes,
    split_bytes,
    streams,
    varied_windows,
    windows,
)

LINES = "Ä line.\n".encode() * 50
TEXT = bytes(torch.randint(0, 256, (301,), generator=torch.Generator().manual_seed(0)).tolist())


@given(st.binary(min_size=0, max_size=500))
def test_the_parts_of_a_split_join_to_the_text(text):
    split = split_bytes(text)
    assert b"".join(split) == text
    assert len(split.train) == len(text) * 90 // 100


def test_enwik8_is_split_as_the_paper_splits_it():
    assert [len(part) for part in split_bytes(bytes(1000))] == [900, 50, 50]


@given(st.binary(min_size=2, max_size=300), st.integers(1, 20))
def test_every_byte_except_the_first_is_a_target_once_and_follows_its_input(text, n_streams):
    n_streams = min(n_streams, len(text) - 1)
    inputs, targets = streams(text, n_streams)
    real = targets != IGNORED
    assert inputs.shape == targets.shape and len(inputs) == n_streams
    assert bytes(targets[real].tolist()) == text[1:]
    assert bytes(inputs[real].tolist()) == text[:-1]
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in real)  # padding only at the end


@pytest.mark.parametrize("cut", [windows, lambda n, size: varied_windows(n, size, seed=1)])
@pytest.mark.parametrize(("n_positions", "size"), [(1, 8), (8, 8), (9, 8), (5000, 64)])
def test_windows_are_consecutive_and_complete(cut, n_positions, size):
    found = list(cut(n_positions, size))
    assert [position for window in found for position in window] == list(range(n_positions))
    assert all(1 <= len(window) <= size for window in found)


def test_window_lengths_are_distributed_as_in_the_published_code():
    lengths = torch.tensor([len(window) for window in varied_windows(2_000_000, 200, seed=0)][:-1]).float()
    assert lengths.min() >= 5 and lengths.max() == 200
    half = lengths < 150
    assert half.float().mean().item() == pytest.approx(0.05, abs=0.01)
    assert lengths[half].mean().item() == pytest.approx(100, abs=1)
    assert lengths[half].std().item() == pytest.approx(5, abs=0.6)
    assert (lengths[~half] == 200).float().mean().item() == pytest.approx(0.54, abs=0.03)


def test_windows_depend_on_the_seed_only():
    assert list(varied_windows(999, 50, seed="1 2")) == list(varied_windows(999, 50, seed="1 2"))
    assert list(varied_windows(999, 50, seed="1 2")) != list(varied_windows(999, 50, seed="1 3"))


def test_packed_files_are_unpacked(tmp_path):
    (tmp_path / "plain.txt").write_bytes(LINES)
    (tmp_path / "text.xz").write_bytes(lzma.compress(LINES))
    (tmp_path / "text.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "text.bz2").write_bytes(bz2.compress(LINES))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("enwik8", LINES)
    assert {read_bytes(path) for path in tmp_path.iterdir()} == {LINES}


def test_an_unreadable_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "empty.txt").touch()
    for name in ("cut.xz", "cut.gz", "cut.bz2", "cut.zip"):
        pack = {"cut.xz": lzma.compress, "cut.gz": gzip.compress, "cut.bz2": bz2.compress}.get(name, bytes)
        (tmp_path / name).write_bytes(pack(LINES)[:-10])
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("one", LINES)
        archive.writestr("two", LINES)
    for name in ("nowhere.txt", *(path.name for path in tmp_path.iterdir())):
        with pytest.raises(KitError, match=name) as error:
            read_bytes(tmp_path / name)
        assert "\n" not in str(error.value)


def test_compressors_are_measured_in_bits_per_character():
    text = bytes(range(256)) * 4
    bpc = compressed_bpc(text)
    assert set(bpc) == {"gzip", "bzip2", "xz"}
    assert bpc["xz"] == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / 1024
    assert all(value < 8 for value in bpc.values())
    assert all(compressed_bpc(text, after=text)[name] < bpc[name] for name in bpc)


@torch.no_grad()
def one_by_one(model, text):
    """Compute bpc the slow way: byte by byte, in double precision."""
    state, nats = None, 0.0
    for byte, following in pairwise(text):
        done = model(torch.tensor([[byte]]), state=state)
        state = done.state
        nats -= done.logits[0, 0].double().log_softmax(-1)[following].item()
    return nats / (len(text) - 1) / math.log(2)


@pytest.mark.parametrize("n_bytes", [2, 3, 64, 65, 66, 301])
def test_bpc_equals_that_of_reading_byte_by_byte(n_bytes):
    model = tiny_language_model(vocab_size=256, memory_size=1000)
    found = bits_per_character(model, TEXT[:n_bytes], window_size=64)
    assert found == pytest.approx(one_by_one(model, TEXT[:n_bytes]), abs=1e-5)


def test_a_uniform_model_needs_eight_bits_per_character():
    model = tiny_language_model(vocab_size=256)
    with torch.no_grad():
        model.model.embedding.weight.zero_()
    for n_streams in (1, 3, 7):
        assert bits_per_character(model, TEXT, window_size=50, n_streams=n_streams) == pytest.approx(8, abs=1e-5)


def test_parallel_streams_equal_the_parts_of_the_text_read_separately():
    model = tiny_language_model(vocab_size=256)
    halves = [bits_per_character(model, part, window_size=10) for part in (TEXT[:151], TEXT[150:])]
    together = bits_per_character(model, TEXT, window_size=10, n_streams=2)
    assert together == pytest.approx(sum(halves) / 2, abs=1e-5)


def test_backing_off_equals_a_memory_of_size_0():
    model = tiny_language_model(vocab_size=256)
    backed_off = bits_per_character(model, TEXT, window_size=10, back_off=True)
    assert backed_off != pytest.approx(bits_per_character(model, TEXT, window_size=10), abs=1e-7)
    model.config.memory_size = 0
    assert backed_off == pytest.approx(bits_per_character(model, TEXT, window_size=10), abs=1e-6)


@pytest.mark.parametrize("text", [b"", b"a"])
def test_a_text_of_fewer_than_two_bytes_is_refused(text):
    with pytest.raises(KitError, match=f"a text of {len(text)} bytes: expected at least 2"):
        bits_per_character(tiny_language_model(vocab_size=256), text)


def test_generated_text_has_the_requested_length_and_depends_on_the_seed():
    model = tiny_language_model(vocab_size=256)
    made = generate(model, b"Hello", n_bytes=40, seed=1)
    assert len(made) == 40
    assert made == generate(model, b"Hello", n_bytes=40, seed=1) != generate(model, b"Hello", n_bytes=40, seed=2)
    assert len(generate(model, b"", n_bytes=3)) == 3


@torch.no_grad()
def test_generation_at_a_low_temperature_picks_the_most_likely_bytes():
    model = tiny_language_model(vocab_size=256)
    text = bytearray(b"Hello, a prompt that is longer than the memory")
    prompt = bytes(text)
    state = model(torch.tensor([list(text[:20])])).state
    done = model(torch.tensor([list(text[20:40])]), state=state)
    done = model(torch.tensor([list(text[40:])]), state=done.state)
    for _ in range(5):
        text.append(int(done.logits[0, -1].argmax()))
        done = model(torch.tensor([[text[-1]]]), state=done.state)
    assert generate(model, prompt, n_bytes=5, temperature=1e-4) == bytes(text[len(prompt) :])


def test_bpc_by_memory_measures_each_memory_size_and_restores_the_models_own():
    model = tiny_language_model(vocab_size=256)
    table = bpc_by_memory(model, TEXT, [0, 20], window_size=10)
    assert table["memory"].tolist() == [0, 20] and (table["seconds"] > 0).all()
    assert model.config.memory_size == 20
    assert table["bpc"].tolist() == [
        bits_per_character(model, TEXT, window_size=10, back_off=True),
        bits_per_character(model, TEXT, window_size=10),
    ]
