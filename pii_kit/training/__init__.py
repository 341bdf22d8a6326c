"""Settings of one training run, and presets: named combinations of model size and settings, and their models."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from pii_kit.augment import AugmentConfig
from pii_kit.data import Document
from pii_kit.files import KitError, check_choice, check_overlap, check_positive, check_shares, read_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import (
    MOBILEBERT,
    EncoderConfig,
    EncoderForTokenClassification,
    load_pretrained,
    longest_window,
)
from pii_kit.models.sha_rnn import ShaRnnForTokenClassification
from pii_kit.models.sha_rnn_layers import ShaRnnConfig
from pii_kit.pieces import PieceTokenizer, common_words, train_byte_pairs, train_word_pieces
from pii_kit.training.optim import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training.

    Attributes:
        epochs: number of passes over the training documents.
        batch_size: number of windows in a batch, over all processes.
        accumulation_steps: number of batches whose gradients make one optimizer step.
        window_size: size of a window, in pieces.
        overlap: number of pieces that neighbouring windows share in training; in prediction at most `loop.OVERLAP`.
        optimizer: one of `optim.OPTIMIZERS`.
        learning_rate: highest learning rate, reached after the warm-up.
        head_rate: factor of the learning rate for the new parts of a pretrained encoder: classifier and features.
        layer_decay: factor of the learning rate from each layer of an encoder to the one below it; 1: none.
        ema_decay: decay of a moving average of the weights, which is scored and kept instead of them; 0: none.
        weight_decay: weight decay of the optimizer.
        class_weights: a scheme of `optim.class_weights`, or the weight of O (all other labels have weight 1).
        hidden_share: share of input pieces that are masked during training.
        hidden_lists: share of tokens that a list of the lexicon does not know during training, for each list.
        empty_share: share of the windows without PII that one epoch uses; each epoch draws its own.
        extra_share: most of an epoch's tokens that extra documents may have, before augmentation; below 1.
        augment: settings that change the training documents in each epoch. None: no augmentation.
        validate_epochs: the validation documents are scored every so many epochs, and after the last epoch.
        keep: "best" keeps the scored epoch with the highest F5; "last" keeps the last one, since F5 on few documents
            is too noisy to choose by.
        clip_norm: largest norm of the gradient.
        warmup_epochs: number of epochs in which the learning rate rises.
        cycle_epochs: length of a cosine cycle of the learning rate. None: one cycle until the end.
        restart_decay: factor from one cycle's highest learning rate to the next one's.
        patience: stop after so many epochs without a better F5. None: never.
        o_threshold: threshold on P(O). None: the best one on the validation documents.
        mixed_precision: "no", "bf16", "fp16", or "auto" (bf16 where the hardware is faster with it, else no).
        checkpoint_steps: number of batches between checkpoints; each epoch ends with one too.
        seed: random seed of the split, the initial weights, the order and the augmentation.

    Raises:
        KitError: a setting is out of range. The message names it.
    """

    epochs: int = 10
    batch_size: int = 16
    accumulation_steps: int = 1
    window_size: int = 512
    overlap: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    head_rate: float = 1.0
    layer_decay: float = 1.0
    ema_decay: float = 0.0
    weight_decay: float = 1.2e-6
    class_weights: str | float = "none"
    hidden_share: float = 0.0
    hidden_lists: float = 0.0
    empty_share: float = 1.0
    extra_share: float = 0.25
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

    def __post_init__(self) -> None:
        check_positive(self, "epochs", "batch_size", "accumulation_steps", "window_size", "learning_rate")
        check_positive(self, "checkpoint_steps", "validate_epochs", "head_rate", "layer_decay")
        check_shares(self, "hidden_share", "hidden_lists", "empty_share", "layer_decay", "ema_decay")
        if not 0 <= self.extra_share < 1:
            raise KitError(f"extra_share is {self.extra_share}; expected 0 to less than 1")
        check_overlap(self)
        check_choice(self, "optimizer", OPTIMIZERS)
        check_choice(self, "keep", ("best", "last"))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Model size and training settings under one name.

    Attributes:
        n_pieces: size of the vocabulary that is learned from the training documents, unless `published`.
        model: arguments of the model's configuration.
        train: settings of the training.
        published: whether an encoder starts from published weights. False: from random weights.
        every_fold: whether a tagger is trained for each fold by default. False: for the first fold only.
    """

    n_pieces: int = 0
    model: dict = field(default_factory=dict)
    train: TrainConfig
    published: bool = False
    every_fold: bool = True


# Small models that start from random weights see few documents, and would memorise their words without these settings.
SMALL = TrainConfig(
    class_weights=0.1, hidden_share=0.15, hidden_lists=0.1, augment=AugmentConfig(), validate_epochs=10, keep="last"
)
# Settings of the original project: those of its README that its logs confirm (table of notebook 05), with a learning
# rate at which it learns, cycles with falling peaks, windows instead of a cut at 1,024 pieces, and all 15 labels.
ORIGINAL = TrainConfig(epochs=10, batch_size=8, window_size=1024, cycle_epochs=3)

RANDOM = "random"  # start from random weights
PRESETS: dict[str, dict[str, Preset]] = {
    "sha_rnn": {
        "cpu": Preset(
            n_pieces=4096,
            model=dict(
                hidden_size=128,
                boom_size=512,
                num_hidden_layers=2,
                attention_layers=[1],
                dropout=0.2,
                n_features=N_ROWS,
            ),
            train=replace(
                SMALL, epochs=40, batch_size=12, window_size=128, overlap=24, learning_rate=3e-3, empty_share=0.25
            ),
        ),
        "seed": Preset(
            n_pieces=32000,
            model=dict(
                hidden_size=1024, boom_size=4096, num_hidden_layers=4, attention_layers=[0, 1, 2, 3], dropout=0.3
            ),
            train=replace(ORIGINAL, learning_rate=5e-4, class_weights="log"),
            every_fold=False,
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
                "initializer_range": 0.1,  # at transformers' 0.02 so narrow a model attends to all pieces alike
                "hidden_dropout_prob": 0.1,
                "n_features": N_ROWS,
            },
            # Short windows show each position often, which a start from random weights needs.
            train=replace(
                SMALL, epochs=30, batch_size=24, window_size=64, overlap=16, learning_rate=1e-3, empty_share=0.3
            ),
        ),
        "seed": Preset(
            n_pieces=128000,
            model={"max_position_embeddings": 1024},
            train=replace(ORIGINAL, learning_rate=4e-4, class_weights="balanced"),
            every_fold=False,
        ),
        "published": Preset(
            n_pieces=30522,
            model={"n_features": N_ROWS, "hidden_dropout_prob": 0.1},
            train=TrainConfig(
                epochs=4, learning_rate=1e-4, class_weights=0.1, clip_norm=1.0, overlap=128, augment=AugmentConfig()
            ),
            published=True,
        ),
    },
    "encoder": {
        "default": Preset(
            model={"n_features": N_ROWS},
            # Measured with MiniLM-L6 on two of five folds (ledger): pieces of shorter windows take less time.
            train=TrainConfig(
                epochs=8,
                batch_size=16,
                window_size=128,
                overlap=32,
                learning_rate=1e-4,
                head_rate=10.0,
                weight_decay=0.01,
                class_weights=0.1,
                hidden_share=0.1,
                hidden_lists=0.1,
                empty_share=0.5,
                clip_norm=1.0,
                warmup_epochs=0.3,
                augment=AugmentConfig(),
                validate_epochs=4,
                keep="last",
            ),
            published=True,
        ),
    },
}


def default_preset(model: str) -> str:
    """Return the name of a model's first preset. It is for a GPU too: the only recipe that was measured."""
    return next(iter(PRESETS.get(model, {"": None})))


