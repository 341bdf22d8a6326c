"""Settings of one training run, and changes of a preset by name, such as "augment.traps" or "model.hidden_size"."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pii_kit.augment import AugmentConfig
from pii_kit.files import (
    KitError,
    check_choice,
    check_overlap,
    check_positive,
    check_shares,
    did_you_mean,
)
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import DROPOUTS, EncoderConfig
from pii_kit.models.sha_rnn import ShaRnnConfig
from pii_kit.training.optim import CLASS_WEIGHTS, MIXED_PRECISION, OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training.

    Attributes:
        epochs: number of passes over the training documents.
        batch_size: number of windows in a batch, over all processes.
        accumulation_steps: number of batches whose gradients make one optimizer step.
        window_size: size of a window, in pieces.
        overlap: number of pieces that neighbouring windows share in training; in prediction at most 8.
        optimizer: "adamw", "adam" or "lamb".
        learning_rate: highest learning rate, reached after the warm-up.
        head_rate: factor of the learning rate for the new parts of a pretrained encoder: classifier and features.
        layer_decay: factor of the learning rate from each layer of an encoder to the one below it; 1: none.
        ema_decay: decay of a moving average of the weights, which is scored and kept instead of them; 0: none.
        weight_decay: weight decay of the optimizer.
        class_weights: weight of O, others having 1; or "none", "balanced" (1 / frequency), "log" (1 + log2 of these).
        hidden_share: share of input pieces that are masked during training.
        hidden_lists: for each list of the lexicon, share of tokens whose entry is masked during training.
        empty_share: share of the windows without PII that one epoch uses; each epoch draws its own.
        extra_share: largest share of an epoch's tokens, before augmentation, from extra documents; below 1.
        augment: settings that change the training documents in each epoch. None: no augmentation.
        validate_epochs: the validation documents are scored every so many epochs, and after the last epoch.
        keep: "best" keeps the scored epoch with the highest F5; "last" keeps the last one, since F5 on few documents
            is too noisy to choose by.
        clip_norm: largest norm of the gradient.
        warmup_epochs: number of epochs in which the learning rate rises.
        cycle_epochs: length of a cosine cycle of the learning rate. None: one cycle until the end.
        restart_decay: factor from one cycle's highest learning rate to the next one's.
        patience: stop after so many epochs without a better F5. None: never.
        o_threshold: threshold on P(O). None: the best one from .5 up on the validation documents.
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
        check_positive(self, "checkpoint_steps", "validate_epochs", "head_rate", "layer_decay", "clip_norm")
        optional = [name for name in ("cycle_epochs", "patience", "o_threshold") if vars(self)[name] is not None]
        check_positive(self, "restart_decay", *optional)
        check_shares(self, "hidden_share", "hidden_lists", "empty_share", "layer_decay", "ema_decay")
        for name in ("weight_decay", "warmup_epochs", "seed"):
            if not getattr(self, name) >= 0:
                raise KitError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not isinstance(self.class_weights, str):
            check_positive(self, "class_weights")
        elif self.class_weights not in CLASS_WEIGHTS:
            names = ", ".join(CLASS_WEIGHTS)
            raise KitError(f"class_weights is {self.class_weights!r}; expected {names}, or a number, the weight of O")
        if not 0 <= self.extra_share < 1:
            raise KitError(f"extra_share is {self.extra_share}; expected 0 to less than 1")
        check_overlap(self)
        check_choice(self, "optimizer", OPTIMIZERS)
        check_choice(self, "keep", ("best", "last"))
        check_choice(self, "mixed_precision", MIXED_PRECISION)


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


# Settings of models that the tokenizer and the task give, or that a tagger does not use.
GIVEN = {"vocab_size", "pad_token_id", "type_vocab_size", "tie_word_embeddings", "classifier_activation"}
GIVEN |= {"causal", "collapsed", "memory_size"}


def change(preset: Preset, model: str, changes: Mapping[str, Any]) -> Preset:
    """Return a preset of a model with changed settings.

    Args:
        changes: new values by name: of TrainConfig; "augment.NAME" of AugmentConfig; "model.NAME" of the model, where
            pretrained weights leave only dropouts and `n_features` free. A value may be text, as in
            `train --set NAME=VALUE`; lists are numbers with commas between them. "augment" is "none" or "default".

    Raises:
        KitError: there is no such setting, or its value does not fit its type or is out of range.
    """
    kinds = {name: kind for name, (kind, _) in _settings(preset, model).items()}
    new: dict[str, dict[str, Any]] = {"": {}, "augment": {}, "model": {}}
    for name, value in changes.items():
        if preset.published and name.startswith("model.") and name not in kinds:
            free = ", ".join(one for one in kinds if one.startswith("model."))
            raise KitError(f"{name!r} cannot be set with pretrained weights, which leave {free} free")
        if name not in kinds:
            near = did_you_mean(name, kinds)
            raise KitError(f"{name!r} is no setting of {model}{near or '; train --list-settings lists all'}")
        group, _, short = name.rpartition(".")
        new[group][short] = _read(name, str(value), kinds[name])
    train, sizes = new[""], preset.model | new["model"]
    if new["augment"]:
        base = train.get("augment", preset.train.augment or AugmentConfig())
        if base is None:
            raise KitError("augment=none turns off what the other settings of augment change; expected one of them")
        train["augment"] = replace(base, **new["augment"])
    if sizes.get("n_features", 0) not in (0, N_ROWS):
        raise KitError(f"model.n_features is {sizes['n_features']}; expected 0 or {N_ROWS}")
    return replace(preset, model=sizes, train=replace(preset.train, **train))


def list_settings(preset: Preset, model: str) -> list[tuple[str, str, str]]:
    """Return the names that `change` knows, each with its value in a preset, as text, and its description."""
    about = _descriptions(TrainConfig) | _descriptions(AugmentConfig, "augment.")
    about |= _descriptions(_config(model), "model.") | _descriptions(EncoderConfig, "model.")
    return [(name, _as_text(value), about.get(name, "")) for name, (_, value) in _settings(preset, model).items()]


def _settings(preset: Preset, model: str) -> dict[str, tuple[Any, Any]]:
    """Return the type and the value of each setting that may be changed."""
    found = {name: (kind, getattr(preset.train, name)) for name, kind in get_type_hints(TrainConfig).items()}
    for name, kind in get_type_hints(AugmentConfig).items():
        found[f"augment.{name}"] = kind, getattr(preset.train.augment, name, None)
    sizes = {name: (float, "as stored") for name in DROPOUTS} if preset.published else _sizes(model)
    for name, (kind, default) in (sizes | {"n_features": (int, 0)}).items():
        found[f"model.{name}"] = kind, preset.model.get(name, default)
    return found


def _config(model: str) -> type:
    return ShaRnnConfig if model == "sha_rnn" else type(EncoderConfig().encoder)


def _sizes(model: str) -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of the settings that a model's configuration takes by name."""
    parameters = inspect.signature(_config(model)).parameters.values()
    named = [one for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in GIVEN]
    return {one.name: (one.annotation, one.default) for one in named}


