"""Fitting a tagger: one loop on Accelerate for both models, scored each epoch on whole documents, resumable."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit.batches import SimilarLengthBatches, batch_loader, hide_pieces
from pii_kit.cost import peak_memory
from pii_kit.data import Document
from pii_kit.distill import Taught, soft_cross_entropy
from pii_kit.epoch_windows import EpochWindows
from pii_kit.errors import KitError
from pii_kit.labels import LABELS
from pii_kit.metrics import as_dict, best_threshold, decided_rows, micro_fbeta, threshold_curve
from pii_kit.optim import build_optimizer, build_schedule, class_weights, mixed_precision
from pii_kit.out_of_fold import OutOfFold, keep_out_of_fold
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import Tagger, predict_documents
from pii_kit.runs import load_checkpoint, save_checkpoint, save_tagger, write_json
from pii_kit.submission import true_rows
from pii_kit.train_config import TrainConfig
from pii_kit.windows import IGNORED

logger = logging.getLogger(__name__)


def fit(
    model: PreTrainedModel,
    tokenizer: PieceTokenizer,
    training: Sequence[Document],
    validation: Sequence[Document],
    config: TrainConfig,
    folder: Path,
    *,
    taught: Taught | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> list[dict]:
    """Train `model`, keep a tagger in the run folder, and give back the history, a row per epoch.

    `quiet` shows no bar.

    Documents that a teacher labelled are learned from beside the training documents, and never augmented.
    With `resume` training goes on from the folder's checkpoint to the same weights as an unbroken run (bit for bit on
    the CPU of one machine; GPU kernels differ in the last bits). Raises KitError when the loss is no longer finite.
    """
    accelerator = Accelerator(
        mixed_precision=mixed_precision(config.mixed_precision), gradient_accumulation_steps=config.accumulation_steps
    )
    epochs = EpochWindows(training, tokenizer, config, taught)
    loader, batches = _loader(epochs, tokenizer, config)
    optimizer, schedule = _optimizer(model, len(batches), config)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    weights = torch.tensor(_weights(training, config, taught), dtype=torch.float32, device=accelerator.device)

    position = dict(BEGINNING, history=[])
    if resume and (found := load_checkpoint(folder, accelerator)):
        position, _ = found
        logger.info("going on from epoch %d, batch %d", position["epoch"] + 1, position["batch"])
    history = position["history"]

    while position["epoch"] < config.epochs and not _out_of_patience(history, config.patience):
        began = time.perf_counter() - position["seconds"]
        model.train()
        epochs.make(position["epoch"])
        batches.take(*epochs.lengths_and_empty())
        for set_epoch in (loader.set_epoch, batches.set_epoch):
            set_epoch(position["epoch"])
        todo = accelerator.skip_first_batches(loader, position["batch"]) if position["batch"] else loader
        for batch in _progress(todo, len(batches), position, config, shown=accelerator.is_main_process and not quiet):
            with accelerator.accumulate(model):
                labels = batch.pop("labels")
                if config.hidden_share:
                    batch = hide_pieces(batch, share=config.hidden_share, mask_id=tokenizer.mask_id)
                logits = model(**batch).logits.float()
                loss = _loss(logits, labels, weights)
                position["loss"] += _finite(loss, position, schedule)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            position["batch"] += 1
            if position["batch"] % config.checkpoint_steps == 0 and accelerator.sync_gradients:
                position["seconds"] = time.perf_counter() - began
                save_checkpoint(folder, accelerator, position)

        row = {"epoch": position["epoch"] + 1, "loss": position["loss"] / len(batches)}
        if row["epoch"] == config.epochs or row["epoch"] % config.validate_epochs == 0:
            tagger, kept, scores = _validate(accelerator.unwrap_model(model), tokenizer, validation, config)
            row |= scores
            if kept_epoch([*history, row], config.keep) is row:
                save_tagger(folder, tagger, kept)
        row |= {
            "learning_rate": schedule.get_last_lr()[0],
            "seconds": time.perf_counter() - began,
            "peak_memory_bytes": peak_memory(),
        }
        history.append(row)
        write_json(folder / "history.json", history)
        position = {**BEGINNING, "epoch": row["epoch"], "history": history}
        save_checkpoint(folder, accelerator, position)
        if "f5" in row:
            logger.info("epoch %(epoch)d: loss %(loss).4f, F5 %(f5).3f at P(O) < %(o_threshold)g", row)
    return history


# Where a training stands: epochs finished, and of the one under way batches, the sum of their losses, and seconds.
BEGINNING = {"epoch": 0, "batch": 0, "loss": 0.0, "seconds": 0.0}


def _loader(
    epochs: EpochWindows, tokenizer: PieceTokenizer, config: TrainConfig
) -> tuple[DataLoader, SimilarLengthBatches]:
    """An epoch's windows in batches, and what orders them."""
    lengths, empty = epochs.lengths_and_empty()
    batches = SimilarLengthBatches(
        lengths, batch_size=config.batch_size, seed=config.seed, optional=empty, share=config.empty_share
    )
    return batch_loader(epochs, batches, pad_id=tokenizer.pad_id, seed=config.seed), batches


