"""Settings of a training, and presets: named settings and sizes of each model.

`train --set NAME=VALUE` and `train --list-settings` know exactly the fields of these classes.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pii_kit.files import KitError
from pii_kit.lexicon import N_ROWS

Share = Annotated[float, Field(ge=0, le=1)]
NONE = BeforeValidator(lambda value: None if value == "none" else value)
# Numbers with commas between them, as the command line has them.
NUMBERS = BeforeValidator(lambda value: [n for n in value.strip("[]").split(",") if n] if type(value) is str else value)


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


class AugmentSettings(Strict):
    """How the training documents are changed in each epoch; with all zeros they stay as they are."""

    swap_share: Share = setting(1.0, "share of the documents with PII in which all PII is swapped for surrogates")
    plant_share: Share = setting(0.6, "share of the documents without PII in which PII is planted")
    traps: float = setting(2.0, "mean number of planted lines that only look like PII, in every document", ge=0, le=10)
    name_share: Share = setting(0.9, "share of the documents with planted PII that get a NAME_STUDENT")
    email_share: Share = setting(0.10, "share of them that get an EMAIL")
    username_share: Share = setting(0.05, "share of them that get a USERNAME")
    id_share: Share = setting(0.14, "share of them that get an ID_NUM")
    phone_share: Share = setting(0.08, "share of them that get a PHONE_NUM")
    url_share: Share = setting(0.14, "share of them that get a URL_PERSONAL")
    address_share: Share = setting(0.06, "share of them that get a STREET_ADDRESS")
    lower_share: Share = setting(0.0, "share of all documents that are then written in lower case")


DEFAULT = BeforeValidator(lambda value: AugmentSettings() if value == "default" else value)


class TrainSettings(Strict):
    """Settings of one training."""

    epochs: int = setting(10, "passes over the training documents", gt=0)
    batch_size: int = setting(16, "windows in a batch", gt=0)
    window_size: int = setting(512, "pieces in a window", ge=4)
    overlap: int = setting(64, "pieces that neighbouring windows share in training; in prediction at most 8", ge=0)
    optimizer: Literal["adamw", "adam", "lamb"] = setting("adamw", "adamw, adam or lamb")
    learning_rate: float = setting(1e-3, "highest learning rate, reached after the warm-up", gt=0)
    head_rate: float = setting(1.0, "factor of the learning rate for the new parts of a pretrained encoder", gt=0)
    weight_decay: float = setting(1.2e-6, "weight decay of matrices", ge=0)
    class_weights: Literal["none", "balanced", "log"] | Annotated[float, Field(gt=0)] = setting(
        "none", "weight of O, other labels having 1; or none, balanced (1 / frequency), log (1 + log2 of balanced)"
    )
    hidden_share: Share = setting(0.0, "share of input pieces that are masked")
    hidden_lists: Share = setting(0.0, "for each list of the lexicon, share of tokens whose entry is masked")
    empty_share: Share = setting(1.0, "share of the windows without PII that an epoch uses; each epoch draws its own")
    extra_share: float = setting(0.25, "largest share of extra documents in an epoch's tokens", ge=0, lt=1)
    augment: Annotated[AugmentSettings | None, DEFAULT, NONE] = setting(
        None, "changes of the training documents in each epoch: none or default"
    )
    validate_epochs: int = setting(1, "the tagger is scored and kept after so many epochs, and after the last", gt=0)
    clip_norm: float = setting(0.25, "largest norm of the gradient", gt=0)
    warmup_epochs: float = setting(1.0, "epochs in which the learning rate rises", ge=0)
    cycle_epochs: Annotated[float | None, NONE] = setting(
        None, "epochs in a cosine cycle of the learning rate; none: one cycle until the end", gt=0
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto", "no, bf16 or fp16; auto: what the device computes fastest without a loss of quality"
    )
    seed: int = setting(0, "random seed of folds, initial weights, order and augmentation", ge=0)

    @model_validator(mode="after")
    def _check_overlap(self) -> "TrainSettings":
        if self.overlap > self.window_size - 3:
            raise ValueError(f"overlap is {self.overlap}; expected 0 to {self.window_size - 3} in a window")
        return self


class Sizes(Strict):
    n_features: Annotated[int, Field(ge=0, le=N_ROWS, multiple_of=N_ROWS)] = setting(
        0, f"rows of the table of lexicon features: {N_ROWS}, or 0 for none"
    )


class ShaRnnSizes(Sizes):
    """Sizes of a SHA-RNN that starts from random weights."""

    hidden_size: int = setting(256, "width of embedding, LSTM and Block", gt=0)
    boom_size: int = setting(1024, "width of Boom; a multiple of hidden_size", gt=0)
    num_hidden_layers: int = setting(4, "number of Blocks", gt=0)
    attention_layers: Annotated[list[int], NUMBERS] = setting([2], "indices of the Blocks with attention, as 0,2")
    attention: Literal["single_headed", "multi_head"] = setting("single_headed", "the paper's, or PyTorch's multi_head")
    num_attention_heads: int = setting(1, "heads of each attention", gt=0)
    dropout: Share = setting(0.1, "dropout inside Blocks; also at input and output where these are none")
    input_dropout: Annotated[Share | None, NONE] = setting(None, "dropout after the embedding")
    output_dropout: Annotated[Share | None, NONE] = setting(None, "dropout before the output")
    bidirectional: bool = setting(True, "whether a second LSTM reads from right to left")


class MobileBertSizes(Sizes):
    """Sizes of a MobileBERT that starts from random weights; the defaults are those of the published one."""

    hidden_size: int = setting(512, "width between layers", gt=0)
    embedding_size: int = setting(128, "width of a piece's embedding", gt=0)
    intra_bottleneck_size: int = setting(128, "width inside a layer", gt=0)
    intermediate_size: int = setting(512, "width inside a feed-forward network", gt=0)
    num_hidden_layers: int = setting(24, "number of layers", gt=0)
    num_attention_heads: int = setting(4, "heads of each attention", gt=0)
    num_feedforward_networks: int = setting(4, "feed-forward networks in a layer", gt=0)
    max_position_embeddings: int = setting(512, "longest window, in pieces", gt=0)
    normalization_type: Literal["no_norm", "layer_norm"] = setting("no_norm", "layer_norm, or a gain and a bias")
    initializer_range: float = setting(0.02, "standard deviation of the initial weights", gt=0)
    hidden_dropout_prob: Share = setting(0.0, "dropout of hidden states")
    attention_probs_dropout_prob: Share = setting(0.1, "dropout of attention")


class PretrainedSizes(Sizes):
    """What can be changed in a pretrained encoder. None: as it is stored; not every encoder has each of them."""

    hidden_dropout_prob: Annotated[Share | None, NONE] = setting(None, "dropout of hidden states")
    classifier_dropout: Annotated[Share | None, NONE] = setting(None, "dropout before the classifier")
    mlp_dropout: Annotated[Share | None, NONE] = setting(None, "dropout of feed-forward networks, in ModernBERT")
    dropout: Annotated[Share | None, NONE] = setting(None, "dropout of hidden states, in DistilBERT")


class Preset(Strict):
    """Settings of a training and sizes of its model, under one name.

    Attributes:
        n_pieces: size of the vocabulary that is learned from the training documents, unless `published`.
        published: whether an encoder starts from published weights, or from random weights.
        every_fold: whether a tagger is trained for each fold by default, or for the first fold only.
    """

    n_pieces: int = 0
    model: ShaRnnSizes | MobileBertSizes | PretrainedSizes
    train: TrainSettings
    published: bool = False
    every_fold: bool = True


# Small models that start from random weights see few documents, and would memorise their words without these settings.
_small = partial(
    TrainSettings, class_weights=0.1, hidden_share=0.15, hidden_lists=0.1, augment=AugmentSettings(), validate_epochs=10
)
# Settings of the original project: those of its README that its logs confirm (table of notebook 05), with a learning
# rate at which it learns, windows instead of a cut at 1,024 pieces, and all 15 labels.
_original = partial(TrainSettings, epochs=10, batch_size=8, window_size=1024, cycle_epochs=3)
_SHA_RNN = {
    "cpu": Preset(
        n_pieces=4096,
        model=ShaRnnSizes(
            hidden_size=128, boom_size=512, num_hidden_layers=2, attention_layers=[1], dropout=0.2, n_features=N_ROWS
        ),
        train=_small(epochs=40, batch_size=12, window_size=128, overlap=24, learning_rate=3e-3, empty_share=0.25),
    ),
    "original": Preset(
        n_pieces=32000,
        model=ShaRnnSizes(hidden_size=1024, boom_size=4096, attention_layers=[0, 1, 2, 3], dropout=0.3),
        train=_original(learning_rate=5e-4, class_weights="log"),
        every_fold=False,
    ),
}
_MOBILEBERT = {
    "cpu": Preset(
        n_pieces=4096,
        model=MobileBertSizes(
            hidden_size=128,
            intra_bottleneck_size=64,
            intermediate_size=256,
            num_hidden_layers=3,
            num_feedforward_networks=2,
            normalization_type="layer_norm",
            initializer_range=0.1,  # at transformers' 0.02 so narrow a model attends to all pieces alike
            hidden_dropout_prob=0.1,
            n_features=N_ROWS,
        ),
        # Short windows show each position often, which a start from random weights needs (ledger).
        train=_small(epochs=30, batch_size=48, window_size=32, overlap=8, learning_rate=1e-3, empty_share=0.3),
    ),
    "original": Preset(
        n_pieces=128000,
        model=MobileBertSizes(max_position_embeddings=1024),
        train=_original(learning_rate=4e-4, class_weights="balanced"),
        every_fold=False,
    ),
    "published": Preset(
        n_pieces=30522,
        model=PretrainedSizes(hidden_dropout_prob=0.1, n_features=N_ROWS),
        train=TrainSettings(
            epochs=4, learning_rate=1e-4, class_weights=0.1, clip_norm=1.0, overlap=128, augment=AugmentSettings()
        ),
        published=True,
    ),
}
_ENCODER = {
    "default": Preset(
        model=PretrainedSizes(n_features=N_ROWS),
        # Measured with MiniLM-L6 on two of five folds (ledger): pieces of shorter windows take less time.
        train=_small(
            epochs=8,
            window_size=128,
            overlap=32,
            learning_rate=1e-4,
            head_rate=10.0,
            weight_decay=0.01,
            hidden_share=0.1,
            empty_share=0.5,
            clip_norm=1.0,
            warmup_epochs=0.3,
            validate_epochs=4,
        ),
        published=True,
    ),
}
PRESETS: dict[str, dict[str, Preset]] = {"sha_rnn": _SHA_RNN, "mobilebert": _MOBILEBERT, "encoder": _ENCODER}


def default_preset(model: str) -> str:
    """Return the name of a model's first preset. It is for a GPU too: the only recipe that was measured."""
    return next(iter(PRESETS.get(model, {"": None})))


