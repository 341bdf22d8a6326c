"""What an epoch of training reads: augmented documents, a teacher's targets, windows and batches, and what is hidden.

A student learns from a teacher's predictions on unlabelled documents (distillation, arXiv 1503.02531), without the
paper's temperature: the mean of several taggers is soft already.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from pii_kit.augment import augment
from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.lexicon import OFFSETS
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import Tagger
from pii_kit.settings import TrainSettings
from pii_kit.windows import IGNORED, Window, cut_windows

THREAD = ThreadPoolExecutor(1)
TARGETS = "taught.safetensors"  # in the run folder, until the run is finished
POOL = 32  # batches among whose windows those of similar length are put together


def documents_of_epoch(
    training: Sequence[Document], extra: Sequence[Document], settings: TrainSettings, epoch: int
) -> list[Document]:
    """Return the documents of an epoch, augmented if asked for: all of `training`, and a random part of `extra`.

    Documents of `extra` are drawn until they make up `extra_share` of the epoch's tokens, or all are drawn.
    """
    chosen = list(training)
    budget = settings.extra_share / (1 - settings.extra_share) * sum(len(document.tokens) for document in training)
    for document in random.Random(f"{settings.seed} {epoch} extra").sample(extra, len(extra)):
        if len(document.tokens) <= budget:
            budget -= len(document.tokens)
            chosen.append(document)
    return augment(chosen, settings.augment, seed=settings.seed, epoch=epoch) if settings.augment else chosen


def teachable(unlabelled: Sequence[Document], labelled: Sequence[Document]) -> list[Document]:
    """Leave out empty documents, and labelled ones, whose labels a teacher may know and pass on.

    Raises:
        KitError: no document is left.
    """
    known = {document.tokens for document in labelled}
    left = [document for document in unlabelled if document.tokens and document.tokens not in known]
    if unlabelled and not left:
        raise KitError(f"all {len(unlabelled)} unlabelled documents are empty or also labelled; add others")
    return left


def write_targets(
    run: Path, teachers: Sequence[str | Path], documents: Sequence[Document], *, device: str, report: Callable
) -> None:
    """Predict documents with the mean of the teachers, and keep the probabilities in a run folder, without text."""
    tagger = Tagger.load(*teachers, engine="torch", devices=[device])
    predicted = []
    for _, probabilities in tagger.predict(documents):
        predicted.append(probabilities)
        report(1)
    partial = run / f".{TARGETS}.partial"
    save_file({"probabilities": np.concatenate(predicted)}, partial)
    partial.replace(run / TARGETS)


def read_targets(run: Path, documents: Sequence[Document]) -> list[tuple[Document, np.ndarray]]:
    """Return documents with the probabilities (token, label) that `write_targets` kept."""
    if not documents:
        return []
    ends = np.cumsum([len(document.tokens) for document in documents])
    return list(zip(documents, np.split(load_file(run / TARGETS)["probabilities"], ends[:-1]), strict=True))


def label_counts(documents: Sequence[Document], taught: Sequence[tuple[Document, np.ndarray]]) -> np.ndarray:
    """Return the number of tokens (label) of all documents that are trained on; a teacher's probabilities are added."""
    counter = Counter(label for document in documents for label in document.labels or ())
    counts = np.array([counter[label] for label in LABELS], dtype=float)
    return counts + sum(probabilities.sum(0, dtype=float) for _, probabilities in taught)


