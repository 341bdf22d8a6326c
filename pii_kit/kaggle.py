"""The platform: where Kaggle puts what is attached, and where its results are to be written."""

import logging
import os
import shutil
from pathlib import Path

from pii_kit.errors import KitError
from pii_kit.files import atomic_folder

logger = logging.getLogger(__name__)

COMPETITION = "pii-detection-removal-from-educational-data"
INPUT = Path("/kaggle/input")
WORKING = Path("/kaggle/working")


def on_kaggle() -> bool:
    """Whether this is a Kaggle notebook; its image sets KAGGLE_KERNEL_RUN_TYPE to Interactive or Batch."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def in_rerun() -> bool:
    """Whether Kaggle runs a submitted notebook again, on the hidden test: if it ends in an error, nothing is scored."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def input_folders(root: Path = INPUT) -> list[Path]:
    """The attached folders that hold a test.json: the competition's mount, old or new, before any other."""
    known = [root / "competitions" / COMPETITION, root / COMPETITION]
    if not root.is_dir():
        return []
    others = sorted(path.parent for path in root.rglob("test.json"))
    return [folder for folder in dict.fromkeys([*known, *others]) if (folder / "test.json").is_file()]


def output_folder(explicit: str | Path | None = None) -> Path:
    """Where results go: `explicit`, Kaggle's working folder, or outputs/ of the checkout (notebooks/ is inside it)."""
    return Path(explicit) if explicit else WORKING if on_kaggle() else _checkout() / "outputs"


def submission_file(explicit: str | Path | None = None) -> Path:
    """Where the submission goes: `explicit`, Kaggle's submission.csv, or submissions/submission.csv of the checkout."""
    if explicit:
        return Path(explicit)
    return WORKING / "submission.csv" if on_kaggle() else _checkout() / "submissions" / "submission.csv"


def _checkout() -> Path:
    return Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()


def run_folders(out: Path, *, attached: Path = INPUT) -> list[Path]:
    """The folders of trained runs under `out` or, where there are none, among what is attached on Kaggle.

    Raises KitError, naming both places, if there are none at all.
    """
    for root in (out, attached):
        found = sorted(root.rglob("tagger/decision.json")) if root.is_dir() else []
        if found:
            runs = (decision.parents[1] for decision in found)
            return list(dict.fromkeys(run.parent if (run.parent / "folds.json").exists() else run for run in runs))
    raise KitError(f"no trained run under {out.absolute()} nor {attached}: train one first (notebooks 02 and 03)")


def bring_back(run: Path, *, attached: Path = INPUT) -> Path:
    """The folder of a run, copied from what is attached on Kaggle if it is there and nowhere else: an earlier session's
    output, which training goes on with. What is attached is read-only, and stays as it is.

    Of several folders of the run's name the one that was written last counts.
    """
    if not run.exists() and attached.is_dir():
        found = [path.parent for path in attached.rglob(f"{run.name}/folds.json")]
        if found:
            latest = max(found, key=lambda folder: max(path.stat().st_mtime for path in folder.rglob("*")))
            logger.warning("%s: gone on with from %s", run, latest)
            with atomic_folder(run) as inside:
                shutil.copytree(latest, inside, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return run
