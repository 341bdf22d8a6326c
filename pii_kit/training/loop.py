"""Train one tagger: one loop on Accelerate for all models, scored on whole documents, resumable."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast_object_list
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit import metrics, windows
from pii_kit.decide import O_THRESHOLDS
from pii_kit.documents import Document
from pii_kit.files import KitError, write_json
from pii_kit.labels import LABELS
from pii_kit.models.network import TorchNetwork
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import Member, predict_documents
from pii_kit.submission import true_rows
from pii_kit.training import optim, runs
from pii_kit.training.distill import Taught, soft_cross_entropy
from pii_kit.training.epochs import (
    EpochWindows,
    SimilarLengthBatches,
    batch_loader,
    hide_lists,
    hide_pieces,
    targets_of_epoch,
)
from pii_kit.training.out_of_fold import OutOfFold, keep_out_of_fold
from pii_kit.training.parallel import check_batch_size, new_accelerator, over_ranks, peak_memory, weigh_loss
from pii_kit.training.settings import TrainConfig

logger = logging.getLogger(__name__)
# Position of a training: finished epochs; batches, sum of losses and seconds of the current epoch.
BEGINNING: dict[str, Any] = {"epoch": 0, "batch": 0, "loss": 0.0, "seconds": 0.0}
SECONDS_TO_SAVE = 5.0
OVERLAP = 8  # of windows in prediction, in pieces; more costs time and found no more rows (ledger)


def fit(
    model: PreTrainedModel,
    tokenizer: PieceTokenizer,
    training: Sequence[Document],
    validation: Sequence[Document],
    config: TrainConfig,
    folder: Path,
    *,
    extra: Sequence[Document] = (),
    taught: Taught | None = None,
    make_variants: Callable[[], Sequence[metrics.Predictions]] = tuple,
    resume: bool = False,
    deadline: float = math.inf,
    quiet: bool = False,
) -> list[dict]:
    """Train `model`, keep a tagger in the run folder, and return the history, one row for each epoch.

    In several processes each one trains on its part of every batch.

    Args:
        extra: labelled documents of which each epoch takes a part, beside those of `training`.
        taught: documents with a teacher's probabilities, which are trained on too, and never augmented.
        make_variants: returns augmented training documents with target probabilities, taken in turn by the epochs;
            they take the place of `training` and `extra`. It is called here, so that its time counts as training.
        resume: continue from the checkpoint in the folder. On the CPU of one machine the weights are then bit for bit
            those of an uninterrupted run; GPU kernels differ in the last bits.
        deadline: time of `time.monotonic`. Shortly before it the training saves a checkpoint and the tagger of that
            moment, and returns a history that ends with the unfinished epoch (see `is_finished`).
        quiet: show no progress bar.

    Raises:
        KitError: the loss is not finite, or a batch cannot be split among the processes.
    """
    accelerator = new_accelerator(
        mixed_precision=optim.mixed_precision(config.mixed_precision, is_encoder=hasattr(model.config, "encoder")),
        gradient_accumulation_steps=config.accumulation_steps,
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
    check_batch_size(accelerator, config.batch_size)
    session = runs.Session(folder, resume=resume)
    cut = partial(windows.cut_windows, tokenizer=tokenizer, size=config.window_size, overlap=config.overlap)
    targets_of = partial(targets_of_epoch, training, extra, make_variants(), config)
    kept, ahead = taught.predictions if taught else (), accelerator.device.type != "cpu"  # on CPUs all cores train
    epochs = EpochWindows(targets_of, cut, kept, n_epochs=config.epochs, ahead=ahead)
    batches = SimilarLengthBatches(
        *epochs.lengths_and_empty(),
        share=config.empty_share,
        batch_size=config.batch_size,
        seed=config.seed,
        whole=accelerator.num_processes > 1,
    )
    loader = batch_loader(epochs, batches, pad_id=tokenizer.pad_id, seed=config.seed)
    optimizer, schedule = _optimizer(model, len(batches), config)
    average = optim.moving_average(model, config.ema_decay, accelerator)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    weights = _weights([*training, *extra], config, taught).to(accelerator.device)
    if accelerator.process_index:  # the first rank continues with its random state
        torch.manual_seed(config.seed + accelerator.process_index)

    position = dict(BEGINNING, history=[])
    if resume and (found := runs.load_checkpoint(folder, accelerator)):
        position, _ = found
        logger.info("resuming at epoch %d, batch %d", position["epoch"] + 1, position["batch"])
        if accelerator.is_main_process:
            runs.restore_kept_tagger(folder)
    history = position["history"]
    clock = Clock(deadline, validation_share=len(validation) / max(len(training), 1))
    stop = False

    while position["epoch"] < config.epochs and not out_of_patience(history, config.patience) and not stop:
        began = time.perf_counter() - position["seconds"]
        model.train()
        epochs.make(position["epoch"])
        batches.take(*epochs.lengths_and_empty())
        loader.set_epoch(position["epoch"])
        batches.set_epoch(position["epoch"])
        todo = accelerator.skip_first_batches(loader, position["batch"]) if position["batch"] else loader
        name, hidden = f"epoch {position['epoch'] + 1}/{config.epochs}", quiet or not accelerator.is_main_process
        for batch in tqdm(todo, name, len(batches), initial=position["batch"], disable=hidden):
            with accelerator.accumulate(model):
                labels = batch.pop("labels")
                batch = hide_pieces(batch, share=config.hidden_share, mask_id=tokenizer.mask_id)
                batch = hide_lists(batch, labels, share=config.hidden_lists)
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
                if average and accelerator.sync_gradients:
                    average.update_parameters(accelerator.unwrap_model(model))
            position["batch"] += 1
            stop = stop and accelerator.sync_gradients
            if stop or (position["batch"] % config.checkpoint_steps == 0 and accelerator.sync_gradients):
                position["seconds"] = time.perf_counter() - began
                runs.save_checkpoint(folder, accelerator, position)
                session.save(accelerator)
            if stop:
                break

        is_whole = position["batch"] == len(batches)
        done = position["epoch"] + (1 if is_whole else round(position["batch"] / len(batches), 2))
        due = is_whole and (done == config.epochs or done % config.validate_epochs == 0)
        scores = {}
        if due or stop:
            scored: Any = average.module if average else accelerator.unwrap_model(model)
            scores = _keep_tagger(accelerator, scored, tokenizer, validation, config, folder, history, due=due)
        row = {"epoch": done, "loss": position["loss"] / position["batch"], "learning_rate": schedule.get_last_lr()[0]}
        row |= {"epoch_seconds": time.perf_counter() - began, "peak_memory_bytes": peak_memory()}
        so_far = [*history, row | scores]
        if is_whole:  # scores that were not due are left out, as they are in the history of an uninterrupted run
            history = so_far if due else [*history, row]
            position = {**BEGINNING, "epoch": done, "history": history}
            runs.save_checkpoint(folder, accelerator, position)
        session.save(accelerator)
        if accelerator.is_main_process:
            write_json(folder / "history.json", so_far)
            if scores:
                logger.info("epoch %(epoch)g: loss %(loss).4f, F5 %(f5).3f at P(O) < %(o_threshold)g", so_far[-1])
    return so_far if stop else history


def _optimizer(
    model: PreTrainedModel, n_batches: int, config: TrainConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return the optimizer and the learning rate schedule for epochs of `n_batches`."""
    names = ("learning_rate", "weight_decay", "head_rate", "layer_decay")
    optimizer = optim.build_optimizer(model, name=config.optimizer, **{name: getattr(config, name) for name in names})
    steps_per_epoch = math.ceil(n_batches / config.accumulation_steps)
    cycle_epochs = config.cycle_epochs or config.epochs - config.warmup_epochs
    schedule = optim.build_schedule(
        optimizer,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        cycle_steps=max(round(cycle_epochs * steps_per_epoch), 1),
        restart_decay=config.restart_decay,
    )
    return optimizer, schedule


