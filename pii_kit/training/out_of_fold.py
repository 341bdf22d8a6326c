"""Out-of-fold probabilities: kept in the run folder without any text, joined, averaged, and used to choose thresholds.

Only tokens that a threshold could label PII are kept (P(O) < KEPT_BELOW): about one in a hundred of a trained tagger.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pii_kit.decide import O_THRESHOLDS
from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, OUTSIDE_ID
from pii_kit.metrics import Score, counts_by_threshold, row_counts, safe_threshold
from pii_kit.rules import label_document

logger = logging.getLogger(__name__)
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
        return slice(*(np.searchsorted(self.document, document.number, side=side) for side in ("left", "right")))

    def holds(self, document: Document) -> bool:
        """Check whether a labelled document was scored: the same number, length and labels.

        The number alone is not enough: made-up documents, for example, are always numbered from the same start.
        """
        place = np.searchsorted(self.documents, document.number)
        if self.documents[place : place + 1].tolist() != [document.number] or document.labels is None:
            return False
        if self.n_tokens[place] != len(document.tokens):
            return False
        labels, rows = np.full(len(document.tokens), OUTSIDE_ID), self._rows(document)
        labels[self.token[rows]] = self.label[rows]
        return labels.tolist() == [LABEL_TO_ID[label] for label in document.labels]


def keep_out_of_fold(predictions: Iterable[tuple[Document, np.ndarray]]) -> OutOfFold:
    """Select what is kept of labelled documents and their probabilities (token, label)."""
    documents, columns = [], []
    for document, scores in sorted(predictions, key=lambda pair: pair[0].number):
        labels = np.array([LABEL_TO_ID[label] for label in document.labels or ()], dtype=np.int8)
        rows = np.flatnonzero((scores[:, OUTSIDE_ID] < KEPT_BELOW) | (labels != OUTSIDE_ID))
        documents.append((document.number, len(document.tokens)))
        columns.append((np.full(len(rows), document.number), rows, labels[rows], scores[rows]))
    numbers, n_tokens = np.array(documents, dtype=np.int64).T
    return OutOfFold(numbers, n_tokens, *(np.concatenate(column) for column in zip(*columns, strict=True)))


def join_out_of_fold(parts: Sequence[OutOfFold]) -> OutOfFold:
    """Join the folds of one run."""
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    rows, documents = np.lexsort((fields["token"], fields["document"])), np.argsort(fields["documents"])
    orders = {name: documents if name in ("documents", "n_tokens") else rows for name in fields}
    return OutOfFold(**{name: array[orders[name]] for name, array in fields.items()})


def average_out_of_fold(members: Sequence[OutOfFold]) -> OutOfFold:
    """Return the mean of several runs for the same documents.

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
    for member, key in zip(members, keys, strict=True):
        scores = np.zeros_like(probabilities)
        scores[:, OUTSIDE_ID] = 1
        scores[np.searchsorted(every, key)] = member.probabilities
        probabilities += scores / len(members)
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


def choose_threshold(members: Sequence[OutOfFold], documents: Sequence[Document], rules: Sequence[str]) -> float:
    """Choose the `safe_threshold` of the runs' average (all runs alike) for out-of-fold F5, with the rules applied.

    Args:
        members: The out-of-fold probabilities of each run.
        documents: The labelled documents that the runs were trained on; those that every run validated are used.
        rules: Names of rules, as `apply_rules` takes them.

    Raises:
        KitError: no document was validated by every run.
    """
    return _safest([counts_by_threshold(doc, _mean(members, doc), rules=rules) for doc in _shared(members, documents)])


def _shared(members: Sequence[OutOfFold], documents: Sequence[Document]) -> list[Document]:
    shared = [document for document in documents if all(member.holds(document) for member in members)]
    if not shared:
        raise KitError(
            f"none of {len(documents)} labelled documents was in a validation fold of every run; "
            "pass the documents that the runs were trained on, or none for the mean of their thresholds"
        )
    if len(shared) < len(documents):
        counts = f"{len(shared)} of {len(documents)}"
        logger.warning("the threshold is chosen on %s documents; the runs did not validate the others as given", counts)
    return shared


