"""Windows to padded tensors, windows of similar length together."""

import random
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Sampler

from pii_kit.pieces import CASINGS
from pii_kit.windows import IGNORED, Window


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
