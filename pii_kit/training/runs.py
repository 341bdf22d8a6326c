"""The folder of a run: all that is needed to rebuild the model, to read how it was trained, and to resume it.

run.json          the request: model, preset, settings, starting weights, data fingerprint, validation documents
tokenizer.json    the vocabulary (a tagger's run), and pieces.json, the words that documents write in lower case
tagger/           the kept tagger so far: a transformers folder (config, safetensors, tokenizer), decision.json, and
                  out_of_fold.safetensors, its predictions for the validation documents
kept_tagger/      the kept tagger, while `tagger/` is that of an epoch which ran out of time; resuming puts it back
checkpoint/       the latest state of the training: Accelerate's folder, position.json, carried tensors
history.json      one row for each finished epoch
sessions.json     one row for each session that trained: its start, wall-clock seconds and processor seconds
result.json       written last; a folder that has it is finished
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pii_kit.documents import Document
from pii_kit.files import KitError, atomic_folder, in_one_line, read_json, recover_folder, write_json
from pii_kit.models import save_model
from pii_kit.pieces import PieceTokenizer, write_tokenizer
from pii_kit.predict import Member, fold_folders, has_tagger
from pii_kit.training.out_of_fold import OutOfFold, save_out_of_fold
from pii_kit.training.parallel import random_states, restore_random_state, sum_over_ranks


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a digest of documents, tokens and labels: equal for equal training data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps([document.number, document.tokens, document.labels]).encode())
    return digest.hexdigest()[:16]


def fingerprint_tagger(folder: str | Path) -> str:
    """Return a digest of the files of a run's tagger. Raises KitError if it has none."""
    digest = hashlib.sha256()
    for path in sorted(_found(Path(folder), "tagger").iterdir()):
        with open(path, "rb") as handle:
            digest.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def fingerprint_runs(runs: Sequence[str | Path]) -> list[str]:
    """Return `fingerprint_tagger` of all taggers of runs, in order."""
    return [fingerprint_tagger(folder) for run in runs for folder in fold_folders(run)]


def start_run(folder: Path, manifest: dict, tokenizer: PieceTokenizer | None = None) -> None:
    """Write the first files of a new run. Raises KitError if the folder already holds a run."""
    if (folder / "run.json").exists():
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        write_tokenizer(folder, tokenizer)
    write_json(folder / "run.json", manifest)


def reopen_run(folder: Path, manifest: dict, *, file: str = "run.json") -> None:
    """Check that a resumed run uses the settings it was started with. Raises KitError that names one that differs."""
    _compare(read_json(folder / file), manifest, folder)


def _compare(started: dict, requested: dict, folder: Path, field: str = "") -> None:
    for key, value in ((dict.fromkeys(started) if field else {}) | requested).items():
        if isinstance(value, dict):
            _compare(started.get(key) or {}, value, folder, f"{field}{key}.")
        elif started.get(key) != value:
            changed = f"{field}{key} was {started.get(key)!r}, now {value!r}"
            raise KitError(f"{folder}: cannot be resumed: {changed}; use the settings that the run was started with")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Replace a folder as `atomic_folder` does, and turn what libraries raise on a full disk into a KitError."""
    try:
        with atomic_folder(folder) as inside:
            yield inside
    except (OSError, RuntimeError, SafetensorError) as error:
        before = "its earlier content is unchanged" if folder.exists() else "nothing of it was written"
        raise KitError(f"{folder}: cannot be written ({before}): {in_one_line(error)}") from error


def save_tagger(folder: Path, tagger: Member, kept: OutOfFold | None = None) -> None:
    """Replace the run's tagger and its out-of-fold probabilities."""
    with _replaced(folder / "tagger") as inside:
        network: Any = tagger.network  # never an exported one, which cannot be trained
        save_model(inside, network.model)
        save_tokenizer_and_decision(inside, tagger)
        if kept is not None:
            save_out_of_fold(inside, kept)


def set_tagger_aside(folder: Path) -> None:
    """Copy the kept epoch's tagger to kept_tagger/, before one of an unfinished epoch takes its place."""
    with _replaced(folder / "kept_tagger") as inside:
        shutil.copytree(folder / "tagger", inside, dirs_exist_ok=True)


