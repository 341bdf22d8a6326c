"""The SHA-RNN language model over bytes: read text, measure bits per character, generate."""

import bz2
import gzip
import lzma
import math
import random
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from tqdm import tqdm

from pii_kit.files import KitError
from pii_kit.models.sha_rnn import ShaRnnForCausalLM

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


@torch.inference_mode()
def bits_per_character(
    model: ShaRnnForCausalLM,
    text: bytes,
    *,
    window_size: int = 256,
    n_streams: int = 1,
    back_off: bool = False,
    progress: bool = False,
) -> float:
    """Mean cross-entropy / ln 2 over every byte of `text` but the first, with state and memory carried all through.

    More streams are faster and cost each its beginning without a state. With `back_off` the memory is dropped after
    every window, and only the LSTM links to the past. Raises KitError for a text of fewer than two bytes.
    """
    if len(text) < 2:
        raise KitError(f"a text of {len(text)} bytes: expected at least 2, one to be predicted from the other")
    model.eval()
    inputs, targets = streams(text, min(n_streams, len(text) - 1))
    state, nats = None, 0.0
    for window in tqdm(list(windows(inputs.shape[1], window_size)), desc="windows", disable=not progress):
        here = inputs[:, window.start : window.stop].long().to(model.device)
        labels = targets[:, window.start : window.stop].long().to(model.device)
        done = model(here, state=state, labels=labels)
        state = done.state.without_memory() if back_off else done.state
        nats += done.loss.double().item() * int((labels != IGNORED).sum())
    return nats / (len(text) - 1) / math.log(2)


def bpc_by_memory(
    model: ShaRnnForCausalLM, text: bytes, memory_sizes: Sequence[int], *, window_size: int = 256, n_streams: int = 1
) -> pd.DataFrame:
    """A row per memory size, however the model was trained: `memory`, `bpc` of `text`, and `seconds` that it took."""
    trained = model.config.memory_size
    rows = []
    for size in memory_sizes:
        model.config.memory_size = size
        began = time.perf_counter()
        bpc = bits_per_character(model, text, window_size=window_size, n_streams=n_streams)
        rows.append({"memory": size, "bpc": bpc, "seconds": time.perf_counter() - began})
    model.config.memory_size = trained
    return pd.DataFrame(rows)


@torch.inference_mode()
def generate(
    model: ShaRnnForCausalLM, prompt: bytes, *, n_bytes: int, temperature: float = 1.0, seed: int = 0
) -> bytes:
    """`n_bytes` that the model puts after `prompt` (a line's end if empty), drawn one by one; equal for equal seeds."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.tensor([list(prompt or b"\n")], device=model.device)
    state, made = None, bytearray()
    for window in windows(inputs.shape[1], model.config.memory_size or inputs.shape[1]):
        done = model(inputs[:, window.start : window.stop], state=state)
        state = done.state
    while len(made) < n_bytes:
        probabilities = (done.logits[0, -1].double() / temperature).softmax(-1).cpu()
        made.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        done = model(torch.tensor([[made[-1]]], device=model.device), state=state)
        state = done.state
    return bytes(made)
