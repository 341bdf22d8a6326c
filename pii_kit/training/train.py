"""Train the taggers of a run, one for each fold: each in a process of its own, on a GPU or a core of its own.

This process splits the documents, starts the others, and chooses the threshold. It neither forks nor uses a GPU, so it
may be a notebook. `train` is the beginning, `train_fold` what each process does.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pii_kit import metrics
from pii_kit.augment import without_pii
from pii_kit.decide import O_THRESHOLDS
from pii_kit.documents import Document
from pii_kit.files import KitError, read_json, write_json
from pii_kit.models.encoder import fingerprint_weights
from pii_kit.models.network import TorchNetwork, precision
from pii_kit.predict import Member, predict_documents, save_member
from pii_kit.rules import DEFAULT_RULES
from pii_kit.settings import default_preset, find_preset
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training import runs
from pii_kit.training.epochs import TARGETS, EpochMaker, hide, label_counts, read_targets, teachable, write_targets
from pii_kit.training.optim import build_optimizer, build_schedule, class_weights, mean_loss
from pii_kit.training.out_of_fold import keep_out_of_fold, labels_by_other_folds, load_out_of_fold, save_out_of_fold
from pii_kit.training.processes import (
    Task,
    all_devices,
    progress_bar,
    random_states,
    run_side_by_side,
    set_random_states,
)
from pii_kit.training.split import fold_of_documents, split_documents, without_near_duplicates
from pii_kit.training.start import RANDOM, build, check_sizes, starting_weights
from pii_kit.windows import Window, collate

logger = logging.getLogger(__name__)
OVERLAP = 8  # of windows in prediction, in pieces; more costs time and found no more rows (ledger)
CHECKPOINT_SECONDS = 600.0
SECONDS_TO_SAVE = 5.0
LEAST_SECONDS = 30.0  # a fold that waits for a device does not begin closer to the deadline
PARTS = ("network", "optimizer", "schedule", "scaler")  # of a training, each with a state
PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Fold:
    """What the process of a fold needs: `unlabelled` for a teacher's targets, `texts` to learn a vocabulary from."""

    number: int
    run: Path
    record: runs.RunRecord
    training: Sequence[Document]
    validation: Sequence[Document]
    extra: Sequence[Document]
    unlabelled: Sequence[Document]
    texts: Sequence[Document]
    deadline: float
    begin_by: float = math.inf

    @property
    def folder(self) -> Path:
        return self.run / f"fold_{self.number}"

    def history(self) -> list[dict]:
        path = self.folder / "history.json"
        return read_json(path) if path.exists() else []

    def is_finished(self) -> bool:
        return any(row["epoch"] == self.record.settings.train.epochs for row in self.history())


