"""The Kaggle platform: where data is mounted, where results go, and how much time is left."""

import json
import logging
import math
import os
import platform
import shutil
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from pii_kit import __version__
from pii_kit.documents import Document, read_documents
from pii_kit.files import KitError, atomic_folder, read_json
from pii_kit.sample import write_sample

logger = logging.getLogger(__name__)
COMPETITION = "pii-detection-removal-from-educational-data"
INPUT = Path("/kaggle/input")
WORKING = Path("/kaggle/working")
DATA_VARIABLE = "PII_KIT_DATA"
BATCH_HOURS, INTERACTIVE_HOURS = 9, 12  # Kaggle's limits for a competition notebook and for an interactive session
RESERVE = 600  # seconds before Kaggle's limit, in which Kaggle saves the notebook and renders it as a page
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "pandas", "spacy")


def on_kaggle() -> bool:
    """Return whether this is a Kaggle notebook, where KAGGLE_KERNEL_RUN_TYPE is Interactive or Batch."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def in_rerun() -> bool:
    """Return whether Kaggle reruns a submitted notebook on the hidden test. An error there costs the whole score."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def output_folder(explicit: str | Path | None = None) -> Path:
    """Return the folder for results: `explicit`, Kaggle's working folder, or outputs/ of the checkout."""
    return Path(explicit or (WORKING if on_kaggle() else _checkout() / "outputs"))


def submission_file(explicit: str | Path | None = None) -> Path:
    """Return the path of the submission: `explicit`, Kaggle's submission.csv, or submissions/submission.csv."""
    return Path(explicit or (WORKING if on_kaggle() else _checkout() / "submissions") / "submission.csv")


def _checkout() -> Path:
    return Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()


def run_folders(out: Path, *, attached: Path = INPUT) -> list[Path]:
    """Return the runs with a trained tagger in `out`/runs; if there are none, those attached on Kaggle.

    Other folders of `out`, such as the demo's, are not searched. Raises KitError if there are no runs at all.
    """
    own = [run for run in runs_below(out / "runs") if run.parent == out / "runs"]
    if found := own or runs_below(attached):
        return found
    raise KitError(f"{out.absolute() / 'runs'}, {attached}: no trained run in either; train one (notebooks 02 and 03)")


def runs_below(root: Path) -> list[Path]:
    """Return the runs with a trained tagger at any depth below `root`: outputs and data sets place them differently."""
    places = {decision.parents[1] for decision in root.rglob("tagger/decision.json")}
    return sorted({place.parent if (place.parent / "folds.json").exists() else place for place in places})


def training_data(run: Path) -> tuple[int, str] | None:
    """Return the number of documents a run was trained on and their fingerprint; None for an exported run."""
    for manifest in (run / "run.json", *sorted(run.glob("fold_*/run.json"))):
        if manifest.exists():
            content = read_json(manifest)
            return content["n_documents"], content["data"]
    return None


def training_documents(folder: Path, runs: Iterable[Path]) -> Sequence[Document]:
    """Return the documents of `folder`/train.json if all runs were trained on them; otherwise none."""
    from pii_kit.training.runs import fingerprint  # here, because torch takes seconds, and the verbs need none of it

    if not (folder / "train.json").is_file():
        return []
    documents = read_documents(folder / "train.json")
    trained_on = {training_data(run) for run in runs}
    return documents if trained_on == {(len(documents), fingerprint(documents))} else []


