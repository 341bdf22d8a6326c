"""Run an exported model in ONNX Runtime, without PyTorch, as a network of `pii_kit.predict`."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from pii_kit.files import KitError, in_one_line

FILE = "model.onnx"
PIECES_PER_BATCH = 1024  # padding included; more pieces do not fit a core's caches


class OnnxNetwork:
    """The model of an ONNX file, on the CPU.

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
