"""The folders that the Kaggle client sends, made from the description.

kernels/SLUG/    a notebook and its kernel-metadata.json
datasets/SLUG/   dataset-metadata.json and the wheels, or run folders with no more than predicting needs
"""

import hashlib
import json
import shutil
from pathlib import Path

from pii_kit.errors import KitError
from pii_kit.files import atomic_folder, recover_folder
from pii_kit.folds import fold_folders
from pii_kit.kaggle_description import Description, Notebook, Package, Runs, full_name
from pii_kit.kaggle_wheels import build_wheel, download_wheels
from pii_kit.runs import write_json

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
