"""Essays and trained taggers to probabilities per token: windows are run and merged, models averaged."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedModel

from pii_kit.data import Document
from pii_kit.models.onnx import OnnxModel
from pii_kit.pieces import PieceTokenizer
from pii_kit.rules import label_document
from pii_kit.windows import Window, collate, cut_windows, merge_windows

DOCUMENTS_AT_A_TIME = 32


@dataclass(frozen=True)
class Tagger:
    """A trained model, PyTorch's or exported, with what it takes to use it. `window_size`, `overlap` are in pieces."""

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
    """Each document, in order, with its probabilities (token, label): the mean over the taggers, by `weights` (tagger).

    Documents are taken in groups, so that memory does not grow with their number, and windows of similar length are
    run together. A document without tokens comes back with an array of no rows.
    """
    documents = iter(documents)
    weights = weights or [1 / len(taggers)] * len(taggers)
    while group := list(islice(documents, DOCUMENTS_AT_A_TIME)):
        of_taggers = [predict_group(tagger, group, batch_size=batch_size) for tagger in taggers]
        for document, *probabilities in zip(group, *of_taggers, strict=True):
            yield document, sum(weight * scores for weight, scores in zip(weights, probabilities, strict=True))


def predict_group(tagger: Tagger, documents: Sequence[Document], *, batch_size: int = 16) -> list[np.ndarray]:
    """What one tagger says of documents: probabilities (token, label) for each."""
    windows = [
        cut_windows(document, tagger.tokenizer, size=tagger.window_size, overlap=tagger.overlap)
        for document in documents
    ]
    flat = [window for of_document in windows for window in of_document]
    scores = iter(_predict_windows(tagger, flat, batch_size))
    return [
        merge_windows(len(document.tokens), cut, list(islice(scores, len(cut))), tagger.model.config.num_labels)
        for document, cut in zip(documents, windows, strict=True)
    ]


@torch.inference_mode()
def _predict_windows(tagger: Tagger, windows: Sequence[Window], batch_size: int) -> list[np.ndarray]:
    """Windows to probabilities (piece, label), in order. The only softmax of the package."""
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
    """Trained taggers with their weights (tagger, sum 1), the cut-off on P(O), and the names of the rules.

    `of_run` (tagger) is the place of the run that a tagger is a fold of.
    """

    taggers: tuple[Tagger, ...]
    weights: tuple[float, ...]
    of_run: tuple[int, ...]
    o_threshold: float
    rules: tuple[str, ...]

    def predict(self, documents: Iterable[Document], *, batch_size: int = 16) -> Iterator[tuple[Document, np.ndarray]]:
        """Each document, in order, with its probabilities (token, label): the weighted mean over the taggers."""
        return predict_documents(self.taggers, documents, weights=self.weights, batch_size=batch_size)

    def weights_of(self, taggers: Collection[int]) -> list[float]:
        """The weights (sum 1) of some of the taggers alone, by their places, in that order: what is left of a run keeps
        its weight. Those of all taggers are the ensemble's own, to the last bit.
        """
        folds, left = Counter(self.of_run), Counter(self.of_run[tagger] for tagger in taggers)
        if folds == left:
            return [self.weights[tagger] for tagger in taggers]
        weights = [self.weights[tagger] * folds[self.of_run[tagger]] / left[self.of_run[tagger]] for tagger in taggers]
        return [weight / sum(weights) for weight in weights]

    def on(self, device: str | torch.device) -> "Ensemble":
        """The ensemble with its models on a device: copies, unless they are there. Exported models stay on the CPU."""
        taggers = tuple(
            tagger
            if isinstance(tagger.model, OnnxModel) or tagger.model.device == torch.device(device)
            else replace(tagger, model=deepcopy(tagger.model).to(device))
            for tagger in self.taggers
        )
        return replace(self, taggers=taggers)

    def label(self, document: Document, probabilities: np.ndarray) -> list[str]:
        """A document and its probabilities (token, label) to its labels (token)."""
        return label_document(document, probabilities, o_threshold=self.o_threshold, rules=self.rules)
