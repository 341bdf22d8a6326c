"""Send the kit to Kaggle in the right order, and wait for the runs that this starts."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pii_kit.files import KitError, read_json, write_json
from pii_kit.kaggle.build import Description, Notebook, full_name
from pii_kit.kaggle.client import Busy, Kaggle, Unreachable

POLL_SECONDS = 30  # between two requests for a status
DATASET_SECONDS = 900
SESSION_SECONDS = 13 * 3600  # a session ends after 12 hours, and can be queued before
SETTLE_SECONDS = 600  # after a push, in which Kaggle need not show the new version yet
UNREACHABLE = 10  # requests in a row that may fail before a wait ends
NOT_THERE = "not on Kaggle, or not visible to you"
FAILED = ("error", "cancel_acknowledged")
COMMAND = "pii-kit kaggle"


class Pushes:
    """What was sent from the checkout `root`, by "notebook OWNER/SLUG" or "data set OWNER/SLUG", kept in a file."""

    def __init__(self, root: Path):
        self._path = root / "dist" / "kaggle_pushed.json"
        self._content: dict[str, dict] = read_json(self._path) if self._path.exists() else {}

    def get(self, what: str) -> dict:
        """Return the version and, of a data set, the digest of its content; empty if it was not sent."""
        return self._content.get(what, {})

    def add(self, what: str, **entry: Any) -> None:
        """Record what was sent."""
        self._content[what] = entry
        self._path.parent.mkdir(exist_ok=True)
        write_json(self._path, self._content)


def run_state(kaggle: Kaggle, name: str, pushes: Pushes) -> tuple[str, str]:
    """Return the status of a notebook's run, which may be NOT_THERE, and why it failed.

    The run is that of the version pushed last from this checkout, or else the latest.
    """
    pushed = pushes.get(f"notebook {name}")
    if state := kaggle.notebook(name, pushed.get("version")):
        return state
    return ("pushed" if time.time() - pushed.get("time", 0) < SETTLE_SECONDS else NOT_THERE), ""


def push_kit(
    kaggle: Kaggle, description: Description, kit: Path, *, owner: str, only: Sequence[str] = (), wait: bool = False
) -> None:
    """Send the data sets of a built kit and then its notebooks, which Kaggle runs at once.

    A notebook that reads the outputs of others is sent when these are complete. With `wait` the function waits for
    that, for a free session, and for the end of all runs; otherwise it shows what to do later. Raises KitError if
    Kaggle refuses or a run fails.
    """
    pushes = Pushes(description.root)
    datasets, notebooks = select(description, only)
    for slug in datasets:
        _send_dataset(kaggle, full_name(owner, slug), kit / "datasets" / slug, pushes)
    sent: list[str] = []
    later: list[str] = []
    for notebook in notebooks:
        name, folder = full_name(owner, notebook.slug), kit / "kernels" / notebook.slug
        sources = [full_name(owner, source) for source in notebook.kernels if "/" not in source]
        for source in sources if wait else ():
            wait_for_notebook(kaggle, source, pushes)
        states = {source: run_state(kaggle, source, pushes)[0] for source in sources}
        unfinished = [f"{source} ({state})" for source, state in states.items() if state != "complete"]
        problem = f"it reads {', '.join(unfinished)}" if unfinished else _send_notebook(kaggle, name, folder, pushes)
        if problem and wait:
            for earlier in sent:  # at their end, their sessions are free
                wait_for_notebook(kaggle, earlier, pushes)
            if problem := _send_notebook(kaggle, name, folder, pushes):
                raise KitError(problem)
        if problem:
            kaggle.tell(f"notebook {name}: not sent yet, {problem}")
            later.append(f"--only {notebook.slug}")
        else:
            sent.append(name)
    for name in sent if wait else ():
        wait_for_notebook(kaggle, name, pushes)
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


def _send_notebook(kaggle: Kaggle, name: str, folder: Path, pushes: Pushes) -> str:
    """Send a notebook, and return why Kaggle cannot run it at present, or an empty text."""
    try:
        version = kaggle.push_notebook(name, folder)
    except Busy as error:
        return str(error)
    pushes.add(f"notebook {name}", version=version, time=time.time())
    kaggle.tell(f"notebook {name}: version {version} is pushed, https://www.kaggle.com/code/{name}")
    return ""


def _send_dataset(kaggle: Kaggle, name: str, folder: Path, pushes: Pushes) -> None:
    """Send a data set unless Kaggle has its content, and wait until the new version is ready."""
    before, total = kaggle.dataset(name), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    content, sent = total.hexdigest()[:16], pushes.get(f"data set {name}")
    if sent and before == ("ready", sent["version"]) and content == sent["content"]:
        kaggle.tell(f"data set {name}: version {before[1]} has the same content, nothing to send")
        return
    kaggle.tell(f"data set {name}: sending a new {'data set' if before is None else 'version'}")
    kaggle.send_dataset(name, folder, new=before is None, notes=f"Content {content}")

    def look() -> tuple[str, int]:
        state = kaggle.dataset(name) or ("", 0)
        return state if state[1] > (before[1] if before else 0) else ("waiting for the new version", 0)

    _, version = _wait(kaggle, f"data set {name}", look, until="ready", seconds=DATASET_SECONDS)
    pushes.add(f"data set {name}", version=version, content=content)  # only now: an upload can fail on the way


def wait_for_notebook(kaggle: Kaggle, name: str, pushes: Pushes) -> None:
    """Wait until the newest run of a notebook is complete; raise KitError if it fails, is late or does not exist."""
    _wait(kaggle, f"notebook {name}", lambda: run_state(kaggle, name, pushes), until="complete")


def wait_for_submission(kaggle: Kaggle, competition: str, number: int) -> tuple[str, str]:
    """Wait until a submission is scored; return its status and scores."""

    def look() -> tuple[str, str]:
        return kaggle.submissions(competition).get(number, ("not listed", ""))

    return _wait(kaggle, f"submission {number}", look, until="complete")


def _wait(kaggle: Kaggle, what: str, look: Callable[[], tuple], *, until: str, seconds: int = SESSION_SECONDS) -> tuple:
    """Ask for a state until its first item, the status, is `until`; return the state."""
    end = time.monotonic() + seconds
    shown, n_failed = "", 0
    while True:
        try:
            state, n_failed = look(), 0
        except Unreachable as error:
            n_failed += 1
            if n_failed == UNREACHABLE:
                raise
            state = (f"no answer, next request in {POLL_SECONDS} s ({error})",)
        if state[0] != shown:
            kaggle.tell(f"{what}: {state[0]}")
        if state[0] == until:
            return state
        if state[0] in (*FAILED, "failed", "deleted", NOT_THERE):
            raise KitError(f"{what}: {state[0]}: {state[1] or 'no reason given'}; look at the site")
        if time.monotonic() + POLL_SECONDS > end:
            raise KitError(f"{what}: still {state[0]} after {seconds / 60:.0f} minutes; look at the site")
        shown = state[0]
        time.sleep(POLL_SECONDS)
