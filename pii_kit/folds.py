"""Cross-validation: a tagger for each fold in one run folder, scored out of fold, averaged when they predict.

folds.json      what was asked for: model, preset, folds
fold_0/ …       each a run's folder (see runs)
decision.json   the cut-off chosen on the out-of-fold probabilities of all folds, and the rules
result.json     F5 out of fold with its interval; written last
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from pii_kit.data import Document
from pii_kit.errors import KitError
from pii_kit.metrics import (
    Predictions,
    as_dict,
    best_threshold,
    bootstrap_interval,
    decided_rows,
    micro_fbeta,
    threshold_curve,
)
from pii_kit.out_of_fold import OutOfFold, join_out_of_fold, load_out_of_fold
from pii_kit.presets import default_preset, look_up
from pii_kit.rules import DEFAULT_RULES
from pii_kit.runs import read_json, reopen_run, write_json
from pii_kit.side_by_side import run_side_by_side
from pii_kit.submission import true_rows
from pii_kit.train_run import train_preset


def train_folds(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    n_folds: int = 5,
    folds: Sequence[int] | None = None,
    resume: bool = False,
    **settings,
) -> dict:
    """Train `model` once for each of `folds` of `n_folds` into a run folder; gives back the result, out of fold.

    `folds` None are all of them, or the first alone where the preset says so. `settings`, and essays `taught` by a
    teacher, go to `train_preset`. A run that was killed goes on with `resume`, and finished folds are left as they are.
    On a CPU of several cores as many folds train side by side as torch would use threads, each on one: models as small
    as those of the CPU presets gain nothing from a second thread. Raises KitError as `train_preset`.
    """
    folder = Path(folder)
    preset = preset or default_preset(model)
    every_fold = look_up(model, preset).every_fold
    if folds is None:
        folds = range(n_folds) if every_fold else [0]
    if not folds or len(set(folds)) < len(folds) or any(not 0 <= fold < n_folds for fold in folds):
        raise KitError(f"folds are {', '.join(map(str, folds)) or 'none'}; expected each once, 0 to {n_folds - 1}")
    manifest = {"model": model, "preset": preset, "n_folds": n_folds, "folds": list(folds)}
    _open(folder, manifest, resume=resume)
    tasks = [
        partial(train_preset, model, documents, _fold(folder, k), preset=preset, n_folds=n_folds, fold=k, resume=resume)
        for k in folds
    ]
    n_workers = 1 if torch.cuda.is_available() else min(torch.get_num_threads(), len(tasks))
    if n_workers == 1:
        results = [task(**settings) for task in tasks]
    else:
        epochs = settings.get("epochs") or look_up(model, preset).train.epochs
        bar = tqdm(desc=f"{len(tasks)} folds", total=epochs * len(tasks), unit="epoch")
        results = run_side_by_side(
            [partial(task, quiet=True, **settings) for task in tasks],
            n_workers=n_workers,
            bar=bar,
            count=lambda: sum(_epochs_done(_fold(folder, k)) for k in folds),
        )
    if (folder / "result.json").exists():
        return read_json(folder / "result.json")
    result = choose_decision(folder, documents)
    result |= {
        "n_models": len(results),
        "epochs": sum(row["epochs"] for row in results),
        "seconds": sum(row["seconds"] for row in results),
        "seconds_per_epoch": sum(row["seconds_per_epoch"] for row in results) / len(results),
        "parameters": results[0]["parameters"],
        "device": results[0]["device"],
    }
    write_json(folder / "result.json", result)
    return result


def _open(folder: Path, manifest: dict, *, resume: bool) -> None:
    """Write folds.json, or see that a run is gone on with as it was started. A run begins with its first fold's."""
    begun = [*folder.glob("run.json"), *folder.glob("fold_*/run.json")]
    if begun and not resume:
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    if begun:
        reopen_run(folder, manifest, file="folds.json")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "folds.json", manifest)


def choose_decision(folder: Path, documents: Sequence[Document]) -> dict:
    """Write decision.json from the out-of-fold probabilities of a run on its documents; gives back the score.

    The cut-off is chosen and scored on the same documents: one number out of few, so it flatters F5 a little.
    """
    predictions = out_of_fold_predictions(folder, documents)
    o_threshold = best_threshold(threshold_curve(predictions, rules=DEFAULT_RULES))
    truth = true_rows(document for document, _ in predictions)
    rows = decided_rows(predictions, o_threshold=o_threshold, rules=DEFAULT_RULES)
    low, high = bootstrap_interval(truth, rows, [document.document for document, _ in predictions])
    write_json(folder / "decision.json", {"o_threshold": o_threshold, "rules": list(DEFAULT_RULES)})
    score = as_dict(micro_fbeta(truth, rows))
    return {**score, "f5_low": low, "f5_high": high, "n_documents": len(predictions), "o_threshold": o_threshold}


def fold_folders(folder: str | Path) -> list[Path]:
    """The run folders of a cross-validation's folds, trained or not; a run of one tagger is its own only fold."""
    folder = Path(folder)
    if not (folder / "folds.json").exists():
        return [folder]
    return [_fold(folder, k) for k in read_json(folder / "folds.json")["folds"]]


def is_whole(folder: str | Path) -> bool:
    """Whether a run has a tagger for each fold, so that each essay it was trained on is some fold's validation too."""
    folds = Path(folder) / "folds.json"
    return folds.exists() and len((manifest := read_json(folds))["folds"]) == manifest["n_folds"]


def _fold(folder: Path, k: int) -> Path:
    return folder / f"fold_{k}"


def _epochs_done(folder: Path) -> int:
    return len(read_json(folder / "history.json")) if (folder / "history.json").exists() else 0


def load_folds_out_of_fold(folder: str | Path) -> OutOfFold | None:
    """The out-of-fold probabilities of all folds of a run; None where a fold has none. Raises KitError if damaged."""
    parts = [load_out_of_fold(of_fold / "tagger") for of_fold in fold_folders(folder)]
    return None if any(part is None for part in parts) else join_out_of_fold(parts)


def out_of_fold_predictions(folder: str | Path, documents: Sequence[Document]) -> Predictions:
    """Those of labelled `documents` that some fold validated on, with its tagger's probabilities (token, label).

    Raises KitError if the run kept none.
    """
    kept = load_folds_out_of_fold(folder)
    if kept is None:
        raise KitError(f"{folder}: holds no out-of-fold probabilities")
    return [(document, kept.of(document)) for document in documents if kept.holds(document)]
