"""Models in ONNX Runtime: run exported models without PyTorch, and export models in fp32 or int8."""

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pii_kit.files import KitError, atomic_write, in_one_line
from pii_kit.lexicon import N_FEATURES, N_ROWS

if TYPE_CHECKING:
    from pii_kit.models.encoder import EncoderForTokenClassification
    from pii_kit.models.sha_rnn import ShaRnnForCausalLM, ShaRnnForTokenClassification

    Model = EncoderForTokenClassification | ShaRnnForTokenClassification | ShaRnnForCausalLM

FILE = "model.onnx"
PIECES_PER_BATCH = 1024  # padding included; more pieces do not fit a core's caches
OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # relative to the largest logit; a larger one is a different model, not rounding


class OnnxNetwork:
    """The model of an ONNX file, on the CPU, as a network of `pii_kit.predict`.

    Raises:
        KitError: onnxruntime is not installed, or the file cannot be read.
    """

    batch_pieces = PIECES_PER_BATCH

    def __init__(self, path: Path):
        try:
            import onnxruntime  # 70 MB that only exported models need
        except ModuleNotFoundError:
            raise KitError(f"{path}: needs onnxruntime (pip install onnxruntime)") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # each core computes batches of its own
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common base class
            raise KitError(f"{path}: cannot be loaded: {in_one_line(error)}") from None
        self.inputs = [entry.name for entry in self.session.get_inputs()]
        self.n_workers = n_cores()

    def __call__(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return logits (batch, piece, label) in float32."""
        (logits,) = self.session.run(["logits"], {name: batch[name] for name in self.inputs})
        return logits

    def one_core_a_batch(self) -> AbstractContextManager[None]:
        """Do nothing: each batch is computed by one core."""
        return nullcontext()


def n_cores() -> int:
    """Return how many cores this process may use: OMP_NUM_THREADS, as in PyTorch, or those that it is bound to."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_convert() -> bool:
    """Return whether the packages that an export needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def write_onnx(model: "Model", folder: Path, *, n_pieces: int, window_size: int, int8: bool = False) -> float:
    """Write a tagger's model and its config into a folder, for any number and length of windows.

    `n_pieces` is the size of the vocabulary, `window_size` the longest window in pieces. With `int8`, weights are
    rounded to 8 bits, with one scale per output channel, and activations dynamically; the logits then differ.

    Returns:
        The largest difference between a logit in ONNX Runtime and in PyTorch, on random windows of several shapes.

    Raises:
        KitError: onnx or onnxruntime is not installed, the model cannot be represented in ONNX, or the difference in
            fp32 is above LARGEST_DIFFERENCE.
    """
    from pii_kit.models.network import TorchNetwork

    with _errors(model):
        model.config.save_pretrained(folder)
        sample = _random_windows(n_pieces, shape=(2, 8))
        axes = {name: {0: "batch", 1: "piece"} for name in (*sample, "logits")}
        _export(model, folder / FILE, sample, axes, lambda network, batch: network(**batch).logits)
        shapes = (1, 1), (1, window_size), (3, 7), (5, window_size)
        windows = [_random_windows(n_pieces, shape=shape) for shape in shapes]
        expected = _logits(TorchNetwork(model), windows)
        difference = _check(_logits(OnnxNetwork(folder / FILE), windows), expected)
        if int8:
            _round_to_int8(folder / FILE)
            difference = float(np.abs(_logits(OnnxNetwork(folder / FILE), windows) - expected).max())
        return difference


def to_onnx(model: "Model", *, n_pieces: int, window_size: int, int8: bool) -> OnnxNetwork:
    """Return a model in the form that `write_onnx` writes. Raises KitError as it does."""
    with TemporaryDirectory() as folder:
        write_onnx(model, Path(folder), n_pieces=n_pieces, window_size=window_size, int8=int8)
        return OnnxNetwork(Path(folder) / FILE)


def write_language_model(model: "ShaRnnForCausalLM", path: Path) -> float:
    """Write a language model to an ONNX file that takes and returns the state, and compare two windows with PyTorch.

    Inputs are `input_ids` (batch, piece) and the state: "lstm_h.0" and "lstm_c.0" (1, batch, hidden) for each Block,
    "memory.2" (batch, position, hidden) for each with attention. Before any text the LSTMs' are zeros, and a memory has
    no positions. Outputs are `logits` (batch, piece, vocabulary) and the state after the window, as "next.lstm_h.0".

    Returns:
        The largest difference between a logit in ONNX Runtime and in PyTorch.

    Raises:
        KitError: onnx or onnxruntime is not installed, or the model cannot be represented in ONNX.
    """
    import torch

    def run(network: Any, batch: dict) -> tuple:
        _, logits, after = network(batch.pop("input_ids"), state=batch)
        return logits, *(after[name] for name in batch)

    with _errors(model), torch.inference_mode(), TemporaryDirectory() as folder:
        ids = torch.arange(28).view(2, 14)
        before = model(ids[:, :3]).state
        state = {name: value.numpy() for name, value in before.items()}
        axes: dict[str, dict] = {name: {0: "batch", 1: "piece"} for name in ("input_ids", "logits")}
        for name in state:
            of_name = {0: "batch", 1: "position"} if name.startswith("memory") else {1: "batch"}
            axes |= {name: of_name, f"next.{name}": of_name}
        exported = Path(folder) / FILE
        _export(model, exported, {"input_ids": ids.numpy(), **state}, axes, run)
        session = OnnxNetwork(exported).session
        carried, computed, expected = state, [], []
        for window in (ids[:, 3:9], ids[:, 9:]):
            logits, *values = session.run(None, {"input_ids": window.numpy(), **carried})
            carried = dict(zip(state, values, strict=True))
            computed.append(logits)
            _, logits, before = model(window, state=before)
            expected.append(logits.numpy())
        difference = _check(np.concatenate(computed, axis=1), np.concatenate(expected, axis=1))
        with atomic_write(path) as handle:
            handle.buffer.write(exported.read_bytes())
        return difference


def _export(
    model: "Model", path: Path, sample: dict[str, np.ndarray], axes: dict[str, dict], run: Callable[[Any, dict], Any]
) -> None:
    """Write what `run` computes of a model and a batch like `sample`; `axes` are those of any length, by name."""
    import torch

    class Flat(torch.nn.Module):  # tensors in, tensors out
        def __init__(self) -> None:
            super().__init__()
            self.model = model.for_export().eval()

        def forward(self, *inputs: torch.Tensor) -> Any:
            return run(self.model, dict(zip(sample, inputs, strict=True)))

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # errors of tracing are found by the comparison, for several shapes
        torch.onnx.export(
            Flat(),
            tuple(map(torch.from_numpy, sample.values())),
            path,
            input_names=list(sample),
            output_names=[name for name in axes if name not in sample],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # ONNX Runtime cannot round the LSTM of the newer exporter to int8
        )


@contextmanager
def _errors(model: "Model") -> Iterator[None]:
    """Turn a lack of packages, and what the exporter and onnxruntime raise, into a KitError."""
    if not can_convert():
        raise KitError("export needs onnx and onnxruntime (pip install onnx onnxruntime)")
    try:
        yield
    except (KitError, OSError):
        raise
    except Exception as error:  # their own exceptions have no common base class
        kind = getattr(model.config, "encoder", model.config).model_type
        raise KitError(f"not exported: ONNX cannot represent a model of type {kind!r}: {in_one_line(error)}") from None


def _check(computed: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of a logit. Raise KitError if it is more than rounding."""
    difference, largest = float(np.abs(computed - expected).max()), np.abs(expected).max()
    if not difference <= LARGEST_DIFFERENCE * largest:
        found = f"a logit in ONNX Runtime is {difference:.3g} off PyTorch's (largest: {largest:.3g})"
        raise KitError(f"not exported: {found}")
    return difference


def _random_windows(n_pieces: int, *, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Draw windows (batch, piece), the first one full, the others padded, as `windows.collate` builds them."""
    rng = np.random.default_rng(shape)
    lengths = np.append(shape[1], rng.integers(1, shape[1], size=shape[0] - 1, endpoint=True))
    return {
        "input_ids": rng.integers(n_pieces, size=shape),
        "attention_mask": (np.arange(shape[1]) < lengths[:, None]).astype(np.int64),
        "feature_ids": rng.integers(N_ROWS, size=(*shape, N_FEATURES)),
    }


def _logits(network: Any, windows: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the logits (piece, label) of all pieces but padding."""
    return np.concatenate([network(batch)[batch["attention_mask"] == 1] for batch in windows])


def _round_to_int8(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # onnxruntime advises pre-processing, which its sessions do by themselves
    try:
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.disable(logging.NOTSET)