def model_of(weights: str | Path) -> str:
    """Return the model whose settings fit pretrained weights: "mobilebert" for MobileBERT's, else "encoder".

    Of weights on the hub only the name is looked at.
    """
    config = Path(weights) / "config.json"
    content = read_json(config) if config.is_file() else {"model_type": str(weights).lower()}
    return "mobilebert" if isinstance(content, dict) and "mobilebert" in content.get("model_type", "") else "encoder"


def look_up(model: str, preset: str, **settings) -> Preset:
    """Return a preset of a model. `settings` replace those of its TrainConfig; None leaves a setting as it is.

    Raises:
        KitError: there is no such model or preset, or a setting is out of range or does not fit the model.
    """
    if model not in PRESETS:
        raise KitError(f"unknown model {model!r}; expected one of {', '.join(PRESETS)}")
    if preset not in PRESETS[model]:
        raise KitError(f"unknown preset {preset!r} of {model}; expected one of {', '.join(PRESETS[model])}")
    found = PRESETS[model][preset]
    changes = {name: value for name, value in settings.items() if value is not None}
    if model == "mobilebert" and changes.get("mixed_precision") == "fp16":
        raise KitError("MobileBERT overflows in fp16; train it with mixed_precision 'bf16' or 'no'")
    return replace(found, train=replace(found.train, **changes))


