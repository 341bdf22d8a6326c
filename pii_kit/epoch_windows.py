"""What a tagger learns from in one epoch: the windows of its documents, augmented, and of those that were taught."""

from collections.abc import Sequence
from dataclasses import replace

from torch.utils.data import Dataset

from pii_kit.augment import augment
from pii_kit.data import Document
from pii_kit.distill import Taught
from pii_kit.errors import KitError
from pii_kit.pieces import PieceTokenizer
from pii_kit.train_config import TrainConfig
from pii_kit.windows import Window, cut_windows


class EpochWindows(Dataset):
    """The windows of one epoch's documents, augmented where the settings say so. `make` gives another epoch's.

    Those of taught documents come last and stay: a teacher's probabilities are for the tokens as they are.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        tokenizer: PieceTokenizer,
        config: TrainConfig,
        taught: Taught | None = None,
    ):
        self.documents, self.tokenizer, self.config = documents, tokenizer, config
        self.taught = [
            replace(window, labels=None, probabilities=probabilities)
            for document, probabilities in (taught.predictions if taught else ())
            for window in self._cut(document)
        ]
        self.windows: list[Window] = []
        self.make(0)

    def make(self, epoch: int) -> None:
        config = self.config
        if self.windows and config.augment is None:
            return
        documents = self.documents
        if config.augment is not None:
            documents = augment(documents, config.augment, seed=config.seed, epoch=epoch)
        self.windows = [window for document in documents for window in self._cut(document)] + self.taught
        if not self.windows:
            raise KitError("the training documents hold no tokens")

    def _cut(self, document: Document) -> list[Window]:
        return cut_windows(document, self.tokenizer, size=self.config.window_size, overlap=self.config.overlap)

    def lengths_and_empty(self) -> tuple[list[int], list[int]]:
        """The windows' lengths, and the indices of those without PII."""
        empty = [index for index, window in enumerate(self.windows) if not window.holds_pii()]
        return list(map(len, self.windows)), empty

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return self.windows[index]
