"""Train a tagger for each fold into one run folder, and choose its threshold from out-of-fold predictions."""

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, set_seed
from tqdm import tqdm

from pii_kit import metrics
from pii_kit.documents import Document
from pii_kit.files import KitError, read_json, write_json
from pii_kit.models.encoder import fingerprint_weights
from pii_kit.pieces import read_tokenizer
from pii_kit.predict import fold_folders
from pii_kit.rules import DEFAULT_RULES
from pii_kit.split import check_folds, split_documents, without_near_duplicates
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training import RANDOM, build, changed_sizes, default_preset, look_up, starting_weights
from pii_kit.training.distill import Taught, fold_teachers, teach_fold
from pii_kit.training.loop import fit, is_finished, kept_epoch
from pii_kit.training.out_of_fold import (
    OutOfFold,
    join_out_of_fold,
    labels_by_other_folds,
    load_out_of_fold,
)
from pii_kit.training.parallel import check_gpus, device_name, launch, rank_state, run_in_parallel
from pii_kit.training.runs import fingerprint, reopen_run, start_run, training_seconds

logger = logging.getLogger(__name__)


def train_fold(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    resume: bool = False,
    weights: str | Path | None = None,
    n_folds: int = 5,
    fold: int = 0,
    extra: Sequence[Document] = (),
    taught: Taught | None = None,
    teachers: Sequence[str | Path] = (),
    deadline: float = math.inf,
    last_begin: float = math.inf,
    quiet: bool = False,
    **settings,
) -> dict | None:
    """Train one tagger of a model in `PRESETS` into a run folder, and return its result; None if time ran out.

    One of `n_folds` folds validates. In several processes (ranks), all of them call this and train it together.

    Args:
        resume: continue an unfinished run in the folder. A finished one is left as it is.
        weights: folder or hub name of a pretrained encoder, or "random" (mobilebert's preset "published").
        extra: labelled documents that every fold trains on and none is scored on; near-duplicates of `documents` are
            left out, because some of those are scored.
        taught: documents with a teacher's probabilities to train on too (`ensemble.teach`), but none of `documents`.
        teachers: runs whose tagger of the same fold teaches the training documents (`distill.teach_fold`).
        deadline: time of `time.monotonic` before which the state and a tagger are saved.
        last_begin: time after which the training does not begin.
        **settings: replace settings of the TrainConfig, or `changes`; see `look_up`. None leaves a setting as it is.

    Raises KitError for an unknown name, missing weights, or a folder that holds another run.
    """
    folder, preset = Path(folder), preset or default_preset(model)
    late = last_begin < math.inf and broadcast_object_list([time.monotonic() > last_begin])[0]
    if late and not (folder / "result.json").exists():
        return None
    chosen = look_up(model, preset, **settings)
    config, weights = chosen.train, starting_weights(model, chosen, weights)
    training, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=config.seed)
    taught = taught and taught.without(documents)
    extra, n_extra = without_near_duplicates(extra, documents), len(extra)
    if n_extra:
        logger.info("%d extra documents, without %d near-duplicates", len(extra), n_extra - len(extra))
    state = rank_state()
    resumed = resume and (folder / "run.json").exists()
    recorded = read_json(folder / "run.json").get("weights") if resumed else weights
    manifest = {
        "model": model,
        "preset": preset,
        # The same published weights may be in another folder in the next session.
        "weights": recorded if RANDOM not in (recorded, weights) else weights,
        "data": fingerprint(documents),
        "n_documents": len(documents),
        "train": asdict(config),
        "sizes": changed_sizes(model, preset, chosen),
        "n_folds": n_folds,
        "fold": fold,
        "validation": [document.number for document in validation],
        "extra": [fingerprint([document]) for document in extra] or None,
        "taught": taught and taught.manifest(),
        "teachers": fold_teachers(teachers, fold, validation),
    }
    if resumed:
        reopen_run(folder, manifest)
        if (folder / "result.json").exists():
            logger.info("%s is finished already", folder)
            return read_json(folder / "result.json")
    set_seed(config.seed)
    network, tokenizer = build(model, chosen, [*training, *extra], read_tokenizer(folder) if resumed else None, weights)
    manifest["weights_sha256"] = None if weights == RANDOM else fingerprint_weights(weights)
    if resumed:
        reopen_run(folder, manifest)
    elif state.is_main_process:
        start_run(folder, manifest, tokenizer)
    state.wait_for_everyone()  # no rank may look for the run before the first one has started it
    how: dict[str, Any] = dict(extra=extra, taught=taught, resume=resume, deadline=deadline, quiet=quiet)
    if teachers:
        how["make_variants"] = partial(teach_fold, teachers, fold, training, config, extra=extra)
    history = fit(network, tokenizer, training, validation, config, folder, **how)
    if not is_finished(history, config):
        logger.warning("%s: the time ran out after epoch %g of %d", folder, history[-1]["epoch"], config.epochs)
        return None
    result = kept_epoch(history, config.keep) | training_seconds([folder])
    result |= {name: manifest[name] for name in ("weights", "weights_sha256")} | {"device": device_name()}
    result |= {"parameters": network.num_parameters(), "epochs": len(history)}
    result["epoch_seconds"] = sum(row["epoch_seconds"] for row in history) / len(history)
    if state.is_main_process:
        write_json(folder / "result.json", result)
    state.wait_for_everyone()
    return result


