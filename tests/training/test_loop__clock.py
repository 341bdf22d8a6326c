import time

import pytest

from pii_kit.training.loop import SECONDS_TO_SAVE, Clock


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_training_stops_when_the_time_left_is_what_validating_and_saving_take(at):
    """Batches of 2 s, 40 an epoch, a quarter as many documents to validate on: up to 20 s, and a few to save."""
    assert SECONDS_TO_SAVE == 5
    at(1000.0)
    clock = Clock(1100.0, validation_share=0.25)
    answers = {}
    for batch in range(1, 45):
        at(1000.0 + 2 * batch)
        answers[batch] = clock.is_over(40)
    assert [batch for batch, over in answers.items() if over] == list(range(38, 45))  # 1076 + 20 + 5 > 1100


def test_what_comes_before_the_first_batch_is_not_taken_for_its_time(at):
    """Else a training that needs half a minute to make its essays would stop at once."""
    at(1000.0)
    clock = Clock(1100.0, validation_share=0.25)
    at(1030.0)
    assert not clock.is_over(40)
    at(1030.5)
    assert not clock.is_over(40)
    at(1096.0)
    assert clock.is_over(40)


def test_without_a_deadline_the_time_is_never_over(at):
    at(0.0)
    clock = Clock(None, validation_share=1.0)
    at(1e12)
    assert not clock.is_over(1e9)
