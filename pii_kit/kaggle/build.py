"""Read and check kaggle_metadata.json, and build the folders that the Kaggle client sends."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pii_kit.files import KitError, atomic_folder, recover_folder, write_json
from pii_kit.kaggle import COMPETITION
from pii_kit.training.folds import fold_folders

PLACEHOLDER = "INSERT_KAGGLE_USERNAME"
# The client's list without P100, which the image's torch cannot use any more, and without TPUs, which the kit cannot.
# NvidiaTeslaT4 gives two of them; a single one is not offered.
ACCELERATORS = ("NvidiaTeslaT4", "NvidiaL4", "NvidiaL4X1", "NvidiaTeslaA100", "NvidiaH100", "NvidiaRtxPro6000")
Expected = Callable[[object], str | None]  # a value to what was expected in its place; None where it is right


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title.

    >>> slugify("PII kit 02: Train SHA-RNN")
    'pii-kit-02-train-sha-rnn'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def is_owner(name: object) -> bool:
    """Whether this can be a Kaggle user's name, and is not the placeholder for one."""
    return isinstance(name, str) and name != PLACEHOLDER and re.fullmatch(OWNER, name) is not None


def _text(pattern: str, expected: str, *, least: int = 1, most: int | None = None) -> Expected:
    if least > 1:
        expected += f" of {least} characters or more" if most is None else f" of {least} to {most} characters"

    def check(value: object) -> str | None:
        right = isinstance(value, str) and re.fullmatch(pattern, value) and least <= len(value) <= (most or len(value))
        return None if right else expected

    return check


def _one_of(*allowed: object) -> Expected:
    return lambda value: None if value in allowed else " or ".join(json.dumps(one) for one in allowed)


def _list_of(item: Expected) -> Expected:
    def check(value: object) -> str | None:
        if not isinstance(value, list):
            return "a list"
        wrong = [expected for one in value if (expected := item(one))]
        return f"a list, each of it {wrong[0]}" if wrong else None

    return check


