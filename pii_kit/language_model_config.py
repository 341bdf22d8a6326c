"""The settings of one training of the language model, checked as they are made."""

from dataclasses import dataclass

from pii_kit.errors import KitError
from pii_kit.optim import OPTIMIZERS
from pii_kit.settings import check_choice, check_positive, check_shares


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Settings of one training. `batch_size` is in streams, `window_size` in bytes, `clip_norm` the gradient's norm.

    After `epochs` at `learning_rate` come `half_rate_epochs` at half of it, from the best weights so far. The rate
    rises over `warmup_steps`. `memory_drop` is the share of windows before which the memory is dropped, so that the
    LSTM learns to do without. bpc is validated, and the best weights kept, every `eval_steps` windows (None: only at
    each epoch's end); `eval_streams` are read side by side then. A checkpoint is written every `checkpoint_steps`
    windows, at each epoch's end, and when the session's `minutes` are over. Defaults suit a small model on a CPU; the
    paper's rate is 2e-3.
    """

    epochs: int = 1
    half_rate_epochs: int = 0
    batch_size: int = 8
    window_size: int = 128
    optimizer: str = "lamb"
    learning_rate: float = 1e-3
    weight_decay: float = 1.2e-6
    clip_norm: float = 0.25
    warmup_steps: int = 200
    memory_drop: float = 0.0
    mixed_precision: str = "auto"
    eval_steps: int | None = None
    eval_streams: int = 8
    checkpoint_steps: int = 500
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self):
        """Raises KitError, naming the setting, for a value that cannot be."""
        check_positive(self, "batch_size", "window_size", "learning_rate", "clip_norm", "checkpoint_steps")
        check_positive(self, "eval_streams")
        if self.epochs + self.half_rate_epochs < 1:
            raise KitError("epochs and half_rate_epochs are both 0; expected an epoch of either")
        check_shares(self, "memory_drop")
        check_choice(self, "optimizer", OPTIMIZERS)
