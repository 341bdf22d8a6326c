"""Documents to overlapping windows and batches, and window predictions back to tokens. Nothing is lost."""

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


def collate(windows: Sequence[Window], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Windows to input_ids, attention_mask, casing_ids and, where they are labelled, labels: each (batch, piece).

    Padding comes last in each row. Where a teacher labelled one of the windows, labels are probabilities
    (batch, piece, label), zero on pieces that have none.
    """

    def padded(arrays, value: int) -> torch.Tensor:
        return pad_sequence([torch.from_numpy(array).long() for array in arrays], batch_first=True, padding_value=value)

    lengths = torch.tensor([len(window) for window in windows])
    batch = {
        "input_ids": padded([window.pieces for window in windows], pad_id),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        "casing_ids": padded([window.casing for window in windows], CASINGS.index("other")),
    }
    if any(window.probabilities is not None for window in windows):
        targets = [torch.from_numpy(window.soft_labels()) for window in windows]
        batch["labels"] = pad_sequence(targets, batch_first=True)  # (batch, piece, label)
    elif all(window.labels is not None for window in windows):
        batch["labels"] = padded([window.labels for window in windows], IGNORED)
    return batch


def hide_pieces(batch: dict[str, torch.Tensor], *, share: float, mask_id: int) -> dict[str, torch.Tensor]:
    """The batch with a random `share` of its pieces replaced by `mask_id`, so that a model must look at what is around.

    How a token is written (casing_ids) stays visible. Words learned by heart are what a model falls for on few essays.
    """
    hidden = torch.rand(batch["input_ids"].shape, device=batch["input_ids"].device) < share
    return {**batch, "input_ids": batch["input_ids"].masked_fill(hidden, mask_id)}


class SimilarLengthBatches(Sampler[list[int]]):
    """Batches of indices, drawn and shuffled anew each epoch, in which lengths are alike: little is spent on padding.

    An epoch takes every index but the `optional` ones, and of those a random `share`. Indices are shuffled, sorted by
    length within pools of 32 batches, cut into batches, and the batches shuffled. All of it depends on `seed` and epoch
    alone, so a resumed run finds its place again. The first `take` fixes how many indices each epoch has, so that
    schedules can be laid out though each epoch may bring other windows. With `whole` some windows are taken twice, so
    that every batch has `batch_size` of them.
    """

    POOL = 32

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        optional: Sequence[int] = (),
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
        """Other windows from now on: their lengths, and which of them are optional."""
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


def batch_loader(
    windows: Sequence[Window], batches: SimilarLengthBatches, *, pad_id: int, seed: int
) -> DataLoader[dict[str, torch.Tensor]]:
    """The windows as `batches` orders them, collated. Its own generator leaves alone the random state of dropout."""
    return DataLoader(
        windows,
        batch_sampler=batches,
        collate_fn=partial(collate, pad_id=pad_id),
        generator=torch.Generator().manual_seed(seed),
    )


class EpochWindows(Dataset):
    """The windows that a tagger learns from in one epoch; `make` cuts those of another one.

    `documents_of` maps an epoch to its labelled documents. `taught` are documents with a teacher's probabilities (token,
    label): their windows come last and stay the same.
    """

    def __init__(
        self,
        documents_of: Callable[[int], Sequence[Document]],
        cut: Callable[[Document], list[Window]],
        taught: Iterable[tuple[Document, np.ndarray]] = (),
    ):
        self.documents_of, self.cut = documents_of, cut
        self.taught = [
            replace(window, labels=None, probabilities=probabilities)
            for document, probabilities in taught
            for window in cut(document)
        ]
        self.windows: list[Window] = []
        self.make(0)

    def make(self, epoch: int) -> None:
        """Cut the windows of an epoch. Raises KitError if there are none."""
        self.windows = [window for document in self.documents_of(epoch) for window in self.cut(document)] + self.taught
        if not self.windows:
            raise KitError("the training documents hold no tokens")

    def lengths_and_empty(self) -> tuple[list[int], list[int]]:
        """The windows' lengths, and the indices of those without PII."""
        empty = [index for index, window in enumerate(self.windows) if not window.holds_pii()]
        return list(map(len, self.windows)), empty

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return self.windows[index]
