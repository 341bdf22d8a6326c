"""Train one tagger: one loop on Accelerate for all models, scored on whole documents, resumable."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit.augment import augment
from pii_kit.data import Document
from pii_kit.files import KitError, write_json
from pii_kit.labels import LABELS
from pii_kit.metrics import as_dict, best_threshold, decided_rows, micro_fbeta, threshold_curve
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import Tagger, predict_documents
from pii_kit.submission import true_rows
from pii_kit.training.config import TrainConfig
from pii_kit.training.distill import Taught, soft_cross_entropy
from pii_kit.training.optim import build_optimizer, build_schedule, class_weights, mixed_precision
from pii_kit.training.out_of_fold import OutOfFold, keep_out_of_fold
from pii_kit.training.parallel import check_batch_size, over_ranks, peak_memory, ranks_on_cpu, seed_rank, weigh_loss
from pii_kit.training.runs import load_checkpoint, save_checkpoint, save_tagger
from pii_kit.windows import IGNORED, EpochWindows, SimilarLengthBatches, batch_loader, cut_windows, hide_pieces

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
    deadline: float | None = None,
    quiet: bool = False,
) -> list[dict]:
    """Train `model`, keep a tagger in the run folder, and give back the history, a row per epoch.

    Documents that a teacher labelled are learned from beside the training documents, and never augmented.
    With `resume` training goes on from the folder's checkpoint to the same weights as an unbroken run (bit for bit on
    the CPU of one machine; GPU kernels differ in the last bits). Near `deadline`, a time of `time.monotonic`, it writes
    a checkpoint, keeps the tagger as it is then, and ends with a row of the epoch so far (`validate.is_finished` tells
    the two ends apart). In several processes each takes its part of every batch. `quiet` shows no bar. Raises KitError
    when the loss is no longer finite, or processes cannot share a batch.
    """
    accelerator = Accelerator(
        cpu=ranks_on_cpu(),
        mixed_precision=mixed_precision(config.mixed_precision),
        gradient_accumulation_steps=config.accumulation_steps,
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
    check_batch_size(accelerator, config.batch_size)
    cut = partial(cut_windows, tokenizer=tokenizer, size=config.window_size, overlap=config.overlap)
    epochs = EpochWindows(partial(_documents_of, training, config), cut, taught.predictions if taught else ())
    loader, batches = _loader(epochs, tokenizer, config, whole=accelerator.num_processes > 1)
    optimizer, schedule = _optimizer(model, len(batches), config)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    weights = torch.tensor(_weights(training, config, taught), dtype=torch.float32, device=accelerator.device)
    seed_rank(accelerator, config.seed)

    position = dict(BEGINNING, history=[])
    if resume and (found := load_checkpoint(folder, accelerator)):
        position, _ = found
        logger.info("going on from epoch %d, batch %d", position["epoch"] + 1, position["batch"])
    history = position["history"]
    clock = Clock(deadline, validation_share=len(validation) / max(len(training), 1))
    stop = False

    while position["epoch"] < config.epochs and not out_of_patience(history, config.patience) and not stop:
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
                loss = weigh_loss(accelerator, *_loss(logits, labels, weights))
                mean, stop = over_ranks(accelerator, loss, clock.is_over(len(epochs) / config.batch_size))
                position["loss"] += _finite(mean, position, schedule)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            position["batch"] += 1
            stop = stop and accelerator.sync_gradients
            if stop or (position["batch"] % config.checkpoint_steps == 0 and accelerator.sync_gradients):
                position["seconds"] = time.perf_counter() - began
                save_checkpoint(folder, accelerator, position)
            if stop:
                break

        is_whole = position["batch"] == len(batches)
        done = position["epoch"] + (1 if is_whole else round(position["batch"] / len(batches), 2))
        row = {"epoch": done, "loss": position["loss"] / position["batch"]}
        due = is_whole and (done == config.epochs or done % config.validate_epochs == 0)
        scores = _keep_tagger(accelerator, model, tokenizer, validation, config, folder, history) if due or stop else {}
        clocks = {
            "learning_rate": schedule.get_last_lr()[0],
            "seconds": time.perf_counter() - began,
            "peak_memory_bytes": peak_memory(),
        }
        so_far = [*history, row | scores | clocks]
        if is_whole:  # a resumed run's history is an unbroken one's: scores that were not due are not in it
            history = so_far if due else [*history, row | clocks]
            position = {**BEGINNING, "epoch": done, "history": history}
            save_checkpoint(folder, accelerator, position)
        if accelerator.is_main_process:
            write_json(folder / "history.json", so_far)
        if scores and accelerator.is_main_process:
            logger.info("epoch %(epoch)g: loss %(loss).4f, F5 %(f5).3f at P(O) < %(o_threshold)g", so_far[-1])
    return so_far if stop else history


# Where a training stands: epochs finished, and of the one under way batches, the sum of their losses, and seconds.
BEGINNING = {"epoch": 0, "batch": 0, "loss": 0.0, "seconds": 0.0}


def _documents_of(training: Sequence[Document], config: TrainConfig, epoch: int) -> Sequence[Document]:
    """The training documents of an epoch, augmented where the settings ask for it."""
    return training if config.augment is None else augment(training, config.augment, seed=config.seed, epoch=epoch)


def _loader(
    epochs: EpochWindows, tokenizer: PieceTokenizer, config: TrainConfig, *, whole: bool
) -> tuple[DataLoader, SimilarLengthBatches]:
    """An epoch's windows in batches, all of them `whole` if that is asked for, and what orders them."""
    lengths, empty = epochs.lengths_and_empty()
    batches = SimilarLengthBatches(
        lengths, batch_size=config.batch_size, seed=config.seed, optional=empty, share=config.empty_share, whole=whole
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


def _weights(training: Sequence[Document], config: TrainConfig, taught: Taught | None) -> np.ndarray:
    counter = Counter(label for document in training for label in document.labels)
    counts = np.array([counter[label] for label in LABELS])
    if taught:
        counts = counts + sum(probabilities.sum(0, dtype=np.float64) for _, probabilities in taught.predictions)
    return class_weights(counts, config.class_weights)


def _loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, piece, label) and a batch's labels, ids or probabilities, to the mean loss and its weight."""
    if labels.is_floating_point():
        return soft_cross_entropy(logits, labels, weights), (labels @ weights).sum()
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights, ignore_index=IGNORED)
    return loss, weights[labels[labels != IGNORED]].sum()


