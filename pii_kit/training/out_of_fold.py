"""Out-of-fold probabilities: kept in the run folder without any text, joined, averaged, and used to weigh runs.

Only tokens that a threshold could label PII are kept (P(O) < KEPT_BELOW): about one in a hundred of a trained tagger.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pii_kit.data import Document
from pii_kit.decide import O_THRESHOLDS, likeliest_pii
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.metrics import row_counts, safe_threshold
from pii_kit.rules import SURE, label_document

KEPT_BELOW = 0.99999
FILE = "out_of_fold.safetensors"


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold probabilities with the true labels: `document`, `token`, `label` (row), `probabilities` (row, label).

    Rows are sorted by document and token. A token without a row is O, and is predicted O. `documents` are all scored
    documents, with or without rows, and `n_tokens` their lengths.
    """

    documents: np.ndarray
    n_tokens: np.ndarray
    document: np.ndarray
    token: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray

    def of(self, document: Document) -> np.ndarray:
        """Return the probabilities (token, label) of a document, with P(O) = 1 where no row is kept."""
        scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
        scores[:, OUTSIDE_ID] = 1
        rows = self._rows(document)
        scores[self.token[rows]] = self.probabilities[rows]
        return scores

    def _rows(self, document: Document) -> slice:
        return slice(*(np.searchsorted(self.document, document.document, side=side) for side in ("left", "right")))

    def holds(self, document: Document) -> bool:
        """Check whether a labelled document was scored: the same number, length and labels.

        The number alone is not enough: made-up documents, for example, are always numbered from the same start.
        """
        place = np.searchsorted(self.documents, document.document)
        if self.documents[place : place + 1].tolist() != [document.document] or document.labels is None:
            return False
        if self.n_tokens[place] != len(document.tokens):
            return False
        labels, rows = np.full(len(document.tokens), OUTSIDE_ID), self._rows(document)
        labels[self.token[rows]] = self.label[rows]
        return labels.tolist() == [LABEL_TO_ID[label] for label in document.labels]


def keep_out_of_fold(predictions: Iterable[tuple[Document, np.ndarray]]) -> OutOfFold:
    """Select what is kept of labelled documents and their probabilities (token, label)."""
    documents, columns = [], []
    for document, scores in sorted(predictions, key=lambda pair: pair[0].document):
        labels = np.array([LABEL_TO_ID[label] for label in document.labels or ()], dtype=np.int8)
        rows = np.flatnonzero((scores[:, OUTSIDE_ID] < KEPT_BELOW) | (labels != OUTSIDE_ID))
        documents.append((document.document, len(document.tokens)))
        columns.append((np.full(len(rows), document.document), rows, labels[rows], scores[rows]))
    numbers, n_tokens = np.array(documents, dtype=np.int64).T
    return OutOfFold(numbers, n_tokens, *(np.concatenate(column) for column in zip(*columns, strict=True)))


def join_out_of_fold(parts: Sequence[OutOfFold]) -> OutOfFold:
    """Join the folds of one run."""
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    rows, documents = np.lexsort((fields["token"], fields["document"])), np.argsort(fields["documents"])
    orders = {name: documents if name in ("documents", "n_tokens") else rows for name in fields}
    return OutOfFold(**{name: array[orders[name]] for name, array in fields.items()})


def average_out_of_fold(members: Sequence[OutOfFold], weights: Sequence[float]) -> OutOfFold:
    """Return the weighted mean of several runs for the same documents.

    Raises:
        KitError: the runs were validated on different documents.
    """
    if any(not np.array_equal(member.documents, members[0].documents) for member in members):
        raise KitError("runs with different validation documents cannot be averaged; train the same folds of each")
    documents = members[0].documents
    # A key is (place of the document, token): document numbers may be too large for half of an integer.
    keys = [(np.searchsorted(documents, member.document) << 32) + member.token for member in members]
    every, first = np.unique(np.concatenate(keys), return_index=True)
    probabilities = np.zeros((len(every), len(LABELS)), dtype=np.float32)
    for member, key, weight in zip(members, keys, weights, strict=True):
        scores = np.zeros_like(probabilities)
        scores[:, OUTSIDE_ID] = 1
        scores[np.searchsorted(every, key)] = member.probabilities
        probabilities += weight * scores
    label = np.concatenate([member.label for member in members])[first]
    return OutOfFold(documents, members[0].n_tokens, documents[every >> 32], every & 0xFFFFFFFF, label, probabilities)


def save_out_of_fold(folder: Path, kept: OutOfFold) -> None:
    """Write into a folder that is saved as a whole (`atomic_folder`)."""
    save_file({name: np.ascontiguousarray(array) for name, array in vars(kept).items()}, folder / FILE)


