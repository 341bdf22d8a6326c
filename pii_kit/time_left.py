"""How long work may go on: the minutes that a user gives it, or what Kaggle leaves of its limit."""

import math
import os
import time
from dataclasses import dataclass

import psutil

from pii_kit.errors import KitError
from pii_kit.kaggle import in_rerun, on_kaggle

BATCH_HOURS, INTERACTIVE_HOURS = 9, 12  # a notebook of the competition may run so long; a session at the screen
# Kept back where the limit is Kaggle's: a notebook is saved and turned into a page after its last cell.
RESERVE = 600  # seconds


@dataclass(frozen=True)
class Deadline:
    """When work has to be over: `at`, in seconds on the clock of time.monotonic; infinity where it never has to."""

    at: float

    def seconds_left(self) -> float:
        return self.at - time.monotonic()

    def __str__(self) -> str:
        """
        >>> str(Deadline(math.inf))
        'no time limit'
        """
        return "no time limit" if self.at == math.inf else f"{self.seconds_left() / 60:.1f} minutes left"


def deadline_in(minutes: float | None = None) -> Deadline:
    """The deadline `minutes` from now; None: shortly before Kaggle's limit, and nowhere else any.

    Raises KitError for minutes that are not above 0.
    """
    if minutes is None:
        left = seconds_left()
        return Deadline(math.inf if left is None else time.monotonic() + left - RESERVE)
    if not minutes > 0:
        raise KitError(f"minutes is {minutes}; expected more than 0")
    return Deadline(time.monotonic() + 60 * minutes)


def seconds_left() -> float | None:
    """Seconds until Kaggle ends this session; None elsewhere.

    They count from the start of the container, which is the start of its first process: a notebook's own start comes
    minutes later, and other cells, or another kernel at the screen, may have run for hours.
    """
    if not on_kaggle():
        return None
    interactive = os.environ["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive" and not in_rerun()
    limit = 3600 * (INTERACTIVE_HOURS if interactive else BATCH_HOURS)
    age = time.time() - psutil.Process(1).create_time()
    if age > limit:  # no container lives so long: the first process seen is the host's
        age = time.time() - psutil.Process().create_time()
    return limit - age
