"""Run folders to one labeller, or teacher: all folds of all runs averaged, the runs' weights chosen out of fold."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pii_kit.data import Document
from pii_kit.decide import O_THRESHOLDS
from pii_kit.distill import Taught
from pii_kit.folds import fold_folders, load_folds_out_of_fold
from pii_kit.onnx_model import OnnxModel
from pii_kit.out_of_fold import OutOfFold, average_out_of_fold, score_out_of_fold
from pii_kit.predict import Tagger, predict_documents
from pii_kit.rules import label_document
from pii_kit.runs import fingerprint_tagger, load_tagger, read_json

VOTES = 10  # of ensemble selection, at most; a run's weight is its share of them


@dataclass(frozen=True)
class Ensemble:
    """Trained taggers with their weights (tagger, sum 1), the cut-off on P(O), and the names of the rules.

    `of_run` (tagger) is the place of the run that a tagger is a fold of.
    """

    taggers: tuple[Tagger, ...]
    weights: tuple[float, ...]
    of_run: tuple[int, ...]
    o_threshold: float
    rules: tuple[str, ...]

    def predict(self, documents: Iterable[Document], *, batch_size: int = 16) -> Iterator[tuple[Document, np.ndarray]]:
        """Each document, in order, with its probabilities (token, label): the weighted mean over the taggers."""
        return predict_documents(self.taggers, documents, weights=self.weights, batch_size=batch_size)

    def weights_of(self, taggers: Collection[int]) -> list[float]:
        """The weights (sum 1) of some of the taggers alone, by their places, in that order: what is left of a run keeps
        its weight. Those of all taggers are the ensemble's own, to the last bit.
        """
        folds, left = Counter(self.of_run), Counter(self.of_run[tagger] for tagger in taggers)
        if folds == left:
            return [self.weights[tagger] for tagger in taggers]
        weights = [self.weights[tagger] * folds[self.of_run[tagger]] / left[self.of_run[tagger]] for tagger in taggers]
        return [weight / sum(weights) for weight in weights]

    def on(self, device: str | torch.device) -> "Ensemble":
        """The ensemble with its models on a device: copies, unless they are there. Exported models stay on the CPU."""
        taggers = tuple(
            tagger
            if isinstance(tagger.model, OnnxModel) or tagger.model.device == torch.device(device)
            else replace(tagger, model=deepcopy(tagger.model).to(device))
            for tagger in self.taggers
        )
        return replace(self, taggers=taggers)

    def label(self, document: Document, probabilities: np.ndarray) -> list[str]:
        """A document and its probabilities (token, label) to its labels (token)."""
        return label_document(document, probabilities, o_threshold=self.o_threshold, rules=self.rules)


def load_ensemble(runs: Sequence[str | Path], *, device: str | torch.device = "cpu") -> Ensemble:
    """All taggers of run folders. The folds of one run count alike; how runs count is chosen by `choose_weights`.

    Where runs kept no out-of-fold probabilities of the same documents, they count alike, at the mean of their cut-offs.
    Raises KitError for a folder without a trained tagger.
    """
    folders = [fold_folders(run) for run in runs]
    taggers = [[load_tagger(folder, device=device) for folder in of_run] for of_run in folders]
    of_runs = [_decision(Path(run), of_run) for run, of_run in zip(runs, taggers, strict=True)]
    rules = tuple(dict.fromkeys(rule for _, of_run in of_runs for rule in of_run))
    o_threshold = sum(threshold for threshold, _ in of_runs) / len(of_runs)
    weights = [1 / len(of_runs)] * len(of_runs)
    kept = [load_folds_out_of_fold(run) for run in runs] if len(runs) > 1 else []
    if kept and all(part is not None and np.array_equal(part.documents, kept[0].documents) for part in kept):
        weights, o_threshold = choose_weights(kept)
    return Ensemble(
        taggers=tuple(tagger for of_run in taggers for tagger in of_run),
        weights=tuple(w / len(of_run) for w, of_run in zip(weights, taggers, strict=True) for _ in of_run),
        of_run=tuple(place for place, of_run in enumerate(taggers) for _ in of_run),
        o_threshold=o_threshold,
        rules=rules,
    )


def teach(runs: Sequence[str | Path], documents: Sequence[Document], *, device: str | torch.device = "cpu") -> Taught:
    """What all taggers of run folders, averaged as in `load_ensemble`, say of essays: a student's targets.

    60 bytes a token are held in memory. Raises KitError as `load_ensemble`.
    """
    ensemble = load_ensemble(runs, device=device)
    folders = [folder for run in runs for folder in fold_folders(run)]
    teacher = tuple(
        f"{tagger.model.config.model_type} {fingerprint_tagger(folder)}"
        for tagger, folder in zip(ensemble.taggers, folders, strict=True)
    )
    predictions = tqdm(ensemble.predict(documents), total=len(documents), desc="taught essays")
    return Taught(predictions=tuple(predictions), teacher=teacher)


def _decision(run: Path, taggers: Sequence[Tagger]) -> tuple[float, Sequence[str]]:
    """A run's cut-off and rules: its own, or where it was not cross-validated the mean of its taggers' cut-offs."""
    if (run / "decision.json").exists():
        decision = read_json(run / "decision.json")
        return decision["o_threshold"], decision["rules"]
    return sum(tagger.o_threshold for tagger in taggers) / len(taggers), ()


def choose_weights(members: Sequence[OutOfFold]) -> tuple[list[float], float]:
    """Out-of-fold probabilities of several runs to their weights (run, sum 1) and the cut-off with the highest F5.

    Ensemble selection with replacement (Caruana et al. 2004, section 2.2): all runs begin with one vote, and in each
    round the run whose further vote gives the highest F5, at its best cut-off, gets it. The best round counts, so
    weights are never worse out of fold than equal ones, and the earliest of equally good rounds, which is the evenest.
    No run is left without a vote: few documents say too little for that.
    """
    votes = [1] * len(members)
    best = _best(members, votes)
    chosen = (*best, votes)
    for _ in range(VOTES - len(members)):
        tries = [[n + (i == place) for i, n in enumerate(votes)] for place in range(len(members))]
        (f5, o_threshold), votes = max(((_best(members, votes), votes) for votes in tries), key=lambda pair: pair[0][0])
        if f5 > chosen[0]:
            chosen = (f5, o_threshold, votes)
    _, o_threshold, votes = chosen
    return [n / sum(votes) for n in votes], o_threshold


def _best(members: Sequence[OutOfFold], votes: Sequence[int]) -> tuple[float, float]:
    """The highest F5 of a weighted mean, and its cut-off: of several equal ones the middle one."""
    average = average_out_of_fold(members, [n / sum(votes) for n in votes])
    scores = {threshold: score_out_of_fold(average, o_threshold=threshold).f for threshold in O_THRESHOLDS}
    best = [threshold for threshold, f5 in scores.items() if f5 == max(scores.values())]
    return max(scores.values()), best[(len(best) - 1) // 2]