def train(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    n_folds: int = 5,
    folds: Sequence[int] | None = None,
    weights: str | Path | None = None,
    extra: Sequence[Document] = (),
    teachers: Sequence[str | Path] = (),
    unlabelled: Sequence[Document] = (),
    resume: bool = False,
    deadline: float = math.inf,
) -> dict:
    """Train a tagger for each fold into a run folder, and return the scores of the out-of-fold predictions.

    Example:
        train("sha_rnn", read_documents("train.json"), "runs/sha_rnn", changes={"epochs": 20})

    Args:
        model: one of `settings.PRESETS`.
        preset, changes: see `settings.find_preset`.
        folds: numbers of the folds to train. None: all, or the first one if the preset says so.
        weights: folder or hub name of a pretrained encoder, or "random" (mobilebert's preset "published").
        extra: labelled documents that every fold trains on and none is scored on; near-duplicates of `documents` are
            left out, because some of those are scored.
        teachers: run folders whose mean prediction of the `unlabelled` documents is learned too.
        resume: continue the unfinished run in the folder; a finished one is left as it is.
        deadline: time of `time.monotonic` before which everything is saved. The result of a run that is not finished
            has "n_finished" instead of "epochs".

    Raises:
        KitError: an argument has a wrong value, the folder holds another run or is in use, or a fold's training failed.
    """
    folder, preset = Path(folder), preset or default_preset(model)
    settings = find_preset(model, preset, changes)
    weights = starting_weights(model, settings, weights)
    if bool(teachers) != bool(unlabelled):
        raise KitError("teachers need unlabelled documents to label, and unlabelled documents need teachers")
    fold_of = fold_of_documents(documents, n_folds=n_folds, seed=settings.train.seed)
    folds = list(folds if folds is not None else range(n_folds) if settings.every_fold else [0])
    if not folds or len(set(folds)) < len(folds) or not set(folds) <= set(range(n_folds)):
        raise KitError(f"folds {', '.join(map(str, folds)) or 'none'}: expected numbers from 0 to {n_folds - 1}, once")
    if not any(document.types for document in documents):
        logger.warning("none of the %d documents has PII: the tagger can learn only from planted PII", len(documents))
    extra = without_near_duplicates(extra, documents)
    unlabelled = teachable(unlabelled, [*documents, *extra])
    check_sizes(model, settings, weights)
    record = runs.RunRecord(
        model=model,
        preset=preset,
        settings=settings,
        weights=weights,
        weights_sha256=None if weights == RANDOM else fingerprint_weights(weights),
        n_folds=n_folds,
        folds=folds,
        n_documents=len(documents),
        data=runs.digest_documents(documents),
        documents=runs.known(documents, fold_of),
        extra=runs.known(extra, [None] * len(extra)),
        teachers=runs.digest_runs(teachers),
        taught=[(document.number, len(document.tokens)) for document in unlabelled],
    )
    with runs.locked(folder):
        runs.open_run(folder, record, resume=resume)
        if (folder / "result.json").exists():
            logger.info("%s is finished already", folder)
            return read_json(folder / "result.json")
        if unlabelled and not (folder / TARGETS).exists():
            teaching = Task("teaching", write_targets, (folder, teachers, unlabelled))
            run_side_by_side([teaching], progress_bar("teacher's predictions", len(unlabelled), "documents"))
        cleaned, jobs = without_pii([*documents, *extra], seed=settings.train.seed), []
        for number in folds:
            training, validation = split_documents(documents, fold_of, number)
            texts = split_documents(cleaned[: len(documents)], fold_of, number)[0] + cleaned[len(documents) :]
            jobs.append(Fold(number, folder, record, training, validation, extra, unlabelled, texts, deadline))
        late = deadline - min(LEAST_SECONDS, (deadline - time.monotonic()) / 4)
        todo = [job for job in jobs if not job.is_finished()]
        n_at_once = len(all_devices())
        todo = [*todo[:n_at_once], *(replace(job, begin_by=late) for job in todo[n_at_once:])]
        bar = progress_bar(f"{len(todo)} folds", settings.train.epochs * len(todo), "epochs")
        run_side_by_side([Task(f"fold {job.number}", train_fold, (job,)) for job in todo], bar)
        return finish(folder, jobs, documents)


def train_fold(fold: Fold, *, device: str, report: Callable[[float], None]) -> None:
    """Train the tagger of a fold, from its checkpoint if there is one, until it is finished or its time is over."""
    with runs.locked(fold.folder, wait=True):  # the process of a killed run may live a second longer
        saved = runs.load_checkpoint(fold.folder, device)
        if time.monotonic() > fold.begin_by:
            return
        training = FoldTraining(fold, device, saved)
        report(training.position.epoch + training.position.batch / training.n_batches)
        while training.position.epoch < training.settings.epochs and not training.is_late:
            training.run_epoch(report)
        if not training.is_late:
            write_json(fold.folder / "history.json", training.position.history)


