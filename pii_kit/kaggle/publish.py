"""Send the kit to Kaggle in the right order, and wait for the runs that this starts."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pii_kit.files import KitError, read_json, write_json
from pii_kit.kaggle.build import Description, full_name
from pii_kit.kaggle.client import Kaggle, Unreachable

RECORD = Path("dist") / "kaggle_pushed.json"
POLL_SECONDS = 30  # between two requests for a status
DATASET_SECONDS = 900
SESSION_SECONDS = 13 * 3600  # a session ends after 12 hours, and can be queued before
SETTLE_SECONDS = 60  # after a push, in which Kaggle's answers need not agree with each other
UNREACHABLE = 10  # looks in a row that may fail before a wait ends
NOT_THERE = "not on Kaggle, or not visible to you"
FAILED = ("error", "cancel_acknowledged")


class Pushes:
    """What was sent from this checkout, kept in dist/kaggle_pushed.json, because the client does not show it later."""

    def __init__(self, root: Path):
        self._path = root / RECORD
        self._content: dict[str, dict] = read_json(self._path) if self._path.exists() else {}

    def get(self, what: str) -> dict:
        """Return what is known of "data set OWNER/SLUG" or "notebook OWNER/SLUG"."""
        return self._content.get(what, {})

    def add(self, what: str, **entry: Any) -> None:
        """Add to what is known."""
        self._content[what] = {**self.get(what), **entry}
        self._path.parent.mkdir(exist_ok=True)
        write_json(self._path, self._content)


def run_state(kaggle: Kaggle, name: str, pushes: Pushes) -> tuple[str, str]:
    """Return the status of a notebook's newest run, which may be NOT_THERE, and why it failed.

    The client does not show which version a status belongs to. After a push from this checkout a final status
    (complete, error, cancelled) counts only if the new run was seen queued or running, if there is no earlier version,
    or if a minute has passed and Kaggle lists another time of the last run than before the push. Until then the status
    is "pushed".
    """
    state, pushed = kaggle.notebook(name), pushes.get(f"notebook {name}")
    if state is None:
        return NOT_THERE, ""
    if not pushed or pushed["started"]:
        return state
    if state[0] in ("complete", *FAILED) and pushed["version"] > 1:
        settled = time.time() - pushed["time"] >= SETTLE_SECONDS
        if not settled or kaggle.last_runs().get(name) in (None, pushed["last_run"]):
            return "pushed", ""
    pushes.add(f"notebook {name}", started=True)
    return state


def push_kit(
    kaggle: Kaggle, description: Description, kit: Path, *, owner: str, only: Sequence[str] = (), wait: bool = False
) -> None:
    """Send the data sets of a built kit and then its notebooks, which Kaggle runs at once.

    A notebook that reads the outputs of others is sent when these are complete. With `wait` the function waits for that
    and for the end of all runs; otherwise it shows what to do later. Raises KitError if Kaggle refuses or a run fails.
    """
    pushes = Pushes(description.root)
    datasets, notebooks = select(description, only)
    for slug in datasets:
        _send_dataset(kaggle, full_name(owner, slug), kit / "datasets" / slug, pushes)
    last_runs = kaggle.last_runs() if notebooks else {}
    sent: list[str] = []
    later: list[str] = []
    for notebook in notebooks:
        name = full_name(owner, notebook["slug"])
        sources = [full_name(owner, source) for source in notebook["kernels"] if "/" not in source]
        for source in sources if wait else ():
            wait_for_notebook(kaggle, source, pushes)
        states = {} if wait else {source: run_state(kaggle, source, pushes)[0] for source in sources}
        if unfinished := [f"{source} ({state})" for source, state in states.items() if state != "complete"]:
            kaggle.tell(f"notebook {name}: not sent yet, it reads {', '.join(unfinished)}")
            later.append(notebook["slug"])
            continue
        version = kaggle.push_notebook(name, kit / "kernels" / notebook["slug"])
        last_run = last_runs.get(name)
        pushes.add(f"notebook {name}", version=version, time=time.time(), last_run=last_run, started=False)
        kaggle.tell(f"notebook {name}: version {version} is pushed, https://www.kaggle.com/code/{name}")
        sent.append(name)
    for name in sent if wait else ():
        wait_for_notebook(kaggle, name, pushes)
    if later:
        kit_command, again = "python -m pii_kit kaggle", " ".join(f"--only {slug}" for slug in later)
        kaggle.tell(f"When `{kit_command} status` shows that these are complete: {kit_command} push {again}")


def select(description: Description, only: Sequence[str]) -> tuple[list[str], list[dict]]:
    """Return the slugs of the data sets and the notebooks that `only` names by slug; all if `only` is empty.

    A notebook comes with its data sets, so that it never runs with an older package than the one of this checkout.
    """
    datasets = [dataset["slug"] for dataset in description.datasets]
    notebooks = description.notebooks
    known = [*datasets, *(notebook["slug"] for notebook in notebooks)]
    if unknown := [slug for slug in only if slug not in known]:
        raise KitError(f"{unknown[0]!r} is not in the description; expected {', '.join(known)}")
    if only:
        notebooks = [notebook for notebook in notebooks if notebook["slug"] in only]
        read = {source for notebook in notebooks for source in notebook["datasets"]}
        datasets = [slug for slug in datasets if slug in only or slug in read]
    return datasets, notebooks


def _send_dataset(kaggle: Kaggle, name: str, folder: Path, pushes: Pushes) -> None:
    content, before = digest(folder), kaggle.dataset(name)
    sent = pushes.get(f"data set {name}")
    if sent and before == ("ready", sent["version"]) and content == sent["content"]:
        kaggle.tell(f"data set {name}: version {before[1]} has the same content, nothing to send")
        return
    kaggle.tell(f"data set {name}: sending a new {'data set' if before is None else 'version'}")
    kaggle.send_dataset(name, folder, new=before is None, notes=f"Content {content}")
    version = wait_for_dataset(kaggle, name, before=before)
    pushes.add(f"data set {name}", version=version, content=content)  # only now: an upload can fail on the way


def digest(folder: Path) -> str:
    """Return a digest of the names and contents of all files in a folder."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as handle:
            name = path.relative_to(folder).as_posix()
            total.update(name.encode() + b"\0" + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()[:16]


def wait_for_dataset(kaggle: Kaggle, name: str, *, before: tuple[str, int] | None) -> int:
    """Wait until a later version of a data set than in the state `before` is ready, and return it."""
    version = 0

    def look() -> str:
        nonlocal version
        state = kaggle.dataset(name)
        status, version = state or ("", 0)
        if status in ("failed", "deleted") and state != before:
            raise KitError(f"data set {name}: {status}; look at https://www.kaggle.com/datasets/{name}")
        return status if version > (before[1] if before else 0) else "waiting for the new version"

    _wait(kaggle, f"data set {name}", look, until="ready", seconds=DATASET_SECONDS)
    return version


def wait_for_notebook(kaggle: Kaggle, name: str, pushes: Pushes) -> None:
    """Wait until the newest run of a notebook is complete; raise KitError if it fails, is late or does not exist."""

    def look() -> str:
        state, reason = run_state(kaggle, name, pushes)
        if state == NOT_THERE:
            raise KitError(f"notebook {name}: {NOT_THERE}; push it first")
        if state in FAILED:
            raise KitError(f"notebook {name}: {state}: {reason or 'no reason given'}; `kaggle pull` has its log")
        return state

    _wait(kaggle, f"notebook {name}", look, until="complete", seconds=SESSION_SECONDS)


def wait_for_submission(kaggle: Kaggle, competition: str, number: str) -> dict:
    """Wait until a submission is scored, and return it as `Kaggle.submissions` does."""
    found: dict = {}

    def look() -> str:
        found.update(kaggle.submissions(competition).get(number, {"status": "not listed"}))
        if found["status"] == "error":
            raise KitError(f"submission {number}: error; look at the site for the reason")
        return found["status"]

    _wait(kaggle, f"submission {number}", look, until="complete", seconds=SESSION_SECONDS)
    return found


def _wait(kaggle: Kaggle, what: str, look: Callable[[], str], *, until: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    shown, n_failed = "", 0
    while True:
        try:
            status, n_failed = look(), 0
        except Unreachable as error:
            n_failed += 1
            if n_failed == UNREACHABLE:
                raise
            status = f"no answer, next request in {POLL_SECONDS} s ({error})"
        if status != shown:
            kaggle.tell(f"{what}: {status}")
        if status == until:
            return
        if time.monotonic() + POLL_SECONDS > end:
            raise KitError(f"{what}: still {status} after {seconds / 60:.0f} minutes; look at the site")
        shown = status
        time.sleep(POLL_SECONDS)
