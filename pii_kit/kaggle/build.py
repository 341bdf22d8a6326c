"""Read and check kaggle_metadata.json, and build the folders that the Kaggle client sends."""

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from pii_kit.files import KitError, atomic_folder, write_json
from pii_kit.kaggle import COMPETITION

FILE = "kaggle_metadata.json"
PLACEHOLDER = "INSERT_KAGGLE_USERNAME"
PIP_SECONDS = 600
EARLIEST = "315532800"  # 1980, the first date that a zip can hold: equal sources give equal wheels, byte for byte
# What prediction and comparison read of a run. Not the checkpoint, which is large, nor pages, which show essays.
RUN_FILES = ("run.json", "result.json", "decision.json")
FOLD_FILES = ("history.json", "out_of_fold.safetensors")
TAGGER_FILES = ("config.json", "model.safetensors", "model.onnx", "tokenizer.json", "pieces.json", "decision.json")
Below = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]  # neither absolute nor through ..


class _Entry(BaseModel, extra="forbid", strict=True):
    slug: str
    title: str

    @model_validator(mode="after")
    def _check_title(self) -> Self:
        if (of_title := slugify(self.title)) != self.slug:  # Kaggle would store it under the slug of its title
            raise ValueError(f"title makes the slug {of_title!r}; expected a title that makes {self.slug!r}")
        return self


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

    @field_validator("file")
    @classmethod
    def _check_cells(cls, file: str, info: ValidationInfo) -> str:
        try:
            cells = json.loads(Path(info.context or "", file).read_bytes())["cells"]
            has_outputs = any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: not a notebook: {error!r}") from None
        if has_outputs:
            raise ValueError(f"{file}: has outputs, which can show essays; remove them with nbstripout")
        return file

    @model_validator(mode="after")
    def _check_internet(self) -> Self:
        if self.submits and self.internet:
            raise ValueError("internet is true; expected false, because this notebook is submitted")
        return self


class Description(BaseModel, extra="forbid", strict=True):
    """The content of kaggle_metadata.json."""

    competition: Literal["pii-detection-removal-from-educational-data"]
    owner: str | None
    package: Dataset
    runs: list[Dataset] = []
    notebooks: Annotated[list[Notebook], Field(min_length=1)]

    @field_validator("owner")
    @classmethod
    def _check_owner(cls, owner: str | None) -> str | None:
        return None if owner == PLACEHOLDER else owner

    @property
    def datasets(self) -> list[Dataset]:
        return [self.package, *self.runs]

    def select(self, only: Sequence[str]) -> tuple[list[str], list[Notebook]]:
        """Return the slugs of the data sets, and the notebooks, that `only` names by slug; all if it is empty.

        A notebook comes with its data sets, so that it never runs with an older package than the one of this checkout.
        """
        datasets = [dataset.slug for dataset in self.datasets]
        known = [*datasets, *(notebook.slug for notebook in self.notebooks)]
        if unknown := [slug for slug in only if slug not in known]:
            raise KitError(f"{unknown[0]!r} is not in {FILE}; expected {', '.join(known)}")
        notebooks = [notebook for notebook in self.notebooks if not only or notebook.slug in only]
        wanted = {*only, *(source for notebook in notebooks for source in notebook.datasets)}
        return [slug for slug in datasets if not only or slug in wanted], notebooks


def read_description(root: Path) -> Description:
    """Read the description in a checkout; raise KitError, with one line for each problem, if there are any."""
    path = root / FILE
    try:
        return Description.model_validate_json(path.read_bytes(), context=root)
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; run this in a checkout of the kit") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, of['loc'])) or 'content'}: {of['msg'].removeprefix('Value error, ')}"
            for of in error.errors()
        ]
        raise KitError("\n".join(f"{path}: {problem}" for problem in problems)) from None


def slugify(title: str) -> str:
    """Return the slug that Kaggle makes from a title.

    >>> slugify("PII kit 02: Train SHA-RNN")
    'pii-kit-02-train-sha-rnn'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


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
            _build_kernel(notebook, root / notebook.file, inside / "kernels" / notebook.slug, owner)
        for dataset in description.datasets:
            _build_dataset(dataset, root, inside / "datasets" / dataset.slug, owner)


def _build_kernel(notebook: Notebook, code: Path, folder: Path, owner: str) -> None:
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
    for path in (folder / name for name in names):
        if path.is_symlink() or folder.is_symlink():
            raise KitError(f"{path}: a link; expected a file")
        if path.is_file():
            shutil.copyfile(path, to / path.name)


def build_wheel(root: Path, into: Path) -> None:
    """Build the wheel of the package in the checkout `root`. It needs no network: torch requires setuptools."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith(".pyc") or Path(folder, name).is_symlink()]

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
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EARLIEST}
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PIP_SECONDS)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KitError(f"pip {arguments[0]}: {'; '.join(errors)[:500] or 'failed without a message'}")
