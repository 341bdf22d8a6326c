from types import SimpleNamespace

import pytest

from pii_kit.files import KitError, check_choice, check_overlap, check_positive, check_shares


@pytest.mark.parametrize(
    ("check", "values", "needle"),
    [
        (lambda given: check_positive(given, "a", "b"), {"a": 1, "b": 0}, "b is 0; expected more than 0"),
        (lambda given: check_positive(given, "a"), {"a": float("nan")}, "a is nan"),
        (lambda given: check_shares(given, "a", "b"), {"a": -0.1, "b": 2}, "a is -0.1; expected 0 to 1"),
        (lambda given: check_choice(given, "a", ("x", "y")), {"a": "z"}, "a is 'z'; expected one of x, y"),
        (check_overlap, {"overlap": 6, "window_size": 8}, "overlap is 6; expected 0 to 5 in a window"),
        (check_overlap, {"overlap": -1, "window_size": 8}, "overlap is -1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(check, values, needle):
    with pytest.raises(KitError, match=needle):
        check(SimpleNamespace(**values))


def test_values_on_the_borders_pass():
    settings = SimpleNamespace(least=1e-9, share=0, whole=1.0, name="x", overlap=5, window_size=8)
    check_positive(settings, "least")
    check_shares(settings, "share", "whole")
    check_choice(settings, "name", {"x": 1})
    check_overlap(settings)
