"""Text as bytes for a language model: read, split 90/5/5, laid out in streams, cut into windows."""

import bz2
import gzip
import lzma
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from pii_kit.errors import KitError

IGNORED = -100  # the target where a stream has ended
COMPRESSORS = {
    "gzip": lambda text: gzip.compress(text, 9),
    "bzip2": lambda text: bz2.compress(text, 9),
    "xz": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
}


class Split(NamedTuple):
    """A text in three parts, in order."""

    train: bytes
    validation: bytes
    test: bytes


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file, unpacked if it is named .xz, .gz, .bz2, or .zip with one file in it.

    Raises KitError if the file is missing, damaged or empty.
    """
    path = Path(path)
    open_packed = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open, ".zip": _open_zip}.get(path.suffix, open)
    try:
        with open_packed(path, "rb") as handle:
            text = handle.read()
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
        raise KitError(f"{path}: damaged, or not what its name says: {error}") from None
    if not text:
        raise KitError(f"{path}: empty; expected text")
    return text


def _open_zip(path: Path, mode: str):
    inside = zipfile.ZipFile(path).namelist()
    if len(inside) != 1:
        raise KitError(f"{path}: holds {len(inside)} files; expected one")
    return zipfile.ZipFile(path).open(inside[0])


def split_bytes(text: bytes) -> Split:
    """The first 90%, the next 5%, the last 5%, as the paper splits enwik8.

    >>> list(map(len, split_bytes(bytes(205))))
    [184, 10, 11]
    """
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return Split(text[:first], text[first:second], text[second:])


def streams(text: bytes, n_streams: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes to read and the byte that follows each, int16 (stream, position): `n_streams` contiguous parts of a text.

    Every byte but the text's first is a target once. The first byte of a stream is the last one of the stream before;
    streams are equally long to one position, and shorter ones end with targets of -100.

    >>> inputs, targets = streams(b"abcdef", 2)
    >>> [bytes(row.tolist()) for row in inputs], targets.tolist()
    ([b'abc', b'de\\x00'], [[98, 99, 100], [101, 102, -100]])
    """
    whole = torch.frombuffer(bytearray(text), dtype=torch.uint8).short()
    inputs = whole[:-1].tensor_split(n_streams)
    targets = whole[1:].tensor_split(n_streams)
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(inputs, batch_first=True), pad(targets, batch_first=True, padding_value=IGNORED)


def windows(n_positions: int, size: int) -> Iterator[range]:
    """Windows of `size` positions from first to last; the last one is as long as is left.

    >>> list(windows(10, 4))
    [range(0, 4), range(4, 8), range(8, 10)]
    """
    return (range(begin, min(begin + size, n_positions)) for begin in range(0, n_positions, size))


def varied_windows(n_positions: int, size: int, *, seed: int | str) -> Iterator[range]:
    """Windows for training, of varied length, so that their ends fall elsewhere in each epoch.

    `size` or, one time in twenty, half of it; then normally distributed round that with deviation 5; at least 5 and at
    most `size`. The last one is as long as is left. Source: the published training code.
    """
    rng = random.Random(seed)
    begin = 0
    while begin < n_positions:
        mean = size if rng.random() < 0.95 else size / 2
        length = min(max(5, round(rng.gauss(mean, 5))), size)
        yield range(begin, min(begin + length, n_positions))
        begin += length


def compressed_bpc(text: bytes, *, after: bytes = b"") -> dict[str, float]:
    """Bits per character that gzip, bzip2 and xz, at their strongest, need for `text` once they have seen `after`."""
    return {
        name: 8 * (len(compress(after + text)) - len(compress(after)) * bool(after)) / len(text)
        for name, compress in COMPRESSORS.items()
    }