def _true_or_false(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _some(kind: type, expected: str) -> Expected:
    return lambda value: None if isinstance(value, kind) and value else expected


OWNER = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
_SLUG_WORDS = "small letters, digits and single hyphens"
_TITLE = r"\S(.*\S)?"
_LICENSE = _text(_TITLE, "a licence's name, as Kaggle has it")
_SOURCES = _list_of(_text(rf"({OWNER}/)?{_SLUG}", "a slug of this file, or somebody else's as OWNER/SLUG"))
_FOLDER = _text(r"\w[\w.-]*(/\w[\w.-]*)*", "a path below this file's folder")
_DATASET = {  # lengths are what Kaggle's client and site take
    "slug": _text(_SLUG, _SLUG_WORDS, least=6, most=50),
    "title": _text(_TITLE, "text", least=6, most=50),
    "license": _LICENSE,
}
_TOP = {
    "competition": _one_of(COMPETITION),
    "owner": lambda value: None if value == PLACEHOLDER or is_owner(value) else f"a user's name, or {PLACEHOLDER}",
    "package": _some(dict, "an object"),
    "runs": _list_of(_some(dict, "an object")),
    "notebooks": _some(list, "a list of at least one notebook"),
}
_PACKAGE = {**_DATASET, "wheels": _list_of(_text(r"\w[\w.-]*", "a distribution's name"))}
_RUNS = {**_DATASET, "folders": lambda value: _some(list, "a list of run folders")(value) or _list_of(_FOLDER)(value)}
_NOTEBOOK = {
    "slug": _text(_SLUG, _SLUG_WORDS, least=5),
    "title": _text(_TITLE, "text", least=5),
    "file": _text(r"\w[\w.-]*(/\w[\w.-]*)*\.ipynb", "a path of a notebook below this file's folder"),
    "accelerator": _one_of(None, *ACCELERATORS),
    "internet": _true_or_false,
    "datasets": _SOURCES,
    "models": _list_of(_text(rf"{OWNER}(/[\w.-]+){{3}}/\d+", "OWNER/MODEL/FRAMEWORK/VARIATION/VERSION")),
    "kernels": _SOURCES,
    "submits": _true_or_false,
}
_OPTIONAL = {"runs", "wheels", "submits"}


def find_problems(content: object, root: Path) -> list[str]:
    """All that is wrong with a description in the folder `root`, each problem with its field; empty if nothing is."""
    if not isinstance(content, dict):
        return ["expected an object"]
    top = _entry(content, _TOP, "")
    datasets = [("package.", content.get("package"), _PACKAGE)]
    datasets += [(f"runs[{i}].", entry, _RUNS) for i, entry in enumerate(_listed(content, "runs"))]
    notebooks = [(f"notebooks[{i}].", entry, _NOTEBOOK) for i, entry in enumerate(_listed(content, "notebooks"))]
    problems = list(top)
    for where, entry, checks in datasets + notebooks:
        problems += _entry(entry, checks, where) if isinstance(entry, dict) else []
    if problems:
        return problems  # what follows reads fields that must be right for it
    for entries in (datasets, notebooks):
        problems += _names([(where, entry) for where, entry, _ in entries])
    problems += _run_folders([(where, entry) for where, entry, _ in datasets[1:]])
    slugs = {entry["slug"] for _, entry, _ in datasets}
    earlier: set[str] = set()
    for where, entry, _ in notebooks:
        problems += _notebook(where, entry, root, datasets=slugs, kernels=earlier)
        earlier.add(entry["slug"])
    submitting = [where for where, entry, _ in notebooks if entry.get("submits")]
    problems += [f"{where}submits: true once before; one notebook is submitted" for where in submitting[1:]]
    return problems


def _listed(content: dict, key: str) -> list:
    value = content.get(key, [])
    return value if isinstance(value, list) else []


def _entry(entry: dict, checks: Mapping[str, Expected], where: str) -> Iterator[str]:
    for key in entry:
        if key not in checks:
            yield f"{where}{key}: unknown; expected {', '.join(checks)}"
    for key, check in checks.items():
        if key not in entry:
            if key not in _OPTIONAL:
                yield f"{where}{key}: missing"
        elif expected := check(entry[key]):
            yield f"{where}{key}: {json.dumps(entry[key], ensure_ascii=False)[:100]}; expected {expected}"


def _names(entries: list[tuple[str, dict]]) -> Iterator[str]:
    """Titles that do not make their slugs, so that Kaggle would file them elsewhere, and slugs that are there twice."""
    seen = set()
    for where, entry in entries:
        if slugify(entry["title"]) != entry["slug"]:
            yield f"{where}title: {entry['title']!r} makes the slug {slugify(entry['title'])!r}, not {entry['slug']!r}"
        if entry["slug"] in seen:
            yield f"{where}slug: {entry['slug']!r} is there before"
        seen.add(entry["slug"])


def _run_folders(entries: list[tuple[str, dict]]) -> Iterator[str]:
    """Folders that would lie on each other: a data set holds each by its last name."""
    for where, entry in entries:
        names = [PurePosixPath(folder).name for folder in entry["folders"]]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{where}folders: {name!r} is there twice; expected names that differ"


def _notebook(where: str, entry: dict, root: Path, *, datasets: set[str], kernels: set[str]) -> Iterator[str]:
    for source in entry["datasets"]:
        if "/" not in source and source not in datasets:
            known = ", ".join(sorted(datasets))
            yield f"{where}datasets: {source!r} is not in this file; expected {known} or OWNER/SLUG"
    for source in entry["kernels"]:
        if "/" not in source and source not in kernels:
            yield f"{where}kernels: {source!r} is no notebook that stands before this one, nor OWNER/SLUG"
    if entry.get("submits") and entry["internet"]:
        yield f"{where}internet: true; expected false, for this notebook is submitted"
    try:
        cells = json.loads((root / entry["file"]).read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        ran = sum(bool(cell.get("outputs") or cell.get("execution_count")) for cell in code)
    except FileNotFoundError:
        yield f"{where}file: {entry['file']!r} does not exist in {root.resolve()}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{where}file: {entry['file']!r} is not a notebook: {error!r}"
    else:
        if ran:  # outputs may show essays, which must not leave this machine by accident
            yield f"{where}file: {entry['file']!r} has outputs in {ran} cells; expected none (nbstripout removes them)"


@dataclass(frozen=True)
class Package:
    """The data set that carries the package as a wheel, and wheels that Kaggle's image lacks, by their names."""

    slug: str
    title: str
    license: str
    wheels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runs:
    """A data set of run folders, which are named relative to the description's own folder."""

    slug: str
    title: str
    license: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Notebook:
    """A Kaggle notebook. `accelerator` None is a CPU; sources without an owner are of the same description."""

    slug: str
    title: str
    file: str
    accelerator: str | None
    internet: bool
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    kernels: tuple[str, ...]
    submits: bool = False


@dataclass(frozen=True)
class Description:
    """All that goes to Kaggle. `root` is the folder of the file; `owner` is None where the placeholder still stands."""

    root: Path
    competition: str
    owner: str | None
    package: Package
    runs: tuple[Runs, ...]
    notebooks: tuple[Notebook, ...]

    @property
    def datasets(self) -> tuple[Package | Runs, ...]:
        """The package, then run folders."""
        return (self.package, *self.runs)


def read_description(path: str | Path) -> Description:
    """The description in the file `path`. Raises KitError with all problems, one a line, each naming its field."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; run this in a checkout of the kit, or name the file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not JSON: {error}") from None
    problems = find_problems(content, path.parent)
    if problems:
        raise KitError("\n".join(f"{path}: {problem}" for problem in problems))
    return Description(
        root=path.parent,
        competition=content["competition"],
        owner=None if content["owner"] == PLACEHOLDER else content["owner"],
        package=_frozen(Package, content["package"]),
        runs=tuple(_frozen(Runs, entry) for entry in content.get("runs", [])),
        notebooks=tuple(_frozen(Notebook, entry) for entry in content["notebooks"]),
    )


def _frozen(kind: type, entry: dict):
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})


def full_name(owner: str, slug: str) -> str:
    """A source's name as Kaggle wants it, OWNER/SLUG; somebody else's has its owner already.

    >>> full_name("me", "pii-kit-package"), full_name("me", "you/weights")
    ('me/pii-kit-package', 'you/weights')
    """
    return slug if "/" in slug else f"{owner}/{slug}"


SECONDS = 600  # that pip may take
EARLIEST = 315532800  # 1980, the first date that a zip can hold: equal sources give equal wheels, byte for byte


def build_wheel(root: Path, into: Path) -> None:
    """The wheel of the package in the checkout `root`, without its dependencies, into a folder.

    No network: setuptools is at hand wherever torch is, which requires a recent one. Raises KitError if there is no
    checkout, or with what pip says.
    """
    for name in ("pyproject.toml", "README.md", "LICENSE", "pii_kit"):
        if not (root / name).exists():
            raise KitError(f"{root.resolve()}: not a checkout of the kit: {name} is missing")
    with TemporaryDirectory() as place:
        # In a copy, for setuptools leaves build/ beside the sources and packs again what once lay there. Only contents
        # are copied: modes and times of a checkout differ from machine to machine.
        copy = Path(place) / "pii_kit"
        sources = [root / "pyproject.toml", root / "README.md", root / "LICENSE", *sorted(root.glob("pii_kit/*.py"))]
        for source in sources:
            target = copy / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o644)
        _pip(
            ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(copy)],
            {"SOURCE_DATE_EPOCH": str(EARLIEST)},
        )


def download_wheels(names: Sequence[str], pins: Path, into: Path) -> None:
    """Wheels of these distributions alone, in the versions that the file `pins` has, from pip's index into a folder.

    Raises KitError for a version that is not pinned, for a wheel that is not pure Python, or with what pip says.
    """
    pinned = pins.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in pinned if line.split("==")[0] in names]
    if len(wanted) < len(names):
        found = [line.split("==")[0] for line in wanted]
        raise KitError(f"{pins}: does not pin {', '.join(name for name in names if name not in found)}")
    if not wanted:
        return
    _pip(["download", "--no-deps", "--only-binary", ":all:", "--dest", str(into), *wanted], {})
    for wheel in into.glob("*.whl"):
        if not wheel.name.endswith("py3-none-any.whl"):
            raise KitError(
                f"{wheel.name}: made for one Python or platform, and Kaggle has its own; expected py3-none-any"
            )


def _pip(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    what = f"pip {arguments[0]}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise KitError(f"{what}: not done after {SECONDS} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")] or said or ["no word from it"]
        raise KitError(f"{what}: {'; '.join(dict.fromkeys(errors))[:500]}")


PARTS = {"kernels", "datasets"}
# Not checkpoint/, which is large, nor pages of errors, which show essays.
RUN_FILES = (
    "folds.json",
    "decision.json",
    "result.json",
    "history.json",
    "run.json",
    "tokenizer.json",
    "words.json",
)


def build_kit(description: Description, out: str | Path, *, owner: str) -> None:
    """Everything that goes to Kaggle under the name of `owner`, into the folder `out`, whole or not at all.

    An earlier kit there is replaced. Raises KitError if the folder holds anything else, and if a wheel or a run cannot
    be had.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= PARTS):
        raise KitError(f"{out}: holds other things than a kit; name a new folder, or an earlier kit's")
    with atomic_folder(out) as inside:
        for notebook in description.notebooks:
            _build_kernel(notebook, description, kernel_folder(inside, notebook.slug), owner)
        for dataset in description.datasets:
            _build_dataset(dataset, description, dataset_folder(inside, dataset.slug), owner)


def kernel_folder(kit: Path, slug: str) -> Path:
    """Where a built kit has a notebook."""
    return kit / "kernels" / slug


def dataset_folder(kit: Path, slug: str) -> Path:
    """Where a built kit has a data set."""
    return kit / "datasets" / slug


def content_mark(folder: Path) -> str:
    """A data-set folder's description: it ends with a digest of the files, by which equal content is known again."""
    return json.loads((folder / "dataset-metadata.json").read_text(encoding="utf-8"))["description"]


def _build_kernel(notebook: Notebook, description: Description, folder: Path, owner: str) -> None:
    folder.mkdir(parents=True)
    code = description.root / notebook.file
    shutil.copyfile(code, folder / code.name)
    metadata = {
        "id": full_name(owner, notebook.slug),
        "title": notebook.title,
        "code_file": code.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,  # outputs may show essays, which may not be passed on
        "enable_internet": notebook.internet,  # the client's default is true
        "dataset_sources": [full_name(owner, slug) for slug in notebook.datasets],
        "competition_sources": [description.competition],
        "kernel_sources": [full_name(owner, slug) for slug in notebook.kernels],
        "model_sources": list(notebook.models),
    }
    if notebook.accelerator is not None:
        metadata["machine_shape"] = notebook.accelerator
    write_json(folder / "kernel-metadata.json", metadata)


def _build_dataset(dataset: Package | Runs, description: Description, folder: Path, owner: str) -> None:
    folder.mkdir(parents=True)
    if isinstance(dataset, Package):
        build_wheel(description.root, folder)
        download_wheels(dataset.wheels, description.root / "requirements.txt", folder)
        text = "pii_kit as a wheel, and what Kaggle's image lacks for it."
    else:
        for run in dataset.folders:
            _copy_run(description.root / run, folder / Path(run).name)
        text = "Taggers that pii_kit has trained."
    metadata = {
        "id": full_name(owner, dataset.slug),
        "title": dataset.title,
        "licenses": [{"name": dataset.license}],
        "description": f"{text} Content {_digest(folder)}",
    }
    write_json(folder / "dataset-metadata.json", metadata)


def _copy_run(run: Path, to: Path) -> None:
    """A run folder's files that predicting reads, and those that say how it was trained; of all its folds."""
    for part in dict.fromkeys([run, *fold_folders(run)]):
        target = to / part.relative_to(run)
        target.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            if (part / name).is_file():
                shutil.copyfile(part / name, target / name)
    for part in fold_folders(run):
        recover_folder(part / "tagger")
        if not (part / "tagger" / "decision.json").is_file():
            raise KitError(f"{part}: no trained tagger in it; expected a run folder of the verb train, or an export")
        shutil.copytree(part / "tagger", to / part.relative_to(run) / "tagger", copy_function=shutil.copyfile)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as handle:
            name = path.relative_to(folder).as_posix()
            digest.update(name.encode() + b"\0" + hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]