def load_out_of_fold(folder: Path) -> OutOfFold | None:
    """Read what `save_out_of_fold` wrote; return None if there is no file.

    Raises:
        KitError: the file is damaged.
    """
    if not (folder / FILE).exists():
        return None
    try:
        return OutOfFold(**load_file(folder / FILE))
    except (SafetensorError, TypeError) as error:
        raise KitError(f"{folder / FILE}: cannot be loaded: {error}") from None


VOTES = 10  # of ensemble selection, at most; the weight of a run is its share of them


def choose_weights(
    members: Sequence[OutOfFold], documents: Sequence[Document], rules: Sequence[str]
) -> tuple[list[float], float]:
    """Choose the weights of runs (run, sum 1) and the `safe_threshold`, for the highest out-of-fold F5, rules applied.

    Ensemble selection with replacement (Caruana et al. 2004, section 2.2): each run starts with one vote; in each round
    one more vote goes to the run with which F5, at its best threshold, becomes highest. The best round counts, of
    equally good rounds the first, so the weights are never worse out of fold than equal ones. Each run keeps at least
    one vote, because few documents are too little evidence to drop a run.

    Args:
        members: The out-of-fold probabilities of each run.
        documents: The labelled documents that the runs were trained on; those that every run validated are used.
        rules: Names of rules, as `apply_rules` takes them.

    Raises:
        KitError: no document was validated by every run.
    """
    shared = [document for document in documents if all(member.holds(document) for member in members)]
    if not shared:
        raise KitError(
            f"none of {len(documents)} labelled documents was in a validation fold of every run; "
            "pass the documents that the runs were trained on, or none for equal weights"
        )
    search = _Search(members, shared, rules, {})
    votes = [1] * len(members)
    chosen = (*search.best(votes), votes)
    for _ in range(VOTES - len(members) if len(members) > 1 else 0):
        tries = [[n + (i == place) for i, n in enumerate(votes)] for place in range(len(members))]
        f5, o_threshold, votes = max(((*search.best(votes), votes) for votes in tries), key=lambda found: found[0])
        if f5 > chosen[0]:
            chosen = (f5, o_threshold, votes)
    _, o_threshold, votes = chosen
    return [n / sum(votes) for n in votes], o_threshold


def labels_by_other_folds(
    members: Sequence[OutOfFold], folds: Sequence[Sequence[Document]], rules: Sequence[str]
) -> dict[int, list[str]]:
    """Return labels (token) by document number, of each fold with the weights and the threshold of the other folds.

    Their score is an honest estimate of the runs' average, and of a single run, on new documents: `choose_weights` on
    the scored documents themselves would give a score that is too high. A single fold has no others.
    """
    labels = {}
    for place, fold in enumerate(folds):
        others = [doc for of_other in (*folds[:place], *folds[place + 1 :]) for doc in of_other] or list(fold)
        weights, o_threshold = choose_weights(members, others, rules)
        for document in fold:
            scores = np.sum([weight * of.of(document) for weight, of in zip(weights, members, strict=True)], axis=0)
            labels[document.document] = label_document(document, scores, o_threshold=o_threshold, rules=rules)
    return labels


@dataclass(frozen=True)
class _Search:
    """Scores votes. Rules are slow, so `counted` keeps the counts of labels decided before.

    Its keys are complete: of the probabilities, the rules use no more than whether P(O) < SURE.
    """

    members: Sequence[OutOfFold]
    documents: Sequence[Document]
    rules: Sequence[str]
    counted: dict[tuple[int, bytes, bytes, bytes], tuple[int, int, int]]

    def best(self, votes: Sequence[int]) -> tuple[float, float]:
        """Return the highest F5 of a weighted mean, and its `safe_threshold`."""
        counts = []
        for document in self.documents:
            weighted = [n / sum(votes) * member.of(document) for n, member in zip(votes, self.members, strict=True)]
            scores = np.sum(weighted, axis=0)
            counts.append([self._count(document, scores, o_threshold) for o_threshold in O_THRESHOLDS])
        return safe_threshold(np.array(counts).swapaxes(0, 1))

    def _count(self, document: Document, scores: np.ndarray, o_threshold: float) -> tuple[int, int, int]:
        tokens, found = likeliest_pii(scores, o_threshold=o_threshold)
        sure = scores[tokens, OUTSIDE_ID] < SURE
        key = (document.document, tokens.tobytes(), found.tobytes(), sure.tobytes())
        if key not in self.counted:
            labels = label_document(document, scores, o_threshold=o_threshold, rules=self.rules)
            self.counted[key] = row_counts(document, labels)
        return self.counted[key]
