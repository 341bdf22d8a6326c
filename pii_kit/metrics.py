"""The competition's score, micro F5 of submitted rows against true rows, and tables that explain it.

F5 weighs recall 25 times as much as precision. It counts rows, not entities: a name of three tokens is three rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from pii_kit.decide import O_THRESHOLDS, likeliest_pii
from pii_kit.documents import Document, true_labels
from pii_kit.labels import OUTSIDE, PII_TYPES, pii_places, type_of
from pii_kit.rules import label_document
from pii_kit.submission import Row, submission_rows

if TYPE_CHECKING:
    import pandas as pd

BETA = 5.0
# A row raises F5 if its probability is above F5 / 26: with the weight .1 of O in training, a predicted P(O) < .73.
MIN_O_THRESHOLD, CAUTIOUS_O_THRESHOLD = 0.5, 0.7
LEVEL, N_SAMPLES = 0.95, 1000  # confidence level and number of samples of bootstrap intervals
Predictions = Sequence[tuple[Document, np.ndarray]]  # documents with their probabilities (token, label)
Counts = tuple[int, int, int]  # of rows: true positives, false positives, false negatives


@dataclass(frozen=True)
class Score:
    """Counts of rows: true positives, false positives and false negatives."""

    tp: int
    fp: int
    fn: int

    @property
    def f(self) -> float:
        """F5: (1 + β²)·TP / ((1 + β²)·TP + β²·FN + FP) with β = 5; 1.0 if there are no true and no submitted rows.

        >>> round(Score(tp=3, fp=1, fn=1).f, 3)
        0.75
        """
        whole = (1 + BETA**2) * self.tp + BETA**2 * self.fn + self.fp
        return (1 + BETA**2) * self.tp / whole if whole else 1.0

    @property
    def precision(self) -> float:
        """The share of submitted rows that are true; 1.0 without submitted rows."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 1.0

    @property
    def recall(self) -> float:
        """The share of true rows that are submitted; 1.0 without true rows."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 1.0


def as_dict(score: Score) -> dict[str, float]:
    """Return a score as the fields f5, precision, recall, tp, fp and fn."""
    return {"f5": score.f, "precision": score.precision, "recall": score.recall, **vars(score)}


def _compare(truth: "pd.DataFrame", submitted: "pd.DataFrame") -> tuple[set[Row], set[Row], set[Row]]:
    """Return the rows that are right, false and missed; their row_id does not count."""
    true, rows = (
        set(zip(table["document"], table["token"], table["label"], strict=True)) for table in (truth, submitted)
    )
    return true & rows, rows - true, true - rows


def micro_fbeta(truth: "pd.DataFrame", submitted: "pd.DataFrame") -> Score:
    """Return the competition's score of submitted rows (document, token, label); B- and I- are different labels.

    A row that `check_submission` refuses, such as an O row, counts as a false positive.
    """
    return Score(*map(len, _compare(truth, submitted)))


def bootstrap_interval(
    truth: "pd.DataFrame", submitted: "pd.DataFrame", documents: Iterable[int]
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of F5 at the confidence level LEVEL (Efron & Tibshirani 1993, ch. 13).

    Documents are drawn with replacement, not rows: the rows of one document are not independent.
    """
    return _interval(_bootstrap_scores(truth, submitted, documents))


def paired_bootstrap(
    truth: "pd.DataFrame", first: "pd.DataFrame", second: "pd.DataFrame", documents: Sequence[int]
) -> tuple[float, float]:
    """Return the bootstrap interval of F5(first) − F5(second), both scored on the same samples of documents.

    It may exclude 0 although the intervals of both scores overlap: documents that are hard for both cancel out.
    """
    return _interval(_bootstrap_scores(truth, first, documents) - _bootstrap_scores(truth, second, documents))


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _bootstrap_scores(truth: "pd.DataFrame", submitted: "pd.DataFrame", documents: Iterable[int]) -> np.ndarray:
    """Return F5 of each bootstrap sample; equal documents give equal samples, whatever was submitted."""
    place = {document: index for index, document in enumerate(sorted(set(documents)))}
    counts = np.zeros((len(place), 3))
    for column, rows in enumerate(_compare(truth, submitted)):
        for document, _, _ in rows:
            counts[place[document], column] += 1
    return _bootstrap(counts)


def _bootstrap(counts: np.ndarray) -> np.ndarray:
    """Return F5 of each bootstrap sample of documents, from their counts (document, 3)."""
    if not len(counts):
        return np.ones(N_SAMPLES)
    shares = np.full(len(counts), 1 / len(counts))
    draws = np.random.default_rng(0).multinomial(len(counts), shares, N_SAMPLES)
    return np.array([Score(*sample).f for sample in draws @ counts])


