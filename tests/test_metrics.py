import numpy as np
import pandas as pd
import pytest
from conftest import make_document
from sklearn.metrics import fbeta_score, precision_score, recall_score

from pii_kit.decide import O_THRESHOLDS, decide
from pii_kit.labels import LABELS
from pii_kit.metrics import (
    Score,
    best_threshold,
    bootstrap_interval,
    confusion,
    micro_fbeta,
    recall_bound,
    safe_threshold,
    threshold_curve,
)
from pii_kit.submission import submission_rows, true_rows


def rows(*triples) -> pd.DataFrame:
    return pd.DataFrame(list(triples), columns=["document", "token", "label"])


TRUTH = [(1, 0, "B-NAME_STUDENT"), (1, 1, "I-NAME_STUDENT"), (2, 5, "B-EMAIL"), (2, 9, "B-ID_NUM")]


@pytest.mark.parametrize(
    ("submitted", "counts", "f5"),
    [
        (TRUTH, (4, 0, 0), 1.0),
        ([*TRUTH[:3], (2, 9, "B-PHONE_NUM")], (3, 1, 1), 0.750),
        ([*TRUTH[:3], (2, 9, "I-ID_NUM")], (3, 1, 1), 0.750),
        (TRUTH[:3], (3, 0, 1), 0.757),
        ([*TRUTH, (3, 0, "B-EMAIL")], (4, 1, 0), 0.990),
        ([*TRUTH, (3, 0, "O")], (4, 1, 0), 0.990),
        ([*TRUTH[:3], (2, 9, "O")], (3, 1, 1), 0.750),
        ([], (0, 0, 4), 0.0),
        ([*TRUTH, (2, 9, "B-PHONE_NUM")], (4, 1, 0), 0.990),
    ],
    ids=["all", "wrong type", "B for I", "one missing", "one extra", "O on O", "O on PII", "empty", "two labels"],
)
def test_the_competitions_cases_score_as_worked_by_hand(submitted, counts, f5):
    score = micro_fbeta(rows(*TRUTH), rows(*submitted))
    assert (score.tp, score.fp, score.fn) == counts
    assert round(score.f, 3) == f5


def test_scores_without_true_rows_are_one_or_zero():
    assert micro_fbeta(rows(), rows()).f == 1.0
    assert micro_fbeta(rows(), rows((1, 0, "B-EMAIL"))).f == 0.0


def test_scores_agree_with_scikit_learn_where_both_are_defined():
    rng = np.random.default_rng(0)
    for _ in range(20):
        true, found = (rng.choice(15, size=200, p=[0.8] + [0.2 / 14] * 14) for _ in range(2))
        found = np.where(rng.random(200) < 0.7, true, found)
        kept = {"labels": list(range(1, 15)), "average": "micro"}
        score = micro_fbeta(
            *(rows(*((1, token, LABELS[label]) for token, label in enumerate(of) if label)) for of in (true, found))
        )
        assert score.f == pytest.approx(fbeta_score(true, found, beta=5, **kept))
        assert score.precision == pytest.approx(precision_score(true, found, **kept))
        assert score.recall == pytest.approx(recall_score(true, found, **kept))


def test_the_interval_holds_the_score_and_narrows_with_more_documents():
    def interval(n_documents: int) -> tuple[float, float]:
        truth = rows(*((number, 0, "B-EMAIL") for number in range(n_documents)))
        found = rows(*((number, 0, "B-EMAIL") for number in range(n_documents) if number % 4))
        return bootstrap_interval(truth, found, range(n_documents))

    wide, narrow = interval(20), interval(2000)
    expected = Score(tp=3, fp=0, fn=1).f
    assert wide[0] < narrow[0] < expected < narrow[1] < wide[1]
    assert interval(20) == wide


def test_the_interval_of_a_perfect_submission_or_of_no_documents_is_a_point():
    assert bootstrap_interval(rows(*TRUTH), rows(*TRUTH), [1, 2, 3]) == (1.0, 1.0)
    assert bootstrap_interval(rows(), rows(), []) == (1.0, 1.0)


def test_confusion_counts_every_token_once():
    table = confusion([["O", "B-EMAIL", "I-EMAIL"], ["O"]], [["O", "B-EMAIL", "B-ID_NUM"], ["B-EMAIL"]])
    assert table.to_numpy().sum() == 4
    assert table.loc["EMAIL", "EMAIL"] == table.loc["EMAIL", "ID_NUM"] == table.loc["O", "EMAIL"] == 1
    assert table.loc["O", "O"] == 1


def predictions():
    document = make_document("Ann wrote to Bob", number=4, labels={"Ann": "B-NAME_STUDENT"})
    scores = np.zeros((4, 15), dtype=np.float32)
    scores[:, 1] = [0.3, 0.001, 0.0005, 0.08]
    scores[:, 0] = 1 - scores[:, 1]
    return [(document, scores)]


def test_the_threshold_curve_has_the_score_at_each_threshold():
    (document, scores), *_ = predictions()
    curve = threshold_curve(predictions(), [0.5, 0.8, 0.95, 0.9999])
    for threshold, line in curve.iterrows():
        expected = micro_fbeta(
            true_rows([document]), submission_rows([(document.number, decide(scores, o_threshold=threshold))])
        )
        assert line["f5"] == expected.f
    assert curve[["tp", "fp", "fn"]].to_numpy().tolist() == [[0, 0, 1], [1, 0, 0], [1, 1, 0], [1, 3, 0]]


def counts_of(*fewest: tuple[int, int, int]) -> np.ndarray:
    """Counts (threshold, document, 3) of 40 documents: at each threshold the given totals, spread evenly."""
    filled = [*fewest, *[fewest[-1]] * (len(O_THRESHOLDS) - len(fewest))]
    spread = [[[n // 40 + (place < n % 40) for n in totals] for place in range(40)] for totals in filled]
    return np.array(spread)


@pytest.mark.parametrize(
    ("counts", "f5", "threshold"),
    [
        ([*[(96, 0, 4)] * 7, (97, 45, 3), (98, 400, 2)], 0.961, 0.6),  # up to .5 F5 is best; at .6 it is as good
        ([(96, 0, 4), (97, 30, 3), (97, 45, 3), (98, 400, 2)], 0.961, 0.5),  # .02 is best, and none is below .5
    ],
)
def test_among_equally_good_thresholds_the_one_that_misses_least_is_chosen(counts, f5, threshold):
    best, o_threshold = safe_threshold(counts_of(*counts))
    assert (round(best, 3), o_threshold) == (f5, threshold)


def test_no_threshold_is_raised_above_the_probability_at_which_a_row_pays():
    """All thresholds are equally good: the middle one is the best, and it is above CAUTIOUS_O_THRESHOLD already."""
    assert safe_threshold(counts_of((50, 50, 50)))[1] == best_threshold(
        pd.DataFrame({"f5": 0.5}, index=list(O_THRESHOLDS))
    )
    falling = counts_of(*[(80, n, 20) for n in range(len(O_THRESHOLDS))])
    assert safe_threshold(falling)[1] == 0.7


def test_at_the_recall_bound_so_many_found_rows_are_just_unlikely_enough():
    """By hand: with recall p, the probability of at least 8 of 10 is 45 p^8 (1-p)^2 + 10 p^9 (1-p) + p^10."""
    p = recall_bound(8, 2)
    assert 45 * p**8 * (1 - p) ** 2 + 10 * p**9 * (1 - p) + p**10 == pytest.approx(0.05)
    assert recall_bound(0, 3) == recall_bound(0, 0) == 0
