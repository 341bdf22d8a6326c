import math
import os
import time

import psutil
import pytest

from pii_kit import kaggle as time_left
from pii_kit.files import KitError
from pii_kit.kaggle import RESERVE, Deadline, deadline_in, seconds_left

HOUR = 3600


@pytest.fixture
def container(monkeypatch):
    """A function that makes this a Kaggle session: of this kind, so many hours after its container's start."""

    def begin(run_type: str, hours: float, *, rerun: bool = False) -> None:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", run_type)
        if rerun:
            monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
        own = psutil.Process

        class Process:
            def __init__(self, pid: int | None = None):
                self.pid = pid

            def create_time(self) -> float:
                return time.time() - hours * HOUR if self.pid == 1 else own().create_time()

        monkeypatch.setattr(time_left.psutil, "Process", Process)

    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    return begin


@pytest.mark.parametrize(
    ("run_type", "rerun", "hours", "left"),
    [
        ("Batch", False, 0.5, 8.5),
        ("Batch", True, 2, 7),
        ("Interactive", False, 2, 10),
        ("Interactive", True, 2, 7),
    ],
)
def test_kaggles_limit_counts_from_the_containers_start(container, run_type, rerun, hours, left):
    container(run_type, hours, rerun=rerun)
    assert seconds_left() == pytest.approx(left * HOUR, abs=5)
    assert deadline_in().seconds_left() == pytest.approx(left * HOUR - RESERVE, abs=5)


def test_a_first_process_older_than_any_container_is_not_its_start(container):
    container("Batch", 400)
    age = time.time() - psutil.Process(os.getpid()).create_time()
    assert seconds_left() == pytest.approx(9 * HOUR - age, abs=5)


def test_this_machines_first_process_has_an_age(container, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert 0 < seconds_left() < 9 * HOUR


def test_elsewhere_there_is_no_limit(container):
    assert seconds_left() is None
    assert deadline_in().seconds_left() == math.inf


def test_minutes_of_ones_own_count_from_now_on_kaggle_too(container):
    for _ in range(2):
        assert deadline_in(2).seconds_left() == pytest.approx(120, abs=1)
        container("Batch", 8.9)


@pytest.mark.parametrize("minutes", [0, -1, math.nan])
def test_minutes_that_cannot_be_are_named(minutes):
    with pytest.raises(KitError, match=f"minutes is {minutes}; expected more than 0"):
        deadline_in(minutes)


def test_what_is_left_falls_as_time_goes_by(monkeypatch):
    monkeypatch.setattr(time_left.time, "monotonic", iter([10.0, 14.0, 21.0]).__next__)
    deadline = Deadline(20)
    assert [deadline.seconds_left() for _ in range(3)] == [10, 6, -1]
