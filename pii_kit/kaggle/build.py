"""Read and check kaggle_metadata.json, and build the folders that the Kaggle client sends."""

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from pii_kit.files import KitError, atomic_folder, recover_folder, write_json

PLACEHOLDER = "INSERT_KAGGLE_USERNAME"
SCHEMA = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
PIP_SECONDS = 600
EARLIEST = 315532800  # 1980, the first date that a zip can hold: equal sources give equal wheels, byte for byte
# What predicting reads, and how the run was trained. Not checkpoint/, which is large, nor pages, which show essays.
RUN_FILES = ["folds.json", "decision.json", "result.json", "history.json", "run.json", "tokenizer.json", "pieces.json"]


@dataclass(frozen=True)
class Description:
    """The checked content of kaggle_metadata.json, as schema.json describes it."""

    root: Path  # the folder of the file
    competition: str
    owner: str | None  # None if the file holds the placeholder
    datasets: list[dict]  # the package, then the data sets of run folders
    notebooks: list[dict]


def read_description(path: str | Path) -> Description:
    """Read and check a description; raise KitError, with one line for each problem, if there are any."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; run this in a checkout of the kit, or use --description FILE") from None
    except ValueError as error:
        raise KitError(f"{path}: not JSON: {error}") from None
    if problems := find_problems(content, path.parent):
        raise KitError("\n".join(f"{path}: {problem}" for problem in problems))
    return Description(
        root=path.parent,
        competition=content["competition"],
        owner=None if content["owner"] == PLACEHOLDER else content["owner"],
        datasets=[content["package"], *content.get("runs", [])],
        notebooks=content["notebooks"],
    )


def find_problems(content: Any, root: Path) -> list[str]:
    """Return the problems of a description in the folder `root`, each with its field; an empty list if there are none.

    The structure is checked with schema.json. If it is right, the rules that a schema cannot express are checked.
    """
    errors = Draft202012Validator(SCHEMA).iter_errors(content)
    problems = [problem for error in errors for problem in _structure_problems(error)]
    if problems:
        return list(dict.fromkeys(problems))  # a field can break several rules of the schema
    runs = [(f"runs[{i}].", entry) for i, entry in enumerate(content.get("runs", []))]
    datasets = [("package.", content["package"]), *runs]
    notebooks = [(f"notebooks[{i}].", entry) for i, entry in enumerate(content["notebooks"])]
    problems = [*_name_problems(datasets), *_name_problems(notebooks)]
    for where, entry in runs:
        names = [PurePosixPath(folder).name for folder in entry["folders"]]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"{where}folders: two folders are named {name!r}; expected different names" for name in twice]
    slugs = {entry["slug"] for _, entry in datasets}
    for i, (where, entry) in enumerate(notebooks):
        earlier = {before["slug"] for _, before in notebooks[:i]}
        problems += _notebook_problems(where, entry, root, datasets=slugs, kernels=earlier)
    submitting = [where for where, entry in notebooks if entry.get("submits")]
    problems += [f"{where}submits: true; expected false, an earlier notebook submits" for where in submitting[1:]]
    return problems


def _structure_problems(error: ValidationError) -> Iterator[str]:
    where = error.json_path[2:]  # after "$."
    prefix = where and f"{where}."
    schema: Any = error.schema
    value: Any = error.instance
    if error.validator == "required":
        yield from (f"{prefix}{key}: missing" for key in schema["required"] if key not in value)
    elif error.validator == "additionalProperties":
        known = schema["properties"]
        yield from (f"{prefix}{key}: unknown; expected {', '.join(known)}" for key in value if key not in known)
    else:
        expected = schema.get("description") or " or ".join(json.dumps(one) for one in schema["enum"])
        found = json.dumps(value, ensure_ascii=False)[:100]
        yield f"{where}: {found}; expected {expected}" if where else f"expected {expected}"


def _name_problems(entries: Sequence[tuple[str, dict]]) -> Iterator[str]:
    seen = set()
    for where, entry in entries:
        slug, of_title = entry["slug"], slugify(entry["title"])
        if of_title != slug:  # Kaggle would store it under the slug of its title
            yield f"{where}title: {entry['title']!r} makes the slug {of_title!r}; expected a title that makes {slug!r}"
        if slug in seen:
            yield f"{where}slug: {slug!r} is used twice; expected a different one"
        seen.add(slug)


def _notebook_problems(where: str, entry: dict, root: Path, *, datasets: set[str], kernels: set[str]) -> Iterator[str]:
    for source in entry["datasets"]:
        if "/" not in source and source not in datasets:
            known = ", ".join(sorted(datasets))
            yield f"{where}datasets: {source!r} is not in this file; expected {known} or OWNER/SLUG"
    for source in entry["kernels"]:
        if "/" not in source and source not in kernels:
            yield f"{where}kernels: {source!r} is no earlier notebook of this file; expected one or OWNER/SLUG"
    if entry.get("submits") and entry["internet"]:
        yield f"{where}internet: true; expected false, because this notebook is submitted"
    try:
        cells = json.loads((root / entry["file"]).read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        n_run = sum(bool(cell.get("outputs") or cell.get("execution_count")) for cell in code)
    except FileNotFoundError:
        yield f"{where}file: {entry['file']!r} does not exist in {root.resolve()}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{where}file: {entry['file']!r} is not a notebook: {error!r}"
    else:
        if n_run:  # outputs can show essays, which must not leave this machine by accident
            yield f"{where}file: {entry['file']!r} has outputs in {n_run} cells; expected none, use nbstripout"


def slugify(title: str) -> str:
    """Return the slug that Kaggle makes from a title.

    >>> slugify("PII kit 02: Train SHA-RNN")
    'pii-kit-02-train-sha-rnn'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def is_owner(name: str) -> bool:
    """Return whether this can be the name of a Kaggle user and is not the placeholder."""
    return name != PLACEHOLDER and re.fullmatch(SCHEMA["$defs"]["owner"]["pattern"], name) is not None


