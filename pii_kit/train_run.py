"""One tagger, trained by a preset into a run's folder: fresh, or gone on with."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from accelerate.utils import set_seed
from transformers import PreTrainedModel

from pii_kit.cost import device_name, parameters
from pii_kit.data import Document, split_documents
from pii_kit.distill import Taught
from pii_kit.errors import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.mobilebert import MobileBertForTokenClassification, MobileBertTaggerConfig, find_weights, load_published
from pii_kit.pieces import PieceTokenizer, common_words, read_tokenizer, train_byte_pairs, train_word_pieces
from pii_kit.presets import Preset, default_preset, look_up
from pii_kit.pretrain import PretrainConfig, pretrain
from pii_kit.ranks import rank_state
from pii_kit.runs import fingerprint, read_json, reopen_run, start_run, write_json
from pii_kit.sha_rnn import ShaRnnForTokenClassification
from pii_kit.sha_rnn_config import ShaRnnConfig
from pii_kit.train import fit
from pii_kit.train_config import TrainConfig
from pii_kit.validate import is_finished, kept_epoch

logger = logging.getLogger(__name__)


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
    deadline: float | None = None,
    quiet: bool = False,
    **settings,
) -> dict | None:
    """Train `model` ("sha_rnn" or "mobilebert") on labelled documents into a run folder; gives back the run's result.

    One of `n_folds` folds validates. `settings` replace those of the preset's TrainConfig; None leaves them. `weights`
    is a folder with published MobileBERT weights. `taught` (see `ensemble.teach`) are unlabelled essays to learn from
    as well; those that are among `documents`, validation above all, are left out. In `pretrain_epochs` the model's body
    first learns to guess masked pieces of the training and taught essays. With `resume` an unfinished run is gone on
    with, and a finished one is left as it is. A run that nears its `deadline`, a time of `time.monotonic`, saves its
    state and a tagger, and gives back None. Several processes train one run. Raises KitError for names that are not
    offered and folders that hold another run.
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
    state = rank_state()
    goes_on = resume and (folder / "run.json").exists()
    if goes_on:
        reopen_run(folder, manifest)
        if (folder / "result.json").exists():
            logger.info("%s is finished already", folder)
            return read_json(folder / "result.json")
    set_seed(config.seed)
    tokenizer = read_tokenizer(folder / "tokenizer.json") if goes_on else None
    network, tokenizer = build(model, chosen, training, tokenizer, weights)
    if state.is_main_process and not goes_on:
        start_run(folder, manifest, tokenizer)
    state.wait_for_everyone()  # none looks for the run before another has begun it

    began = time.perf_counter()
    if pretrain_epochs and not (resume and (folder / "checkpoint").is_dir()):
        unlabelled = [*training, *(document for document, _ in (taught.predictions if taught else ()))]
        pretrain(network, tokenizer, unlabelled, _pretrain_config(pretrain_epochs, chosen, config), quiet=quiet)
    history = fit(
        network,
        tokenizer,
        training,
        validation,
        config,
        folder,
        taught=taught,
        resume=resume,
        deadline=deadline,
        quiet=quiet,
    )
    if not is_finished(history, config):
        logger.warning("%s: the time is over after epoch %g of %d", folder, history[-1]["epoch"], config.epochs)
        return None
    result = {
        **kept_epoch(history, config.keep),
        "epochs": len(history),
        "seconds_per_epoch": sum(row["seconds"] for row in history) / len(history),
        "seconds": time.perf_counter() - began,
        "parameters": parameters(network),
        "device": device_name(),
    }
    if state.is_main_process:
        write_json(folder / "result.json", result)
    state.wait_for_everyone()
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