class FoldTraining:
    """The training of one fold on one device, with all that a checkpoint keeps.

    On the CPU of one machine a training that was killed and resumed ends with the weights of an uninterrupted one, bit
    for bit. GPU kernels differ in the last bits.
    """

    def __init__(self, fold: Fold, device: str, saved: dict | None):
        record, self.settings = fold.record, fold.record.settings.train
        self.fold, self.device, self.kind = fold, device, torch.device(device).type
        torch.manual_seed(self.settings.seed)
        tokenizer = saved["tokenizer"] if saved else None
        built: Any = build(record.model, record.settings, record.weights, texts=fold.texts, tokenizer=tokenizer)
        self.network, self.tokenizer = built  # the types of transformers do not allow `.to`
        self.network.to(device)
        labelled, taught = [*fold.training, *fold.extra], read_targets(fold.run, fold.unlabelled)
        on_gpu = self.kind != "cpu"
        self.maker = EpochMaker(fold.training, fold.extra, taught, self.settings, self.tokenizer, ahead=on_gpu)
        self.windows = self.maker.take(saved["position"].epoch if saved else 0)
        self.position = saved["position"] if saved else runs.Position(self.maker.size(self.windows))
        self.n_batches = math.ceil(self.position.size / self.settings.batch_size)
        rates = {name: getattr(self.settings, name) for name in ("learning_rate", "weight_decay", "head_rate")}
        self.optimizer = build_optimizer(self.network, name=self.settings.optimizer, **rates)
        self.schedule = build_schedule(self.optimizer, self.settings, self.n_batches)
        self.dtype = PRECISIONS.get(self.settings.mixed_precision) or precision(device, self.network)
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.dtype == torch.float16)
        weights = class_weights(label_counts(labelled, taught), self.settings.class_weights)
        self.weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self.saved_at, self.is_late = time.monotonic(), False
        if saved:
            try:
                for name in PARTS:
                    getattr(self, name).load_state_dict(saved[name])
                set_random_states(device, saved["random"])
            except Exception as error:  # whatever a state of another form makes torch raise
                raise runs.damaged(fold.folder, error) from None

    def run_epoch(self, report: Callable[[float], None]) -> None:
        """Train for what is left of an epoch, or of the time; then score and keep the tagger if that is due."""
        position, settings = self.position, self.settings
        began, cpu_began = time.monotonic() - position.seconds, time.process_time() - position.cpu_seconds
        rate = self.schedule.get_last_lr()[0]
        self.network.train()
        for indices in self.maker.batches(self.windows, position.epoch, position.size)[position.batch :]:
            rate = self.schedule.get_last_lr()[0]
            position.loss += self.step([self.windows[index] for index in indices])
            position.batch += 1
            position.seconds, position.cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
            report(1 / self.n_batches)
            self.is_late = self.is_over()
            if self.is_late or time.monotonic() > self.saved_at + CHECKPOINT_SECONDS:
                self.save()
            if self.is_late:
                break
        done, is_whole = position.epoch + 1, position.batch >= self.n_batches
        is_due = is_whole and (done == settings.epochs or done % settings.validate_epochs == 0)
        scores = self.validate() if is_due or self.is_late else {}
        row = {
            "epoch": done if is_whole else position.epoch + math.floor(100 * position.batch / self.n_batches) / 100,
            "loss": position.loss / position.batch,
            "learning_rate": rate,
            "epoch_seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - cpu_began,
            "ended": time.time(),
            "parameters": self.network.num_parameters(),
            "device": "CPU, 1 thread" if self.kind == "cpu" else torch.cuda.get_device_name(self.device),
        }
        history = [*position.history, row | scores]
        if is_whole:  # scores that were not due are left out, as they are in the history of an uninterrupted run
            self.position = runs.Position(position.size, done, history=history if is_due else [*position.history, row])
            self.save()
        write_json(self.fold.folder / "history.json", history)
        if is_whole and done < settings.epochs and not self.is_late:
            self.windows = self.maker.take(done)

    def step(self, windows: Sequence[Window]) -> float:
        """Move the weights by one batch, and return its loss. Raises KitError if it is not finite."""
        arrays = collate(windows, pad_id=self.tokenizer.pad_id)
        batch = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        labels = batch.pop("labels")
        batch = hide(batch, labels, self.settings, mask_id=self.tokenizer.mask_id)
        with torch.autocast(self.kind, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(**batch).logits
        loss = mean_loss(logits.float(), labels, self.weights)
        if not math.isfinite(loss.item()):
            place = f"epoch {self.position.epoch + 1}, batch {self.position.batch + 1}"
            rate = f"learning rate {self.schedule.get_last_lr()[0]:.2g}"
            raise KitError(f"the loss is {loss.item()} at {place} ({rate}); lower it, or set mixed_precision=no")
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss.item()

    def validate(self) -> dict[str, float]:
        """Keep the current tagger with its best threshold and its out-of-fold predictions, and return its scores."""
        folder, sizes = self.fold.folder, {"window_size": self.settings.window_size}
        sizes["overlap"] = min(self.settings.overlap, OVERLAP)
        member = Member(TorchNetwork(self.network, [self.device]), self.tokenizer, **sizes, o_threshold=1.0)
        predictions = list(predict_documents([member], self.fold.validation))
        allowed = [threshold for threshold in O_THRESHOLDS if threshold >= metrics.MIN_O_THRESHOLD]
        curve = metrics.threshold_curve(predictions, allowed)
        o_threshold = metrics.best_threshold(curve)
        save_member(folder, self.network, self.tokenizer, **sizes, o_threshold=o_threshold)
        save_out_of_fold(folder, keep_out_of_fold(predictions))
        return {"o_threshold": o_threshold, **curve.loc[o_threshold].to_dict()}

    def save(self) -> None:
        state = {name: getattr(self, name).state_dict() for name in PARTS}
        state |= {"random": random_states(self.device), "position": self.position, "tokenizer": self.tokenizer}
        runs.save_checkpoint(self.fold.folder, state)
        self.saved_at = time.monotonic()

    def is_over(self) -> bool:
        """Check whether the time left is just enough to validate and save.

        Validation is never slower than training on as many documents.
        """
        share = len(self.fold.validation) / len(self.fold.training)
        to_validate = self.position.seconds / self.position.batch * self.n_batches * share
        return time.monotonic() + to_validate + SECONDS_TO_SAVE >= self.fold.deadline


def finish(folder: Path, jobs: Sequence[Fold], documents: Sequence[Document]) -> dict:
    """Choose a run's threshold and write its result. Of an unfinished run it is that of the taggers so far.

    Raises:
        KitError: no fold has a tagger yet.
    """
    finished = [job for job in jobs if job.is_finished()]
    counted = finished or [job for job in jobs if job.history()]
    if not counted:
        raise KitError(f"{folder}: the time ran out before a tagger was trained; resume the run with more time")
    kept = load_out_of_fold(folder, [job.folder for job in counted])
    labels, o_threshold = labels_by_other_folds([kept], documents, DEFAULT_RULES)
    scored = [document for document in documents if document.number in labels]
    truth, rows = true_rows(scored), submission_rows((doc.number, labels[doc.number]) for doc in scored)
    score = metrics.micro_fbeta(truth, rows)
    low, high = metrics.bootstrap_interval(truth, rows, [document.number for document in scored])
    bounds = {"f5_low": low, "f5_high": high, "recall_bound": metrics.recall_bound(score.tp, score.fn)}
    result: dict[str, Any] = {**metrics.as_dict(score), **bounds}
    result |= {"n_documents": len(scored), "o_threshold": o_threshold}
    write_json(folder / "decision.json", {"o_threshold": o_threshold, "rules": list(DEFAULT_RULES)})
    result |= runs.training_seconds(job.history() for job in jobs) | {"n_models": len(counted)}
    if len(finished) < len(jobs):
        advice = "resume the run to train the others (on Kaggle: attach this output to the next session, and run again)"
        logger.warning("%s: %d of %d folds are finished; %s", folder, len(finished), len(jobs), advice)
        return result | {"n_finished": len(finished)}
    record, epochs = runs.read_run(folder), [row for job in jobs for row in job.history()]
    result |= {name: epochs[-1][name] for name in ("parameters", "device")}
    result |= {"weights": record.weights, "weights_sha256": record.weights_sha256, "epochs": len(epochs)}
    result["epoch_seconds"] = sum(row["epoch_seconds"] for row in epochs) / len(epochs)
    write_json(folder / "result.json", result)
    (folder / TARGETS).unlink(missing_ok=True)
    return result