def starting_weights(model: str, preset: Preset, weights: str | Path | None) -> str:
    """Return where a model's first weights come from: "random", or the folder or hub name of a pretrained encoder."""
    if not preset.published:
        if weights not in (None, RANDOM):
            presets = "model 'encoder', or mobilebert's preset 'published'"
            raise KitError(f"weights {str(weights)!r} do not fit a preset of random weights; expected {presets}")
        return RANDOM
    if model == "encoder" and weights in (None, RANDOM):
        raise KitError("model 'encoder' starts from pretrained weights: pass a folder or a hub name with --weights")
    return str(weights or MOBILEBERT)


def build(
    model: str, preset: Preset, documents: Sequence[Document], tokenizer: PieceTokenizer | None, weights: str = RANDOM
) -> tuple[PreTrainedModel, PieceTokenizer]:
    """Return a model ready for training, and its tokenizer, learned from `documents` unless given or pretrained.

    Raises:
        KitError: pretrained weights cannot be loaded, or the windows are too long for the encoder.
    """
    labels: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID}
    network: EncoderForTokenClassification
    sizes: dict[str, Any]
    if weights != RANDOM:
        network, learned = load_pretrained(weights, labels=labels, **preset.model)
        tokenizer = tokenizer or replace(learned, words=common_words(documents))
    elif model == "sha_rnn":
        tokenizer = tokenizer or train_byte_pairs(documents, n_pieces=preset.n_pieces)
        sizes = {"vocab_size": tokenizer.n_pieces, "pad_token_id": tokenizer.pad_id, **preset.model}
        return ShaRnnForTokenClassification(ShaRnnConfig(**sizes, **labels)), tokenizer
    else:
        tokenizer = tokenizer or train_word_pieces(documents, n_pieces=preset.n_pieces)
        sizes = {"vocab_size": tokenizer.n_pieces, "pad_token_id": tokenizer.pad_id, **preset.model}
        n_features = sizes.pop("n_features", 0)
        encoder = {"model_type": "mobilebert", **sizes}
        network = EncoderForTokenClassification(EncoderConfig(encoder=encoder, n_features=n_features, **labels))
    longest, size = longest_window(network), preset.train.window_size
    if longest is not None and size > longest:
        raise KitError(f"window_size is {size}; this encoder reads at most {longest} pieces")
    if network.config.encoder.model_type == "mobilebert" and preset.train.mixed_precision == "fp16":
        raise KitError("MobileBERT overflows in fp16; train it with mixed_precision 'bf16' or 'no'")
    return network, tokenizer