def _weights(training: Sequence[Document], config: TrainConfig, taught: Taught | None) -> torch.Tensor:
    """Return the class weights (label), from the label counts of all documents that are trained on."""
    counter = Counter(label for document in training for label in document.labels or ())
    counts = np.array([counter[label] for label in LABELS])
    if taught:
        counts = counts + sum(probabilities.sum(0, dtype=np.float64) for _, probabilities in taught.predictions)
    return torch.tensor(optim.class_weights(counts, config.class_weights), dtype=torch.float32)


def _loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of a batch and the sum of its weights.

    Logits are (batch, piece, label); labels are ids (batch, piece) or probabilities (batch, piece, label).
    """
    if labels.is_floating_point():
        return soft_cross_entropy(logits, labels, weights), (labels @ weights).sum()
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights, ignore_index=windows.IGNORED)
    return loss, weights[labels[labels != windows.IGNORED]].sum()


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
    *,
    due: bool,
) -> dict:
    """Score the current tagger, save it if it is the one to keep, and return its scores.

    Scores that are not `due` never enter the history, so the tagger that the history describes is then set aside.
    """
    shared: list[dict] = [{}]
    if accelerator.is_main_process:
        tagger, kept, shared[0] = validate(model, tokenizer, validation, config)
        if kept_epoch([*history, shared[0]], config.keep) is shared[0]:
            if not due and any("f5" in row for row in history):
                runs.set_tagger_aside(folder)
            runs.save_tagger(folder, tagger, kept)
    return broadcast_object_list(shared)[0]


def validate(
    model: PreTrainedModel, tokenizer: PieceTokenizer, validation: Sequence[Document], config: TrainConfig
) -> tuple[Member, OutOfFold, dict]:
    """Return the tagger with the best threshold from MIN_O_THRESHOLD up, its validation predictions, and its score."""
    sizes = {"window_size": config.window_size, "overlap": min(config.overlap, OVERLAP)}
    tagger = Member(network=TorchNetwork(model, [model.device]), tokenizer=tokenizer, **sizes, o_threshold=1.0)
    with optim.full_precision(model):
        predictions = list(predict_documents([tagger], validation))
    allowed = [each for each in O_THRESHOLDS if each >= metrics.MIN_O_THRESHOLD]
    tried = [config.o_threshold] if config.o_threshold else allowed
    o_threshold = metrics.best_threshold(metrics.threshold_curve(predictions, tried))
    score = metrics.micro_fbeta(true_rows(validation), metrics.decided_rows(predictions, o_threshold=o_threshold))
    scores = {"o_threshold": o_threshold, **metrics.as_dict(score)}
    return replace(tagger, o_threshold=o_threshold), keep_out_of_fold(predictions), scores


def kept_epoch(history: Sequence[dict], keep: str) -> dict:
    """Return the row of the epoch that is kept: the last one scored, or the first one with the highest F5."""
    scored = [row for row in history if "f5" in row]
    return scored[-1] if keep == "last" else max(scored, key=lambda row: row["f5"])


def out_of_patience(history: Sequence[dict], patience: int | None) -> bool:
    """Return whether `patience` epochs have passed without a better F5."""
    if patience is None or not any("f5" in row for row in history):
        return False
    return history[-1]["epoch"] - kept_epoch(history, "best")["epoch"] >= patience


def is_finished(history: Sequence[dict], config: TrainConfig) -> bool:
    """Return whether a training ended by its last epoch or its patience. If not, its time ran out."""
    return bool(history) and (history[-1]["epoch"] == config.epochs or out_of_patience(history, config.patience))


class Clock:
    """Measure how long batches take, and tell when the time until `deadline` is just enough to end the training.

    `validation_share` is the number of validation documents divided by that of training documents.
    """

    def __init__(self, deadline: float, *, validation_share: float):
        self.deadline, self.validation_share = deadline, validation_share
        self.first = math.nan  # time of the first batch; before it documents are prepared, which takes seconds
        self.n_batches = 0

    def is_over(self, batches_per_epoch: float) -> bool:
        """Return whether to stop; to be called once a batch. Validation is never slower than training on as much."""
        now = time.monotonic()
        if not self.n_batches:
            self.first = now
        to_validate = (now - self.first) / max(self.n_batches, 1) * batches_per_epoch * self.validation_share
        self.n_batches += 1
        return now + to_validate + SECONDS_TO_SAVE >= self.deadline
