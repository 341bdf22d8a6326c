"""Essays and trained taggers to probabilities per token: windows are run and merged, models averaged."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedModel

from pii_kit.batches import collate
from pii_kit.data import Document
from pii_kit.onnx_model import OnnxModel
from pii_kit.pieces import PieceTokenizer
from pii_kit.windows import Window, cut_windows, merge_windows

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
