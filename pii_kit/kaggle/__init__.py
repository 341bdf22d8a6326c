"""The platform: where Kaggle mounts data and expects results, and how much time is left."""

import logging
import math
import os
import platform
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pii_kit.files import KitError, atomic_folder
from pii_kit.sample import (
    write_sample,
)
from pii_kit.training.parallel import try_gpus

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


BATCH_HOURS, INTERACTIVE_HOURS = 9, 12  # a notebook of the competition may run so long; a session at the screen
# Kept back where the limit is Kaggle's: a notebook is saved and turned into a page after its last cell.
RESERVE = 600  # seconds


@dataclass(frozen=True)
class Deadline:
    """When work has to be over: `at`, in seconds on the clock of time.monotonic; infinity where it never has to."""

    at: float

    def seconds_left(self) -> float:
        return self.at - time.monotonic()

    def __str__(self) -> str:
        """
        >>> str(Deadline(math.inf))
        'no time limit'
        """
        return "no time limit" if self.at == math.inf else f"{self.seconds_left() / 60:.1f} minutes left"


def deadline_in(minutes: float | None = None) -> Deadline:
    """The deadline `minutes` from now; None: shortly before Kaggle's limit, and nowhere else any.

    Raises KitError for minutes that are not above 0.
    """
    if minutes is None:
        left = seconds_left()
        return Deadline(math.inf if left is None else time.monotonic() + left - RESERVE)
    if not minutes > 0:
        raise KitError(f"minutes is {minutes}; expected more than 0")
    return Deadline(time.monotonic() + 60 * minutes)


def seconds_left() -> float | None:
    """Seconds until Kaggle ends this session; None elsewhere.

    They count from the start of the container, which is the start of its first process: a notebook's own start comes
    minutes later, and other cells, or another kernel at the screen, may have run for hours.
    """
    if not on_kaggle():
        return None
    interactive = os.environ["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive" and not in_rerun()
    limit = 3600 * (INTERACTIVE_HOURS if interactive else BATCH_HOURS)
    age = time.time() - psutil.Process(1).create_time()
    if age > limit:  # no container lives so long: the first process seen is the host's
        age = time.time() - psutil.Process().create_time()
    return limit - age


DATA_VARIABLE = "PII_KIT_DATA"


def find_data_folder(explicit: str | Path | None = None, *, local: str | Path = "data") -> tuple[Path, str] | None:
    """The folder that holds test.json and a word on why it was taken; None where no real essays are to be found.

    Looked at in this order: `explicit`, the environment variable PII_KIT_DATA, Kaggle's mounts, `local`.
    A folder that was asked for by name and holds no test.json is a KitError, not a reason to look further.
    """
    for wish, why in ((explicit, "as asked"), (os.environ.get(DATA_VARIABLE), f"from {DATA_VARIABLE}")):
        if wish:
            if not (Path(wish) / "test.json").is_file():
                raise KitError(f"{Path(wish).absolute()}: no test.json there (folder {why})")
            return Path(wish), why
    for folder in input_folders():
        return folder, "attached on Kaggle"
    if (Path(local) / "test.json").is_file():
        return Path(local), "your own copy"
    return None


PACKAGES = ("pii_kit", "torch", "transformers", "tokenizers", "accelerate", "numpy", "pandas", "spacy")


def environment_report() -> str:
    """Lines for a notebook's first cell: versions, devices, where this is, and what is wrong."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    left = seconds_left()
    where = f"Kaggle, {os.environ['KAGGLE_KERNEL_RUN_TYPE']}" if on_kaggle() else platform.system()
    where += "" if left is None else f", {left / 3600:.1f} hours left"
    lines = [f"Python {platform.python_version()}, {versions}", f"{where}; {_devices()}"]
    if on_kaggle():
        attached = ", ".join(sorted(path.name for path in INPUT.iterdir())) if INPUT.is_dir() else ""
        lines.append(f"attached: {attached or 'nothing'}")
    if problem := try_gpus()[1]:
        lines.append(f"WARNING: {problem}")
    return "\n".join(lines)


def _devices() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{try_gpus()[0]}; {len(os.sched_getaffinity(0))} CPU cores, {memory:.0f} GiB"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the kit itself, run from its checkout
        return "from the checkout"


def data_folder(explicit: str | Path | None = None, *, out: str | Path, n_documents: int = 60, seed: int = 0) -> Path:
    """The folder to read essays from: real ones where `data.find_data_folder` finds them, else made-up ones.

    Made-up essays are written under `out`, once for each number and seed. One printed line says which were taken.
    """
    found = find_data_folder(explicit)
    if found:
        folder, why = found
        print(f"Essays from {folder} ({why})")
        return folder
    folder = Path(out) / f"made_up_essays_{n_documents}_{seed}"
    if not (folder / "test_labels.csv").is_file():  # written last
        write_sample(folder, n_documents=n_documents, seed=seed)
    print(f"Essays made up, in {folder}: no others were found ({DATA_VARIABLE}, Kaggle's mounts, data/)")
    return folder
