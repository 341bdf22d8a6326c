"""The settings of one training of a tagger, checked as they are made."""

from dataclasses import dataclass

from pii_kit.augment import AugmentConfig
from pii_kit.optim import OPTIMIZERS
from pii_kit.settings import check_choice, check_overlap, check_positive, check_shares


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training. Sizes are in pieces, `batch_size` in windows, `clip_norm` is the gradient's norm.

    `class_weights` is a scheme of `optim.class_weights` or a weight of O. `hidden_share` is the share of pieces hidden
    from the model while it learns, `empty_share` that of windows without PII that an epoch takes, other ones each time.
    `cycle_epochs` is a cosine cycle's length (None: one to the end). `patience` stops after so many epochs without
    a better F5 (None: never). The validation documents are scored every `validate_epochs` epochs and after the last;
    of the epochs scored, `keep` "best" keeps the one with the highest F5, "last" the last, which few documents cannot
    mislead. `augment` makes each epoch's essays anew (None: they stay). `o_threshold` None is chosen on the validation
    documents. `mixed_precision` is "no", "bf16", "fp16" or "auto" (bf16 where the GPU has it, else no). A checkpoint is
    written every `checkpoint_steps` batches and after each epoch.
    """

    epochs: int = 10
    batch_size: int = 16
    accumulation_steps: int = 1
    window_size: int = 512
    overlap: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1.2e-6
    class_weights: str | float = "none"
    hidden_share: float = 0.0
    empty_share: float = 1.0
    augment: AugmentConfig | None = None
    validate_epochs: int = 1
    keep: str = "best"
    clip_norm: float = 0.25
    warmup_epochs: float = 1.0
    cycle_epochs: float | None = None
    restart_decay: float = 0.5
    patience: int | None = None
    o_threshold: float | None = None
    mixed_precision: str = "auto"
    checkpoint_steps: int = 500
    seed: int = 0

    def __post_init__(self):
        """Raises KitError, naming the setting, for a value that cannot be."""
        check_positive(self, "epochs", "batch_size", "accumulation_steps", "window_size", "learning_rate")
        check_positive(self, "checkpoint_steps", "validate_epochs")
        check_shares(self, "hidden_share", "empty_share")
        check_overlap(self)
        check_choice(self, "optimizer", OPTIMIZERS)
        check_choice(self, "keep", ("best", "last"))
