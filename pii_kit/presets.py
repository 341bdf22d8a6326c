"""Every model size and training setting that the kit offers, under a name, and the function that trains by one."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import torch
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from pii_kit.augment import AugmentConfig
from pii_kit.cost import device_name, parameters
from pii_kit.data import Document, split_documents
from pii_kit.distill import Taught
from pii_kit.errors import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.mobilebert import MobileBertForTokenClassification, MobileBertTaggerConfig, find_weights, load_published
from pii_kit.pieces import CASINGS, PieceTokenizer, common_words, read_tokenizer, train_byte_pairs, train_word_pieces
from pii_kit.pretrain import PretrainConfig, pretrain
from pii_kit.runs import fingerprint, read_json, reopen_run, start_run, write_json
from pii_kit.sha_rnn import ShaRnnForTokenClassification
from pii_kit.sha_rnn_config import ShaRnnConfig
from pii_kit.train import fit, kept_epoch
from pii_kit.train_config import TrainConfig

logger = logging.getLogger(__name__)


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
                    class_weights=0.1,
                    hidden_share=0.15,
                    empty_share=0.25,
                    augment=AugmentConfig(),
                    validate_epochs=10,
                    keep="last",
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
                    class_weights=0.1,
                    hidden_share=0.15,
                    empty_share=0.3,
                    augment=AugmentConfig(),
                    validate_epochs=10,
                    keep="last",
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


def build(
    model: str,
    preset: Preset,
    documents: Sequence[Document],
    tokenizer: PieceTokenizer | None,
    weights: str | Path | None,
) -> tuple[PreTrainedModel, PieceTokenizer]:
    """A model ready for training, and its tokenizer, which is learned from `documents` unless it is given or loaded."""
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID}
    if model == "sha_rnn":
        tokenizer = tokenizer or train_byte_pairs(documents, n_pieces=preset.n_pieces)
        config = ShaRnnConfig(vocab_size=tokenizer.n_pieces, pad_token_id=tokenizer.pad_id, **preset.model, **labels)
        return ShaRnnForTokenClassification(config), tokenizer
    if preset.published:
        found = find_weights(weights)
        if found:
            logger.info("MobileBERT starts from the published weights in %s", found)
            network, tokenizer = load_published(found, **preset.model, **labels)
            return network, replace(tokenizer, words=common_words(documents))
        logger.warning("MobileBERT's published weights cannot be reached: it starts from random weights")
    tokenizer = tokenizer or train_word_pieces(documents, n_pieces=preset.n_pieces)
    config = MobileBertTaggerConfig(
        vocab_size=tokenizer.n_pieces, pad_token_id=tokenizer.pad_id, **preset.model, **labels
    )
    return MobileBertForTokenClassification(config), tokenizer


def train_preset(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    resume: bool = False,
    weights: str | Path | None = None,
    n_folds: int = 5,
    fold: int = 0,
    taught: Taught | None = None,
    pretrain_epochs: int = 0,
    quiet: bool = False,
    **settings,
) -> dict:
    """Train `model` ("sha_rnn" or "mobilebert") on labelled documents into a run folder; gives back the run's result.

    One of `n_folds` folds validates. `settings` replace those of the preset's TrainConfig; None leaves them. `weights`
    is a folder with published MobileBERT weights. `taught` (see `ensemble.teach`) are unlabelled essays to learn from
    as well; those that are among `documents`, validation above all, are left out. In `pretrain_epochs` the model's body
    first learns to guess masked pieces of the training and taught essays. With `resume` an unfinished run is gone on
    with, and a finished one is left as it is. Raises KitError for names that are not offered and folders that hold
    another run.
    """
    folder = Path(folder)
    preset_name = preset or default_preset(model)
    chosen = look_up(model, preset_name)
    changes = {name: value for name, value in settings.items() if value is not None}
    config = replace(chosen.train, **changes)
    if model == "mobilebert" and config.mixed_precision == "fp16":
        raise KitError("MobileBERT overflows in fp16; train it with mixed_precision 'bf16' or 'no'")
    training, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=config.seed)
    taught = taught and taught.beside(documents)
    manifest = {
        "model": model,
        "preset": preset_name,
        "data": fingerprint(documents),
        "n_documents": len(documents),
        "train": asdict(config),
        "n_folds": n_folds,
        "fold": fold,
        "validation": [document.document for document in validation],
        "taught": taught and taught.manifest(),
        "pretrain_epochs": pretrain_epochs,
    }
    if resume and (folder / "run.json").exists():
        reopen_run(folder, manifest)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        if (folder / "result.json").exists():
            logger.info("%s is finished already", folder)
            return read_json(folder / "result.json")
        set_seed(config.seed)
        network, tokenizer = build(model, chosen, training, tokenizer, weights)
    else:
        set_seed(config.seed)
        network, tokenizer = build(model, chosen, training, None, weights)
        start_run(folder, manifest, tokenizer)

    began = time.perf_counter()
    if pretrain_epochs and not (resume and (folder / "checkpoint").is_dir()):
        unlabelled = [*training, *(document for document, _ in (taught.predictions if taught else ()))]
        pretrain(network, tokenizer, unlabelled, _pretrain_config(pretrain_epochs, chosen, config), quiet=quiet)
    history = fit(network, tokenizer, training, validation, config, folder, taught=taught, resume=resume, quiet=quiet)
    result = {
        **kept_epoch(history, config.keep),
        "epochs": len(history),
        "seconds_per_epoch": sum(row["seconds"] for row in history) / len(history),
        "seconds": time.perf_counter() - began,
        "parameters": parameters(network),
        "device": device_name(),
    }
    write_json(folder / "result.json", result)
    return result


def _pretrain_config(epochs: int, preset: Preset, config: TrainConfig) -> PretrainConfig:
    """Windows as in training; random weights bear a higher rate than published ones, which keep training's."""
    rate = {"learning_rate": config.learning_rate} if preset.published else {}
    return PretrainConfig(
        epochs=epochs,
        batch_size=config.batch_size,
        window_size=config.window_size,
        seed=config.seed,
        mixed_precision=config.mixed_precision,
        **rate,
    )


def look_up(model: str, preset: str) -> Preset:
    if model not in PRESETS:
        raise KitError(f"model {model!r} is none of {', '.join(PRESETS)}")
    if preset not in PRESETS[model]:
        raise KitError(f"preset {preset!r} of {model} is none of {', '.join(PRESETS[model])}")
    return PRESETS[model][preset]
