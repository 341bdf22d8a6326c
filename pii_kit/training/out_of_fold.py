"""Probabilities for documents that a model was not trained on, kept in its run folder without any text.

Only tokens that any cut-off could make PII are kept (P(O) < KEPT_BELOW), which is one in a hundred.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pii_kit.data import Document
from pii_kit.decide import O_THRESHOLDS, likeliest_pii
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID, PII_TYPES
from pii_kit.metrics import Score

KEPT_BELOW = 0.99999
UNKNOWN = -1
FILE = "out_of_fold.safetensors"
TYPE_IDS = np.array([0, *(1 + place for place in range(len(PII_TYPES)) for _ in "BI")])  # of each label; 0 is O
IS_INSIDE = np.array([label.startswith("I-") for label in LABELS])


@dataclass(frozen=True)
class OutOfFold:
    """Documents' tokens with their true labels: `document`, `token`, `label` (row), `probabilities` (row, label).

    Sorted by document and token. Tokens without a row are O, truly and in all likelihood. `documents` are all those
    that were scored, with or without rows, and `n_tokens` their lengths (UNKNOWN in files that do not say).
    """

    documents: np.ndarray
    n_tokens: np.ndarray
    document: np.ndarray
    token: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray

    def of(self, document: Document) -> np.ndarray:
        """A document's probabilities (token, label), with P(O) = 1 where no row is kept."""
        scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
        scores[:, OUTSIDE_ID] = 1
        rows = self._rows(document)
        scores[self.token[rows]] = self.probabilities[rows]
        return scores

    def _rows(self, document: Document) -> slice:
        return slice(*(np.searchsorted(self.document, document.document, side=side) for side in ("left", "right")))

    def holds(self, document: Document) -> bool:
        """Whether a labelled document was scored: one of its number, its length and its labels.

        A number alone says little: made-up essays, for one, are always numbered from the same one up.
        """
        place = np.searchsorted(self.documents, document.document)
        if self.documents[place : place + 1].tolist() != [document.document]:
            return False
        rows, n_tokens = self._rows(document), len(document.tokens)
        if self.n_tokens[place] not in (UNKNOWN, n_tokens) or (self.token[rows] >= n_tokens).any():
            return False
        labels = np.full(n_tokens, OUTSIDE_ID)
        labels[self.token[rows]] = self.label[rows]
        return [LABELS[label] for label in labels] == list(document.labels)


def keep_out_of_fold(predictions: Iterable[tuple[Document, np.ndarray]]) -> OutOfFold:
    """Labelled documents with their probabilities (token, label) to what is kept of them."""
    columns: list[tuple] = []
    documents = []
    for document, scores in sorted(predictions, key=lambda pair: pair[0].document):
        labels = np.array([LABEL_TO_ID[label] for label in document.labels], dtype=np.int8)
        rows = np.flatnonzero((scores[:, OUTSIDE_ID] < KEPT_BELOW) | (labels != OUTSIDE_ID))
        documents.append((document.document, len(document.tokens)))
        columns.append((np.full(len(rows), document.document), rows, labels[rows], scores[rows]))
    document, token, label, probabilities = (np.concatenate(column) for column in zip(*columns, strict=True))
    return OutOfFold(*np.array(documents, dtype=np.int64).T, document, token, label, probabilities)


def join_out_of_fold(parts: Sequence[OutOfFold]) -> OutOfFold:
    """Several folds' to one."""
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    of_rows, of_documents = np.lexsort((fields["token"], fields["document"])), np.argsort(fields["documents"])
    return OutOfFold(
        **{name: fields.pop(name)[of_documents] for name in ("documents", "n_tokens")},
        **{name: array[of_rows] for name, array in fields.items()},
    )


def average_out_of_fold(members: Sequence[OutOfFold], weights: Sequence[float]) -> OutOfFold:
    """Several models' of the same documents to their weighted mean. Raises ValueError if the documents differ."""
    if any(not np.array_equal(member.documents, members[0].documents) for member in members):
        raise ValueError("out-of-fold probabilities of different documents cannot be averaged")
    documents = members[0].documents
    # A row's document by its place, as numbers may be too large for half of a key.
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


def score_out_of_fold(kept: OutOfFold, *, o_threshold: float) -> Score:
    """The score of `decide`'s labels, without rules: fast enough to try many cut-offs and weights."""
    rows, found = likeliest_pii(kept.probabilities, o_threshold=o_threshold)
    kind = TYPE_IDS[found]
    follows = np.zeros(len(rows), dtype=bool)
    follows[1:] = (
        (kept.document[rows][1:] == kept.document[rows][:-1])
        & (kept.token[rows][1:] == kept.token[rows][:-1] + 1)
        & (kind[1:] == kind[:-1])
    )
    found = np.where(IS_INSIDE[found] & ~follows, found - 1, found)  # BIO repair: B- stands just before its I-
    tp = int((found == kept.label[rows]).sum())
    return Score(tp=tp, fp=len(rows) - tp, fn=int((kept.label != OUTSIDE_ID).sum()) - tp)


def save_out_of_fold(folder: Path, kept: OutOfFold) -> None:
    """Into a folder that is being written as a whole."""
    save_file({name: np.ascontiguousarray(array) for name, array in vars(kept).items()}, folder / FILE)


def load_out_of_fold(folder: Path) -> OutOfFold | None:
    """What `save_out_of_fold` wrote; None where it wrote nothing. Raises KitError if it is damaged."""
    if not (folder / FILE).exists():
        return None
    try:
        arrays: Mapping[str, np.ndarray] = load_file(folder / FILE)
        return OutOfFold(**{"n_tokens": np.full_like(arrays.get("documents", []), UNKNOWN), **arrays})
    except (SafetensorError, TypeError) as error:
        raise KitError(f"{folder / FILE}: cannot be loaded: {error}") from None


VOTES = 10  # of ensemble selection, at most; a run's weight is its share of them


def choose_weights(
    members: Sequence[OutOfFold], documents: Sequence[Document] = (), rules: Sequence[str] = ()
) -> tuple[list[float], float]:
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
