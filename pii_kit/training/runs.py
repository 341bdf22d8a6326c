"""The folder of a run: the record of what was asked for, its lock, checkpoints, and the documents it knows.

run.json                        the request: model, settings, weights, and digests of all documents; written first
fold_K/checkpoint.pt            the latest state of the fold's training
fold_K/tagger/                  the tagger of the last epoch that was validated
fold_K/out_of_fold.safetensors  its predictions for the fold's validation documents
fold_K/history.json             a row for each finished epoch
decision.json                   threshold and rules of the average of all folds
result.json                     scores and cost; written last

No file holds text of the documents.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from pii_kit.documents import Document
from pii_kit.files import KitError, in_one_line, read_record, write_json
from pii_kit.labels import OUTSIDE
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import fold_folders, has_tagger
from pii_kit.settings import Preset, Strict

fcntl: Any = None
with suppress(ImportError):  # Windows has none
    fcntl = import_module("fcntl")

CHECKPOINT = "checkpoint.pt"


class Known(NamedTuple):
    """A document that a run was trained on; `fold` is the fold that validates it, None for extra documents."""

    number: int
    n_tokens: int
    digest: str
    fold: int | None


class RunRecord(Strict):
    """run.json. `data` is the `digest_documents` of the labelled documents; `taught` are numbers and lengths."""

    model: str
    preset: str
    settings: Preset
    weights: str
    weights_sha256: str | None
    n_folds: int
    folds: list[int]
    n_documents: int
    data: str
    documents: list[Known]
    extra: list[Known]
    teachers: list[str]
    taught: list[tuple[int, int]]


@dataclass
class Position:
    """How far a training is: finished epochs; of the current epoch the finished batches, and sums over them."""

    size: int  # windows of an epoch
    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def digest_of(document: Document) -> str:
    """Return a digest of a document's tokens without the labelled ones, which could be found by trying names."""
    labels = document.labels or (OUTSIDE,) * len(document.tokens)
    return _digest([token for token, label in zip(document.tokens, labels, strict=True) if label == OUTSIDE])


def digest_documents(documents: Iterable[Document]) -> str:
    """Return a digest of labelled documents: equal for equal training data."""
    return _digest([[document.number, digest_of(document), document.labels] for document in documents])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def digest_runs(runs: Iterable[str | Path]) -> list[str]:
    """Return a digest of the files of each tagger of runs, in order. Raises KitError if a folder has none."""
    digests = []
    for folder in chain.from_iterable(map(fold_folders, runs)):
        if not has_tagger(folder):
            raise KitError(f"{folder}: not a run folder with a trained model")
        files = sorted((folder / "tagger").iterdir())
        digests.append(_digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]))
    return digests


def known(documents: Sequence[Document], folds: Sequence[int | None]) -> list[Known]:
    """Return what run.json holds of documents."""
    pairs = zip(documents, folds, strict=True)
    return [Known(document.number, len(document.tokens), digest_of(document), fold) for document, fold in pairs]


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other trainings out of a folder, or wait for their end. The lock ends with this process; Windows has none.

    Raises:
        KitError: another training uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise KitError(f"{folder}: another training uses this folder; wait for its end, or choose another") from None
    finally:
        os.close(handle)


def read_run(folder: Path) -> RunRecord:
    """Read run.json. Raises KitError if it is missing, damaged, or of an earlier version."""
    if (folder / "folds.json").exists():
        raise KitError(f"{folder}: a run of a version before 0.3, which cannot be read; train it again")
    return read_record(folder / "run.json", RunRecord)


def open_run(folder: Path, record: RunRecord, *, resume: bool) -> None:
    """Write run.json of a new run, or check that a resumed one was started with the same record.

    Raises:
        KitError: the folder holds a run and `resume` is False, or the run was started with another record.
    """
    if not any(folder.glob("*.json")):
        write_json(folder / "run.json", record.model_dump(mode="json"))
        return
    if not resume:
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    before, now = (_flat(content.model_dump()) for content in (read_run(folder), record))
    if before["weights_sha256"]:  # the same published weights may be in another folder in the next session
        before["weights"] = now["weights"]
    if changed := next((name for name, value in now.items() if before.get(name) != value), None):
        change = f"{changed} was {before.get(changed)!r:.40}, now {now[changed]!r:.40}"
        raise KitError(f"{folder}: cannot be resumed: {change}; use what the run was started with")


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dictionary with names such as "settings.train.epochs"."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def not_trained_on(run: Path, documents: Sequence[Document]) -> list[Document]:
    """Return the documents that a run was certainly not trained on, neither with labels nor by a teacher.

    Documents with the number and length of a training document are left out too: their labels may have been changed.
    """
    if not (run / "run.json").exists():
        return list(documents)
    record = read_run(run)
    labelled = [*record.documents, *record.extra]
    digests = {entry.digest for entry in labelled}
    sizes = {(entry.number, entry.n_tokens) for entry in labelled} | set(record.taught)
    others = [document for document in documents if digest_of(document) not in digests]
    return [document for document in others if (document.number, len(document.tokens)) not in sizes]


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace a fold's checkpoint: states of torch's objects, the `Position` and the tokenizer.

    Raises:
        KitError: it cannot be written; the one before is then unchanged.
    """
    partial, tokenizer = folder / f".{CHECKPOINT}.partial", state["tokenizer"]
    words, specials = sorted(tokenizer.words), dict(tokenizer.specials)
    plain = {"position": asdict(state["position"]), "tokenizer": (tokenizer.tokenizer.to_str(), words, specials)}
    try:
        with open(partial, "wb") as handle:
            torch.save(state | plain, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, folder / CHECKPOINT)
    except (OSError, RuntimeError) as error:
        raise KitError(f"{folder / CHECKPOINT}: cannot be written, and is unchanged: {in_one_line(error)}") from None


def load_checkpoint(folder: Path, device: str) -> dict[str, Any] | None:
    """Return what `save_checkpoint` has saved, None if there is no file. Raises KitError if it is damaged."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():  # torch does not compare the checksums
                raise ValueError(f"checksum of {part}")
        state = torch.load(path, map_location=device, weights_only=True)
        content, words, specials = state["tokenizer"]
        tokenizer = PieceTokenizer(Tokenizer.from_str(content), frozenset(words), specials)
        return state | {"position": Position(**state["position"]), "tokenizer": tokenizer}
    except Exception as error:  # whatever a damaged file makes torch and zipfile raise
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception) -> KitError:
    """Return the error for a fold's checkpoint that cannot be used."""
    reason = in_one_line(error) or type(error).__name__
    return KitError(f"{folder / CHECKPOINT}: damaged ({reason}); delete it to train this fold from the start")


def training_seconds(histories: Iterable[list[dict]]) -> dict[str, float]:
    """Return the wall-clock and processor seconds of all epochs; epochs side by side count once in wall-clock time."""
    rows = [row for history in histories for row in history]
    elapsed = reached = 0.0
    for start, end in sorted((row["ended"] - row["epoch_seconds"], row["ended"]) for row in rows):
        elapsed += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return {"elapsed_seconds": elapsed, "cpu_seconds": sum(row["cpu_seconds"] for row in rows)}