def restore_kept_tagger(folder: Path) -> None:
    """Put the tagger that was set aside back in its place, if there is one."""
    if has_tagger(folder, "kept_tagger"):
        shutil.rmtree(folder / "tagger", ignore_errors=True)
        os.rename(folder / "kept_tagger", folder / "tagger")


def save_tokenizer_and_decision(inside: Path, tagger: Member) -> None:
    """Write all of a tagger except its model into the folder of the model."""
    write_tokenizer(inside, tagger.tokenizer)
    decision = {"window_size": tagger.window_size, "overlap": tagger.overlap, "o_threshold": tagger.o_threshold}
    write_json(inside / "decision.json", decision)


def is_whole(folder: str | Path) -> bool:
    """Return whether a run has a tagger for each fold, so that every training document is validated by one of them."""
    folds = Path(folder) / "folds.json"
    return folds.exists() and len(fold_folders(folder)) == read_json(folds)["n_folds"]


def _found(folder: Path, name: str) -> Path:
    if not has_tagger(folder, name):
        reason = f"no folder {name!r} in it" if folder.exists() else "no such folder"
        raise KitError(f"{folder}: not a run folder with a trained model ({reason})")
    return folder / name


def save_checkpoint(
    folder: Path, accelerator: Accelerator, position: dict, tensors: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Replace the checkpoint: state of the training, its position, and `tensors`.

    All processes must call it; the first one writes.
    """
    carried = {**(tensors or {}), **random_states(accelerator)}
    if accelerator.is_main_process:
        with _replaced(folder / "checkpoint") as inside:
            # cuDNN keeps all weights of an LSTM in one block of memory, and safetensors would take them for copies.
            accelerator.save_state(str(inside), safe_serialization=False)
            save_file(carried, inside / "carried.safetensors")
            write_json(inside / "position.json", position)
    accelerator.wait_for_everyone()


def load_checkpoint(folder: Path, accelerator: Accelerator) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """Restore the state of a training; return its position and tensors, or None if there is no checkpoint.

    Raises KitError if the checkpoint is damaged.
    """
    inside = folder / "checkpoint"
    if accelerator.is_main_process:
        recover_folder(inside)
    accelerator.wait_for_everyone()
    if not inside.is_dir():
        return None
    try:
        accelerator.load_state(str(inside))
        tensors = load_file(inside / "carried.safetensors")
    except (OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise KitError(f"{inside}: damaged, cannot be resumed from: {in_one_line(error)}") from None
    restore_random_state(accelerator, tensors)
    return read_json(inside / "position.json"), tensors


class Session:
    """Measure one session of a training, and keep the seconds of all sessions in a run's sessions.json."""

    def __init__(self, folder: Path, *, resume: bool):
        self.path = folder / "sessions.json"
        self.earlier = read_json(self.path) if resume and self.path.exists() else []
        self.began, self.clock, self.cpu = time.time(), time.perf_counter(), time.process_time()

    def save(self, accelerator: Accelerator) -> None:
        """Write the seconds so far. All processes must call it; processor time is their sum."""
        cpu = sum_over_ranks(accelerator, time.process_time() - self.cpu)
        if accelerator.is_main_process:
            row = {"began": self.began, "elapsed_seconds": time.perf_counter() - self.clock, "cpu_seconds": cpu}
            write_json(self.path, [*self.earlier, row])


def training_seconds(folders: Iterable[Path]) -> dict[str, float]:
    """Return the wall-clock and processor seconds of all training sessions of the given folders.

    Time in which several of them trained side by side counts once in `elapsed_seconds`; `cpu_seconds` is a sum.
    """
    paths = [folder / "sessions.json" for folder in folders]
    rows = [row for path in paths if path.exists() for row in read_json(path)]
    elapsed, reached = 0.0, -math.inf
    for row in sorted(rows, key=lambda row: row["began"]):
        end = row["began"] + row["elapsed_seconds"]
        elapsed += max(0.0, end - max(row["began"], reached))
        reached = max(reached, end)
    return {"elapsed_seconds": elapsed, "cpu_seconds": sum(row["cpu_seconds"] for row in rows)}
