import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import make_document

from pii_kit import report
from pii_kit.labels import LABEL_TO_ID, LABELS, PII_TYPES
from pii_kit.metrics import confusion, score_by_type, threshold_curve
from pii_kit.pieces import train_byte_pairs
from pii_kit.report import plots
from pii_kit.submission import submission_rows, true_rows

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
ESSAYS = [
    make_document(text, number, LABELLED)
    for number, text in enumerate(("Ann Lee and Ann Lee at a@b.org", "Ann has tea", "Tea is good", ""))
]
FOUND = [["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O", "O", "O", "B-ID_NUM"], ["O"] * 3, ["O"] * 3, []]
NO_PII = [make_document("Tea is good", 1, {}), make_document("", 2, {})]

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "loss": [0.9, 0.1, 0.01],
        "f5": [0.0, 0.8, 0.7],
        "precision": [1.0, 0.5, 0.6],
        "recall": [0.0, 0.9, 0.8],
    }
)
BPC = pd.DataFrame({"step": [10, 20, 30], "training_bpc": [5.0, 3.0, 2.0], "validation_bpc": [5.1, 3.2, 3.4]})
MEMORY = pd.DataFrame({"memory": [0, 500, 2000], "bpc": [2.5, 2.3, 2.2], "seconds": [1.0, 1.5, 3.0]})
COSTS = pd.DataFrame({"tokens_per_second": [900.0, 12_000.0], "f5": [0.9, 0.7]}, index=["large", "small"])

SPEEDS = pd.DataFrame(
    {"tokens_per_second": [300.0, 100.0], "limit_tokens_per_second": [np.nan, 400.0]}, index=["peer", "tagger"]
)
CURVES = pd.DataFrame(
    {
        "name": ["peer", "tagger", "peer", "tagger"],
        "documents": [100, 100, 10, 10],
        "length": [100, 100, 1000, 1000],
        "seconds": [4.0, 2.0, 5.0, 3.0],
    }
)


def certain(document):
    """Return probabilities (token, label) with about 0.9 for the labels of FOUND."""
    labels = FOUND[document.number] if document in ESSAYS else document.labels
    return np.eye(len(LABELS))[[LABEL_TO_ID[label] for label in labels]].reshape(-1, len(LABELS)) * 0.9 + 0.1 / 15


def tables(essays, found) -> dict:
    """Return the arguments of each plot for documents and their predicted labels."""
    tokenizer = train_byte_pairs(essays, n_pieces=300)
    numbers = [document.number for document in essays]
    scores = score_by_type(true_rows(essays), submission_rows(zip(numbers, found, strict=True)))
    curve = threshold_curve([(document, certain(document)) for document in essays])
    return {
        "plot_label_counts": ((report.label_counts(essays),), {}),
        "plot_lengths": ((report.lengths(essays, tokenizer),), {"window_size": 512}),
        "plot_positions": ((report.entity_positions(essays),), {}),
        "plot_entities_per_document": ((report.entities_per_document(essays),), {}),
        "plot_type_scores": ((scores,), {}),
        "plot_confusion": ((confusion([document.labels for document in essays], found),), {}),
        "plot_threshold_curve": ((curve,), {"chosen": 0.9}),
    }


PLOTS = tables(ESSAYS, FOUND) | {
    "plot_learning": ((HISTORY,), {}),
    "plot_scores": ((pd.DataFrame({"f5": [0.5], "f5_low": [0.4], "f5_high": [0.6]}, index=["a model"]),), {}),
    "plot_cost": ((COSTS,), {}),
    "plot_speed": ((SPEEDS,), {}),
    "plot_growth": ((CURVES,), {"by": "length"}),
    "plot_bpc": ((BPC,), {"yardsticks": {"gzip": 2.9, "bzip2": 2.3, "xz": 2.2}}),
    "plot_bpc_by_memory": ((MEMORY,), {}),
}
PLOTS_OF_NOTHING = tables(NO_PII, [["O"] * 3, []]) | {"plot_learning": ((HISTORY[:1],), {})}


def draw(name: str, arguments: dict, **more):
    positional, named = arguments[name]
    return getattr(plots, name)(*positional, **named, **more)


