"""What notebooks and commands show: tables, plots, highlighted essays, pages, and comparisons with baselines."""

from itertools import cycle

from pii_kit.labels import PII_TYPES

COLOURS = ("#8ecae6", "#ffd166", "#b8e0a8", "#f4a261", "#cdb4db", "#90dbd0", "#f7b7c5")
TYPE_COLOURS = dict(zip(PII_TYPES, cycle(COLOURS)))
ERROR_COLOURS = {"correct": "#b8e0a8", "missed": "#f28482", "false": "#ffd166", "wrong label": "#cdb4db"}
