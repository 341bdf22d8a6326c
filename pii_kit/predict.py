"""Predict probabilities (token, label) of documents with trained taggers, alone or as an ensemble."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from pii_kit.data import Document
from pii_kit.labels import LABELS
from pii_kit.models.onnx import OnnxModel
from pii_kit.pieces import PieceTokenizer
from pii_kit.rules import label_document
from pii_kit.windows import Window, collate, cut_windows, merge_windows

DOCUMENTS_AT_A_TIME = 32


@dataclass(frozen=True)
class Tagger:
    """A trained model, in PyTorch or ONNX, and what it takes to use it; `window_size` and `overlap` are in pieces."""

    model: PreTrainedModel | OnnxModel
    tokenizer: PieceTokenizer
    window_size: int
    overlap: int
    o_threshold: float


def predict_documents(
    taggers: Sequence[Tagger],
    documents: Iterable[Document],
    *,
    weights: Sequence[float] | None = None,
    batch_size: int = 16,
) -> Iterator[tuple[Document, np.ndarray]]:
    """Yield each document with its probabilities (token, label): the mean over taggers by `weights` (tagger, sum 1).

    Documents are read in small groups, so memory does not grow with their number.
    """
    documents = iter(documents)
    weights = weights or [1 / len(taggers)] * len(taggers)
    while group := list(islice(documents, DOCUMENTS_AT_A_TIME)):
        of_taggers = [predict_group(tagger, group, batch_size=batch_size) for tagger in taggers]
        for document, *probabilities in zip(group, *of_taggers, strict=True):
            yield document, sum(weight * scores for weight, scores in zip(weights, probabilities, strict=True))


def predict_group(tagger: Tagger, documents: Sequence[Document], *, batch_size: int = 16) -> list[np.ndarray]:
    """Return the probabilities (token, label) of each document by one tagger, all windows held in memory."""
    windows = [
        cut_windows(document, tagger.tokenizer, size=tagger.window_size, overlap=tagger.overlap)
        for document in documents
    ]
    flat = [window for of_document in windows for window in of_document]
    scores = iter(_predict_windows(tagger, flat, batch_size))
    return [
        merge_windows(len(document.tokens), of_document, list(islice(scores, len(of_document))), len(LABELS))
        for document, of_document in zip(documents, windows, strict=True)
    ]


@torch.inference_mode()
def _predict_windows(tagger: Tagger, windows: Sequence[Window], batch_size: int) -> list[np.ndarray]:
    """Return the probabilities (piece, label) of each window; windows of similar length share a batch."""
    tagger.model.eval()
    device = tagger.model.device
    probabilities: list[np.ndarray] = [np.empty(0)] * len(windows)
    by_length = sorted(range(len(windows)), key=lambda index: len(windows[index]))
    for start in range(0, len(by_length), batch_size):
        indices = by_length[start : start + batch_size]
        batch = collate([windows[index] for index in indices], pad_id=tagger.tokenizer.pad_id)
        batch.pop("labels", None)
        logits = tagger.model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
        for index, scores in zip(indices, logits.float().softmax(-1).cpu().numpy(), strict=True):
            probabilities[index] = scores[: len(windows[index])]
    return probabilities


@dataclass(frozen=True)
class Ensemble:
    """Trained taggers with `weights` (tagger, sum 1), the threshold on P(O), and the names of the rules.

    `of_run` (tagger) is the index of the run that a tagger belongs to.
    """

    taggers: tuple[Tagger, ...]
    weights: tuple[float, ...]
    of_run: tuple[int, ...]
    o_threshold: float
    rules: tuple[str, ...]

    def predict(self, documents: Iterable[Document], *, batch_size: int = 16) -> Iterator[tuple[Document, np.ndarray]]:
        """Yield each document with its probabilities (token, label): the weighted mean over taggers."""
        return predict_documents(self.taggers, documents, weights=self.weights, batch_size=batch_size)

    def weights_of(self, taggers: Collection[int]) -> list[float]:
        """Return weights (sum 1) for some of the taggers, given by index: each run that is left keeps its weight.

        With all taggers they are exactly the ensemble's own.
        """
        folds, left = Counter(self.of_run), Counter(self.of_run[tagger] for tagger in taggers)
        if folds == left:
            return [self.weights[tagger] for tagger in taggers]
        weights = [self.weights[tagger] * folds[self.of_run[tagger]] / left[self.of_run[tagger]] for tagger in taggers]
        return [weight / sum(weights) for weight in weights]

    def on(self, device: str | torch.device) -> "Ensemble":
        """Return the ensemble with copies of its models on a device. Models that are there, and ONNX's, stay."""
        taggers = []
        for tagger in self.taggers:
            if not isinstance(tagger.model, OnnxModel) and tagger.model.device != torch.device(device):
                model: Any = deepcopy(tagger.model)  # the types of transformers do not allow `.to`
                tagger = replace(tagger, model=model.to(device))
            taggers.append(tagger)
        return replace(self, taggers=tuple(taggers))

    def label(self, document: Document, probabilities: np.ndarray, thresholds: Mapping[str, float] = {}) -> list[str]:
        """Decide the labels (token) of a document from its probabilities (token, label).

        `thresholds` on P(O) of single PII types take the place of the ensemble's.
        """
        return label_document(
            document, probabilities, o_threshold=self.o_threshold, thresholds=thresholds, rules=self.rules
        )
