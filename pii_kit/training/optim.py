"""What steers learning: weights of the labels in the loss, the optimizer, and the learning rate's course."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from pii_kit.labels import OUTSIDE_ID

CLASS_WEIGHTS = ("none", "balanced", "log")


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al., arXiv 1904.00962) with the minimum trust of SHA-RNN's paper (section 5).

    Each tensor's update, Adam's without bias correction and with decay in it, is scaled by
    trust = min(weights' norm, 10) / update's norm (1 if either is 0), but at least by `min_trust`, so that tensors of
    small weights still move. A tensor without gradient is left alone.
    """

    def __init__(
        self,
        parameters,
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        min_trust: float = 0.25,
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps, "min_trust": min_trust}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter], **group)
        return loss

    def _update(self, parameter, state, *, lr, weight_decay, betas, eps, min_trust, **_) -> None:
        if not state:
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        mean = state["mean"].lerp_(parameter.grad, 1 - betas[0])
        square = state["square"].mul_(betas[1]).addcmul_(parameter.grad, parameter.grad, value=1 - betas[1])
        update = (mean / square.sqrt().add_(eps)).add_(parameter, alpha=weight_decay)
        weight_norm, update_norm = parameter.norm().clamp(max=10), update.norm()
        trust = torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
        parameter.addcmul_(update, trust.clamp(min=min_trust), value=-lr)


OPTIMIZERS = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "lamb": Lamb,
}


def class_weights(counts: np.ndarray, scheme: str | float) -> np.ndarray:
    """Counts of tokens (label) to weights (label) of the cross-entropy.

    - "none": 1 each.
    - "balanced": N / (n_labels · n_label), as scikit-learn.
    - "log": 1 + log2(balanced weight / balanced weight of O), so O weighs 1.
    - a number: this for O, 1 for every other label.
    Labels that do not occur are weighed as if they had occurred once, so that no weight is infinite. Source of the
    formulas: the seed project's training code. Raises ValueError for another scheme.
    """
    if isinstance(scheme, int | float):
        weights = np.ones(len(counts))
        weights[OUTSIDE_ID] = scheme
        return weights
    if scheme == "none":
        return np.ones(len(counts))
    balanced = counts.sum() / (len(counts) * np.maximum(counts, 1))
    if scheme == "balanced":
        return balanced
    if scheme == "log":
        return 1 + np.log2(balanced / balanced[OUTSIDE_ID])
    raise ValueError(f"class weights {scheme!r} are none of {', '.join(CLASS_WEIGHTS)} or a weight of O")


def build_optimizer(model: nn.Module, *, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer over two groups of parameters: matrices decay, biases, gains and gates (one row high) do not."""

    def is_matrix(parameter: nn.Parameter) -> bool:
        return sum(size > 1 for size in parameter.shape) > 1

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if is_matrix(p)], "weight_decay": weight_decay},
        {"params": [p for p in parameters if not is_matrix(p)], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, lr=learning_rate)


def mixed_precision(wish: str) -> str:
    """What Accelerate is told: "auto" is bf16 where the GPU has it, else "no".

    Older GPUs emulate bf16, slowly: Ampere (8.0) is the first to have it.
    """
    if wish == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) else "no"
    return wish


def rate_factor(step: int, *, warmup_steps: int, cycle_steps: int, restart_decay: float) -> float:
    """The learning rate at a step, as a share of its peak: linear warm-up, then cosine annealing with warm restarts.

    Each cycle falls from its peak to 0 in `cycle_steps` (Loshchilov & Hutter, arXiv 1608.03983, equation 5); the peak
    of a cycle is `restart_decay` times the one before. A decay of 1 gives the paper's full restarts, which destroyed
    the seed project's MobileBERT.

    >>> [round(rate_factor(s, warmup_steps=2, cycle_steps=2, restart_decay=0.5), 2) for s in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    cycle, place = divmod(step - warmup_steps, cycle_steps)
    return restart_decay**cycle * (1 + math.cos(math.pi * place / cycle_steps)) / 2


def build_schedule(
    optimizer: torch.optim.Optimizer, *, warmup_steps: int, cycle_steps: int, restart_decay: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """`rate_factor` as a torch scheduler, stepped once per optimizer step."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: rate_factor(
            step, warmup_steps=warmup_steps, cycle_steps=max(cycle_steps, 1), restart_decay=restart_decay
        ),
    )