def recall_bound(n_found: int, n_missed: int) -> float:
    """Return the lower confidence bound of the recall, at the level LEVEL; 0 without true rows (Clopper-Pearson).

    Rows of one document are not independent, so the true bound is even lower.

    >>> [round(recall_bound(n, 0), 3) for n in (147, 299, 600)]
    [0.98, 0.99, 0.995]
    """
    from scipy.special import betaincinv

    return float(betaincinv(n_found, n_missed + 1, 1 - LEVEL)) if n_found else 0.0


def confusion(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> "pd.DataFrame":
    """Count tokens by (true type, predicted type), with O, from the labels of each document; B- and I- are one type."""
    import pandas as pd

    names = [*PII_TYPES, OUTSIDE]
    pairs = zip(chain.from_iterable(truth), chain.from_iterable(predicted), strict=True)
    types = [(type_of(true) or OUTSIDE, type_of(label) or OUTSIDE) for true, label in pairs]
    tokens = pd.DataFrame(types, columns=["true", "predicted"])
    return pd.crosstab(tokens["true"], tokens["predicted"]).reindex(index=names, columns=names, fill_value=0)


def decided_rows(predictions: Predictions, *, o_threshold: float, rules: Sequence[str] = ()) -> "pd.DataFrame":
    """Return the rows to submit for predictions."""
    return submission_rows(
        (doc.number, label_document(doc, scores, o_threshold=o_threshold, rules=rules)) for doc, scores in predictions
    )


def threshold_curve(
    predictions: Predictions, thresholds: Sequence[float] = O_THRESHOLDS, *, rules: Sequence[str] = ()
) -> "pd.DataFrame":
    """Score predictions for labelled documents; return a table (o_threshold; f5, precision, recall, tp, fp, fn)."""
    import pandas as pd

    counts = [counts_by_threshold(doc, scores, thresholds, rules=rules) for doc, scores in predictions]
    totals = np.array(counts).reshape(-1, len(thresholds), 3).sum(0).tolist()
    lines = {threshold: as_dict(Score(*total)) for threshold, total in zip(thresholds, totals, strict=True)}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("o_threshold")


def row_counts(document: Document, labels: Sequence[str]) -> Counts:
    """Return how many rows of a document's predicted labels are right and false, and how many are missed."""
    true = true_labels(document)
    right = sum(true[place] == labels[place] for place in pii_places(labels))
    n_true, n_found = (len(of) - of.count(OUTSIDE) for of in (true, labels))
    return right, n_found - right, n_true - right


def counts_by_threshold(
    document: Document,
    scores: np.ndarray,
    thresholds: Sequence[float] = O_THRESHOLDS,
    *,
    rules: Sequence[str] = (),
    count: Callable[[Document, Sequence[str]], Counts] = row_counts,
) -> list[Counts]:
    """Return what `count` finds in the labels of a document for each threshold on P(O).

    Rules are slow, and run once for thresholds that give the same labels.
    """
    counts: dict[tuple[bytes, bytes], Counts] = {}
    keys = []
    for o_threshold in thresholds:
        tokens, label_ids = likeliest_pii(scores, o_threshold=o_threshold)
        keys.append((tokens.tobytes(), label_ids.tobytes()))
        if keys[-1] not in counts:
            labels = label_document(document, scores, o_threshold=o_threshold, rules=rules)
            counts[keys[-1]] = count(document, labels)
    return [counts[key] for key in keys]


def safe_threshold(counts: np.ndarray) -> tuple[float, float]:
    """Return the highest F5 of O_THRESHOLDS, and a threshold that is as good within the error and misses less.

    `counts` are right, false and missed rows (threshold, document, 3). Because a miss costs as much as 25 false rows,
    the threshold leans to recall: it is the highest up to CAUTIOUS_O_THRESHOLD whose F5 is within one standard error of
    the best (Breiman et al. 1984, section 3.4.3), or the best itself if that is higher. It is never below
    MIN_O_THRESHOLD: lower ones lost more on new documents than they had gained out of fold.
    """
    import pandas as pd

    curve = pd.DataFrame({"f5": [Score(*of_threshold.sum(0)).f for of_threshold in counts]}, index=list(O_THRESHOLDS))
    best, f5 = best_threshold(curve), float(curve["f5"].max())
    error = np.std(_bootstrap(counts[O_THRESHOLDS.index(best)]))
    as_good = curve.index[(curve["f5"] >= f5 - error) & (curve.index <= CAUTIOUS_O_THRESHOLD)]
    return f5, max(best, MIN_O_THRESHOLD, *as_good)


def best_threshold(curve: "pd.DataFrame") -> float:
    """Return the threshold of a curve with the highest F5, the middle one of several."""
    best = curve.index[curve["f5"] == curve["f5"].max()]
    return float(best[(len(best) - 1) // 2])
