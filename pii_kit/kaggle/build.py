"""Read and check kaggle_metadata.json, and build the folders that the Kaggle client sends."""

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from pii_kit.files import KitError, atomic_folder, write_json
from pii_kit.kaggle import COMPETITION

PLACEHOLDER = "INSERT_KAGGLE_USERNAME"
PIP_SECONDS = 600
EARLIEST = "315532800"  # 1980, the first date that a zip can hold: equal sources give equal wheels, byte for byte
# What prediction and comparison read of a run. Not the checkpoint, which is large, nor pages, which show essays.
RUN_FILES = ("run.json", "result.json", "decision.json")
FOLD_FILES = ("history.json", "out_of_fold.safetensors")
TAGGER_FILES = ("config.json", "model.safetensors", "model.onnx", "tokenizer.json", "pieces.json", "decision.json")


def _below(path: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", path):  # neither absolute nor through ..
        raise ValueError("expected a path below the folder of this file")
    return path


Below = Annotated[str, AfterValidator(_below)]


class _Entry(BaseModel, extra="forbid", strict=True):
    slug: str
    title: str


class Dataset(_Entry):
    """A data set: the package with wheels of other projects, or run folders."""

    license: str
    wheels: list[str] = []
    folders: list[Below] = []


class Notebook(_Entry):
    """A notebook and what is attached to it. Data sets and notebooks are named by slug, or OWNER/SLUG."""

    file: Below
    # The client's list without TPUs and P100. NvidiaTeslaT4 is two T4; a single one is not offered.
    accelerator: Literal[None, "NvidiaTeslaT4", "NvidiaL4", "NvidiaL4X1", "NvidiaTeslaA100", "NvidiaH100"]
    internet: bool
    datasets: list[str]
    models: list[str]
    kernels: list[str]
    submits: bool = False


class Description(BaseModel, extra="forbid", strict=True):
    """The content of kaggle_metadata.json."""

    competition: Literal["pii-detection-removal-from-educational-data"]
    owner: Annotated[str | None, AfterValidator(lambda name: None if name == PLACEHOLDER else name)]
    package: Dataset
    runs: list[Dataset] = []
    notebooks: Annotated[list[Notebook], Field(min_length=1)]

    @property
    def datasets(self) -> list[Dataset]:
        return [self.package, *self.runs]


def read_description(path: Path) -> Description:
    """Read and check a description; raise KitError, with one line for each problem, if there are any."""
    try:
        description = Description.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; run this in a checkout of the kit, or use --description FILE") from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'content'}: {one['msg']}" for one in error.errors()]
    else:
        problems = list(_problems(description, path.parent))
    if problems:
        raise KitError("\n".join(f"{path}: {problem}" for problem in problems))
    return description


def _problems(description: Description, root: Path) -> Iterator[str]:
    """Find what neither a schema nor the client refuses: slugs that are not those of titles, outputs in notebooks."""
    for entry in (*description.datasets, *description.notebooks):
        if (of_title := slugify(entry.title)) != entry.slug:  # Kaggle would store it under the slug of its title
            yield f"{entry.slug}: title makes the slug {of_title!r}; expected a title that makes {entry.slug!r}"
    for notebook in description.notebooks:
        if notebook.submits and notebook.internet:
            yield f"{notebook.slug}: internet is true; expected false, because this notebook is submitted"
        try:
            cells = json.loads((root / notebook.file).read_bytes())["cells"]
            if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
                yield f"{notebook.file}: has outputs, which can show essays; remove them with nbstripout"
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            yield f"{notebook.file}: not a notebook: {error!r}"