def train_folds(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    n_folds: int = 5,
    folds: Sequence[int] | None = None,
    resume: bool = False,
    deadline: float = math.inf,
    weights: str | Path | None = None,
    extra: Sequence[Document] = (),
    taught: Taught | None = None,
    teachers: Sequence[str | Path] = (),
    n_processes: int = 1,
    **settings,
) -> dict:
    """Train one tagger for each fold into a run folder, and return the result on out-of-fold predictions.

    On a CPU as many folds train at the same time as torch would use threads, each on one thread: small models gain
    nothing from a second one. Elsewhere folds train one after another. If the deadline comes before the end, folds
    save their state and a tagger, and the result has "n_finished" instead of "epochs".

    Args:
        preset: one of `PRESETS`. None: the model's first one, on a GPU too.
        folds: the folds to train. None: all, or the first one if the preset says so.
        n_processes: if above 1, start so many processes, which train together.
        **settings: see `train_fold`, as for all other arguments.

    Raises KitError as `train_fold`, or for too few documents; nothing is written then.
    """
    folder, preset = Path(folder), preset or default_preset(model)
    chosen = look_up(model, preset, **settings)
    folds = list(folds if folds is not None else range(n_folds) if chosen.every_fold else [0])
    check_folds(documents, n_folds=n_folds, folds=folds, seed=chosen.train.seed)
    for k in folds if teachers else ():
        fold_teachers(teachers, k, split_documents(documents, n_folds=n_folds, fold=k, seed=chosen.train.seed)[1])
    start = starting_weights(model, chosen, weights)
    shared: dict[str, Any] = dict(
        preset=preset, n_folds=n_folds, resume=resume, weights=weights, extra=extra, taught=taught
    )
    shared |= {"teachers": teachers, **settings}
    if n_processes > 1:
        train = partial(train_folds, model, documents, folder, folds=folds, deadline=deadline, **shared)
        launch(train, n_processes=n_processes)
        return result_so_far(folder, documents)
    if start != RANDOM and not (folder / "result.json").exists():
        build(model, chosen, [], None, start)  # so that an error, or a long download, comes before the run begins
    state = rank_state()
    manifest = {"model": model, "preset": preset, "n_folds": n_folds, "folds": folds}
    _open(folder, manifest, resume=resume, writes=state.is_main_process)
    state.wait_for_everyone()
    if state.is_main_process and not any(document.types for document in documents):
        logger.warning("none of the %d documents has PII: the tagger can learn only from planted PII", len(documents))
    if deadline < math.inf:  # a fold that begins later would not get far
        left = deadline - time.monotonic()
        shared |= {"deadline": deadline, "last_begin": deadline - min(left / 4, max(30, left / 20))}
    tasks = [partial(train_fold, model, documents, folder / f"fold_{k}", fold=k, **shared) for k in folds]
    n_workers = min(torch.get_num_threads(), len(tasks))
    if torch.cuda.is_available() or state.num_processes > 1 or n_workers == 1:
        results = [task() for task in tasks]
    else:
        results = run_in_parallel(
            [partial(task, quiet=True) for task in tasks],
            n_workers=n_workers,
            bar=tqdm(desc=f"{len(tasks)} folds", total=chosen.train.epochs * len(tasks), unit="epoch"),
            count=lambda: sum(len(read_json(path)) for path in folder.glob("fold_*/history.json")),
        )
    finished = [result for result in results if result is not None]
    if len(finished) < len(tasks) or (folder / "result.json").exists():
        return result_so_far(folder, documents)
    result = choose_decision(folder, documents) | training_seconds(fold_folders(folder))
    result |= {name: finished[0][name] for name in ("weights", "weights_sha256", "parameters", "device")}
    result |= {"n_models": len(finished), "epochs": sum(row["epochs"] for row in finished)}
    result["epoch_seconds"] = sum(row["epoch_seconds"] for row in finished) / len(finished)
    if state.is_main_process:
        write_json(folder / "result.json", result)
    state.wait_for_everyone()
    return result


