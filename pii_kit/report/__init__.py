"""What notebooks and commands show: tables, plots, highlighted essays, pages, and comparisons with baselines."""

from itertools import cycle

from pii_kit.labels import OUTSIDE, PII_TYPES

COLOURS = ("#8ecae6", "#ffd166", "#b8e0a8", "#f4a261", "#cdb4db", "#90dbd0", "#f7b7c5")
TYPE_COLOURS = dict(zip(PII_TYPES, cycle(COLOURS)))
ERROR_COLOURS = {"correct": "#b8e0a8", "missed": "#f28482", "false": "#ffd166", "wrong label": "#cdb4db"}


def error_kind(true: str, predicted: str) -> str | None:
    """Return the kind of error of a token, a key of ERROR_COLOURS; None if both labels are O.

    >>> error_kind("B-EMAIL", "I-EMAIL"), error_kind("B-EMAIL", "O"), error_kind("O", "O")
    ('wrong label', 'missed', None)
    """
    if true == predicted:
        return None if true == OUTSIDE else "correct"
    if predicted == OUTSIDE:
        return "missed"
    return "false" if true == OUTSIDE else "wrong label"
