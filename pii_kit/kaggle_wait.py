"""Waiting for Kaggle: a look now and then, until it is done, has failed, or takes too long."""

import time
from collections.abc import Callable

from pii_kit.errors import KitError
from pii_kit.kaggle_client import Kaggle, Submission
from pii_kit.kaggle_refusals import Unreachable

LOOK_SECONDS = 30  # from one look to the next
DATASET_SECONDS = 900
SESSION_SECONDS = 13 * 3600  # a session ends after 12 hours, and may stand in a queue before
UNREACHABLE = 10  # looks without an answer, one after the other, that a long wait outlives
FAILED = ("error", "cancel_acknowledged")

Tell = Callable[[str], None]


def wait_for_dataset(kaggle: Kaggle, name: str, *, after: int, tell: Tell) -> None:
    """Until a version of a data set later than `after` is ready. Raises KitError if it fails or is never ready."""

    def look() -> str:
        state = kaggle.dataset(name)
        if state is None:
            return "not there yet"
        if state.status in ("failed", "deleted"):
            raise KitError(f"data set {name}: {state.status}; look at https://www.kaggle.com/datasets/{name}")
        return state.status if state.version > after or not state.version else "the version before"

    _wait(look, f"data set {name}", until="ready", seconds=DATASET_SECONDS, tell=tell)


def wait_for_notebook(kaggle: Kaggle, name: str, *, tell: Tell) -> None:
    """Until a notebook's latest run is complete. Raises KitError if it fails or takes too long."""

    def look() -> str:
        state = kaggle.kernel(name)
        if state is None:
            raise KitError(f"notebook {name}: not on Kaggle; push it first")
        if state.status in FAILED:
            raise KitError(f"notebook {name}: {state.status}: {state.failure or 'no reason given'}; pull has its log")
        return state.status

    _wait(look, f"notebook {name}", until="complete", seconds=SESSION_SECONDS, tell=tell)


def wait_for_submission(kaggle: Kaggle, competition: str, ref: int, *, tell: Tell) -> Submission:
    """A submission when it is scored. Raises KitError if that fails or takes too long."""
    found: list[Submission] = []

    def look() -> str:
        submission = kaggle.submission(competition, ref)
        if submission is None:
            return "not listed yet"
        if submission.status == "error":
            raise KitError(f"submission {ref}: {submission.error or 'error, with no reason given'}")
        found.append(submission)
        return submission.status

    _wait(look, f"submission {ref}", until="complete", seconds=SESSION_SECONDS, tell=tell)
    return found[-1]


def _wait(look: Callable[[], str], what: str, *, until: str, seconds: float, tell: Tell) -> None:
    end = time.monotonic() + seconds
    told, unreachable = "", 0
    while True:
        try:
            status, unreachable = look(), 0
        except Unreachable as error:
            unreachable += 1
            if unreachable == UNREACHABLE:
                raise
            status = f"no answer, another look in {LOOK_SECONDS} s ({error})"
        if status != told:
            tell(f"{what}: {status}")
        if status == until:
            return
        if time.monotonic() + LOOK_SECONDS > end:
            raise KitError(f"{what}: still {status} after {seconds / 60:.0f} minutes; look at the site")
        told = status
        time.sleep(LOOK_SECONDS)