def result_so_far(folder: str | Path, documents: Sequence[Document]) -> dict:
    """Return a run's result. For a run that is not finished it is the score of the taggers it has so far."""
    folder = Path(folder)
    if (folder / "result.json").exists():
        return read_json(folder / "result.json")
    folders = [folder / f"fold_{k}" for k in read_json(folder / "folds.json")["folds"]]
    n_finished = sum((of_fold / "result.json").exists() for of_fold in folders)
    how = "resume the run to train the others (on Kaggle: attach this output to the next session, and run again)"
    logger.warning("%s: %d of %d folds are finished; %s", folder, n_finished, len(folders), how)
    counts = {"n_models": len(fold_folders(folder)), "n_finished": n_finished}
    return {**choose_decision(folder, documents), **counts, **training_seconds(folders)}


def _open(folder: Path, manifest: dict, *, resume: bool, writes: bool) -> None:
    """Write folds.json, or check that a run that has begun (its first fold has) uses the same settings."""
    begun = [*folder.glob("run.json"), *folder.glob("fold_*/run.json")]
    if begun and not resume:
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    if begun:
        reopen_run(folder, manifest, file="folds.json")
    elif writes:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "folds.json", manifest)


def choose_decision(folder: Path, documents: Sequence[Document]) -> dict:
    """Choose a run's threshold on its out-of-fold probabilities, write decision.json, and return the score.

    The score is that of `labels_by_other_folds`: each fold's labels with the threshold of the other folds.
    """
    folds, kept = validated_documents(folder, documents), load_folds_out_of_fold(folder)
    scored = [document for fold in folds for document in fold]
    assert kept is not None  # `validated_documents` refuses a fold without
    labels, o_threshold = labels_by_other_folds([kept], folds, DEFAULT_RULES)
    truth, rows = true_rows(scored), submission_rows((doc.number, labels[doc.number]) for doc in scored)
    low, high = metrics.bootstrap_interval(truth, rows, [document.number for document in scored])
    if rank_state().is_main_process:
        write_json(folder / "decision.json", {"o_threshold": o_threshold, "rules": list(DEFAULT_RULES)})
    score = metrics.micro_fbeta(truth, rows)
    bounds = {"f5_low": low, "f5_high": high, "recall_bound": metrics.recall_bound(score.tp, score.fn)}
    return {**metrics.as_dict(score), **bounds, "n_documents": len(scored), "o_threshold": o_threshold}


def validated_documents(folder: str | Path, documents: Sequence[Document]) -> list[list[Document]]:
    """Return the documents that each fold validated. Raises KitError if a fold has no out-of-fold probabilities."""
    return [[doc for doc, _ in out_of_fold_predictions(of_fold, documents)] for of_fold in fold_folders(folder)]


def load_folds_out_of_fold(folder: str | Path) -> OutOfFold | None:
    """Return the out-of-fold probabilities of all folds, or None if a fold has none. Raises KitError if damaged."""
    folders = fold_folders(folder)
    parts = [part for of_fold in folders if (part := load_out_of_fold(of_fold / "tagger")) is not None]
    return join_out_of_fold(parts) if len(parts) == len(folders) else None


def out_of_fold_predictions(folder: str | Path, documents: Sequence[Document]) -> metrics.Predictions:
    """Return the documents that a fold validated, each with the probabilities (token, label) of that fold's tagger.

    Raises KitError if the run has no out-of-fold probabilities.
    """
    kept = load_folds_out_of_fold(folder)
    if kept is None:
        raise KitError(f"{folder}: holds no out-of-fold probabilities")
    return [(document, kept.of(document)) for document in documents if kept.holds(document)]


def train_everywhere(
    model: str, documents: Sequence[Document], folder: str | Path, *, n_processes: int | None = None, **settings
) -> dict:
    """Call `train_folds` in `n_processes` processes (None: one for each GPU), and return its result.

    A process that torchrun started trains as one of its ranks. If this process uses a GPU already, only that GPU
    trains, because processes that train together must be started before. Raises KitError as `train_folds`, or if the
    GPUs do not work, or a process fails.
    """
    if "LOCAL_RANK" in os.environ:
        return train_folds(model, documents, folder, **settings)
    check_gpus()
    n_processes = n_processes or torch.cuda.device_count()
    if n_processes > 1 and torch.cuda.is_initialized():
        logger.warning("this process uses a GPU already: training on one GPU")
        n_processes = 1
    return train_folds(model, documents, folder, n_processes=n_processes, **settings)