def full_name(owner: str, slug: str) -> str:
    """Return OWNER/SLUG. A source of somebody else has its owner already.

    >>> full_name("me", "pii-kit-package"), full_name("me", "you/weights")
    ('me/pii-kit-package', 'you/weights')
    """
    return slug if "/" in slug else f"{owner}/{slug}"


def build_wheel(root: Path, into: Path) -> None:
    """Build the wheel of the package in the checkout `root`, without its dependencies, into the folder `into`.

    Needs no network: setuptools is installed wherever torch is. Raises KitError if `root` is not a checkout.
    """
    for name in ("pyproject.toml", "README.md", "LICENSE", "pii_kit"):
        if not (root / name).exists():
            raise KitError(f"{root.resolve()}: not a checkout of the kit: {name} is missing")
    with TemporaryDirectory() as place:
        # From a copy: setuptools writes build/ next to the sources, and packs again what it finds there. Only contents
        # are copied, because modes and times of a checkout differ from machine to machine.
        copy = Path(place) / "pii_kit"
        package = [path for path in sorted((root / "pii_kit").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
        for source in [root / "pyproject.toml", root / "README.md", root / "LICENSE", *package]:
            target = copy / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o644)
        _run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(copy))


def download_wheels(names: Sequence[str], pins: Path, into: Path) -> None:
    """Download wheels in the versions that the file `pins` has, without their dependencies, into the folder `into`.

    Raises KitError if a version is not pinned or a wheel is not pure Python.
    """
    pinned = {line.split("==")[0]: line for line in pins.read_text(encoding="utf-8").splitlines()}
    if missing := [name for name in names if name not in pinned]:
        raise KitError(f"{pins}: does not pin {', '.join(missing)}")
    if names:
        wanted = [pinned[name] for name in names]
        _run_pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(into), *wanted)
    for wheel in into.glob("*.whl"):
        if not wheel.name.endswith("py3-none-any.whl"):
            raise KitError(f"{wheel.name}: made for one Python or platform; expected py3-none-any")


def _run_pip(*arguments: str) -> None:
    what, command = f"pip {arguments[0]}", [sys.executable, "-m", "pip", *arguments]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EARLIEST)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired:
        raise KitError(f"{what}: did not end within {PIP_SECONDS} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines or ["no message"]
        raise KitError(f"{what}: {'; '.join(dict.fromkeys(errors))[:500]}")


def build_kit(description: Description, out: str | Path, *, owner: str) -> None:
    """Write everything that goes to Kaggle in the name of `owner` to the folder `out`, completely or not at all.

    `out` gets kernels/SLUG and datasets/SLUG. An earlier kit there is replaced. Raises KitError if the folder holds
    anything else, or if a trained tagger is missing.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {"kernels", "datasets"}):
        raise KitError(f"{out}: holds other files than a kit; expected a new folder or an earlier kit")
    with atomic_folder(out) as inside:
        for notebook in description.notebooks:
            _build_kernel(notebook, description, inside / "kernels" / notebook["slug"], owner)
        for dataset in description.datasets:
            _build_dataset(dataset, description.root, inside / "datasets" / dataset["slug"], owner)


def _build_kernel(notebook: dict, description: Description, folder: Path, owner: str) -> None:
    folder.mkdir(parents=True)
    code = description.root / notebook["file"]
    shutil.copyfile(code, folder / code.name)
    metadata = {
        "id": full_name(owner, notebook["slug"]),
        "title": notebook["title"],
        "code_file": code.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,  # outputs can show essays, which must not be passed on
        "enable_internet": notebook["internet"],  # the client's default is true
        "dataset_sources": [full_name(owner, slug) for slug in notebook["datasets"]],
        "competition_sources": [description.competition],
        "kernel_sources": [full_name(owner, slug) for slug in notebook["kernels"]],
        "model_sources": notebook["models"],
        "machine_shape": notebook["accelerator"],
    }
    write_json(folder / "kernel-metadata.json", metadata)


def _build_dataset(dataset: dict, root: Path, folder: Path, owner: str) -> None:
    folder.mkdir(parents=True)
    if "folders" in dataset:
        text = "Taggers trained with pii_kit."
        for run in dataset["folders"]:
            _copy_run(root / run, folder / Path(run).name)
    else:
        text = "pii_kit as a wheel, with the wheels that Kaggle's image lacks for it."
        build_wheel(root, folder)
        download_wheels(dataset.get("wheels", []), root / "requirements.txt", folder)
    metadata = {"id": full_name(owner, dataset["slug"]), "title": dataset["title"], "description": text}
    write_json(folder / "dataset-metadata.json", {**metadata, "licenses": [{"name": dataset["license"]}]})


def _copy_run(run: Path, to: Path) -> None:
    from pii_kit.training.runs import fold_folders  # here, because torch takes seconds to import

    for part in dict.fromkeys([run, *fold_folders(run)]):
        target = to / part.relative_to(run)
        target.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            if (part / name).is_file():
                shutil.copyfile(part / name, target / name)
    for part in fold_folders(run):
        recover_folder(part / "tagger")
        if not (part / "tagger" / "decision.json").is_file():
            raise KitError(f"{part}: no trained tagger in it; expected a folder that train or export has written")
        shutil.copytree(part / "tagger", to / part.relative_to(run) / "tagger", copy_function=shutil.copyfile)