@pytest.fixture(autouse=True)
def strict():
    """Turn warnings into errors, and close all figures after the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def widths(ax) -> list[float]:
    return [bar.get_width() for bar in ax.patches]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def curves(ax) -> dict:
    return {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}


def test_every_plot_is_tested():
    assert set(PLOTS) == {name for name in vars(plots) if name.startswith("plot_")}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given(name):
    figure, (left, right) = plt.subplots(1, 2)
    assert draw(name, PLOTS, ax=right) is right
    figure.canvas.draw()
    assert right.has_data() and not left.has_data()


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_without_axes_opens_a_figure_and_names_its_axes(name):
    first, second = draw(name, PLOTS), draw(name, PLOTS)
    assert first.figure is not second.figure
    for ax in first.figure.axes:
        assert ax.get_ylabel() or ax.get_yticklabels()
    assert first.get_xlabel() and first.get_title()
    first.figure.canvas.draw()


@pytest.mark.parametrize("name", PLOTS_OF_NOTHING)
def test_essays_without_pii_can_be_drawn(name):
    ax = draw(name, PLOTS_OF_NOTHING)
    ax.figure.canvas.draw()
    assert ax.get_xlabel()


def test_label_counts_are_stacked_bars_with_their_sums():
    ax = draw("plot_label_counts", PLOTS)
    names = [label.get_text() for label in ax.get_yticklabels()]
    begins, continues = ax.containers
    assert dict(zip(names, (bar.get_width() for bar in begins), strict=True))["NAME_STUDENT"] == 3
    assert dict(zip(names, (bar.get_width() for bar in continues), strict=True))["NAME_STUDENT"] == 2
    assert [bar.get_x() for bar in continues] == [bar.get_width() for bar in begins]
    assert dict(zip(names, texts(ax), strict=True)) == dict.fromkeys(PII_TYPES, "0") | {
        "NAME_STUDENT": "5",
        "EMAIL": "1",
    }


def test_lengths_count_every_document_and_mark_the_window():
    ax = plots.plot_lengths(pd.DataFrame({"tokens": [0, 10, 40], "pieces": [0, 20, 80]}), window_size=64)
    heights = [bar.get_height() for bar in ax.containers[0]]
    assert sum(heights) == 3
    assert [place for place, height in enumerate(heights) if height] == [0, 5, 20]  # bins are 2 wide
    (window,) = ax.get_lines()
    assert list(window.get_xdata()) == [64, 64]


def test_positions_are_counted_in_bins_of_a_twentieth():
    ax = plots.plot_positions(pd.DataFrame({"position": [0.0, 0.01, 0.52, 0.99]}))
    heights = [bar.get_height() for bar in ax.patches]
    assert {place: height for place, height in enumerate(heights) if height} == {0: 2, 10: 1, 19: 1}
    assert len(heights) == 20


def test_bars_of_entities_per_document_are_the_counts():
    counts = report.entities_per_document(ESSAYS)
    ax = draw("plot_entities_per_document", PLOTS)
    assert [bar.get_height() for bar in ax.patches] == counts.tolist()
    assert texts(ax) == counts.astype(str).tolist()
    assert [label.get_text() for label in ax.get_xticklabels()] == counts.index.astype(str).tolist()


@pytest.mark.parametrize(("keep", "kept"), [("best", [2, 0.8]), ("last", [5, 0.7])])
def test_epochs_without_validation_have_a_loss_only(keep, kept):
    rows = [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, 6)]
    for row, f5 in ((rows[1], 0.8), (rows[3], 0.6), (rows[4], 0.7)):
        row |= {"f5": f5, "precision": 0.5, "recall": 0.9}
    ax = plots.plot_learning(pd.DataFrame(rows), keep=keep)
    right = next(other for other in ax.figure.axes if other is not ax)
    assert [epoch for epoch, _ in curves(ax)["training loss"]] == [1, 2, 3, 4, 5]
    assert curves(right)["validation F5"] == [[2, 0.8], [4, 0.6], [5, 0.7]]
    assert curves(right)["epoch kept"] == [kept]
    ax.figure.canvas.draw()


def test_a_training_without_any_validation_can_be_drawn():
    ax = plots.plot_learning(pd.DataFrame([{"epoch": 1, "loss": 0.5}]))
    ax.figure.canvas.draw()
    assert not any("epoch kept" in curves(other) for other in ax.figure.axes)


def test_learning_curves_are_the_history_with_the_kept_epoch_marked():
    ax = draw("plot_learning", PLOTS)
    _, right = ax.figure.axes
    assert curves(ax)["training loss"] == HISTORY[["epoch", "loss"]].to_numpy().tolist()
    drawn = curves(right)
    assert drawn.pop("epoch kept") == [[2, 0.8]]
    names = {"f5": "validation F5", "precision": "validation precision", "recall": "validation recall"}
    assert drawn == {label: HISTORY[["epoch", name]].to_numpy().tolist() for name, label in names.items()}


def test_type_scores_have_a_bar_for_each_type_with_rows():
    (scores,), _ = PLOTS["plot_type_scores"]
    ax = plots.plot_type_scores(scores, column="recall")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["NAME_STUDENT (5)", "EMAIL (1)", "ID_NUM (0)"]
    assert widths(ax) == pytest.approx([2 / 5, 0, 1])
    assert texts(ax) == ["0.40", "0.00", "1.00"]
    assert ax.get_legend() is None


def test_type_scores_of_several_models_are_side_by_side():
    (scores,), _ = PLOTS["plot_type_scores"]
    blind = score_by_type(true_rows(ESSAYS), submission_rows([]))
    ax = plots.plot_type_scores({"good": scores, "blind": blind})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["good", "blind"]
    for bars, table in zip(ax.containers, (scores, blind), strict=True):
        types = ["NAME_STUDENT", "EMAIL", "ID_NUM"]
        assert [bar.get_width() for bar in bars] == pytest.approx(table.loc[types, "f5"].tolist())
    ends = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(ends)), "bars overlap"


def test_the_confusion_matrix_writes_counts_and_colours_shares():
    (table,), _ = PLOTS["plot_confusion"]
    ax = draw("plot_confusion", PLOTS)
    written = {
        (table.index[int(t.get_position()[1])], table.columns[int(t.get_position()[0])]): t.get_text() for t in ax.texts
    }
    assert written == {
        ("NAME_STUDENT", "NAME_STUDENT"): "2",
        ("NAME_STUDENT", "O"): "3",
        ("EMAIL", "ID_NUM"): "1",
        ("O", "O"): "7",
    }
    (image,) = ax.images
    shares = pd.DataFrame(np.asarray(image.get_array()), index=table.index, columns=table.columns)
    assert shares.loc["NAME_STUDENT", ["NAME_STUDENT", "O"]].tolist() == [0.4, 0.6]
    assert shares.loc["PHONE_NUM"].tolist() == [0] * 8


def test_the_threshold_curve_is_the_table_with_the_chosen_threshold_marked():
    (curve,), _ = PLOTS["plot_threshold_curve"]
    ax = draw("plot_threshold_curve", PLOTS)
    drawn = curves(ax)
    for name, label in {"f5": "F5", "precision": "precision", "recall": "recall"}.items():
        assert drawn[label] == [[1 - threshold, value] for threshold, value in curve[name].items()]
    assert [x for x, _ in drawn["chosen threshold: 0.9"]] == [1 - 0.9] * 2
    left, right = ax.get_xlim()
    assert left > right, "higher thresholds are on the right"


def test_every_model_is_at_its_speed_and_score():
    ax = draw("plot_cost", PLOTS)
    (points,) = ax.collections
    assert points.get_offsets().tolist() == [[900, 0.9], [12_000, 0.7]]
    assert {text.get_text(): text.xy for text in ax.texts} == {"large": (900, 0.9), "small": (12_000, 0.7)}


def test_speeds_are_bars_with_limits_where_there_are_any():
    ax = draw("plot_speed", PLOTS)
    assert widths(ax) == [300, 100]
    assert texts(ax) == ["300", "100 (25%)"]
    (limits,) = ax.get_lines()
    np.testing.assert_equal(limits.get_xdata(), [np.nan, 400])


def test_time_by_number_is_of_all_documents_and_by_length_of_one():
    assert curves(draw("plot_growth", PLOTS)) == {
        "peer": [[100, 0.04], [1000, 0.5]],
        "tagger": [[100, 0.02], [1000, 0.3]],
    }
    assert curves(plots.plot_growth(CURVES, by="documents"))["peer"] == [[100, 4], [10, 5]]


def test_bpc_is_drawn_with_the_kept_weights_and_the_compressors():
    drawn = curves(draw("plot_bpc", PLOTS))
    assert drawn["training"] == [[10, 5.0], [20, 3.0], [30, 2.0]]
    assert drawn["validation"] == [[10, 5.1], [20, 3.2], [30, 3.4]]
    assert drawn["step kept"] == [[20, 3.2]]
    assert [y for _, y in drawn["gzip"]] == [2.9, 2.9]
    assert set(drawn) == {"training", "validation", "step kept", "gzip", "bzip2", "xz"}


def test_each_memory_size_has_its_bpc_and_its_seconds():
    ax = draw("plot_bpc_by_memory", PLOTS)
    (points,) = ax.get_lines()
    assert points.get_ydata().tolist() == [2.5, 2.3, 2.2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "500", "2,000"]
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert [bar.get_height() for bar in right.patches] == [1.0, 1.5, 3.0]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"bits per character", "seconds"}


def test_scores_show_f5_with_its_interval_and_the_test_essays():
    columns = {"f5": [0.5, 0.8], "f5_low": [0.4, 0.7], "f5_high": [0.55, 0.9], "test_f5": [0.6, 0.75]}
    axes = plots.plot_scores(pd.DataFrame(columns, index=["baseline", "model"]))
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.8]
    assert list(axes.lines[-1].get_xdata()) == [0.6, 0.75]
