"""Arrange the taggers of runs as a cascade, with thresholds that keep nearly all rows out of fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE_ID
from pii_kit.predict import Cascade, Ensemble, FoldTagger, Stage
from pii_kit.training.folds import load_folds_out_of_fold
from pii_kit.training.out_of_fold import OutOfFold
from pii_kit.windows import CONTEXT

RECALL = 0.995  # share of all true rows that has to get past each stage
# Thresholds on P(O) that a stage may have.
PASS_BELOW = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


@dataclass(frozen=True)
class StageRecall:
    """How many true rows a stage of a cascade passes on, of how many, out of fold, and its threshold on P(O)."""

    pass_below: float
    n_passed: int
    n_rows: int


def make_cascade(ensemble: Ensemble, runs: Sequence[str | Path]) -> tuple[Ensemble, list[StageRecall]]:
    """Return an ensemble that gives nearly the labels of `ensemble` in less time, and what its stages pass on.

    The first tagger of one run, the proposer, reads all tokens. The first tagger of the smallest other run reads what
    it finds suspect, that of the next larger run what these two find suspect on average, and so on; all other taggers
    read what is left, in one last stage. So thresholds are chosen on what a stage sees: one tagger of each run. The
    proposer is chosen so that the cascade is expected to take the least time. The threshold of a stage is the value of
    PASS_BELOW after the lowest one that keeps RECALL of the true rows: new documents have rows that are harder to find.
    It is never below a threshold of `ensemble`, so set those first.

    Raises:
        KitError: a run holds no out-of-fold probabilities, or the runs have validated no document with PII in common,
            or documents with the same number but other labels.
    """
    kept = [_kept(Path(run)) for run in runs]
    validated = sorted(set.intersection(*(set(of_run.documents.tolist()) for of_run in kept)))
    true = [(of_run.label != OUTSIDE_ID) & np.isin(of_run.document, validated) for of_run in kept]
    rows = [np.stack([of.document[mask], of.token[mask], of.label[mask]]) for of, mask in zip(kept, true, strict=True)]
    if not rows[0].size or any(not np.array_equal(rows[0], others) for others in rows):
        names = ", ".join(map(str, runs))
        raise KitError(f"{names}: no out-of-fold rows of the same documents; predict without a cascade")
    of_rows = [of_run.probabilities[mask, OUTSIDE_ID] for of_run, mask in zip(kept, true, strict=True)]
    n_rows, needed = rows[0].shape[1], RECALL * rows[0].shape[1]
    sizes = [_size(ensemble.taggers[ensemble.of_run.index(run)]) for run in range(len(runs))]

    def expected_size(run: int) -> float:
        """Return the bytes of weights that a token meets on average if this run proposes."""
        n_suspect = (kept[run].probabilities[:, OUTSIDE_ID] < _pass_below(of_rows[run], needed)).sum()
        share = min(n_suspect * CONTEXT / kept[run].n_tokens.sum(), 1)
        return sizes[run] + share * sum(sizes[other] for other in ensemble.of_run)

    order = sorted(range(len(runs)), key=sizes.__getitem__)
    proposer = min(order, key=expected_size)
    order = [proposer, *(run for run in order if run != proposer)]
    firsts = [ensemble.of_run.index(run) for run in order]
    others = [place for place in range(len(ensemble.taggers)) if place not in firsts]
    groups = [*([first] for first in firsts), *([others] if others else [])]
    thresholds = (ensemble.o_threshold, *ensemble.by_type.values())  # what they label has to reach the last stage
    recalls, stages, passed = [], [], np.ones(n_rows, dtype=bool)
    for stage, group in enumerate(groups):
        pass_below = 1.0
        if stage < len(groups) - 1:
            weights = [ensemble.weights[first] for first in firsts[: stage + 1]]
            mean = np.average([of_rows[run] for run in order[: stage + 1]], axis=0, weights=weights)
            pass_below = max(_pass_below(mean[passed], needed), *thresholds)
            passed &= mean < pass_below
            recalls.append(StageRecall(pass_below, int(passed.sum()), n_rows))
        taggers = tuple(ensemble.members[place] for place in group)
        stages.append(Stage(taggers, tuple(ensemble.weights[place] for place in group), pass_below))
    return replace(ensemble, taggers=(Cascade(tuple(stages)),), weights=(1.0,), of_run=(0,)), recalls


def _size(tagger: FoldTagger | Cascade) -> int:
    return tagger.model.get_memory_footprint() if isinstance(tagger, FoldTagger) else 0


def _kept(run: Path) -> OutOfFold:
    if (kept := load_folds_out_of_fold(run)) is None:
        raise KitError(f"{run}: holds no out-of-fold probabilities, which a cascade chooses its thresholds on")
    return kept


def _pass_below(scores: np.ndarray, n_needed: float) -> float:
    """Return the value of PASS_BELOW after the lowest one that at least `n_needed` of `scores`, P(O), are below."""
    too_low = [bound for bound in PASS_BELOW[:-1] if (scores < bound).sum() < n_needed]
    return PASS_BELOW[min(len(too_low) + 1, len(PASS_BELOW) - 1)]
