"""Convert a tagger's model to ONNX, in fp32 or int8, and compare it with PyTorch's."""

import importlib.util
import logging
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from pii_kit.files import KitError, in_one_line
from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models import encoder, sha_rnn
from pii_kit.models.onnx import FILE, OnnxNetwork
from pii_kit.models.sha_rnn import ShaRnnForTokenClassification

INPUTS = ["input_ids", "attention_mask", "feature_ids"]
OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # relative to the largest logit; a larger one is a different model, not rounding


class _Logits(nn.Module):
    """The model in the form that the exporter needs: tensors in, one tensor out."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(INPUTS, inputs, strict=True))).logits


def can_convert() -> bool:
    """Return whether the packages that `write_onnx` needs are installed."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def write_onnx(model: PreTrainedModel, folder: Path, *, n_pieces: int, window_size: int, int8: bool = False) -> float:
    """Write a model and its config into a folder, for any number and length of windows; compare it with PyTorch.

    `n_pieces` is the size of the vocabulary, `window_size` the longest window in pieces. With `int8`, weights are
    quantized to 8 bits, with one scale per output channel, and activations dynamically; the logits then differ.

    Returns:
        The largest difference between a logit in ONNX Runtime and in PyTorch, on random windows of several shapes.

    Raises:
        KitError: onnx or onnxruntime is not installed, the model cannot be represented in ONNX, or the difference in
            fp32 is above LARGEST_DIFFERENCE.
    """
    if missing := _missing():
        raise KitError(f"export needs {' and '.join(missing)} (pip install {' '.join(missing)})")
    model.config.save_pretrained(folder)
    try:
        _export(model, folder / FILE, n_pieces)
        difference, largest = _compare(model, OnnxNetwork(folder / FILE), n_pieces, window_size)
        if difference <= LARGEST_DIFFERENCE * largest and int8:
            _round_to_int8(folder / FILE)
            difference, _ = _compare(model, OnnxNetwork(folder / FILE), n_pieces, window_size)
            return difference
    except KitError:
        raise
    except Exception as error:  # the exporter's and onnxruntime's own exceptions have no common base class
        kind = getattr(model.config, "encoder", model.config).model_type
        raise KitError(f"not exported: ONNX cannot represent a model of type {kind!r}: {in_one_line(error)}") from None
    if not difference <= LARGEST_DIFFERENCE * largest:
        raise KitError(
            f"not exported: a logit in ONNX Runtime is {difference:.3g} off PyTorch's (largest: {largest:.3g})"
        )
    return difference


def to_onnx(model: PreTrainedModel, *, n_pieces: int, window_size: int, int8: bool) -> OnnxNetwork:
    """Return a model in the form that `write_onnx` writes. Raises KitError as it does."""
    with TemporaryDirectory() as folder:
        write_onnx(model, Path(folder), n_pieces=n_pieces, window_size=window_size, int8=int8)
        return OnnxNetwork(Path(folder) / FILE)


def _round_to_int8(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # onnxruntime advises pre-processing, which its sessions do by themselves
    try:
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logger.setLevel(level)


def _export(model: PreTrainedModel, path: Path, n_pieces: int) -> None:
    if isinstance(model, ShaRnnForTokenClassification):
        prepared: PreTrainedModel = sha_rnn.for_export(model)
    else:
        prepared = encoder.for_export(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing errors are found by `_compare`, for several shapes
        torch.onnx.export(
            _Logits(prepared.eval()),
            tuple(_random_windows(n_pieces, shape=(2, 8)).values()),
            path,
            input_names=INPUTS,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "piece"} for name in [*INPUTS, "logits"]},
            opset_version=OPSET,
            dynamo=False,  # ONNX Runtime cannot quantize the LSTM of the newer exporter to int8
        )


def _random_windows(n_pieces: int, *, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
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
def _compare(model: PreTrainedModel, exported: OnnxNetwork, n_pieces: int, window_size: int) -> tuple[float, float]:
    """Return the largest difference of a logit that is not padding, and the largest logit."""
    difference = largest = 0.0
    for shape in ((1, 1), (1, window_size), (3, 7), (5, window_size)):
        windows = _random_windows(n_pieces, shape=shape)
        real = windows["attention_mask"].bool()
        expected = model(**windows).logits[real].numpy()
        found = exported({name: tensor.numpy() for name, tensor in windows.items()})[real.numpy()]
        difference = max(difference, float(np.abs(found - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return difference, largest