def find_preset(model: str, name: str | None = None, changes: Mapping[str, Any] | None = None) -> Preset:
    """Return a preset of a model, by default its first one, with changed settings. Values may be text.

    Example:
        find_preset("sha_rnn", changes={"epochs": "4", "augment.traps": 0, "model.hidden_size": 192})

    Raises:
        KitError: there is no such model, preset or setting, or a value is out of range.
    """
    if model not in PRESETS:
        raise KitError(f"unknown model {model!r}; expected one of {', '.join(PRESETS)}")
    preset = PRESETS[model].get(name or default_preset(model))
    if preset is None:
        raise KitError(f"unknown preset {name!r} of {model}; expected one of {', '.join(PRESETS[model])}")
    known = [setting for setting, _, _ in listing(preset)]
    train, sizes = dict(preset.train), dict(preset.model)
    augment = dict(preset.train.augment or AugmentSettings())
    for setting, value in (changes or {}).items():
        if setting not in known:
            near = [f"did you mean {other!r}?" for other in get_close_matches(setting, known, n=1)]
            raise KitError(f"{setting!r} is no setting of {model}; {(near or ['train --list-settings lists all'])[0]}")
        group, _, field = setting.rpartition(".")
        {"": train, "augment": augment, "model": sizes}[group][field] = value
        if group == "augment":
            train["augment"] = augment
    try:
        return preset.model_copy(update={"train": TrainSettings(**train), "model": type(preset.model)(**sizes)})
    except ValidationError as error:
        raise KitError(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    of_setting = [other for other in error.errors() if other["loc"][0] == first["loc"][0]]  # one for each allowed type
    expected = " or ".join(other["msg"].removeprefix("Input should be ") for other in of_setting)
    group = "model." if "Sizes" in error.title else ""
    name = ".".join(part for part in first["loc"] if isinstance(part, str) and part.islower() and "[" not in part)
    return f"{group}{name} is {first['input']!r}; expected {expected}"


def listing(preset: Preset) -> list[tuple[str, str, str]]:
    """Return the name and the value, as `find_preset` reads them, and the description of each setting of a preset."""
    groups = {"": preset.train, "augment.": preset.train.augment or AugmentSettings(), "model.": preset.model}
    return [
        (prefix + name, _as_text(getattr(settings, name)), field.description or "")
        for prefix, settings in groups.items()
        for name, field in type(settings).model_fields.items()
    ]


def _as_text(value: Any) -> str:
    if isinstance(value, AugmentSettings):
        return "default" if value == AugmentSettings() else "changed"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
