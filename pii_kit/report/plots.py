"""Plots of the notebooks: each function takes a table, draws on `ax` or a new figure, and returns the Axes."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

BLUE, ORANGE, GREEN, GREY = "#33658a", "#e07a3f", "#5b9a68", "#b8bec4"
SCORES = (("f5", "F5", BLUE), ("precision", "precision", ORANGE), ("recall", "recall", GREEN))


def _axes(ax: Axes | None, *, width: float = 7.0, height: float = 3.6) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_label_counts(counts: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot `report.label_counts`: the tokens of each type, B- and I- stacked, with their total."""
    ax = _axes(ax)
    counts = counts.iloc[::-1]
    ax.barh(counts.index, counts["B-"], color=BLUE, label="B-")
    ax.barh(counts.index, counts["I-"], left=counts["B-"], color=ORANGE, label="I-")
    for place, total in enumerate(counts["B-"] + counts["I-"]):
        ax.annotate(f"{total}", (total, place), (4, 0), textcoords="offset points", va="center")
    ax.margins(x=0.1)
    ax.set(xlabel="tokens", title="PII tokens by type")
    ax.legend(frameon=False, loc="lower right")
    return ax


def plot_lengths(lengths: pd.DataFrame, *, window_size: int, ax: Axes | None = None) -> Axes:
    """Plot `report.lengths`: histograms of document lengths in tokens and in pieces, and the window size."""
    ax = _axes(ax)
    edges = np.linspace(0, lengths[["tokens", "pieces"]].max().max(), 41).tolist()
    ax.hist(lengths["tokens"], bins=edges, color=BLUE, alpha=0.75, label="tokens")
    ax.hist(lengths["pieces"], bins=edges, histtype="step", color=ORANGE, linewidth=1.8, label="pieces")
    ax.axvline(window_size, color="black", linestyle="--", linewidth=1, label=f"window of {window_size} pieces")
    ax.set(xlabel="length of a document", ylabel="documents", title="Lengths of documents")
    ax.legend(frameon=False)
    return ax