@dataclass
class EpochMaker:
    """Makes the windows and batches of each epoch; they depend only on the epoch and the settings.

    `taught` are documents with a teacher's probabilities (token, label), whose windows are the same in each epoch. If
    `ahead`, a thread makes the windows of the next epoch meanwhile, so that a GPU need not wait for them.
    """

    training: Sequence[Document]
    extra: Sequence[Document]
    taught: Sequence[tuple[Document, np.ndarray]]
    settings: TrainSettings
    tokenizer: PieceTokenizer
    ahead: bool = False
    _coming: Future[list[Window]] | None = None

    def take(self, epoch: int) -> list[Window]:
        """Return the windows of an epoch: of any in the first call, of the next one in each later call."""
        windows = self._coming.result() if self._coming else self.windows(epoch)
        if self.ahead and epoch + 1 < self.settings.epochs:
            self._coming = THREAD.submit(self.windows, epoch + 1)
        return windows

    def windows(self, epoch: int) -> list[Window]:
        """Return the windows of an epoch. Raises KitError if there are none."""
        sizes = {"size": self.settings.window_size, "overlap": self.settings.overlap}
        made = documents_of_epoch(self.training, self.extra, self.settings, epoch)
        windows = [window for document in made for window in cut_windows(document, self.tokenizer, **sizes)]
        for document, probabilities in self.taught:
            taught = cut_windows(document, self.tokenizer, **sizes)
            windows += [replace(window, labels=None, probabilities=probabilities) for window in taught]
        if not windows:
            raise KitError("the training documents hold no tokens; expected at least one document with tokens")
        return windows

    def size(self, windows: Sequence[Window]) -> int:
        """Return how many of its windows an epoch takes: all with PII, and `empty_share` of the others."""
        n_empty = sum(not window.holds_pii() for window in windows)
        return max(len(windows) - n_empty + round(self.settings.empty_share * n_empty), 1)

    def batches(self, windows: Sequence[Window], epoch: int, size: int) -> list[list[int]]:
        """Return batches of indices of windows of similar length, so that there is little padding.

        They hold `size` windows, those with PII first, whatever the epoch has: the learning rate schedule needs a fixed
        number of batches. Windows are shuffled, sorted by length within pools of POOL batches, and cut into batches,
        which are shuffled.
        """
        rng, batch_size = random.Random(f"{self.settings.seed} {epoch}"), self.settings.batch_size
        required = [index for index, window in enumerate(windows) if window.holds_pii()]
        optional = sorted(set(range(len(windows))) - set(required))
        order = required if len(required) <= size else rng.sample(required, size)
        order = order + rng.sample(optional, min(size - len(order), len(optional)))
        order += rng.choices(range(len(windows)), k=size - len(order))
        rng.shuffle(order)
        pools = [order[start : start + POOL * batch_size] for start in range(0, size, POOL * batch_size)]
        order = [index for pool in pools for index in sorted(pool, key=lambda index: len(windows[index]))]
        batches = [order[start : start + batch_size] for start in range(0, size, batch_size)]
        rng.shuffle(batches)
        return batches


def hide(
    batch: dict[str, torch.Tensor], labels: torch.Tensor, settings: TrainSettings, *, mask_id: int
) -> dict[str, torch.Tensor]:
    """Mask a random `hidden_share` of a batch's pieces and, for each list of the lexicon, `hidden_lists` of its tokens.

    A model trained on few documents memorizes words; with hidden pieces it has to use the context. Names that are
    planted for training may be in the lists more often than those of new students. Casing stays.
    """
    pieces, features = batch["input_ids"], batch["feature_ids"]
    is_hidden = torch.rand(pieces.shape, device=pieces.device) < settings.hidden_share
    starts = labels.sum(-1) > 0 if labels.is_floating_point() else labels != IGNORED
    token = starts.cumsum(1)  # all pieces of a token are hidden from a list, or none
    unknown = torch.tensor(OFFSETS[1:], device=pieces.device)
    draws = torch.rand((*token.shape, len(unknown)), device=pieces.device) < settings.hidden_lists
    draws = draws.gather(1, token.clamp(max=token.shape[1] - 1)[..., None].expand_as(draws))
    lists = torch.where(draws, unknown, features[..., 1:])
    hidden = {"input_ids": pieces.masked_fill(is_hidden, mask_id)}
    return {**batch, **hidden, "feature_ids": torch.cat([features[..., :1], lists], dim=-1)}