def copy_attached_run(run: Path, *, attached: Path = INPUT) -> Path:
    """Copy a run that is attached on Kaggle to `run`, so that training can resume it, and return `run`.

    Nothing is copied if `run` exists or no such run is attached. Of several attached runs with this name the one with
    the latest files is copied. Attached files are read-only and do not change.
    """
    found = [path.parent for path in attached.rglob(f"{run.name}/folds.json")]
    if found and not run.exists():
        latest = max(found, key=lambda folder: max(path.stat().st_mtime for path in folder.rglob("*")))
        logger.warning("%s: copied from %s, to be resumed", run, latest)
        with atomic_folder(run) as inside:
            shutil.copytree(latest, inside, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return run


def attached_weights(root: Path = INPUT) -> Path | None:
    """Return the first attached folder with a config.json of MobileBERT; None if there is none."""
    for config in sorted(root.rglob("config.json")):
        try:
            content = json.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # other data sets may name any file config.json
            continue
        if isinstance(content, dict) and content.get("model_type") == "mobilebert":
            return config.parent
    return None


def deadline_in(minutes: float | None = None) -> float:
    """Return the time of `time.monotonic()` at which work must be over, `minutes` from now.

    Without `minutes` it is ten minutes before Kaggle's limit, and `math.inf` outside Kaggle. Raises KitError if
    `minutes` is not above 0.
    """
    if minutes is None:
        left = seconds_left()
        return math.inf if left is None else time.monotonic() + left - RESERVE
    if not minutes > 0:
        raise KitError(f"minutes is {minutes}; expected more than 0")
    return time.monotonic() + 60 * minutes


def seconds_left() -> float | None:
    """Return the seconds until Kaggle ends this session; None outside Kaggle.

    They count from the start of the container's first process. The notebook itself starts minutes later.
    """
    if not on_kaggle():
        return None
    interactive = os.environ["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive" and not in_rerun()
    limit = 3600 * (INTERACTIVE_HOURS if interactive else BATCH_HOURS)
    age = time.time() - psutil.Process(1).create_time()
    if age > limit:  # no container lives so long: this is the first process of the host
        age = time.time() - psutil.Process().create_time()
    return limit - age


def find_data_folder(explicit: str | Path | None = None) -> tuple[Path, str] | None:
    """Return the folder that holds test.json, and a phrase for where it was found; None if there is none.

    Searched in this order: `explicit`, the environment variable PII_KIT_DATA, the competition's data on Kaggle, other
    data attached there, data/. Raises KitError if a named folder holds no test.json, or if a competition rerun would
    label other essays than its own.
    """
    for named, why in ((explicit, "as asked"), (os.environ.get(DATA_VARIABLE), f"from {DATA_VARIABLE}")):
        if named:
            if not (Path(named) / "test.json").is_file():
                raise KitError(f"{Path(named).absolute()}: no test.json in this folder ({why})")
            if in_rerun() and (Path(named) / "test_labels.csv").exists():  # only made-up essays have it
                raise KitError(f"{named}: made-up essays cannot be submitted; {_ATTACH}, and name no other folder")
            return Path(named), why
    folder = next(iter(input_folders(INPUT)), None)
    if folder in _competition_folders(INPUT):
        return folder, "the competition's data"
    if in_rerun():
        raise KitError(f"competition rerun without the competition's essays (found: {folder}); {_ATTACH}")
    if folder:
        return folder, "attached on Kaggle, not the competition's data"
    return (Path("data"), "your own copy") if Path("data/test.json").is_file() else None


_ATTACH = f"attach the competition {COMPETITION} to the notebook (Add input)"


def input_folders(root: Path) -> list[Path]:
    """Return the folders below `root` with a test.json: the competition's first, those with made-up essays last."""
    folders, mounts = {path.parent for path in root.rglob("test.json")}, _competition_folders(root)
    return sorted(folders, key=lambda folder: (folder not in mounts, (folder / "test_labels.csv").exists(), folder))


def _competition_folders(root: Path) -> list[Path]:
    return [root / "competitions" / COMPETITION, root / COMPETITION]  # Kaggle's layout, new and old


def data_folder(explicit: str | Path | None = None, *, out: str | Path, n_documents: int = 60, seed: int = 0) -> Path:
    """Return the folder to read essays from, see `find_data_folder`, and print which it is.

    If there is none, made-up essays are written under `out`, once for each number and seed.
    """
    if found := find_data_folder(explicit):
        print(f"Essays from {found[0]} ({found[1]})")
        return found[0]
    folder = Path(out) / f"made_up_essays_{n_documents}_{seed}"
    if not (folder / "test_labels.csv").is_file():  # written last
        write_sample(folder, n_documents=n_documents, seed=seed)
    print(f"Made-up essays in {folder}; there are no others ({DATA_VARIABLE}, attached data, data/)")
    return folder


def environment_report() -> str:
    """Return lines for the first cell of a notebook: versions, devices, platform, attached data and warnings."""
    from pii_kit.training.parallel import try_gpus  # here for the same reason as in training_documents

    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    hardware = f"{psutil.cpu_count()} CPU cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    gpus, problem = try_gpus()
    where, more = platform.system(), [f"WARNING: {problem}"] if problem else []
    if (left := seconds_left()) is not None:
        where = f"Kaggle, {os.environ['KAGGLE_KERNEL_RUN_TYPE']}, {left / 3600:.1f} hours left"
        attached = ", ".join(sorted(path.name for path in INPUT.glob("*")))
        more.insert(0, f"attached: {attached or 'nothing'}")
    python = f"Python {platform.python_version()}, pii_kit {__version__}, {versions}"
    return "\n".join([python, f"{where}; {gpus}; {hardware}", *more])
