"""Class weights of the loss, optimizers, and the learning rate schedule."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE_ID


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al., arXiv 1904.00962) with the minimum trust ratio of SHA-RNN's paper (section 5).

    The update of a tensor is Adam's, without bias correction and with weight decay added. It is scaled by the trust
    ratio min(norm of the weights, 10) / norm of the update (1 if either is 0), but at least by MIN_TRUST, so that
    tensors with small weights still change.
    """

    BETAS = 0.9, 0.999
    EPSILON = 1e-6
    MIN_TRUST = 0.25

    def __init__(self, parameters, *, lr: float, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Update the parameters once. `closure` is ignored; torch's schedulers and Accelerate pass none."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter], group["lr"], group["weight_decay"])

    def _update(self, parameter: torch.Tensor, state: dict, lr: float, weight_decay: float) -> None:
        if not state:
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        mean = state["mean"].lerp_(parameter.grad, 1 - self.BETAS[0])
        square = state["square"].mul_(self.BETAS[1])
        square.addcmul_(parameter.grad, parameter.grad, value=1 - self.BETAS[1])
        update = (mean / square.sqrt().add_(self.EPSILON)).add_(parameter, alpha=weight_decay)
        weight_norm, update_norm = parameter.norm().clamp(max=10), update.norm()
        trust = torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
        parameter.addcmul_(update, trust.clamp(min=self.MIN_TRUST), value=-lr)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "lamb": Lamb,
}


CLASS_WEIGHTS = ("none", "balanced", "log")
MIXED_PRECISION = ("auto", "no", "bf16", "fp16")


def class_weights(counts: np.ndarray, scheme: str | float) -> np.ndarray:
    """Return the weights (label) of the cross-entropy for counts of tokens (label).

    - "none": 1 for every label.
    - "balanced": n_tokens / (n_labels · n_tokens of the label), as in scikit-learn.
    - "log": 1 + log2(balanced weight / balanced weight of O), so the weight of O is 1.
    - a number: the weight of O; 1 for every other label.

    A label that does not occur counts as if it occurred once, so no weight is infinite. The formulas are those of the
    original project's code. Raises KitError for an unknown scheme.
    """
    if isinstance(scheme, int | float):
        return np.where(np.arange(len(counts)) == OUTSIDE_ID, scheme, 1.0)
    if scheme == "none":
        return np.ones(len(counts))
    balanced = counts.sum() / (len(counts) * np.maximum(counts, 1))
    if scheme == "balanced":
        return balanced
    if scheme == "log":
        return 1 + np.log2(balanced / balanced[OUTSIDE_ID])
    raise KitError(f"class_weights is {scheme!r}; expected one of none, balanced, log, or a number, the weight of O")


def build_optimizer(
    model: nn.Module,
    *,
    name: str,
    learning_rate: float,
    weight_decay: float,
    head_rate: float = 1.0,
    layer_decay: float = 1.0,
) -> torch.optim.Optimizer:
    """Build an optimizer with weight decay for matrices only, not for biases, gains and gates (of one row).

    Classifier and embedding of features have `head_rate` times the learning rate. Below the top layer of an encoder
    each layer has `layer_decay` times the rate of the one above it, and the embeddings that of a layer below the first.
    """
    named = [(place, parameter) for place, parameter in model.named_parameters() if parameter.requires_grad]
    top = max(_depth(place) or 0 for place, _ in named)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for place, parameter in named:
        depth = _depth(place)
        factor = layer_decay ** (top - (top if depth is None else depth))
        if place.startswith("classifier") or "feature_embedding" in place:
            factor = head_rate
        groups.setdefault((factor, parameter.squeeze().ndim > 1), []).append(parameter)
    return OPTIMIZERS[name](
        [
            {"params": groups[key], "lr": learning_rate * key[0], "weight_decay": weight_decay if key[1] else 0.0}
            for key in sorted(groups, key=lambda key: key[0] != 1)  # the first group's rate is what the history shows
        ],
        lr=learning_rate,
    )


def _depth(place: str) -> int | None:
    """Return the height of a parameter in its encoder: 0 for embeddings, 1 for the first layer; None above all layers.

    >>> [_depth(f"encoder.{place}") for place in ("embeddings.norm.weight", "layers.3.mlp.weight", "final_norm.bias")]
    [0, 4, None]
    """
    if layer := re.search(r"\blayers?\.(\d+)\.", place):
        return int(layer[1]) + 1
    return 0 if "embeddings" in place else None


def moving_average(model: nn.Module, decay: float, accelerator: Accelerator) -> AveragedModel | None:
    """Return a copy of a model for the exponential moving average of its weights; None without a `decay`.

    It becomes a part of the accelerator's checkpoints.
    """
    if not decay:
        return None
    average = AveragedModel(model, accelerator.device, multi_avg_fn=get_ema_multi_avg_fn(decay))
    accelerator.register_for_checkpointing(average)
    return average


def mixed_precision(setting: str, *, is_encoder: bool = False) -> str:
    """Return the mixed precision for Accelerate; "auto" is "bf16" where the hardware multiplies it faster, else "no".

    These are GPUs from Ampere on (capability 8.0; earlier ones emulate it, slowly) and, for transformers' encoders,
    CPUs with AVX-512 BF16 or AMX. An LSTM gains nothing from it on a CPU.
    """
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "no"
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 does not have it
    return "bf16" if is_encoder and (known.get("avx512_bf16") or known.get("amx_bf16")) else "no"


@contextmanager
def full_precision(model: nn.Module) -> Iterator[None]:
    """Leave out Accelerate's mixed precision, so that a tagger is scored as it will predict once it is loaded."""
    wrapped = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            vars(model)["forward"] = wrapped


def rate_factor(step: int, *, warmup_steps: int, cycle_steps: int, restart_decay: float) -> float:
    """Return the learning rate at a step as a share of its peak: linear warm-up, then cosine cycles with restarts.

    Each cycle falls from its peak to 0 in `cycle_steps` (Loshchilov & Hutter, arXiv 1608.03983, equation 5). The peak
    of a cycle is `restart_decay` times the one before. A decay of 1 gives the full restarts of the paper, at which
    the loss of the original project's MobileBERT exploded.

    >>> [round(rate_factor(s, warmup_steps=2, cycle_steps=2, restart_decay=0.5), 2) for s in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    cycle, place = divmod(step - warmup_steps, cycle_steps)
    return restart_decay**cycle * (1 + math.cos(math.pi * place / cycle_steps)) / 2


def build_schedule(optimizer: torch.optim.Optimizer, **shape: Any) -> LambdaLR:
    """Build a torch scheduler of `rate_factor` with the given `shape`, to be stepped once per optimizer step."""
    return LambdaLR(optimizer, lambda step: rate_factor(step, **shape))
