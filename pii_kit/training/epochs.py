"""What one epoch of training reads: augmented documents, their windows and batches, and what is hidden in them."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pii_kit.augment import augment
from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.lexicon import OFFSETS
from pii_kit.training.settings import TrainConfig
from pii_kit.windows import IGNORED, Window, collate


def documents_of_epoch(
    training: Sequence[Document], extra: Sequence[Document], config: TrainConfig, epoch: int
) -> list[Document]:
    """Return the documents of an epoch, augmented if asked for: all of `training`, and a random part of `extra`.

    Documents of `extra` are drawn until they make up `extra_share` of the epoch's tokens, or all are drawn.
    """
    chosen = list(training)
    budget = config.extra_share / (1 - config.extra_share) * sum(len(document.tokens) for document in training)
    for document in random.Random(f"{config.seed} {epoch} extra").sample(extra, len(extra)):
        if len(document.tokens) <= budget:
            budget -= len(document.tokens)
            chosen.append(document)
    return augment(chosen, config.augment, seed=config.seed, epoch=epoch) if config.augment else chosen


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


def targets_of_epoch(
    training: Sequence[Document],
    extra: Sequence[Document],
    variants: Sequence[Sequence[tuple[Document, np.ndarray]]],
    config: TrainConfig,
    epoch: int,
) -> Sequence[tuple[Document, np.ndarray | None]]:
    """Return the documents of an epoch with target probabilities (token, label); None stands for their labels.

    With a teacher's `variants` these are taken in turn.
    """
    if variants:
        return variants[epoch % len(variants)]
    return [(document, None) for document in documents_of_epoch(training, extra, config, epoch)]


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
    make = partial(tensors_of, pad_id=pad_id)
    return DataLoader(windows, batch_sampler=batches, collate_fn=make, generator=generator)


def tensors_of(windows: Sequence[Window], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Return a batch of `windows.collate` as tensors."""
    return {name: torch.from_numpy(array) for name, array in collate(windows, pad_id=pad_id).items()}


@dataclass(frozen=True)
class _Epochs(Dataset[list[Window]]):
    """The windows of each epoch, made when they are asked for."""

    targets_of: Callable[[int], Sequence[tuple[Document, np.ndarray | None]]]
    cut: Callable[[Document], list[Window]]

    def __getitem__(self, epoch: int) -> list[Window]:
        return [
            replace(window, probabilities=probabilities)
            for document, probabilities in self.targets_of(epoch)
            for window in self.cut(document)
        ]


class EpochWindows(Dataset[Window]):
    """The training windows of one epoch; `make` replaces them by those of another.

    `targets_of` maps an epoch to its labelled documents, each with target probabilities (token, label) or None for its
    labels. `taught` are more documents with probabilities; their windows come last and are the same in each epoch. If
    `ahead`, another process makes the windows of the next epoch meanwhile, so that a GPU need not wait for them.
    """

    def __init__(
        self,
        targets_of: Callable[[int], Sequence[tuple[Document, np.ndarray | None]]],
        cut: Callable[[Document], list[Window]],
        taught: Iterable[tuple[Document, np.ndarray]] = (),
        *,
        n_epochs: int = 1,
        ahead: bool = False,
    ):
        self.every, self.n_epochs, self.ahead = _Epochs(targets_of, cut), n_epochs, ahead
        self.taught = [
            replace(window, labels=None, probabilities=probabilities)
            for document, probabilities in taught
            for window in cut(document)
        ]
        self.following: Iterator[list[Window]] | None = None
        self._take(self.every[0])

    def make(self, epoch: int) -> None:
        """Take the windows of an epoch: of any epoch in the first call, of the next one in each later call.

        Raises KitError if there are none.
        """
        if self.following is None:
            self.following = iter(self._loader(range(max(epoch, 1), self.n_epochs)))
        if epoch:
            self._take(next(self.following))

    def _loader(self, epochs: range) -> DataLoader:
        settings: dict[str, Any] = {"batch_size": None, "collate_fn": list}
        settings["generator"] = torch.Generator()  # without its own, a loader changes torch's random state
        if self.ahead:  # a forked process could hang in threads of the tokenizer
            settings |= {"num_workers": 1, "prefetch_factor": 1, "multiprocessing_context": "spawn"}
        return DataLoader(self.every, sampler=epochs, **settings)

    def _take(self, windows: list[Window]) -> None:
        self.windows = windows + self.taught
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