def _as_text(value: Any) -> str:
    if isinstance(value, AugmentConfig):
        return "default" if value == AugmentConfig() else "changed"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


# How to read a value of a type, and how to name the type, in the order in which they are tried.
READ: dict[type, tuple[Callable[[str], Any], str]] = {
    NoneType: (lambda text: {"none": None}[text.lower()], "none"),
    bool: (lambda text: {"true": True, "false": False}[text.lower()], "true or false"),
    int: (int, "a whole number"),
    float: (_finite, "a number"),
    list: (lambda text: [int(number) for number in text.strip("[]").split(",") if text.strip("[]")], "numbers as 0,2"),
    AugmentConfig: (lambda text: {"default": AugmentConfig()}[text], "default"),
    str: (str, "a text"),
}


def _read(name: str, text: str, kind: Any) -> Any:
    """Return the value of a text for a field's type, such as int, or float | None. Raises KitError if it has none."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    kinds = [one for one in READ if one in {get_origin(member) or member for member in members}]
    for one in kinds:
        with suppress(ValueError, KeyError):
            return READ[one][0](text)
    raise KitError(f"{name} is {text!r}; expected {' or '.join(READ[one][1] for one in kinds)}")


def _descriptions(of: type, group: str = "") -> dict[str, str]:
    """Return what a class's docstring has on each setting, by name."""
    entries = re.findall(r"^ {4}(\w+)(?: \(.*\))?:\s+(\S.*(?:\n {8}.+)*)", inspect.getdoc(of) or "", re.MULTILINE)
    return {group + name: " ".join(text.split()) for name, text in entries}
