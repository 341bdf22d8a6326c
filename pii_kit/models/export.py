"""Convert models to ONNX: taggers, in fp32 or int8, and language models; each is compared with PyTorch's."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pii_kit.files import KitError, in_one_line
from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models import encoder, sha_rnn
from pii_kit.models.onnx import FILE, OnnxNetwork
from pii_kit.models.sha_rnn import ShaRnnForCausalLM, ShaRnnPreTrainedModel

OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # relative to the largest logit; a larger one is a different model, not rounding


def can_convert() -> bool:
    """Return whether the packages that an export needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def write_onnx(model: PreTrainedModel, folder: Path, *, n_pieces: int, window_size: int, int8: bool = False) -> float:
    """Write a tagger's model and its config into a folder, for any number and length of windows.

    `n_pieces` is the size of the vocabulary, `window_size` the longest window in pieces. With `int8`, weights are
    quantized to 8 bits, with one scale per output channel, and activations dynamically; the logits then differ.

    Returns:
        The largest difference between a logit in ONNX Runtime and in PyTorch, on random windows of several shapes.

    Raises:
        KitError: onnx or onnxruntime is not installed, the model cannot be represented in ONNX, or the difference in
            fp32 is above LARGEST_DIFFERENCE.
    """
    with _errors(model):
        model.config.save_pretrained(folder)
        sample = _random_windows(n_pieces, shape=(2, 8))
        _export(model, folder / FILE, sample, {name: {0: "batch", 1: "piece"} for name in (*sample, "logits")})
        shapes = (1, 1), (1, window_size), (3, 7), (5, window_size)
        windows = [_random_windows(n_pieces, shape=shape) for shape in shapes]
        difference, largest = _compare(model, folder / FILE, windows)
        _check(difference, largest)
        if int8:
            _round_to_int8(folder / FILE)
            difference, _ = _compare(model, folder / FILE, windows)
        return difference


def to_onnx(model: PreTrainedModel, *, n_pieces: int, window_size: int, int8: bool) -> OnnxNetwork:
    """Return a model in the form that `write_onnx` writes. Raises KitError as it does."""
    with TemporaryDirectory() as folder:
        write_onnx(model, Path(folder), n_pieces=n_pieces, window_size=window_size, int8=int8)
        return OnnxNetwork(Path(folder) / FILE)


@torch.inference_mode()
def write_language_model(model: ShaRnnForCausalLM, path: Path) -> float:
    """Write a language model to an ONNX file that takes and returns the state, and compare two windows with PyTorch.

    Inputs are `input_ids` (batch, piece) and the state: "lstm_h.0" and "lstm_c.0" (1, batch, hidden) for each Block,
    "memory.2" (batch, position, hidden) for each with attention. Before any text the LSTMs' are zeros, and a memory has
    no positions. Outputs are `logits` (batch, piece, vocabulary) and the state after the window, as "next.lstm_h.0".

    Returns:
        The largest difference between a logit in ONNX Runtime and in PyTorch.
    """
    with _errors(model):
        ids = torch.arange(28).view(2, 14)
        state = model(ids[:, :3]).state
        memories = {name: {0: "batch", 1: "position"} for name in state if name.startswith("memory")}
        axes = {name: memories.get(name, {1: "batch"}) for name in state}
        axes |= {f"next.{name}": of_name for name, of_name in axes.items()}
        axes = {name: {0: "batch", 1: "piece"} for name in ("input_ids", "logits")} | axes
        _export(model, path, {"input_ids": ids, **state}, axes)

        network, differences, expected = OnnxNetwork(path), [], sha_rnn.State()
        state = {name: value[:, :0] if name in memories else torch.zeros_like(value) for name, value in state.items()}
        carried: dict[str, Any] = {name: value.numpy() for name, value in state.items()}
        for window in (ids[:, :9], ids[:, 9:]):
            _, logits, expected = model(window, state=expected)
            found, *after = network.session.run(None, {"input_ids": window.numpy(), **carried})
            carried = dict(zip(state, after, strict=True))
            differences.append(np.abs(found - logits.numpy()).max())
        _check(np.max(differences), logits.abs().max().item())
        return float(np.max(differences))


class _Flat(nn.Module):
    """A model in the form that the exporter needs: tensors in, tensors out."""

    def __init__(self, model: PreTrainedModel, names: list[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        batch = dict(zip(self.names, inputs, strict=True))
        if not isinstance(self.model, ShaRnnForCausalLM):
            return self.model(**batch).logits
        _, logits, state = self.model(batch.pop("input_ids"), state=batch)
        return logits, *(state[name] for name in batch)


def _export(model: PreTrainedModel, path: Path, sample: dict[str, Tensor], axes: dict[str, dict]) -> None:
    """Write a model to a file. `axes` has the names and the axes of any length of all inputs and outputs."""
    kind = sha_rnn if isinstance(model, ShaRnnPreTrainedModel) else encoder
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # errors of tracing are found by the comparison, for several shapes
        torch.onnx.export(
            _Flat(kind.for_export(model).eval(), list(sample)),
            tuple(sample.values()),
            path,
            input_names=list(sample),
            output_names=[name for name in axes if name not in sample],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # ONNX Runtime cannot quantize the LSTM of the newer exporter to int8
        )


@contextmanager
def _errors(model: PreTrainedModel) -> Iterator[None]:
    """Turn a lack of packages, and what the exporter and onnxruntime raise, into a KitError."""
    if not can_convert():
        raise KitError("export needs onnx and onnxruntime (pip install onnx onnxruntime)")
    try:
        yield
    except KitError:
        raise
    except Exception as error:  # their own exceptions have no common base class
        kind = getattr(model.config, "encoder", model.config).model_type
        raise KitError(f"not exported: ONNX cannot represent a model of type {kind!r}: {in_one_line(error)}") from None


def _check(difference: float, largest: float) -> None:
    if not difference <= LARGEST_DIFFERENCE * largest:
        found = f"a logit in ONNX Runtime is {difference:.3g} off PyTorch's (largest: {largest:.3g})"
        raise KitError(f"not exported: {found}")


def _random_windows(n_pieces: int, *, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Draw windows (batch, piece), the first one full, the others padded, as `windows.collate` builds them."""
    generator = torch.Generator().manual_seed(shape[0] * shape[1])
    lengths = torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
    lengths[0] = shape[1]
    return {
        "input_ids": torch.randint(n_pieces, shape, generator=generator),
        "attention_mask": (torch.arange(shape[1]) < lengths).long(),
        "feature_ids": torch.randint(N_ROWS, (*shape, N_FEATURES), generator=generator),
    }


@torch.inference_mode()
def _compare(model: PreTrainedModel, path: Path, windows: list[dict[str, Tensor]]) -> tuple[float, float]:
    """Return the largest difference of a logit that is not padding, and the largest logit."""
    network, pairs = OnnxNetwork(path), []
    for batch in windows:
        real = batch["attention_mask"].bool().numpy()
        found = network({name: tensor.numpy() for name, tensor in batch.items()})
        pairs.append((found[real], model(**batch).logits.numpy()[real]))
    found, expected = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return float(np.abs(found - expected).max()), float(np.abs(expected).max())


def _round_to_int8(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # onnxruntime advises pre-processing, which its sessions do by themselves
    try:
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logger.setLevel(level)
