"""Arrange the taggers of runs as a cascade, with thresholds that keep nearly all rows out of fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE_ID
from pii_kit.predict import Cascade, Ensemble, Stage, Tagger
from pii_kit.training.folds import load_folds_out_of_fold

RECALL = 0.995  # of the rows that reach a stage, and so of all rows: those lost by a stage before it count as lost
PASS_BELOW = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


@dataclass(frozen=True)
class StageRecall:
    """How many true rows a stage of a cascade passes on, of how many, out of fold, and its threshold on P(O)."""

    pass_below: float
    n_passed: int
    n_rows: int


def make_cascade(ensemble: Ensemble, runs: Sequence[str | Path]) -> tuple[Ensemble, list[StageRecall]]:
    """Return an ensemble that gives nearly the labels of `ensemble` in less time, and what its stages pass on.

    Runs come in the order of their models' sizes. The first tagger of the first run reads all tokens, the others of
    this run and those of the second what it finds suspect, those of the third what these find suspect on average, and
    so on. A stage passes on what is below the lowest of PASS_BELOW that keeps RECALL of the true rows, or rather below
    the one above that, because new documents have rows that are harder to find.

    Raises:
        KitError: a run holds no out-of-fold probabilities of rows, or the runs hold those of different documents.
    """
    members = [[place for place, run in enumerate(ensemble.of_run) if run == number] for number in range(len(runs))]
    members.sort(key=lambda places: _size(ensemble.taggers[places[0]]))
    of_rows = [_of_true_rows(Path(runs[ensemble.of_run[places[0]]])) for places in members]
    rows = of_rows[0][0]
    if not len(rows) or any(not np.array_equal(rows, others) for others, _ in of_rows):
        raise KitError(f"{', '.join(map(str, runs))}: a cascade needs runs with out-of-fold rows of the same documents")
    first, *others = members[0]
    groups = [[first], [*others, *(members[1] if len(runs) > 1 else ())], *members[2:]]
    recalls, stages, passed = [], [], np.ones(len(rows), dtype=bool)
    for place, group in enumerate(group for group in groups if group):
        pass_below = 1.0
        if place < len(groups) - 1:
            mean = np.mean([scores for _, scores in of_rows[: place + 1]], axis=0)
            pass_below = max(_pass_below(mean[passed], RECALL * len(rows)), ensemble.o_threshold)
            passed &= mean < pass_below
            recalls.append(StageRecall(pass_below, int(passed.sum()), len(rows)))
        taggers, weights = ([values[index] for index in group] for values in (ensemble.taggers, ensemble.weights))
        stages.append(Stage(tuple(taggers), tuple(weights), pass_below))
    return replace(ensemble, taggers=(Cascade(tuple(stages)),), weights=(1.0,), of_run=(0,)), recalls


def _size(tagger: Tagger | Cascade) -> int:
    return tagger.model.get_memory_footprint() if isinstance(tagger, Tagger) else 0


def _of_true_rows(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return document and token (row, 2) of the true rows that a run has validated, and their P(O) (row,)."""
    kept = load_folds_out_of_fold(run)
    if kept is None:
        raise KitError(f"{run}: holds no out-of-fold probabilities, which a cascade chooses its thresholds on")
    true = kept.label != OUTSIDE_ID
    return np.stack([kept.document[true], kept.token[true]], axis=1), kept.probabilities[true, OUTSIDE_ID]


def _pass_below(scores: np.ndarray, n_needed: float) -> float:
    """Return the threshold of PASS_BELOW above the lowest that `n_needed` of the rows' P(O) are below."""
    enough = [place for place, bound in enumerate(PASS_BELOW) if (scores < bound).sum() >= n_needed]
    return PASS_BELOW[min([*enough, len(PASS_BELOW) - 1][0] + 1, len(PASS_BELOW) - 1)]
