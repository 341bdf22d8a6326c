"""Presets: named combinations of model size and settings, and their models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pii_kit.augment import AugmentConfig
from pii_kit.documents import Document
from pii_kit.files import KitError, in_one_line, read_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import (
    MOBILEBERT,
    EncoderConfig,
    EncoderForTokenClassification,
    load_pretrained,
    longest_window,
)
from pii_kit.models.sha_rnn import ShaRnnConfig, ShaRnnForTokenClassification
from pii_kit.pieces import PieceTokenizer, common_words, train_byte_pairs, train_word_pieces
from pii_kit.training.settings import Preset, TrainConfig, change

# Small models that start from random weights see few documents, and would memorise their words without these settings.
SMALL = TrainConfig(
    class_weights=0.1, hidden_share=0.15, hidden_lists=0.1, augment=AugmentConfig(), validate_epochs=10, keep="last"
)
# Settings of the original project: those of its README that its logs confirm (table of notebook 05), with a learning
# rate at which it learns, cycles with falling peaks, windows instead of a cut at 1,024 pieces, and all 15 labels.
ORIGINAL = TrainConfig(epochs=10, batch_size=8, window_size=1024, cycle_epochs=3)

RANDOM = "random"  # start from random weights
FP16 = "MobileBERT overflows in fp16; train it with mixed_precision 'bf16' or 'no'"
NAMES: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID}
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
        "original": Preset(
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
            # Short windows show each position often, which a start from random weights needs (ledger).
            train=replace(
                SMALL, epochs=30, batch_size=48, window_size=32, overlap=8, learning_rate=1e-3, empty_share=0.3
            ),
        ),
        "original": Preset(
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


def look_up(model: str, preset: str, *, changes: Mapping[str, Any] | None = None, **settings) -> Preset:
    """Return a preset of a model. `settings` replace those of its TrainConfig; None leaves a setting as it is.

    `changes` are those of `settings.change`: they reach sizes of the model too, and their None is a value.

    Raises:
        KitError: there is no such model, preset or setting, or a setting is out of range or does not fit the model.
    """
    if model not in PRESETS:
        raise KitError(f"unknown model {model!r}; expected one of {', '.join(PRESETS)}")
    if preset not in PRESETS[model]:
        raise KitError(f"unknown preset {preset!r} of {model}; expected one of {', '.join(PRESETS[model])}")
    found = PRESETS[model][preset]
    given = {name: value for name, value in settings.items() if value is not None}
    found = change(replace(found, train=replace(found.train, **given)), model, changes or {})
    if model == "mobilebert" and found.train.mixed_precision == "fp16":
        raise KitError(FP16)
    if changes and not found.published:
        _check_sizes(model, found)
    return found


def changed_sizes(model: str, preset: str, chosen: Preset) -> dict[str, Any] | None:
    """Return the settings of the model in which a changed preset differs from the preset, or None."""
    before = PRESETS[model][preset].model
    return {name: size for name, size in chosen.model.items() if before.get(name) != size} or None


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
    network: PreTrainedModel
    if weights != RANDOM:
        network, learned = load_pretrained(weights, labels=NAMES, **preset.model)
        tokenizer = tokenizer or replace(learned, words=common_words(documents))
    else:
        learn = train_byte_pairs if model == "sha_rnn" else train_word_pieces
        tokenizer = tokenizer or learn(documents, n_pieces=preset.n_pieces)
        network = _new_network(model, preset, n_pieces=tokenizer.n_pieces, pad_id=tokenizer.pad_id)
    _check_window(network, preset)
    return network, tokenizer


def _new_network(model: str, preset: Preset, *, n_pieces: int, pad_id: int = 0) -> PreTrainedModel:
    sizes: dict[str, Any] = {"vocab_size": n_pieces, "pad_token_id": pad_id, **preset.model}
    if model == "sha_rnn":
        return ShaRnnForTokenClassification(ShaRnnConfig(**sizes, **NAMES))
    n_features = sizes.pop("n_features", 0)
    encoder = {"model_type": "mobilebert", **sizes}
    return EncoderForTokenClassification(EncoderConfig(encoder=encoder, n_features=n_features, **NAMES))


def _check_sizes(model: str, preset: Preset) -> None:
    """Build and call a network without memory for its weights, to name sizes that do not fit before a run begins."""
    try:
        with torch.device("meta"):
            network = _new_network(model, preset, n_pieces=preset.n_pieces)
            network(input_ids=torch.zeros(1, 8, dtype=torch.long))
    except Exception as error:  # whatever a library raises
        raise KitError(f"{model}: sizes do not fit together: {in_one_line(error)}") from None
    _check_window(network, preset)


def _check_window(network: PreTrainedModel, preset: Preset) -> None:
    if not isinstance(network, EncoderForTokenClassification):
        return
    longest, size = longest_window(network), preset.train.window_size
    if longest is not None and size > longest:
        raise KitError(f"window_size is {size}; this encoder reads at most {longest} pieces")
    if network.config.encoder.model_type == "mobilebert" and preset.train.mixed_precision == "fp16":
        raise KitError(FP16)