def slugify(title: str) -> str:
    """Return the slug that Kaggle makes from a title.

    >>> slugify("PII kit 02: Train SHA-RNN")
    'pii-kit-02-train-sha-rnn'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def is_owner(name: str) -> bool:
    """Return whether this can be the name of a Kaggle user and is not the placeholder."""
    return name != PLACEHOLDER and re.fullmatch(r"[A-Za-z0-9][\w-]*", name) is not None


def full_name(owner: str, slug: str) -> str:
    """Return OWNER/SLUG. A source of somebody else has its owner already."""
    return slug if "/" in slug else f"{owner}/{slug}"


def build_kit(description: Description, root: Path, out: Path, *, owner: str) -> None:
    """Write what goes to Kaggle in the name of `owner` to the folder `out`, completely or not at all.

    The files of the description are below `root`. An earlier kit in `out` is replaced. Raises KitError if `out` holds
    anything else, if a run has no trained tagger, or if a file to be copied is a link.
    """
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {"kernels", "datasets"}):
        raise KitError(f"{out}: holds other files than a kit; expected a new folder or an earlier kit")
    with atomic_folder(out) as inside:
        for notebook in description.notebooks:
            _build_kernel(notebook, root, inside / "kernels" / notebook.slug, owner)
        for dataset in description.datasets:
            _build_dataset(dataset, root, inside / "datasets" / dataset.slug, owner)


def _build_kernel(notebook: Notebook, root: Path, folder: Path, owner: str) -> None:
    code = root / notebook.file
    copy_files(code.parent, folder, [code.name])
    metadata = {
        "id": full_name(owner, notebook.slug),
        "title": notebook.title,
        "code_file": code.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,  # outputs can show essays, which must not be passed on
        "enable_internet": notebook.internet,  # the client's default is true
        "dataset_sources": [full_name(owner, slug) for slug in notebook.datasets],
        "competition_sources": [COMPETITION],
        "kernel_sources": [full_name(owner, slug) for slug in notebook.kernels],
        "model_sources": notebook.models,
        "machine_shape": notebook.accelerator,
    }
    write_json(folder / "kernel-metadata.json", metadata)


def _build_dataset(dataset: Dataset, root: Path, folder: Path, owner: str) -> None:
    folder.mkdir(parents=True)
    for run in dataset.folders:
        copy_run(root / run, folder / Path(run).name)
    if not dataset.folders:
        build_wheel(root, folder)
        download_wheels(dataset.wheels, root / "requirements.txt", folder)
    text = "Taggers trained with pii_kit." if dataset.folders else "pii_kit and the wheels that Kaggle's image lacks."
    metadata = {"id": full_name(owner, dataset.slug), "title": dataset.title, "description": text}
    write_json(folder / "dataset-metadata.json", {**metadata, "licenses": [{"name": dataset.license}]})


def copy_run(run: Path, to: Path) -> None:
    """Copy the known files of a run, and nothing else."""
    folds = sorted(path.parents[1] for path in run.glob("fold_*/tagger/decision.json"))
    if not folds:
        raise KitError(f"{run}: no trained tagger in it; expected a folder that train or export has written")
    copy_files(run, to, RUN_FILES)
    for fold in folds:
        copy_files(fold, to / fold.name, FOLD_FILES)
        copy_files(fold / "tagger", to / fold.name / "tagger", TAGGER_FILES)


def copy_files(folder: Path, to: Path, names: Iterable[str]) -> None:
    """Copy the files of these names that the folder has; raise KitError for a link, which may lead elsewhere."""
    to.mkdir(parents=True)
    for name in names:
        path = folder / name
        if path.is_symlink() or folder.is_symlink():
            raise KitError(f"{path}: a link; expected a file")
        if path.is_file():
            shutil.copyfile(path, to / name)


def build_wheel(root: Path, into: Path) -> None:
    """Build the wheel of the package in the checkout `root`. It needs no network: torch requires setuptools."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith(".pyc") or Path(folder, name).is_symlink()]

    if not (root / "pyproject.toml").is_file():
        raise KitError(f"{root.resolve()}: not a checkout of the kit: pyproject.toml is missing")
    with TemporaryDirectory() as place:
        # From a copy: setuptools writes build/ next to the sources, and packs again what it finds there. Only contents
        # are copied, because modes and times of a checkout differ from machine to machine.
        shutil.copytree(root / "pii_kit", Path(place, "pii_kit"), ignore=left_out, copy_function=shutil.copyfile)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(root / name, Path(place, name))
        _run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), place)


def download_wheels(names: Sequence[str], pins: Path, into: Path) -> None:
    """Download wheels in the versions of the file `pins`, which run on every Python, without their dependencies."""
    if names:
        options = ("--no-deps", "--only-binary", ":all:", "--platform", "any", "--implementation", "py")
        _run_pip("download", *options, "--constraint", str(pins), "--dest", str(into), *names)


def _run_pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "SOURCE_DATE_EPOCH": EARLIEST}, capture_output=True, text=True, timeout=PIP_SECONDS
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KitError(f"pip {arguments[0]}: {'; '.join(errors)[:500] or 'failed without a message'}")
