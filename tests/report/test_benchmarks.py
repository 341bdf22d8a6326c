"""The arithmetic of `make bench`."""

import sys

import pytest

from pii_kit.files import KitError
from tests.benchmarks import __main__ as bench


def test_ratios_are_medians_of_turns_and_speeds_count_units(monkeypatch):
    seconds = iter([1, 4, 2, 2, 1, 8] * 2)
    monkeypatch.setattr(bench, "run", lambda command: {"wall": next(seconds)})
    speed = bench.Measure("fast", ["kit"], ["peer"], "wall", units=(100, 50))
    cost = bench.Measure("cost", ["kit"], ["peer"], "wall", speed=False)
    fast, slow = bench.in_turns([speed, cost], repeats=3)
    assert (fast["kit"], fast["peer"], fast["ratio"], fast["highest"]) == (100, 12.5, 8, 16)
    assert (slow["kit"], slow["peer"], slow["ratio"], slow["lowest"]) == (1, 4, 0.25, 0.125)


def test_a_process_is_measured_with_what_it_printed_and_its_error_is_told():
    measured = bench.run([sys.executable, "-c", """print('{"alone": 3}')"""])
    assert measured["alone"] == 3 and measured["wall"] > 0 and measured["cpu"] > 0 and measured["peak"] > 1
    with pytest.raises(KitError, match="no such thing"):
        bench.run([sys.executable, "-c", "raise SystemExit('no such thing')"])
