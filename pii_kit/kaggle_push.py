"""A built kit to Kaggle in the right order: data sets, the notebooks that train, those that read their outputs."""

import time
from collections.abc import Sequence
from pathlib import Path

from pii_kit import kaggle_wait
from pii_kit.errors import KitError
from pii_kit.kaggle_build import content_mark, dataset_folder, kernel_folder
from pii_kit.kaggle_client import Kaggle
from pii_kit.kaggle_description import Description, Notebook, full_name
from pii_kit.kaggle_wait import Tell, wait_for_dataset, wait_for_notebook

PUSH = "python -m pii_kit kaggle push"
STATUS = "python -m pii_kit kaggle status"


def push_kit(
    kaggle: Kaggle,
    description: Description,
    kit: Path,
    *,
    owner: str,
    only: Sequence[str] = (),
    wait: bool = False,
    tell: Tell = print,
) -> None:
    """Send a built kit's data sets and, when they are ready, its notebooks, which Kaggle runs at once.

    A notebook that reads outputs of others is sent when those are complete: with `wait` that is waited for, and all
    runs are followed to their end; without, a line says what to do later. `tell` gets the lines for the user. Raises
    KitError at the first refusal, and for a run that fails.
    """
    datasets, notebooks = select(description, only)
    for slug in datasets:
        _send_dataset(kaggle, full_name(owner, slug), dataset_folder(kit, slug), tell)
    running: list[str] = []  # sent just now: until it is waited for, Kaggle may still tell of the run before
    later: list[str] = []
    for notebook in notebooks:
        name = full_name(owner, notebook.slug)
        sources = [source for source in notebook.kernels if "/" not in source]
        if wait:
            for source in sources:
                _follow(kaggle, source, owner, running, tell)
        elif missing := _unfinished(kaggle, sources, owner, running + later):
            tell(f"notebook {name}: not sent yet, for it reads {missing}")
            later.append(notebook.slug)
            continue
        version = kaggle.push_kernel(name, kernel_folder(kit, notebook.slug))
        tell(f"notebook {name}: version {version} runs, https://www.kaggle.com/code/{name}")
        running.append(notebook.slug)
    for slug in list(running) if wait else ():
        _follow(kaggle, slug, owner, running, tell)
    if later:
        only_later = " ".join(f"--only {slug}" for slug in later)
        tell(f"When `{STATUS}` says that those are complete: {PUSH} {only_later}")


def select(description: Description, only: Sequence[str]) -> tuple[list[str], list[Notebook]]:
    """The slugs of the data sets and the notebooks that the slugs `only` mean; all, where there are none.

    A notebook's data sets come with it, so that it never runs with a package older than the one at hand. Raises
    KitError for a slug that is not described.
    """
    datasets = [dataset.slug for dataset in description.datasets]
    notebooks = list(description.notebooks)
    known = [*datasets, *(notebook.slug for notebook in notebooks)]
    for slug in only:
        if slug not in known:
            raise KitError(f"{slug!r} is not described; expected {', '.join(known)}")
    if only:
        notebooks = [notebook for notebook in notebooks if notebook.slug in only]
        read = {source for notebook in notebooks for source in notebook.datasets}
        datasets = [slug for slug in datasets if slug in only or slug in read]
    return datasets, notebooks


def _send_dataset(kaggle: Kaggle, name: str, folder: Path, tell: Tell) -> None:
    mark = content_mark(folder)
    before = kaggle.dataset(name)
    if before is not None and before.status == "ready" and before.description == mark:
        tell(f"data set {name}: version {before.version} has the same content, nothing to send")
        return
    tell(f"data set {name}: {'new' if before is None else 'new content'}, is sent")
    kaggle.send_dataset(name, folder, new=before is None, notes=mark.rsplit(". ", 1)[-1])
    wait_for_dataset(kaggle, name, after=0 if before is None else before.version, tell=tell)


def _unfinished(kaggle: Kaggle, sources: Sequence[str], owner: str, just_now: Sequence[str]) -> str:
    """The sources that are not complete, with their states, as text; empty if all are."""
    states = {}
    for source in sources:
        state = None if source in just_now else kaggle.kernel(full_name(owner, source))
        states[source] = "not complete" if source in just_now else "not on Kaggle" if state is None else state.status
    return ", ".join(f"{source} ({state})" for source, state in states.items() if state != "complete")


def _follow(kaggle: Kaggle, slug: str, owner: str, running: list[str], tell: Tell) -> None:
    if slug in running:
        time.sleep(kaggle_wait.LOOK_SECONDS)
        running.remove(slug)
    wait_for_notebook(kaggle, full_name(owner, slug), tell=tell)
