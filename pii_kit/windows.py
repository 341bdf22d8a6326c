"""Cut documents into overlapping windows, collate them, and merge window predictions into token probabilities."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pii_kit.documents import Document
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.lexicon import NO_WORD
from pii_kit.pieces import PieceTokenizer

IGNORED = -100  # the label id that torch's cross-entropy ignores
NO_TOKEN = -1
PII_BELOW = 0.9  # a token with a teacher's P(O) below this counts as PII when an epoch's windows are chosen


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document that fits the model. Arrays are (piece,), except `probabilities`.

    `token_index` is the token that starts with the piece, or NO_TOKEN. `labels` are label ids on the first piece of
    each token, IGNORED elsewhere; None if the document is unlabelled. `probabilities` (token, label) are a teacher's
    for the whole document.
    """

    document: int
    pieces: np.ndarray
    features: np.ndarray
    token_index: np.ndarray
    labels: np.ndarray | None
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    def holds_pii(self) -> bool:
        """Check whether a token of the window is PII by the teacher's probabilities or, without them, by its label."""
        if self.probabilities is None:
            return self.labels is not None and bool(self.labels.max() > OUTSIDE_ID)
        tokens = self.token_index[self.token_index != NO_TOKEN]
        return bool(self.probabilities[tokens, OUTSIDE_ID].min(initial=1) < PII_BELOW)

    def soft_labels(self) -> np.ndarray:
        """Return target probabilities (piece, label) from teacher or labels; zero where no token starts."""
        starts = self.token_index != NO_TOKEN
        targets = np.zeros((len(self), len(LABELS)), dtype=np.float32)
        if self.probabilities is not None:
            targets[starts] = self.probabilities[self.token_index[starts]]
        elif self.labels is not None:
            targets[starts, self.labels[starts]] = 1
        return targets


def window_spans(n: int, *, size: int, overlap: int, starts: Sequence[int]) -> list[range]:
    """Return the windows of n pieces, each at most `size` long. Neighbours share at least `overlap` pieces if they can.

    Windows start and end between tokens, which begin at `starts`. Only a token that is longer than `size` is cut.

    >>> window_spans(10, size=4, overlap=1, starts=[0, 3, 5, 7, 8])
    [range(0, 3), range(3, 7), range(5, 8), range(7, 10)]
    """
    assert 0 <= overlap < size, f"windows of {size} pieces cannot overlap by {overlap}"
    edges = [*starts, n]
    spans, start = [], 0
    while n:
        fits = edges[bisect_right(edges, start + size) - 1]
        end = fits if fits > start else min(start + size, n)
        spans.append(range(start, end))
        if end == n:
            break
        following = edges[bisect_right(edges, end)]
        # The next window must reach further than this one, or the loop would not end.
        earliest = max(start + 1, following - size)
        if earliest > end or fits <= start:
            start = end
        else:
            wished = edges[bisect_right(edges, max(end - overlap, 0)) - 1]
            start = wished if wished >= earliest else edges[bisect_left(edges, earliest)]
    return spans


def cut_windows(document: Document, tokenizer: PieceTokenizer, *, size: int, overlap: int) -> list[Window]:
    """Cut a document into windows of at most `size` pieces, including [CLS] and [SEP] where the tokenizer has them.

    Each token starts in at least one window. An empty document has no windows.
    """
    cut = tokenizer.cut(document)
    token_index = np.full(len(cut.ids), NO_TOKEN, dtype=np.int32)
    token_index[cut.starts] = np.arange(len(cut.starts), dtype=np.int32)
    labels = None
    if document.labels is not None:
        labels = np.full(len(cut.ids), IGNORED, dtype=np.int64)
        labels[cut.starts] = [LABEL_TO_ID[label] for label in document.labels]
    ends = tokenizer.window_ends
    edges = np.union1d(0, cut.starts).tolist()
    spans = window_spans(len(cut.ids), size=size - 2 if ends else size, overlap=overlap, starts=edges)

    def part(values: np.ndarray, span: range, around: Sequence) -> np.ndarray:
        inner = values[span.start : span.stop]
        return np.concatenate([around[:1], inner, around[1:]], dtype=values.dtype) if ends else inner

    return [
        Window(
            document=document.number,
            pieces=part(cut.ids, span, ends or ()),
            features=part(cut.features, span, [NO_WORD] * 2),
            token_index=part(token_index, span, [NO_TOKEN] * 2),
            labels=None if labels is None else part(labels, span, [IGNORED] * 2),
        )
        for span in spans
    ]


def merge_windows(
    n_tokens: int, windows: Iterable[Window], probabilities: Iterable[np.ndarray], n_labels: int
) -> np.ndarray:
    """Merge probabilities (piece, label) of a document's windows into (token, label): the mean over windows."""
    total = np.zeros((n_tokens, n_labels))
    count = np.zeros((n_tokens, 1))
    for window, scores in zip(windows, probabilities, strict=True):
        starts = window.token_index != NO_TOKEN
        tokens = window.token_index[starts]
        total[tokens] += scores[starts]
        count[tokens] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def similar_length_batches(lengths: Sequence[int], batch_pieces: int) -> list[list[int]]:
    """Return batches of indices, longest first: at most `batch_pieces` pieces with padding, or one window.

    >>> similar_length_batches([3, 8, 4, 7], 16)
    [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_pieces:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def collate(windows: Sequence[Window], *, pad_id: int) -> dict[str, np.ndarray]:
    """Make a batch: input_ids, attention_mask and labels (batch, piece), feature_ids (batch, piece, feature).

    Padding comes last in each row. If a window has a teacher's probabilities, labels are target probabilities
    (batch, piece, label), zero where no token starts.
    """
    lengths = np.array(list(map(len, windows)))

    def padded(arrays: Sequence[np.ndarray], value: int, dtype: type = np.int64) -> np.ndarray:
        batch = np.full((len(arrays), lengths.max(), *arrays[0].shape[1:]), value, dtype=dtype)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch

    batch = {
        "input_ids": padded([window.pieces for window in windows], pad_id),
        "attention_mask": (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64),
        "feature_ids": padded([window.features for window in windows], 0),
    }
    labels = [window.labels for window in windows if window.labels is not None]
    if any(window.probabilities is not None for window in windows):
        batch["labels"] = padded([window.soft_labels() for window in windows], 0, np.float32)
    elif len(labels) == len(windows):
        batch["labels"] = padded(labels, IGNORED)
    return batch
