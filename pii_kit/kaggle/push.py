"""Send the kit to Kaggle in the right order."""

from collections.abc import Sequence
from pathlib import Path

from pii_kit.files import KitError
from pii_kit.kaggle.build import Description, Notebook, full_name
from pii_kit.kaggle.client import Busy, Kaggle

COMMAND = "pii-kit kaggle"


def push_kit(
    kaggle: Kaggle, description: Description, kit: Path, *, owner: str, only: Sequence[str] = (), wait: bool = False
) -> None:
    """Send the data sets of a built kit and then its notebooks, which Kaggle runs at once.

    A notebook that reads the outputs of others is sent when these are complete. With `wait` the function waits for
    that, for a free session, and for the end of all runs; otherwise it shows what to do later. Raises KitError if
    Kaggle refuses or a run fails.
    """
    datasets, notebooks = select(description, only)
    for slug in datasets:
        kaggle.send_dataset(full_name(owner, slug), kit / "datasets" / slug)
    sent: list[str] = []
    later: list[str] = []
    for notebook in notebooks:
        name, folder = full_name(owner, notebook.slug), kit / "kernels" / notebook.slug
        sources = [full_name(owner, source) for source in notebook.kernels if "/" not in source]
        for source in sources if wait else ():
            kaggle.wait_for_notebook(source)
        states = {source: kaggle.notebook(source)[0] for source in sources}
        unfinished = [f"{source} ({state})" for source, state in states.items() if state != "complete"]
        try:
            if unfinished:
                raise Busy(f"it reads {', '.join(unfinished)}")
            kaggle.send_notebook(name, folder)
        except Busy as reason:
            if not wait:
                kaggle.tell(f"notebook {name}: not sent yet, {reason}")
                later.append(f"--only {notebook.slug}")
                continue
            for earlier in sent:  # at their end, their sessions are free
                kaggle.wait_for_notebook(earlier)
            kaggle.send_notebook(name, folder)
        sent.append(name)
    for name in sent if wait else ():
        kaggle.wait_for_notebook(name)
    if later:
        kaggle.tell(f"When `{COMMAND} status` shows that the others are complete: {COMMAND} push {' '.join(later)}")


def select(description: Description, only: Sequence[str]) -> tuple[list[str], list[Notebook]]:
    """Return the slugs of the data sets and the notebooks that `only` names by slug; all if `only` is empty.

    A notebook comes with its data sets, so that it never runs with an older package than the one of this checkout.
    """
    datasets = [dataset.slug for dataset in description.datasets]
    known = [*datasets, *(notebook.slug for notebook in description.notebooks)]
    if unknown := [slug for slug in only if slug not in known]:
        raise KitError(f"{unknown[0]!r} is not in the description; expected {', '.join(known)}")
    if not only:
        return datasets, description.notebooks
    notebooks = [notebook for notebook in description.notebooks if notebook.slug in only]
    wanted = {*only, *(source for notebook in notebooks for source in notebook.datasets)}
    return [slug for slug in datasets if slug in wanted], notebooks
