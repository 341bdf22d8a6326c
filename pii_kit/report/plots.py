"""Plots of scores; each is a figure of its own. `plt.style.use(plots.STYLE)` gives those of pandas the same look."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator

from pii_kit.labels import OUTSIDE

BLUE, ORANGE, GREEN, GREY = COLOURS = "#33658a", "#e07a3f", "#5b9a68", "#b8bec4"
SCORES = {"f5": ("F5", BLUE), "precision": ("precision", ORANGE), "recall": ("recall", GREEN)}
STYLE: Any = {
    "figure.figsize": (8, 3.6),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
}


def _axes(*, height: float = 3.6, **labels: Any) -> Axes:
    with plt.rc_context(STYLE):
        _, ax = plt.subplots(figsize=(8, height))
    ax.set(**labels)
    return ax


def _legend(ax: Axes, **arguments: Any) -> Axes:
    """Put a legend beside the plot, where it covers nothing."""
    ax.legend(**{"frameon": False, "loc": "upper left", "bbox_to_anchor": (1, 1)} | arguments)
    return ax


def plot_learning(histories: Sequence[pd.DataFrame]) -> Axes:
    """Plot the histories of a run's folds: training loss above, validation F5 below 1; faint, with their means."""
    ax = _axes(xlabel="epoch", ylabel="training loss (log scale)", yscale="log", title="Learning curves")
    right = ax.twinx()
    right.set(ylabel="F5 on the validation documents", ylim=(-0.02, 1.02))
    joined = pd.concat(histories).reindex(columns=["epoch", "loss", "f5"])
    for axis, column, colour, name in ((ax, "loss", GREY, "training loss"), (right, "f5", BLUE, "validation F5")):
        for history in histories:
            scored = history.reindex(columns=["epoch", column]).dropna()
            axis.plot(scored["epoch"], scored[column], color=colour, alpha=0.35, linewidth=1)
        mean = joined.groupby("epoch")[column].mean().dropna()
        axis.plot(mean.index, mean, color=colour, marker=".", linewidth=2, label=f"{name}, mean of folds")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _legend(ax, handles=[ax.get_lines()[-1], right.get_lines()[-1]], bbox_to_anchor=(1.1, 1))


def plot_scores(scores: pd.DataFrame | Mapping[str, pd.DataFrame], *, column: str = "f5") -> Axes:
    """Plot a column of `tables.score_table` or `type_table`, of one or of several by name; F5 with its interval.

    Diamonds are the column `test_f5`, if there is one.
    """
    tables = {"": scores} if isinstance(scores, pd.DataFrame) else dict(scores)
    names = list(dict.fromkeys(name for table in tables.values() for name in table.index))
    n_true = pd.concat([table["tp"] + table["fn"] for table in tables.values()]).groupby(level=0).max()
    title, height = SCORES[column][0], 0.8 / len(tables)
    ax = _axes(xlim=(0, 1.12), xlabel=f"{title} (in brackets: number of true rows)", title=title.capitalize())
    for place, (model, table) in enumerate(tables.items()):
        table = table.reindex(names)
        around = [table["f5"] - table["f5_low"], table["f5_high"] - table["f5"]] if column == "f5" else None
        offsets = np.arange(len(names)) + (place - (len(tables) - 1) / 2) * height
        style: Any = {"color": COLOURS[place % 4], "ecolor": GREY, "capsize": 2, "label": model or "out of fold"}
        bars = ax.barh(offsets, table[column], height, xerr=around, **style)
        ax.bar_label(bars, [f"{score:.3f}" for score in table[column].fillna(0)], padding=3, fontsize=8)
        if "test_f5" in table:
            ax.plot(table["test_f5"], offsets, "D", color=ORANGE, label="test essays")
    ax.set_yticks(range(len(names)), [f"{name} ({n_true[name]:.0f})" for name in names])
    ax.invert_yaxis()
    return _legend(ax) if len(tables) > 1 or "test_f5" in table else ax


def plot_confusion(table: pd.DataFrame) -> Axes:
    """Plot `metrics.confusion`: tokens by true and predicted type, shaded by the share of the true type.

    Tokens that are O in both, nearly all of them, are left out.
    """
    ax = _axes(height=5.4, xlabel="predicted type", ylabel="true type")
    ax.set_title("Tokens by true and predicted type")
    table = table.copy()
    table.loc[OUTSIDE, OUTSIDE] = 0
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(table.to_numpy()), strict=True):
        colour = "white" if shares.iat[row, column] > 0.5 else "black"
        ax.text(column, row, f"{table.iat[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(len(table)), table.columns, rotation=40, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    ax.figure.colorbar(image, ax=ax, label="share of the row")
    return ax


def plot_threshold_curve(curve: pd.DataFrame, *, chosen: float) -> Axes:
    """Plot `metrics.threshold_curve`; the axis is logarithmic in 1 − threshold, since useful thresholds are near 1."""
    ax = _axes(xscale="log", ylabel="score", ylim=(-0.02, 1.02), title="Scores by threshold")
    for column, (name, colour) in SCORES.items():
        ax.plot(1 - curve.index, curve[column], marker=".", color=colour, label=name)
    ax.axvline(1 - chosen, color="black", linestyle="--", linewidth=1, label=f"chosen threshold: {chosen:g}")
    ax.set_xlabel("threshold: a token is PII if P(O) is below")
    ax.invert_xaxis()
    ticks = [0.5, 0.9, 0.99, 0.999, 0.9999]
    ax.set_xticks([1 - threshold for threshold in ticks], [f"{threshold:g}" for threshold in ticks])
    ax.minorticks_off()
    return _legend(ax)
