import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import make_document

from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.metrics import confusion, threshold_curve
from pii_kit.report import plots
from pii_kit.report.tables import type_table
from pii_kit.submission import submission_rows, true_rows

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
ESSAYS = [make_document(text, number, LABELLED) for number, text in enumerate(("Ann Lee and Ann Lee at a@b.org", ""))]
FOUND = [["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O", "O", "O", "B-ID_NUM"], []]
LIKELY = [
    np.eye(len(LABELS))[[LABEL_TO_ID[label] for label in of_one]].reshape(-1, 15) * 0.9 + 0.006 for of_one in FOUND
]
SCORES = type_table(true_rows(ESSAYS), submission_rows(enumerate(FOUND)), [0, 1])
BLIND = type_table(true_rows(ESSAYS), submission_rows([]), [0, 1])
CONFUSION = confusion([document.labels for document in ESSAYS], FOUND)
CURVE = threshold_curve(list(zip(ESSAYS, LIKELY, strict=True)))
HISTORIES = [
    pd.DataFrame([{"epoch": 1, "loss": 0.8}, {"epoch": 2, "loss": 0.4, "f5": 0.5, "precision": 1.0, "recall": 0.5}]),
    pd.DataFrame([{"epoch": 1, "loss": 0.4}, {"epoch": 2, "loss": 0.2, "f5": 0.7, "precision": 1.0, "recall": 0.7}]),
]
PLOTS = {
    "plot_learning": (HISTORIES, {}),
    "plot_scores": (SCORES, {}),
    "plot_confusion": (CONFUSION, {}),
    "plot_threshold_curve": (CURVE, {"chosen": 0.9}),
}


@pytest.fixture(autouse=True)
def strict():
    """Turn warnings into errors, and close all figures after the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def curves(ax) -> dict:
    return {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_has_a_figure_of_its_own_with_title_and_label(name):
    table, arguments = PLOTS[name]
    first, second = (getattr(plots, name)(table, **arguments) for _ in range(2))
    first.figure.canvas.draw()
    assert first.figure is not second.figure and first.has_data() and first.get_xlabel() and first.get_title()


def test_learning_curves_have_a_line_for_each_fold_and_their_mean():
    ax = plots.plot_learning(HISTORIES)
    (right,) = (other for other in ax.figure.axes if other is not ax)
    assert curves(ax)["training loss, mean of folds"] == pytest.approx(np.array([[1, 0.6], [2, 0.3]]))
    assert curves(right)["validation F5, mean of folds"] == pytest.approx(np.array([[2, 0.6]]))
    assert [len(axes.get_lines()) for axes in (ax, right)] == [3, 3]
    plots.plot_learning([HISTORIES[0][:1]]).figure.canvas.draw()  # nothing was validated yet


def test_type_scores_have_a_bar_for_each_type_with_rows_and_models_side_by_side():
    ax = plots.plot_scores({"good": SCORES, "blind": BLIND}, column="recall")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["NAME_STUDENT (4)", "EMAIL (1)", "ID_NUM (0)"]
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    assert widths[0] == [0.5, 0, 1] and widths[1][:2] == [0, 0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["good", "blind"]
    ends = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(ends)), "bars overlap"


def test_the_confusion_matrix_writes_counts_without_o_and_colours_shares():
    ax = plots.plot_confusion(CONFUSION)
    places = {text.get_position(): text.get_text() for text in ax.texts}
    written = {(CONFUSION.index[row], CONFUSION.columns[column]): n for (column, row), n in places.items()}
    assert written == {
        ("NAME_STUDENT", "NAME_STUDENT"): "2",
        ("NAME_STUDENT", "O"): "2",
        ("EMAIL", "ID_NUM"): "1",
    }
    assert CONFUSION.loc["O", "O"] == 2  # the table itself stays as it is
    shares = np.asarray(ax.images[0].get_array())
    assert shares[0, [0, -1]].tolist() == [0.5, 0.5]


def test_the_threshold_curve_is_the_table_with_the_chosen_threshold_marked():
    ax = plots.plot_threshold_curve(CURVE, chosen=0.9)
    for name, label in {"f5": "F5", "precision": "precision", "recall": "recall"}.items():
        assert curves(ax)[label] == [[1 - threshold, value] for threshold, value in CURVE[name].items()]
    assert [x for x, _ in curves(ax)["chosen threshold: 0.9"]] == [1 - 0.9] * 2
    left, right = ax.get_xlim()
    assert left > right, "higher thresholds are on the right"


def test_scores_of_models_have_their_intervals_and_those_of_the_test_essays():
    ax = plots.plot_scores(SCORES.assign(test_f5=[0.6, 0.75, 0.1]))
    assert [bar.get_width() for bar in ax.patches] == SCORES["f5"].tolist()
    assert list(ax.lines[-1].get_xdata()) == [0.6, 0.75, 0.1]
    (segments,) = (lines.get_segments() for lines in ax.collections)
    assert [segment[:, 0].tolist() for segment in segments] == SCORES[["f5_low", "f5_high"]].to_numpy().tolist()
