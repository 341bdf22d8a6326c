"""Using a SHA-RNN language model over bytes: bits per character with carried state, and text that it makes up."""

import math
import time
from collections.abc import Sequence

import pandas as pd
import torch
from tqdm import tqdm

from pii_kit.byte_text import IGNORED, streams, windows
from pii_kit.errors import KitError
from pii_kit.sha_rnn import ShaRnnForCausalLM


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
