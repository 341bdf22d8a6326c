"""What runs say of labelled essays that they were not trained on: out of fold where they were, else predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pii_kit.data import Document
from pii_kit.ensemble import Ensemble
from pii_kit.folds import fold_folders, is_whole, load_folds_out_of_fold
from pii_kit.metrics import Predictions
from pii_kit.predict import Tagger, predict_documents

Said = dict[int, np.ndarray]  # a document's number to its probabilities (token, label)


@dataclass(frozen=True)
class Unseen:
    """Documents with their probabilities (token, label). `n_predicted` of them are not out of fold in every run.

    `n_left_out` documents are not among them, because a run may have been trained on them.
    """

    predictions: Predictions
    n_predicted: int
    n_left_out: int

    def counts(self) -> str:
        """How many documents there are, and where their probabilities are from, in words."""
        n_documents = len(self.predictions)
        words = f"{n_documents} documents, {n_documents - self.n_predicted} out of fold, {self.n_predicted} predicted"
        if self.n_left_out:
            words += f"; {self.n_left_out} left out, which may have been trained on"
        return words


def predict_unseen(ensemble: Ensemble, runs: Sequence[str | Path], documents: Sequence[Document]) -> Unseen:
    """Labelled documents to what `load_ensemble(runs)` says of them, with no tagger's word on essays it learned from.

    Of a document on which a run validated, a run says what that fold's tagger said; of others, what its taggers say.
    Left out are documents with number and length, but not the labels, of an essay in the training, and where a run
    lacks folds but validated on some of the documents, all others: it kept nothing of those it only learned from.
    """
    left = list(zip(ensemble.taggers, ensemble.weights, strict=True))
    of_runs: list[Said] = []
    predicted: set[int] = set()
    for run in runs:
        taggers = [left.pop(0) for _ in fold_folders(run)]
        kept, others = _out_of_fold(run, documents)
        weight = sum(share for _, share in taggers)
        of_runs.append({number: weight * scores for number, scores in kept.items()} | _predicted(taggers, others))
        predicted |= {document.document for document in others}
    shown = [document for document in documents if all(document.document in said for said in of_runs)]
    return Unseen(
        predictions=[(document, sum(said[document.document] for said in of_runs)) for document in shown],
        n_predicted=sum(document.document in predicted for document in shown),
        n_left_out=len(documents) - len(shown),
    )


def _out_of_fold(run: str | Path, documents: Sequence[Document]) -> tuple[Said, list[Document]]:
    """What a run kept of documents, and those that it was not trained on."""
    kept = load_folds_out_of_fold(run)
    if kept is None:
        return {}, list(documents)
    said = {document.document: kept.of(document) for document in documents if kept.holds(document)}
    if said and not is_whole(run):
        return said, []
    n_tokens = dict(zip(kept.documents.tolist(), kept.n_tokens.tolist(), strict=True))
    others = [document for document in documents if document.document not in said]
    return said, [document for document in others if n_tokens.get(document.document) != len(document.tokens)]


def _predicted(taggers: Sequence[tuple[Tagger, float]], documents: Sequence[Document]) -> Said:
    """What the taggers of a run say of documents, each by its weight."""
    networks, weights = zip(*taggers, strict=True)
    predictions = predict_documents(networks, documents, weights=weights)
    return {document.document: scores for document, scores in predictions}
