"""The Kaggle platform: where data is mounted, where results go, and how much time is left."""

import logging
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable
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
SESSION_HOURS, RERUN_HOURS = 12, 9  # Kaggle's limits, for a competition's rerun the shorter one
RESERVE = 600  # seconds before Kaggle's limit, in which Kaggle saves the notebook and renders it as a page
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "spacy")
ATTACH = f"attach the competition {COMPETITION} to the notebook (Add input)"


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

    Raises KitError if there are no runs at all.
    """
    own = [run for run in runs_below(out / "runs") if run.parent == out / "runs"]
    if runs := own or runs_below(attached):
        return runs
    raise KitError(f"{out.absolute() / 'runs'}, {attached}: no trained run in either; train one (notebooks 02 and 03)")


def runs_below(root: Path) -> list[Path]:
    """Return the runs with a trained tagger at any depth below `root`: outputs and data sets place them differently."""
    return sorted({decision.parents[2] for decision in root.rglob("fold_*/tagger/decision.json")})


def training_data(run: Path) -> tuple[int, str] | None:
    """Return the number of documents that a run was trained on, and their digest; None if the run does not say."""
    if not (run / "run.json").exists():
        return None
    record = read_json(run / "run.json")
    return record["n_documents"], record["data"]


def training_documents(folder: Path, runs: Iterable[Path]) -> list[Document]:
    """Return the documents of `folder`/train.json if all runs were trained on them; otherwise none."""
    from pii_kit.training.runs import digest_documents  # here, because torch takes seconds

    documents = read_documents(folder / "train.json") if (folder / "train.json").is_file() else []
    is_theirs = {training_data(run) for run in runs} == {(len(documents), digest_documents(documents))}
    return list(documents) if is_theirs else []


def copy_attached_run(run: Path, *, attached: Path = INPUT) -> Path:
    """Copy the latest attached run with the name of `run`, so that training can resume it, unless `run` exists."""
    folders = [path.parent for path in attached.rglob(f"{run.name}/run.json")]
    if folders and not run.exists():
        latest = max(folders, key=lambda folder: max(path.stat().st_mtime for path in folder.rglob("*")))
        logger.warning("%s: copied from %s, to be resumed", run, latest)
        with atomic_folder(run) as inside:  # attached files are read-only: their modes are not copied
            shutil.copytree(latest, inside, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return run


def attached_weights(root: Path = INPUT) -> Path | None:
    """Return the first attached folder with a config.json of MobileBERT; None if there is none."""
    for config in sorted(root.rglob("config.json")):
        try:
            if read_json(config)["model_type"] == "mobilebert":
                return config.parent
        except (KitError, OSError, LookupError, TypeError):  # other data sets may name any file config.json
            continue
    return None


def deadline_in(minutes: float | None = None) -> float:
    """Return the time of `time.monotonic()` at which work must be over, `minutes` from now.

    Without `minutes` it is ten minutes before Kaggle's limit, and `math.inf` outside Kaggle.
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
    limit = 3600 * (RERUN_HOURS if in_rerun() else SESSION_HOURS)
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
            if in_rerun() and _is_made_up(Path(named)):
                raise KitError(f"{named}: made-up essays cannot be submitted; {ATTACH}, and name no other folder")
            return Path(named), why
    for folder in (INPUT / "competitions" / COMPETITION, INPUT / COMPETITION):  # Kaggle's layout, new and old
        if (folder / "test.json").is_file():
            return folder, "the competition's data"
    attached = sorted((path.parent for path in INPUT.rglob("test.json")), key=lambda path: (_is_made_up(path), path))
    if in_rerun():
        raise KitError(f"competition rerun without the competition's essays (found: {attached}); {ATTACH}")
    if attached:
        return attached[0], "attached on Kaggle, not the competition's data"
    return (Path("data"), "your own copy") if Path("data/test.json").is_file() else None


def _is_made_up(folder: Path) -> bool:
    return (folder / "test_labels.csv").exists()  # only made-up essays have it


def data_folder(explicit: str | Path | None = None, *, out: str | Path, n_documents: int = 60, seed: int = 0) -> Path:
    """Return the folder to read essays from, see `find_data_folder`, and print which it is.

    If there is none, made-up essays are written under `out`, once for each number and seed.
    """
    if place := find_data_folder(explicit):
        print(f"Essays from {place[0]} ({place[1]})")
        return place[0]
    folder = Path(out) / f"made_up_essays_{n_documents}_{seed}"
    if not _is_made_up(folder):  # their labels are written last
        write_sample(folder, n_documents=n_documents, seed=seed)
    print(f"Made-up essays in {folder}; there are no others ({DATA_VARIABLE}, attached data, data/)")
    return folder


def environment_report() -> str:
    """Return lines for the first cell of a notebook: versions, platform, devices, and what is attached on Kaggle."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = psutil.virtual_memory().total / 2**30
    report = f"Python {platform.python_version()}, pii_kit {__version__}, {versions}\n"
    report += f"{platform.system()}; {psutil.cpu_count()} CPU cores, {memory:.0f} GiB; {_gpus()}"
    if (left := seconds_left()) is not None:
        report += f"\nKaggle, {os.environ['KAGGLE_KERNEL_RUN_TYPE']}, {left / 3600:.1f} hours left"
        report += f"\nattached: {', '.join(_attached_sources()) or 'nothing'}"
    return report


def _attached_sources() -> list[str]:
    """Return the names of the data sets, notebooks and models that are attached on Kaggle, in either layout."""
    depths = {"competitions": "*", "datasets": "*/*", "notebooks": "*/*", "models": "*/*"}  # of the new layout
    new = [path for kind, pattern in depths.items() for path in (INPUT / kind).glob(pattern)]
    return sorted(path.name for path in (*new, *INPUT.glob("*")) if path.name not in depths)


def _gpus() -> str:
    """Return name, memory and capability of each GPU and the precision used on it. CUDA is not initialised here."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return "no GPU"
    majors = [int(line.rsplit(", ")[-1].split(".")[0]) for line in lines]
    precisions = ["bf16" if major >= 8 else "fp16 for encoders" if major == 7 else "fp32" for major in majors]
    return "; ".join(f"{line}: {precision}" for line, precision in zip(lines, precisions, strict=True))
