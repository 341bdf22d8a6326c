import bz2
import gzip
import lzma
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pii_kit.files import KitError
from pii_kit.language_model import IGNORED, compressed_bpc, read_bytes, split_bytes, streams, varied_windows, windows

TEXT = "Ä line.\n".encode() * 50


@given(st.binary(min_size=0, max_size=500))
def test_the_parts_of_a_split_are_the_text_in_order(text):
    split = split_bytes(text)
    assert b"".join(split) == text
    assert len(split.train) == len(text) * 90 // 100


def test_enwik8_is_split_as_the_paper_splits_it():
    assert [len(part) for part in split_bytes(bytes(1000))] == [900, 50, 50]


@given(st.binary(min_size=2, max_size=300), st.integers(1, 20))
def test_every_byte_but_the_first_is_a_target_once_and_follows_its_input(text, n_streams):
    n_streams = min(n_streams, len(text) - 1)
    inputs, targets = streams(text, n_streams)
    real = targets != IGNORED
    assert inputs.shape == targets.shape and len(inputs) == n_streams
    assert bytes(targets[real].tolist()) == text[1:]
    assert bytes(inputs[real].tolist()) == text[:-1]
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in real)  # ends alone are padded


@pytest.mark.parametrize("cut", [windows, lambda n, size: varied_windows(n, size, seed=1)])
@pytest.mark.parametrize(("n_positions", "size"), [(1, 8), (8, 8), (9, 8), (5000, 64)])
def test_windows_follow_each_other_without_gap(cut, n_positions, size):
    found = list(cut(n_positions, size))
    assert [position for window in found for position in window] == list(range(n_positions))
    assert all(1 <= len(window) <= size for window in found)


def test_lengths_vary_as_the_published_code_varies_them():
    lengths = torch.tensor([len(window) for window in varied_windows(2_000_000, 200, seed=0)][:-1]).float()
    assert lengths.min() >= 5 and lengths.max() == 200
    half = lengths < 150
    assert half.float().mean().item() == pytest.approx(0.05, abs=0.01)
    assert lengths[half].mean().item() == pytest.approx(100, abs=1)
    assert lengths[half].std().item() == pytest.approx(5, abs=0.6)
    assert (lengths[~half] == 200).float().mean().item() == pytest.approx(0.54, abs=0.03)


def test_equal_seeds_cut_alike_and_others_otherwise():
    assert list(varied_windows(999, 50, seed="1 2")) == list(varied_windows(999, 50, seed="1 2"))
    assert list(varied_windows(999, 50, seed="1 2")) != list(varied_windows(999, 50, seed="1 3"))


def test_packed_files_are_read_as_their_content(tmp_path):
    (tmp_path / "plain.txt").write_bytes(TEXT)
    (tmp_path / "text.xz").write_bytes(lzma.compress(TEXT))
    (tmp_path / "text.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "text.bz2").write_bytes(bz2.compress(TEXT))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("enwik8", TEXT)
    assert {read_bytes(path) for path in tmp_path.iterdir()} == {TEXT}


def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "empty.txt").touch()
    for name in ("cut.xz", "cut.gz", "cut.bz2", "cut.zip"):
        pack = {"cut.xz": lzma.compress, "cut.gz": gzip.compress, "cut.bz2": bz2.compress}.get(name, bytes)
        (tmp_path / name).write_bytes(pack(TEXT)[:-10])
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("one", TEXT)
        archive.writestr("two", TEXT)
    for name in ("nowhere.txt", *(path.name for path in tmp_path.iterdir())):
        with pytest.raises(KitError, match=name) as error:
            read_bytes(tmp_path / name)
        assert "\n" not in str(error.value)


def test_compressors_are_counted_in_bits_per_character():
    text = bytes(range(256)) * 4
    bpc = compressed_bpc(text)
    assert set(bpc) == {"gzip", "bzip2", "xz"}
    assert bpc["xz"] == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / 1024
    assert all(value < 8 for value in bpc.values())
    assert all(compressed_bpc(text, after=text)[name] < bpc[name] for name in bpc)