def plot_positions(positions: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot `report.entity_positions`: a histogram of relative positions in the document."""
    ax = _axes(ax)
    ax.hist(positions["position"], bins=np.linspace(0, 1, 21).tolist(), color=BLUE)
    ax.set(xlabel="position in the document (0 start, 1 end)", ylabel="entities", title="Positions of PII", xlim=(0, 1))
    return ax


def plot_entities_per_document(counts: pd.Series, ax: Axes | None = None) -> Axes:
    """Plot `report.entities_per_document`: the number of documents by number of entities."""
    ax = _axes(ax)
    ax.bar_label(ax.bar(counts.index.astype(str), counts, color=BLUE))
    ax.set(xlabel="entities in the document", ylabel="documents", title="PII entities per document")
    return ax


def plot_learning(history: pd.DataFrame, ax: Axes | None = None, *, keep: str = "best") -> Axes:
    """Plot a tagger's history: loss on the left axis, validation scores on the right axis, and the epoch kept.

    `keep` is the setting of the training: "best" or "last". Epochs without validation have a loss only.
    """
    ax = _axes(ax)
    ax.plot(history["epoch"], history["loss"], color=GREY, marker=".", label="training loss")
    ax.set(xlabel="epoch", ylabel="training loss (log scale)", yscale="log", title="Learning curve")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = ax.twinx()
    right.spines["top"].set_visible(False)
    scored = history.reindex(columns=["epoch", "f5", "precision", "recall"]).dropna()
    for column, name, colour in SCORES:
        right.plot(scored["epoch"], scored[column], color=colour, marker=".", label=f"validation {name}")
    if len(scored):
        kept = scored.iloc[-1] if keep == "last" else scored.loc[scored["f5"].idxmax()]
        right.plot(kept["epoch"], kept["f5"], "o", color=BLUE, markersize=10, fillstyle="none", label="epoch kept")
    right.set(ylabel="score", ylim=(-0.02, 1.02))
    ax.legend(
        handles=[*ax.get_lines(), *right.get_lines()], frameon=False, loc="center left", bbox_to_anchor=(1.14, 0.5)
    )
    return ax


def plot_type_scores(
    scores: pd.DataFrame | Mapping[str, pd.DataFrame], *, column: str = "f5", ax: Axes | None = None
) -> Axes:
    """Plot a column of `metrics.score_by_type`, of one model or of several by name, for all types with any rows."""
    name = {"f5": "F5"}.get(column, column)
    tables = {name: scores} if isinstance(scores, pd.DataFrame) else dict(scores)
    some = next(iter(tables.values()))
    n_rows = sum(table[["tp", "fp", "fn"]].sum(axis=1) for table in tables.values())
    present = list(some.index[n_rows > 0])
    ax = _axes(ax, height=max(3.6, 0.22 * len(present) * len(tables)))
    height = 0.8 / len(tables)
    for place, (model, table) in enumerate(tables.items()):
        offset = (place - (len(tables) - 1) / 2) * height
        colour = (BLUE, ORANGE, GREEN, GREY)[place % 4]
        bars = ax.barh(np.arange(len(present)) + offset, table.loc[present, column], height, color=colour, label=model)
        ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    n_true = [int(some.loc[kind, ["tp", "fn"]].sum()) for kind in present]
    ax.set_yticks(range(len(present)), [f"{kind} ({n})" for kind, n in zip(present, n_true, strict=True)])
    ax.invert_yaxis()
    ax.set(xlabel=f"{name} (in brackets: number of true rows)", xlim=(0, 1.12))
    ax.set_title(f"{name[0].upper()}{name[1:]} by type")
    if len(tables) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_confusion(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot `metrics.confusion`: tokens by true and predicted type, coloured by the share of the true type."""
    ax = _axes(ax, width=6.5, height=5.2)
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(table.shape):
        if table.iat[row, column]:
            colour = "white" if shares.iat[row, column] > 0.5 else "black"
            ax.text(column, row, f"{table.iat[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(len(table)), table.columns, rotation=40, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="predicted type", ylabel="true type", title="Tokens by true and predicted type")
    return ax


def plot_threshold_curve(curve: pd.DataFrame, *, chosen: float, ax: Axes | None = None) -> Axes:
    """Plot `metrics.threshold_curve`; the axis is logarithmic in 1 − threshold, since useful thresholds are near 1."""
    ax = _axes(ax)
    for column, name, colour in SCORES:
        ax.plot(1 - curve.index, curve[column], marker=".", color=colour, label=name)
    ax.axvline(1 - chosen, color="black", linestyle="--", linewidth=1, label=f"chosen threshold: {chosen:g}")
    ax.set(xscale="log", xlabel="threshold: a token is PII if P(O) is below", ylabel="score", ylim=(-0.02, 1.02))
    ax.set_title("Scores by threshold")
    ax.invert_xaxis()
    shown = [0.5, 0.9, 0.99, 0.999, 0.9999]
    ax.set_xticks([1 - threshold for threshold in shown], [f"{threshold:g}" for threshold in shown])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_scores(scores: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot F5 out of fold with its interval (`compare.score_table`), and `test_f5` if the table has this column."""
    ax = _axes(ax, height=1.2 + 0.4 * len(scores))
    around = [scores["f5"] - scores["f5_low"], scores["f5_high"] - scores["f5"]]
    names = [f"{name}  {f5:.3f}" for name, f5 in scores["f5"].items()]
    ax.barh(names, scores["f5"], color=BLUE, xerr=around, ecolor=GREY, capsize=3, label="out of fold (numbers)")
    if "test_f5" in scores:
        ax.plot(scores["test_f5"], names, "D", color=ORANGE, label="test essays")
    ax.invert_yaxis()
    ax.set(xlabel="F5 (with 95% intervals)", xlim=(0, 1), title="F5 of models and baselines")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_cost(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot F5 against speed: the columns `tokens_per_second` and `f5` of a table of models."""
    ax = _axes(ax)
    ax.scatter(table["tokens_per_second"], table["f5"], color=BLUE, s=60)
    for name, line in table.iterrows():
        ax.annotate(name, (line["tokens_per_second"], line["f5"]), (8, 6), textcoords="offset points")
    right = 1.35 * table["tokens_per_second"].max()
    ax.set(xlabel="tokens per second on this device", ylabel="F5", xlim=(0, right), ylim=(0, 1.05))
    ax.set_title("F5 against speed")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return ax


def plot_speed(lines: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the tokens per second of `bench.table_of`, and the limit of each line that has one."""
    ax = _axes(ax, width=8.0, height=1.0 + 0.28 * len(lines))
    speeds, limits = lines["tokens_per_second"], lines["limit_tokens_per_second"]
    ax.barh(lines.index, speeds, color=BLUE)
    ax.plot(
        limits,
        lines.index,
        "|",
        color=ORANGE,
        markersize=12,
        markeredgewidth=2,
        label="limit in fp32: matrix products alone",
    )
    for place, (speed, limit) in enumerate(zip(speeds, limits, strict=True)):
        right = np.nanmax([speed, limit])
        text = f"{speed:,.0f}" + f" ({speed / limit:.0%})" * (limit > 0)
        ax.annotate(text, (right, place), (5, 0), textcoords="offset points", va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="tokens per second (in brackets: share of the limit)", title="Speed of prediction")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.legend(frameon=False, loc="lower right")
    return ax


def plot_growth(curves: pd.DataFrame, *, by: str, ax: Axes | None = None) -> Axes:
    """Plot curves of `bench.run_bench`: seconds by number of "documents", or a document's seconds by "length"."""
    ax = _axes(ax)
    for place, (name, line) in enumerate(curves.groupby("name", sort=False)):
        seconds = line["seconds"] if by == "documents" else line["seconds"] / line["documents"]
        ax.plot(line[by], seconds, marker="o", color=(BLUE, ORANGE, GREEN, GREY)[place % 4], label=name)
    ax.set(xscale="log", yscale="log", title=f"Time by {'number' if by == 'documents' else 'length'} of documents")
    ax.set(xlabel="documents" if by == "documents" else "tokens in a document")
    ax.set(ylabel="seconds" if by == "documents" else "seconds per document")
    ax.set_xticks(sorted(set(curves[by])))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_bpc(history: pd.DataFrame, *, yardsticks: Mapping[str, float] | None = None, ax: Axes | None = None) -> Axes:
    """Plot a language model's history: bits per character by step, the step kept, and compressors as lines."""
    ax = _axes(ax)
    ax.plot(history["step"], history["training_bpc"], color=GREY, marker=".", label="training")
    ax.plot(history["step"], history["validation_bpc"], color=BLUE, marker=".", label="validation")
    best = history.loc[history["validation_bpc"].idxmin()]
    ax.plot(best["step"], best["validation_bpc"], "o", color=BLUE, markersize=10, fillstyle="none", label="step kept")
    for (name, bpc), style in zip((yardsticks or {}).items(), (":", "--", "-."), strict=False):
        ax.axhline(bpc, color="black", linewidth=1, linestyle=style, label=name)
    ax.set(xlabel="step", ylabel="bits per character", title="Learning curve of the language model")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_bpc_by_memory(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot `language_model.bpc_by_memory`: bits per character on the left axis, seconds on the right axis."""
    ax = _axes(ax)
    places = range(len(table))
    right = ax.twinx()
    right.spines["top"].set_visible(False)
    bars = right.bar(places, table["seconds"], width=0.4, color=GREY, alpha=0.5, label="seconds")
    ax.plot(places, table["bpc"], color=BLUE, marker="o", label="bits per character")
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
    ax.set_xticks(places, [f"{size:,}" for size in table["memory"]])
    ax.set(xlabel="memory, positions", ylabel="bits per character", title="Effect and cost of the memory")
    right.set(ylabel="seconds to read the text", ylim=(0, 1.6 * table["seconds"].max()))
    ax.legend(handles=[*ax.get_lines(), bars], frameon=False, loc="upper left", bbox_to_anchor=(1.12, 1))
    return ax