def threshold_for_recall(
    members: Sequence[OutOfFold], documents: Sequence[Document], rules: Sequence[str], recall: float
) -> tuple[float, Score]:
    """Choose the lowest of O_THRESHOLDS at which the runs' average finds this share of the true rows out of fold.

    A row counts as found if its token has any PII label, which is what redaction needs. The arguments are those of
    `choose_threshold`. All types share the threshold, because rare types have too few rows for one of their own.

    Returns:
        The threshold, and the counts of rows found, of other tokens found, and of rows missed.

    Raises:
        KitError: as `choose_threshold`, there are no true rows, or no threshold finds enough of them.
    """
    counts = [
        counts_by_threshold(doc, _mean(members, doc), rules=rules, count=found_counts)
        for doc in _shared(members, documents)
    ]
    o_threshold = _lowest(counts, recall)
    return o_threshold, Score(*np.sum(counts, axis=0)[O_THRESHOLDS.index(o_threshold)].tolist())


def labels_by_other_folds(
    members: Sequence[OutOfFold],
    folds: Sequence[Sequence[Document]],
    rules: Sequence[str],
    *,
    recall: float | None = None,
    by_type: Mapping[str, float] = MappingProxyType({}),
) -> tuple[dict[int, list[str]], float]:
    """Return labels (token) by document number, of each fold with the threshold of the other folds.

    Also return the threshold of all folds, for new documents. A threshold is that of `choose_threshold`, or with a
    `recall` that of `threshold_for_recall`; `by_type` has fixed ones for some PII types. The score of the labels is an
    honest estimate of the runs' average, and of a single run, on new documents: a threshold that was chosen on these
    documents too would score too high. A single fold gets the threshold chosen on itself.

    Raises:
        KitError: no threshold reaches the recall.
    """
    count = row_counts if recall is None else found_counts
    scores = {doc.number: _mean(members, doc) for fold in folds for doc in fold}
    counts = [
        [counts_by_threshold(doc, scores[doc.number], rules=rules, count=count) for doc in fold] for fold in folds
    ]

    def choose(of_documents: Sequence[list[tuple[int, int, int]]]) -> float:
        return _safest(of_documents) if recall is None else _lowest(of_documents, recall)

    labels = {}
    for place, fold in enumerate(folds):
        others = list(chain.from_iterable([*counts[:place], *counts[place + 1 :]]))
        chosen = choose(others or counts[place])
        for doc in fold:
            labels[doc.number] = label_document(
                doc, scores[doc.number], o_threshold=chosen, by_type=by_type, rules=rules
            )
    return labels, choose(list(chain.from_iterable(counts)))


def _mean(members: Sequence[OutOfFold], document: Document) -> np.ndarray:
    return np.mean([member.of(document) for member in members], axis=0)


def _safest(counts: Sequence[Sequence[tuple[int, int, int]]]) -> float:
    """Return the `safe_threshold` of counts (document, threshold, 3)."""
    return safe_threshold(np.array(counts).swapaxes(0, 1))[1]


def _lowest(counts: Sequence[Sequence[tuple[int, int, int]]], recall: float) -> float:
    """Return the lowest threshold that reaches a recall, from counts (document, threshold, 3) of `found_counts`."""
    scores = [Score(*of_threshold) for of_threshold in np.sum(counts, axis=0).tolist()]
    for o_threshold, score in zip(O_THRESHOLDS, scores, strict=True):
        if score.tp and score.recall >= recall:
            return o_threshold
    most, n_rows = max(score.tp for score in scores), scores[0].tp + scores[0].fn
    found = f"at most {most} of {n_rows} rows are found"
    raise KitError(f"a recall of {recall:g} cannot be reached: {found}; ask for less, or train on more essays")


def found_counts(document: Document, labels: Sequence[str]) -> tuple[int, int, int]:
    """Return how many true rows of a document have any PII label, how many other tokens have one, and missed rows."""
    both = zip(true_labels(document), labels, strict=True)
    pairs = Counter((true != OUTSIDE, label != OUTSIDE) for true, label in both)
    return pairs[True, True], pairs[False, True], pairs[True, False]
