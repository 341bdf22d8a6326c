"""The byte-level SHA-RNN language model: read and split text, measure bits per character, generate."""

import bz2
import gzip
import lzma
import math
import random
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit.files import KitError

IGNORED = -100  # target after the end of a stream


class Split(NamedTuple):
    """The three parts of a text, in order."""

    train: bytes
    validation: bytes
    test: bytes


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file; unpack .xz, .gz, .bz2, and .zip with one file. Raises KitError for a bad file."""
    path = Path(path)
    packed: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open, ".zip": _open_zip}
    try:
        with packed.get(path.suffix, open)(path, "rb") as handle:
            text = handle.read()
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
        raise KitError(f"{path}: damaged, or not a {path.suffix} file: {error}") from None
    if not text:
        raise KitError(f"{path}: empty; expected text")
    return text


def _open_zip(path: Path, mode: str) -> IO[bytes]:
    inside = zipfile.ZipFile(path).namelist()
    if len(inside) != 1:
        raise KitError(f"{path}: holds {len(inside)} files; expected one")
    return zipfile.ZipFile(path).open(inside[0])


def split_bytes(text: bytes) -> Split:
    """Split a text into the first 90%, the next 5% and the last 5%, as the paper splits enwik8.

    >>> list(map(len, split_bytes(bytes(205))))
    [184, 10, 11]
    """
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return Split(text[:first], text[first:second], text[second:])


def streams(text: bytes, n_streams: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a text into `n_streams` contiguous streams, and return inputs and targets, int16 (stream, position).

    The target of each byte is the next one, so every byte except the first is a target once, and each stream begins
    with the last byte of the stream before. Shorter streams are padded, with targets of -100.

    >>> inputs, targets = streams(b"abcdef", 2)
    >>> [bytes(row.tolist()) for row in inputs], targets.tolist()
    ([b'abc', b'de\\x00'], [[98, 99, 100], [101, 102, -100]])
    """
    whole = torch.frombuffer(bytearray(text), dtype=torch.uint8).short()
    inputs = whole[:-1].tensor_split(n_streams)
    targets = whole[1:].tensor_split(n_streams)
    return pad_sequence(list(inputs), True), pad_sequence(list(targets), True, IGNORED)


def windows(n_positions: int, size: int) -> Iterator[range]:
    """Return consecutive windows of `size` positions; the last one may be shorter.

    >>> list(windows(10, 4))
    [range(0, 4), range(4, 8), range(8, 10)]
    """
    return (range(begin, min(begin + size, n_positions)) for begin in range(0, n_positions, size))


def varied_windows(n_positions: int, size: int, *, seed: int | str) -> Iterator[range]:
    """Return training windows of varied length, so that their ends fall at other positions in each epoch.

    The mean is `size` or, for one window in twenty, half of it; lengths are normally distributed with deviation 5, at
    least 5 and at most `size`. Source: the published training code.
    """
    rng, begin = random.Random(seed), 0
    while begin < n_positions:
        mean = size if rng.random() < 0.95 else size / 2
        length = min(max(5, round(rng.gauss(mean, 5))), size)
        yield range(begin, min(begin + length, n_positions))
        begin += length


def compressed_bpc(text: bytes, *, after: bytes = b"") -> dict[str, float]:
    """Return the bits per character that gzip, bzip2 and xz (strongest setting) need for `text` after `after`."""
    strongest_xz = partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME)
    compressors: dict[str, Callable] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": strongest_xz}
    alone = {name: len(compress(after)) if after else 0 for name, compress in compressors.items()}
    return {name: 8 * (len(compress(after + text)) - alone[name]) / len(text) for name, compress in compressors.items()}


@torch.inference_mode()
def bits_per_character(
    model: PreTrainedModel,
    text: bytes,
    *,
    window_size: int = 256,
    n_streams: int = 1,
    back_off: bool = False,
    progress: bool = False,
) -> float:
    """Return the mean cross-entropy / ln 2 over all bytes of `text` except the first; state and memory are carried.

    More streams are faster, but each one begins without a state. With `back_off` the memory is emptied after each
    window, so that only the LSTM state is carried. Raises KitError for a text of fewer than two bytes.
    """
    if len(text) < 2:
        raise KitError(f"a text of {len(text)} bytes: expected at least 2, since the first is not predicted")
    model.eval()
    inputs, targets = streams(text, min(n_streams, len(text) - 1))
    state, nats = None, 0.0
    for window in tqdm(list(windows(inputs.shape[1], window_size)), desc="windows", disable=not progress):
        here = slice(window.start, window.stop)
        labels = targets[:, here].long().to(model.device)
        output = model(inputs[:, here].long().to(model.device), state=state, labels=labels)
        state = output.state.without_memory() if back_off else output.state
        nats += output.loss.double().item() * int((labels != IGNORED).sum())
    return nats / (len(text) - 1) / math.log(2)


def bpc_by_memory(
    model: PreTrainedModel, text: bytes, memory_sizes: Sequence[int], *, window_size: int = 256, n_streams: int = 1
) -> pd.DataFrame:
    """Return one row per memory size, with the columns `memory`, `bpc` of `text`, and `seconds`."""
    trained, rows = model.config.memory_size, []
    for size in memory_sizes:
        model.config.memory_size = size
        began = time.perf_counter()
        bpc = bits_per_character(model, text, window_size=window_size, n_streams=n_streams)
        rows.append({"memory": size, "bpc": bpc, "seconds": time.perf_counter() - began})
    model.config.memory_size = trained
    return pd.DataFrame(rows)


@torch.inference_mode()
def generate(model: PreTrainedModel, prompt: bytes, *, n_bytes: int, temperature: float = 1.0, seed: int = 0) -> bytes:
    """Return `n_bytes` that continue `prompt` (default: a new line), sampled one by one; equal for equal seeds."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.tensor([list(prompt or b"\n")], device=model.device)
    state, generated = None, bytearray()
    for window in windows(inputs.shape[1], model.config.memory_size or inputs.shape[1]):
        output = model(inputs[:, window.start : window.stop], state=state)
        state = output.state
    while len(generated) < n_bytes:
        probabilities = (output.logits[0, -1].double() / temperature).softmax(-1).cpu()
        generated.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        output = model(torch.tensor([[generated[-1]]], device=model.device), state=state)
        state = output.state
    return bytes(generated)
