"""Cut documents into overlapping windows, batch them, and merge window predictions into token probabilities."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from pii_kit.data import Document
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.lexicon import NO_WORD, OFFSETS
from pii_kit.pieces import PieceTokenizer

IGNORED = -100  # the label id that torch's cross-entropy ignores
NO_TOKEN = -1
PII_BELOW = 0.9  # a token with a teacher's P(O) below this counts as PII when an epoch's windows are chosen


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document that fits the model. Arrays are (piece,), except `probabilities`.

    `token_index` is the token that starts with the piece; NO_TOKEN on its other pieces and on special pieces. `labels`
    are label ids on the first piece of each token, IGNORED elsewhere; None if the document is unlabelled.
    `probabilities` are a teacher's for the whole document (token, label); its windows share the array.
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


def window_spans(n: int, *, size: int, overlap: int, starts: Sequence[int] | None = None) -> list[range]:
    """Return the windows of n pieces, each at most `size` long. Neighbours share at least `overlap` pieces if they can.

    Windows start and end between tokens, which begin at `starts` (default: at each piece). Only a token that is longer
    than `size` is cut.

    Raises:
        ValueError: `overlap` is negative or not below `size`.

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
    inner_size = size - 2 if ends else size
    spans = window_spans(len(cut.ids), size=inner_size, overlap=overlap, starts=sorted({0, *cut.starts.tolist()}))

    def part(values: np.ndarray, span: range, around: Sequence) -> np.ndarray:
        inner = values[span.start : span.stop]
        return np.concatenate([around[:1], inner, around[1:]]).astype(values.dtype) if ends else inner

    return [
        Window(
            document=document.document,
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
    return (total / count).astype(np.float32)


def collate(windows: Sequence[Window], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Make a batch: input_ids, attention_mask and labels (batch, piece), feature_ids (batch, piece, feature).

    Padding comes last in each row. If a window has a teacher's probabilities, labels are target probabilities
    (batch, piece, label), zero where no token starts.
    """

    def padded(arrays, value: int) -> torch.Tensor:
        return pad_sequence([torch.from_numpy(array).long() for array in arrays], batch_first=True, padding_value=value)

    lengths = torch.tensor([len(window) for window in windows])
    batch = {
        "input_ids": padded([window.pieces for window in windows], pad_id),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        "feature_ids": padded([window.features for window in windows], 0),
    }
    if any(window.probabilities is not None for window in windows):
        targets = [torch.from_numpy(window.soft_labels()) for window in windows]
        batch["labels"] = pad_sequence(targets, batch_first=True)  # (batch, piece, label)
    else:
        labels = [window.labels for window in windows if window.labels is not None]
        if len(labels) == len(windows):
            batch["labels"] = padded(labels, IGNORED)
    return batch


def hide_pieces(batch: dict[str, torch.Tensor], *, share: float, mask_id: int) -> dict[str, torch.Tensor]:
    """Replace a random `share` of a batch's pieces by `mask_id`; feature_ids stay.

    A model trained on few documents memorizes words. With hidden pieces it has to use the context.
    """
    hidden = torch.rand(batch["input_ids"].shape, device=batch["input_ids"].device) < share
    return {**batch, "input_ids": batch["input_ids"].masked_fill(hidden, mask_id)}


def hide_lists(batch: dict[str, torch.Tensor], labels: torch.Tensor, *, share: float) -> dict[str, torch.Tensor]:
    """Make a random `share` of the tokens unknown to each list of the lexicon; casing stays.

    Names that are planted for training may be in the lists more often than those of new students.
    """
    starts = labels.sum(-1) > 0 if labels.is_floating_point() else labels != IGNORED
    token = starts.cumsum(1)
    n_lists = len(OFFSETS) - 1
    hidden = torch.rand((*token.shape, n_lists), device=token.device) < share
    hidden = hidden.gather(1, token.clamp(max=token.shape[1] - 1)[..., None].expand(-1, -1, n_lists))
    unknown = torch.tensor(OFFSETS[1:], device=token.device)
    features = batch["feature_ids"]
    lists = torch.where(hidden, unknown, features[..., 1:])
    return {**batch, "feature_ids": torch.cat([features[..., :1], lists], dim=-1)}


class SimilarLengthBatches(Sampler[list[int]]):
    """Sample batches of windows of similar length, shuffled in each epoch, so that there is little padding.

    An epoch takes every index that is not in `optional`, and a random `share` of the optional ones. Indices are
    shuffled, sorted by length within pools of 32 batches, and cut into batches, which are shuffled. The result depends
    only on `seed` and the epoch, so that a resumed run continues identically. Each epoch has the number of indices that
    the first call of `take` set, although its windows may differ: learning rate schedules need that number. If
    `whole`, every batch has `batch_size` windows; some windows are then taken twice.
    """

    POOL = 32

    def __init__(
        self,
        lengths: Sequence[int],
        optional: Sequence[int] = (),
        *,
        batch_size: int,
        seed: int,
        share: float = 1.0,
        whole: bool = False,
    ):
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.take(lengths, optional)
        self.size = len(self.required) + max(round(share * len(optional)), 0 if self.required else 1)
        if whole:
            self.size = -(-self.size // batch_size) * batch_size

    def take(self, lengths: Sequence[int], optional: Sequence[int] = ()) -> None:
        """Set the windows of the next epochs: their lengths, and which of them are optional."""
        self.lengths = lengths
        self.optional = sorted(optional)
        self.required = sorted(set(range(len(lengths))) - set(optional))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self.seed} {self.epoch}")
        order = self.required if len(self.required) <= self.size else rng.sample(self.required, self.size)
        order = order + rng.sample(self.optional, min(self.size - len(order), len(self.optional)))
        order += rng.choices(range(len(self.lengths)), k=self.size - len(order))
        rng.shuffle(order)
        pool_size = self.POOL * self.batch_size
        pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
        order = [index for pool in pools for index in sorted(pool, key=self.lengths.__getitem__)]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        rng.shuffle(batches)
        return iter(batches)


def batch_loader(windows: Dataset[Window], batches: SimilarLengthBatches, *, pad_id: int, seed: int) -> DataLoader:
    """Return a loader of the collated `batches`. It has its own generator and does not change torch's random state."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(windows, batch_sampler=batches, collate_fn=partial(collate, pad_id=pad_id), generator=generator)


class EpochWindows(Dataset[Window]):
    """The training windows of one epoch; `make` replaces them by those of another.

    `targets_of` maps an epoch to its labelled documents, each with target probabilities (token, label) or None for its
    labels. `taught` are more documents with probabilities; their windows come last and are the same in each epoch.
    """

    def __init__(
        self,
        targets_of: Callable[[int], Sequence[tuple[Document, np.ndarray | None]]],
        cut: Callable[[Document], list[Window]],
        taught: Iterable[tuple[Document, np.ndarray]] = (),
    ):
        self.targets_of, self.cut = targets_of, cut
        self.taught = [
            replace(window, labels=None, probabilities=probabilities)
            for document, probabilities in taught
            for window in cut(document)
        ]
        self.make(0)

    def make(self, epoch: int) -> None:
        """Cut the windows of an epoch. Raise KitError if there are none."""
        self.windows = [
            replace(window, probabilities=probabilities)
            for document, probabilities in self.targets_of(epoch)
            for window in self.cut(document)
        ]
        self.windows += self.taught
        if not self.windows:
            raise KitError("the training documents hold no tokens; expected at least one document with tokens")

    def lengths_and_empty(self) -> tuple[list[int], list[int]]:
        """Return the lengths of the windows and the indices of those without PII."""
        empty = [index for index, window in enumerate(self.windows) if not window.holds_pii()]
        return list(map(len, self.windows)), empty

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return self.windows[index]
