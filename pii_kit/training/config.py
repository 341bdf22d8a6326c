"""Settings of a training, and presets: sizes and settings under a name."""

from dataclasses import dataclass, field
from types import MappingProxyType

import torch

from pii_kit.augment import AugmentConfig
from pii_kit.files import KitError, check_choice, check_overlap, check_positive, check_shares
from pii_kit.pieces import CASINGS
from pii_kit.training.optim import OPTIMIZERS


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


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is trained and how. `model` holds arguments of the model's configuration, `n_pieces` the vocabulary's size.

    `published` starts MobileBERT from its published weights where they can be had. `every_fold` trains a tagger for
    each fold, not for one alone.
    """

    n_pieces: int
    model: dict = field(default_factory=dict)
    train: TrainConfig
    published: bool = False
    every_fold: bool = False


# What small models from random weights need, both alike: they see few essays, and would learn their words by heart.
FROM_RANDOM = MappingProxyType(
    {
        "class_weights": 0.1,
        "hidden_share": 0.15,
        "augment": AugmentConfig(),
        "validate_epochs": 10,
        "keep": "last",
    }
)
# The seed's settings are its README's where its logs agree (see the table of notebook 05), with a learning rate at
# which it does learn, restart peaks that decay, windows instead of a cut at 1,024 pieces, and 15 labels.
PRESETS = MappingProxyType(
    {
        "sha_rnn": {
            "cpu": Preset(
                n_pieces=4096,
                model={
                    "hidden_size": 128,
                    "boom_size": 512,
                    "num_hidden_layers": 2,
                    "attention_layers": [1],
                    "dropout": 0.2,
                    "n_casings": len(CASINGS),
                },
                train=TrainConfig(
                    epochs=40,
                    batch_size=12,
                    window_size=128,
                    overlap=24,
                    learning_rate=3e-3,
                    empty_share=0.25,
                    **FROM_RANDOM,
                ),
                every_fold=True,
            ),
            "seed": Preset(
                n_pieces=32000,
                model={
                    "hidden_size": 1024,
                    "boom_size": 4096,
                    "num_hidden_layers": 4,
                    "attention_layers": [0, 1, 2, 3],
                    "dropout": 0.3,
                },
                train=TrainConfig(
                    epochs=10, batch_size=8, window_size=1024, learning_rate=5e-4, class_weights="log", cycle_epochs=3
                ),
            ),
        },
        "mobilebert": {
            "cpu": Preset(
                n_pieces=4096,
                model={
                    "hidden_size": 128,
                    "embedding_size": 128,
                    "intra_bottleneck_size": 64,
                    "intermediate_size": 256,
                    "num_hidden_layers": 3,
                    "num_attention_heads": 4,
                    "num_feedforward_networks": 2,
                    "normalization_type": "layer_norm",
                    "initializer_range": 0.1,  # at the library's .02 so narrow a model attends to everything alike
                    "hidden_dropout_prob": 0.1,
                    "n_casings": len(CASINGS),
                },
                # Short windows: each position is seen often, which a start from random weights needs.
                train=TrainConfig(
                    epochs=30,
                    batch_size=24,
                    window_size=64,
                    overlap=16,
                    learning_rate=1e-3,
                    empty_share=0.3,
                    **FROM_RANDOM,
                ),
                every_fold=True,
            ),
            "seed": Preset(
                n_pieces=128000,
                model={"max_position_embeddings": 1024},
                train=TrainConfig(
                    epochs=10,
                    batch_size=8,
                    window_size=1024,
                    learning_rate=4e-4,
                    class_weights="balanced",
                    cycle_epochs=3,
                ),
            ),
            "published": Preset(
                n_pieces=30522,
                model={"n_casings": len(CASINGS), "hidden_dropout_prob": 0.1},
                train=TrainConfig(
                    epochs=4,
                    batch_size=16,
                    learning_rate=1e-4,
                    class_weights=0.1,
                    clip_norm=1.0,
                    overlap=128,
                    augment=AugmentConfig(),
                ),
                published=True,
            ),
        },
    }
)


def default_preset(model: str) -> str:
    """The preset that suits this machine: full size where there is a GPU, else one that learns on a CPU in minutes."""
    if not torch.cuda.is_available():
        return "cpu"
    return "published" if model == "mobilebert" else "seed"


def look_up(model: str, preset: str) -> Preset:
    if model not in PRESETS:
        raise KitError(f"model {model!r} is none of {', '.join(PRESETS)}")
    if preset not in PRESETS[model]:
        raise KitError(f"preset {preset!r} of {model} is none of {', '.join(PRESETS[model])}")
    return PRESETS[model][preset]