def _optimizer(
    model: PreTrainedModel, n_batches: int, config: TrainConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimizer and its learning rate's course over epochs of `n_batches`."""
    optimizer = build_optimizer(
        model, name=config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    steps_per_epoch = math.ceil(n_batches / config.accumulation_steps)
    cycle_epochs = config.cycle_epochs or config.epochs - config.warmup_epochs
    schedule = build_schedule(
        optimizer,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        cycle_steps=round(cycle_epochs * steps_per_epoch),
        restart_decay=config.restart_decay,
    )
    return optimizer, schedule


def _progress(todo: Iterable, n_batches: int, position: dict, config: TrainConfig, *, shown: bool) -> Iterable:
    name = f"epoch {position['epoch'] + 1}/{config.epochs}"
    return tqdm(todo, desc=name, total=n_batches, initial=position["batch"], disable=not shown)


def kept_epoch(history: Sequence[dict], keep: str) -> dict:
    """The row whose tagger is kept: of those that were scored the last, or the first with the highest F5."""
    scored = [row for row in history if "f5" in row]
    return scored[-1] if keep == "last" else max(scored, key=lambda row: row["f5"])


def _weights(training: Sequence[Document], config: TrainConfig, taught: Taught | None) -> np.ndarray:
    counter = Counter(label for document in training for label in document.labels)
    counts = np.array([counter[label] for label in LABELS])
    if taught:
        counts = counts + sum(probabilities.sum(0, dtype=np.float64) for _, probabilities in taught.predictions)
    return class_weights(counts, config.class_weights)


def _loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Logits (batch, piece, label) and a batch's labels, ids or probabilities, to the mean loss."""
    if labels.is_floating_point():
        return soft_cross_entropy(logits, labels, weights)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights, ignore_index=IGNORED)


def _finite(loss: torch.Tensor, position: dict, schedule) -> float:
    value = loss.item()
    if not math.isfinite(value):
        place = f"epoch {position['epoch'] + 1}, batch {position['batch'] + 1}"
        raise KitError(
            f"the loss is {value} at {place} (learning rate {schedule.get_last_lr()[0]:.2g}): "
            "lower the learning rate, or resume from the last checkpoint with another precision"
        )
    return value


def _validate(
    model: PreTrainedModel, tokenizer: PieceTokenizer, validation: Sequence[Document], config: TrainConfig
) -> tuple[Tagger, OutOfFold, dict]:
    """The tagger with its threshold, what it says of the validation documents, and its score by rows."""
    tagger = Tagger(
        model=model, tokenizer=tokenizer, window_size=config.window_size, overlap=config.overlap, o_threshold=1.0
    )
    predictions = list(predict_documents([tagger], validation))
    curve = threshold_curve(predictions, *([[config.o_threshold]] if config.o_threshold else []))
    o_threshold = best_threshold(curve)
    score = micro_fbeta(true_rows(validation), decided_rows(predictions, o_threshold=o_threshold))
    scores = {"o_threshold": o_threshold, **as_dict(score)}
    return replace(tagger, o_threshold=o_threshold), keep_out_of_fold(predictions), scores


def _out_of_patience(history: Sequence[dict], patience: int | None) -> bool:
    if patience is None or not any("f5" in row for row in history):
        return False
    return history[-1]["epoch"] - kept_epoch(history, "best")["epoch"] >= patience
