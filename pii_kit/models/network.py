"""Run a PyTorch model as a network of `pii_kit.predict`, on one device or several."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
# Padding included. CPU: measured; more pieces do not fit a core's caches. GPU: 16 windows of 512 pieces.
PIECES_PER_BATCH = {"cpu": 1024, "cuda": 8192}


class TorchNetwork:
    """A PyTorch model that computes batches for several threads at a time.

    On CPUs the threads share the model, one for each core. On GPUs each device has a replica, which one thread at a
    time uses. The model itself moves to the first device.
    """

    def __init__(self, model: PreTrainedModel, devices: Sequence[str | torch.device] = ("cpu",)):
        places: list[Any] = list(map(torch.device, devices))  # the types of transformers do not allow `.to`
        on_cpu = places[0].type == "cpu"
        self.model = model.to(places[0]).eval()
        self.n_workers = torch.get_num_threads() if on_cpu else len(places)
        self.batch_pieces = PIECES_PER_BATCH[places[0].type]
        self._free: SimpleQueue[PreTrainedModel] = SimpleQueue()
        replicas = [self.model] * self.n_workers if on_cpu else [deepcopy(model).to(place) for place in places[1:]]
        for replica in replicas if on_cpu else [self.model, *replicas]:
            self._free.put(replica)

    def __call__(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return logits (batch, piece, label) in float32. A batch too large for a GPU is computed in halves."""
        model = self._free.get()
        try:
            return _logits(model, batch)
        except torch.OutOfMemoryError:
            n_windows = len(batch["input_ids"])
            if n_windows == 1:
                raise
            torch.cuda.empty_cache()
        finally:
            self._free.put(model)
        halves = slice(n_windows // 2), slice(n_windows // 2, None)
        return np.concatenate([self({name: array[half] for name, array in batch.items()}) for half in halves])

    @contextmanager
    def one_core_a_batch(self) -> Iterator[None]:
        """Let PyTorch use one core for an operation: small models gain little from cores that share a batch."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


@torch.inference_mode()
def _logits(model: PreTrainedModel, batch: dict[str, np.ndarray]) -> np.ndarray:
    device: Any = model.device
    # On CPUs in full precision, where the labels are those of ONNX Runtime.
    dtype = torch.float32 if device.type == "cpu" else precision(device, model)
    inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.items()}
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(**inputs).logits
    return logits.float().cpu().numpy()


def precision(device: str | torch.device, model: PreTrainedModel) -> torch.dtype:
    """Return the type of numbers in which a device computes a model fastest without a loss of quality.

    It is bfloat16 on GPUs from capability 8.0 on, and for encoders on CPUs that multiply it; float16 for encoders on
    GPUs of capability 7.x, but not for MobileBERT, which overflows. SHA-RNN's LSTM gains nothing from either there.
    """
    device, config = torch.device(device), model.config
    is_encoder = hasattr(config, "encoder")
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return torch.bfloat16
        is_safe = is_encoder and config.encoder.model_type != "mobilebert"
        return torch.float16 if is_safe and capability >= (7, 0) else torch.float32
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 does not have it
    is_faster = is_encoder and (known.get("avx512_bf16") or known.get("amx_bf16"))
    return torch.bfloat16 if is_faster else torch.float32


@cache
def working_devices() -> tuple[str, ...]:
    """Return the GPUs that can compute; if there are none, the CPU.

    A GPU that torch finds but has no kernels for fails only when it is used.
    """
    working = []
    for index in range(torch.cuda.device_count()):
        try:
            torch.ones(2, 2, device=f"cuda:{index}").sum().item()
            working.append(f"cuda:{index}")
        except RuntimeError as error:
            logger.warning("cuda:%d is not used, because it does not work: %s", index, str(error).partition("\n")[0])
    return tuple(working) or ("cpu",)