def _finite(value: float, position: dict, schedule) -> float:
    if not math.isfinite(value):
        place = f"epoch {position['epoch'] + 1}, batch {position['batch'] + 1}"
        raise KitError(
            f"the loss is {value} at {place} (learning rate {schedule.get_last_lr()[0]:.2g}): "
            "lower the learning rate, or resume from the last checkpoint with another precision"
        )
    return value


def _keep_tagger(
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PieceTokenizer,
    validation: Sequence[Document],
    config: TrainConfig,
    folder: Path,
    history: Sequence[dict],
) -> dict:
    """The scores of the tagger as it is now, which the run folder keeps if it is the one to keep."""
    told = [{}]
    if accelerator.is_main_process:
        tagger, kept, told[0] = validate(accelerator.unwrap_model(model), tokenizer, validation, config)
        if kept_epoch([*history, told[0]], config.keep) is told[0]:
            save_tagger(folder, tagger, kept)
    return broadcast_object_list(told)[0]


def validate(
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


def kept_epoch(history: Sequence[dict], keep: str) -> dict:
    """The row whose tagger is kept: of those that were scored the last, or the first with the highest F5."""
    scored = [row for row in history if "f5" in row]
    return scored[-1] if keep == "last" else max(scored, key=lambda row: row["f5"])


def out_of_patience(history: Sequence[dict], patience: int | None) -> bool:
    """Whether so many epochs have gone by without a better F5."""
    if patience is None or not any("f5" in row for row in history):
        return False
    return history[-1]["epoch"] - kept_epoch(history, "best")["epoch"] >= patience


def is_finished(history: Sequence[dict], config: TrainConfig) -> bool:
    """Whether a training is at its end: its epochs are done, or its patience is. If not, its time was over."""
    return bool(history) and (history[-1]["epoch"] == config.epochs or out_of_patience(history, config.patience))


SECONDS_TO_SAVE = 5.0


class Clock:
    """Measures how long batches take, and says when the time left is what the end of a training will take.

    `deadline` is a time of `time.monotonic`, None for no limit. `validation_share` is the number of validation
    documents beside that of the training documents.
    """

    def __init__(self, deadline: float | None, *, validation_share: float):
        self.deadline, self.validation_share = deadline, validation_share
        self.first = math.nan  # when the first batch was there: before it essays are made, which takes seconds
        self.n_batches = 0

    def is_over(self, batches_per_epoch: float) -> bool:
        """To be asked once a batch. Validating takes at most as long as training on as many windows would."""
        if self.deadline is None:
            return False
        now = time.monotonic()
        if not self.n_batches:
            self.first = now
        to_validate = (now - self.first) / max(self.n_batches, 1) * batches_per_epoch * self.validation_share
        self.n_batches += 1
        return now + to_validate + SECONDS_TO_SAVE >= self.deadline
