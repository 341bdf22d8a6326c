"""Class weights and losses, optimizers, and the schedule of the learning rate."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, LRScheduler, SequentialLR

from pii_kit.labels import OUTSIDE_ID
from pii_kit.settings import TrainSettings
from pii_kit.windows import IGNORED


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al., arXiv 1904.00962) with the minimum trust ratio of SHA-RNN's paper (section 5).

    The update of a tensor is Adam's, without bias correction and with weight decay added. It is scaled by the trust
    ratio min(norm of the weights, 10) / norm of the update (1 if either is 0), but at least by MIN_TRUST.
    """

    BETAS = 0.9, 0.999
    EPSILON = 1e-6
    MIN_TRUST = 0.25

    def __init__(self, parameters, *, lr: float, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Update the parameters once. `closure` is ignored; torch's schedulers pass none."""
        pairs = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        for settings, parameter in pairs:
            if (gradient := parameter.grad) is None:
                continue
            state = self.state[parameter]
            if not state:
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            mean = state["mean"].lerp_(gradient, 1 - self.BETAS[0])
            square = state["square"].mul_(self.BETAS[1]).addcmul_(gradient, gradient, value=1 - self.BETAS[1])
            update = (mean / square.sqrt().add_(self.EPSILON)).add_(parameter, alpha=settings["weight_decay"])
            weight_norm, update_norm = parameter.norm().clamp(max=10), update.norm()
            trust = torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
            parameter.addcmul_(update, trust.clamp(min=self.MIN_TRUST), value=-settings["lr"])


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "lamb": Lamb,
}


def class_weights(counts: np.ndarray, scheme: str | float) -> np.ndarray:
    """Return the weights (label) of the cross-entropy for counts of tokens (label).

    "balanced" is n_tokens / (n_labels · n_tokens of the label), as in scikit-learn, "log" is 1 + log2(balanced weight /
    that of O), "none" is 1, and a number is the weight of O, others having 1. A label that does not occur counts as if
    it occurred once. The formulas are those of the original project's code.
    """
    if not isinstance(scheme, str):
        return np.where(np.arange(len(counts)) == OUTSIDE_ID, scheme, 1.0)
    if scheme == "none":
        return np.ones(len(counts))
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return weights if scheme == "balanced" else 1 + np.log2(weights / weights[OUTSIDE_ID])


def mean_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of a batch with class weights (label).

    Logits are (batch, piece, label). Labels are ids (batch, piece), IGNORED where none is, or target probabilities
    (batch, piece, label), zero where none are. The weight of a piece is then the mean of the class weights under its
    targets, so the loss is least at the targets whatever the weights.
    """
    if not labels.is_floating_point():
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights, ignore_index=IGNORED)
    of_pieces = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none")
    piece_weights = labels.flatten(0, 1) @ weights
    return (of_pieces * piece_weights).sum() / piece_weights.sum()


def build_optimizer(
    model: nn.Module, *, name: str, learning_rate: float, weight_decay: float, head_rate: float = 1.0
) -> torch.optim.Optimizer:
    """Build an optimizer of OPTIMIZERS with weight decay for matrices only, not for biases, gains and gates.

    Classifier and embedding of features have `head_rate` times the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for place, parameter in model.named_parameters():
        is_head = place.startswith("classifier") or "feature_embedding" in place
        groups.setdefault((is_head, parameter.squeeze().ndim > 1), []).append(parameter)
    described = [
        {
            "params": groups[is_head, is_matrix],
            "lr": learning_rate * (head_rate if is_head else 1),
            "weight_decay": weight_decay * is_matrix,
        }
        for is_head, is_matrix in sorted(groups)  # the first group's rate is in the history
    ]
    return OPTIMIZERS[name](described, lr=learning_rate)


def build_schedule(optimizer: torch.optim.Optimizer, settings: TrainSettings, n_batches: int) -> LRScheduler:
    """Build the schedule of the learning rate for epochs of `n_batches`, to be stepped once a batch.

    It rises linearly and then falls in cosine cycles from the highest rate to 0 (Loshchilov & Hutter, arXiv
    1608.03983, equation 5).
    """
    warmup = max(round(settings.warmup_epochs * n_batches), 1)
    cycle = max(round((settings.cycle_epochs or settings.epochs - settings.warmup_epochs) * n_batches), 1)
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=max(warmup - 1, 1))
    return SequentialLR(optimizer, [rise, CosineAnnealingWarmRestarts(optimizer, cycle)], milestones=[warmup])
