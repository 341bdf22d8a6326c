"""Documents to overlapping windows of pieces, and what a model says of windows back to tokens. Nothing is lost."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pii_kit.data import Document
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.pieces import CASINGS, PieceTokenizer

IGNORED = -100  # the label id that torch's cross-entropy leaves out
NO_TOKEN = -1
PII_BELOW = 0.9  # a teacher's P(O) below which its token counts as PII when an epoch's windows are chosen


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document that fits the model. Arrays are (piece,), but for `probabilities`.

    `token_index` is the token that begins with this piece, NO_TOKEN for a token's further pieces and for the special
    pieces round the window; `labels` stands on first pieces, IGNORED elsewhere, None for an unlabelled document.
    `probabilities` is what a teacher says of the whole document (token, label), one array for all of its windows.
    """

    document: int
    pieces: np.ndarray
    casing: np.ndarray
    token_index: np.ndarray
    labels: np.ndarray | None
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    def holds_pii(self) -> bool:
        """Whether any token of the window is PII, by its label or else in the teacher's eyes."""
        if self.probabilities is None:
            return self.labels.max() > OUTSIDE_ID
        tokens = self.token_index[self.token_index != NO_TOKEN]
        return self.probabilities[tokens, OUTSIDE_ID].min(initial=1) < PII_BELOW

    def soft_labels(self) -> np.ndarray:
        """Target probabilities (piece, label): the teacher's, or the labels' own; zero where no token begins."""
        begins = self.token_index != NO_TOKEN
        targets = np.zeros((len(self), len(LABELS)), dtype=np.float32)
        if self.probabilities is None:
            targets[begins, self.labels[begins]] = 1
        else:
            targets[begins] = self.probabilities[self.token_index[begins]]
        return targets


def window_spans(n: int, *, size: int, overlap: int, starts: Sequence[int] | None = None) -> list[range]:
    """The windows of n pieces, each of at most `size`; neighbours share `overlap` pieces, or more where tokens end so.

    `starts` are the places where tokens begin (default: everywhere). A window starts and ends between tokens; only a
    token that alone is longer than `size` is cut. Raises ValueError unless 0 ≤ overlap < size.

    >>> window_spans(10, size=4, overlap=1)
    [range(0, 4), range(3, 7), range(6, 10)]
    >>> window_spans(10, size=4, overlap=1, starts=[0, 3, 5, 7, 8])
    [range(0, 3), range(3, 7), range(5, 8), range(7, 10)]
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} pieces cannot overlap by {overlap}")
    edges = [*(range(n) if starts is None else starts), n]
    spans, start = [], 0
    while n:
        fits = edges[bisect_right(edges, start + size) - 1]
        end = fits if fits > start else min(start + size, n)
        spans.append(range(start, end))
        if end == n:
            break
        following = edges[bisect_right(edges, end)]
        # The next window must begin late enough to reach past this one's end, or windows would stop advancing.
        earliest = max(start + 1, following - size)
        if earliest > end or fits <= start:
            start = end
        else:
            wished = edges[bisect_right(edges, max(end - overlap, 0)) - 1]
            start = wished if wished >= earliest else edges[bisect_left(edges, earliest)]
    return spans


def cut_windows(document: Document, tokenizer: PieceTokenizer, *, size: int, overlap: int) -> list[Window]:
    """A document to windows of at most `size` pieces, special pieces (where the tokenizer has them) counted in.

    Each token begins in at least one window. An empty document has no windows.
    """
    cut = tokenizer.cut(document)
    token_index = np.full(len(cut.ids), NO_TOKEN, dtype=np.int32)
    token_index[cut.starts] = np.arange(len(cut.starts), dtype=np.int32)
    labels = None
    if document.labels is not None:
        labels = np.full(len(cut.ids), IGNORED, dtype=np.int64)
        labels[cut.starts] = [LABEL_TO_ID[label] for label in document.labels]
    enclosed = tokenizer.start_id is not None
    spans = window_spans(
        len(cut.ids), size=size - 2 * enclosed, overlap=overlap, starts=sorted({0, *cut.starts.tolist()})
    )

    def part(values: np.ndarray, span: range, before: int, after: int) -> np.ndarray:
        inner = values[span.start : span.stop]
        return np.concatenate([[before], inner, [after]]).astype(values.dtype) if enclosed else inner

    other = CASINGS.index("other")
    return [
        Window(
            document=document.document,
            pieces=part(cut.ids, span, tokenizer.start_id, tokenizer.end_id),
            casing=part(cut.casing, span, other, other),
            token_index=part(token_index, span, NO_TOKEN, NO_TOKEN),
            labels=None if labels is None else part(labels, span, IGNORED, IGNORED),
        )
        for span in spans
    ]


def merge_windows(
    n_tokens: int, windows: Iterable[Window], probabilities: Iterable[np.ndarray], n_labels: int
) -> np.ndarray:
    """Probabilities (piece, label) of a document's windows to (token, label): the mean over each token's windows."""
    total = np.zeros((n_tokens, n_labels))
    count = np.zeros((n_tokens, 1))
    for window, scores in zip(windows, probabilities, strict=True):
        begins = window.token_index != NO_TOKEN
        tokens = window.token_index[begins]
        total[tokens] += scores[begins]
        count[tokens] += 1
    return (total / count).astype(np.float32)
