"""Models in PyTorch: save and load them, count their cost, and run them on one device or several."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from pii_kit.files import loading
from pii_kit.models import sha_rnn  # noqa: F401, so that transformers' Auto classes know it
from pii_kit.models.encoder import check_finite, read_config

logger = logging.getLogger(__name__)
# Padding included. CPU: measured; more pieces do not fit a core's caches. GPU: 16 windows of 512 pieces.
PIECES_PER_BATCH = {"cpu": 1024, "cuda": 8192}


def save_model(inside: Path, model: PreTrainedModel) -> None:
    """Write a model and its config into a folder, as safetensors."""
    disable_progress_bar()  # transformers draws one for each file, however small
    # Under our names: by default transformers renames some encoders' weights to those of an earlier version.
    model.save_pretrained(inside, save_original_format=False)


def load_model(inside: Path, *, language_model: bool = False) -> PreTrainedModel:
    """Load a tagger's model, or a language model, that `save_model` wrote.

    Raises:
        KitError: the folder is damaged, holds another kind of model, or names code of its own.
    """
    kind: Any = AutoModelForCausalLM if language_model else AutoModelForTokenClassification
    with loading(inside):
        model = kind.from_config(read_config(inside))
        # Weights are copied into the model's own memory. Tensors mapped from the file are aligned differently, which
        # changes the last bit of some sums.
        model.load_state_dict(load_file(inside / "model.safetensors"))
        check_finite(model)
    return model


def linear_parameters(model: nn.Module) -> int:
    """Count the parameters of nn.Linear layers only, which the original project's profiler called parameters."""
    layers = nn.ModuleList(module for module in model.modules() if isinstance(module, nn.Linear))
    return sum(parameter.numel() for parameter in layers.parameters())


def flops(model: PreTrainedModel, *, n_pieces: int) -> int:
    """Count the floating-point operations of all matrix products in one window, LSTM and attention included.

    A multiply-accumulate is two operations; the original project's "FLOPs" are multiply-accumulates of nn.Linear layers
    alone. Element-wise operations are not counted. The counts of three short windows give that of any length, because
    layers take operations in proportion to the length, and attention to its square.
    """
    config: Any = deepcopy(model.config)
    device = "meta"  # splits an LSTM into its matrix products
    if hasattr(config, "encoder"):  # plain products, which the counter knows; ModernBERT cannot compute on "meta"
        config.encoder._attn_implementation, config.encoder._experts_implementation = "eager", "batched_mm"
        device = "cpu"
    lengths, counts = (8, 16, 24), []
    with torch.device(device):
        network = type(model)(config).eval()
        for length in lengths:
            pieces = torch.zeros(1, length, dtype=torch.long)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network(input_ids=pieces, feature_ids=pieces[..., None])
            counts.append(counter.get_total_flops())
    return round(float(np.polyval(np.polyfit(lengths, counts, 2), n_pieces)))


class TorchNetwork:
    """A PyTorch model as a network of `pii_kit.predict`: it computes batches for several threads at a time.

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
