"""Predict probabilities (token, label) of documents with trained taggers, alone or as an ensemble."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from pii_kit.data import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.models.onnx import OnnxModel, can_convert, write_onnx
from pii_kit.pieces import PieceTokenizer
from pii_kit.rules import label_document
from pii_kit.windows import Window, collate, cut_windows, merge_windows, similar_length_batches

DOCUMENTS_AT_A_TIME = 64
# Padding included. CPU: measured; more pieces do not fit a core's caches. GPU: 16 windows of 512 pieces.
PIECES_PER_BATCH = {"cpu": 1024, "cuda": 8192}
ENGINES = ("auto", "torch", "onnx", "onnx-int8")
Item = TypeVar("Item")
Made = TypeVar("Made")
MIN_TOKENS_FOR_ONNX = 100_000  # with fewer tokens, converting the models to ONNX takes longer than it saves


@dataclass(frozen=True)
class FoldTagger:
    """A trained model (PyTorch or ONNX) with its tokenizer, threshold, window size and overlap (in pieces)."""

    model: PreTrainedModel | OnnxModel
    tokenizer: PieceTokenizer
    window_size: int
    overlap: int
    o_threshold: float

    def on(self, device: str | torch.device) -> "FoldTagger":
        """Return the tagger with its model copied to a device; unchanged if it is there already or in ONNX."""
        if isinstance(self.model, OnnxModel) or self.model.device == torch.device(device):
            return self
        model: Any = deepcopy(self.model)  # the types of transformers do not allow `.to`
        return replace(self, model=model.to(device))

    def cut(self, documents: Sequence[Document], wanted: Sequence[np.ndarray | None] = ()) -> list[list[Window]]:
        """Cut each document into windows. With `wanted`, a mask (token,) of each, others are read only as context."""
        return [
            cut_windows(document, self.tokenizer, size=self.window_size, overlap=self.overlap, wanted=of_document)
            if of_document is None or of_document.any()
            else []
            for document, of_document in zip(documents, wanted or [None] * len(documents), strict=True)
        ]

    @property
    def device(self) -> torch.device:
        return self.model.device


def predict_documents(
    taggers: "Sequence[FoldTagger | Cascade]",
    documents: Iterable[Document],
    *,
    weights: Sequence[float] | None = None,
    batch_pieces: int | None = None,
) -> Iterator[tuple[Document, np.ndarray]]:
    """Yield each document with its probabilities (token, label): the mean over taggers by `weights` (tagger, sum 1).

    Documents are read in small groups, so memory does not grow with their number. While one group is predicted, the
    next is cut into windows. `batch_pieces` is the size of a batch, in pieces; default: PIECES_PER_BATCH.
    """
    documents = iter(documents)
    weights = weights or [1 / len(taggers)] * len(taggers)
    groups = iter(lambda: list(islice(documents, DOCUMENTS_AT_A_TIME)), [])
    for group, windows in ahead(lambda group: [tagger.cut(group) for tagger in taggers], groups):
        of_taggers = [
            predict_group(tagger, group, batch_pieces=batch_pieces, windows=of_tagger)
            for tagger, of_tagger in zip(taggers, windows, strict=True)
        ]
        for document, *probabilities in zip(group, *of_taggers, strict=True):
            yield document, sum(weight * scores for weight, scores in zip(weights, probabilities, strict=True))


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
    """Yield each item with what `make` returns for it. While one is used, the next is made in another thread.

    The items themselves are read in the caller's thread: those of a database may allow no other.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: deque[tuple[Item, Future[Made]]] = deque()
        for item in items:
            coming.append((item, thread.submit(make, item)))
            if len(coming) > 1:
                oldest, made = coming.popleft()
                yield oldest, made.result()
        for last, made in coming:
            yield last, made.result()


def predict_group(
    tagger: "FoldTagger | Cascade",
    documents: Sequence[Document],
    *,
    batch_pieces: int | None = None,
    windows: Sequence[Sequence[Window]] | None = None,
) -> list[np.ndarray]:
    """Return the probabilities (token, label) of each document by one tagger, all windows held in memory.

    `windows` is the result of `tagger.cut`, if it was called before. Tokens in no window have zeros.
    """
    windows = tagger.cut(documents) if windows is None else windows
    if isinstance(tagger, Cascade):
        return tagger.predict(documents, windows, batch_pieces=batch_pieces)
    flat = [window for of_document in windows for window in of_document]
    scores = iter(_predict_windows(tagger, flat, batch_pieces or PIECES_PER_BATCH[tagger.device.type]))
    return [
        merge_windows(len(document.tokens), of_document, list(islice(scores, len(of_document))), len(LABELS))
        for document, of_document in zip(documents, windows, strict=True)
    ]


def _predict_windows(tagger: FoldTagger, windows: Sequence[Window], batch_pieces: int) -> list[np.ndarray]:
    """Return the probabilities (piece, label) of each window.

    On a CPU each core works on a batch of its own: small models gain little from sharing one.
    """
    tagger.model.eval()
    kind = tagger.device.type
    precision = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)  # threads do not inherit them

    @torch.inference_mode()
    def predict(batch: Sequence[int]) -> list[np.ndarray]:
        inputs = collate([windows[index] for index in batch], pad_id=tagger.tokenizer.pad_id)
        inputs.pop("labels", None)
        with torch.autocast(kind, precision[0], enabled=precision[1]):
            logits = tagger.model(**{name: tensor.to(tagger.device) for name, tensor in inputs.items()}).logits
        scores = logits.float().softmax(-1).cpu().numpy()
        return [of_window[: len(windows[index])] for index, of_window in zip(batch, scores, strict=True)]

    batches = similar_length_batches(list(map(len, windows)), batch_pieces)
    n_threads = torch.get_num_threads()
    if kind == "cpu" and min(n_threads, len(batches)) > 1:
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(n_threads) as pool:
                of_batches = list(pool.map(predict, batches))
        finally:
            torch.set_num_threads(n_threads)
    else:
        of_batches = list(map(predict, batches))
    found = {
        index: scores for pair in zip(batches, of_batches, strict=True) for index, scores in zip(*pair, strict=True)
    }
    return [found[index] for index in range(len(windows))]


@dataclass(frozen=True)
class Stage:
    """Taggers with their `weights`. Tokens with a mean P(O) below `pass_below` are suspect; the next one reads them."""

    taggers: tuple[FoldTagger, ...]
    weights: tuple[float, ...]
    pass_below: float


@dataclass(frozen=True)
class Cascade:
    """Taggers in stages: the first, a single tagger, reads all tokens; each later one only those still suspect.

    The probabilities of a token are the mean over the taggers that read it. The idea is that of Viola and Jones (2001).
    """

    stages: tuple[Stage, ...]

    def cut(self, documents: Sequence[Document]) -> list[list[Window]]:
        """Cut each document into windows of the first tagger, which reads all."""
        return self.stages[0].taggers[0].cut(documents)

    def predict(
        self, documents: Sequence[Document], windows: Sequence[Sequence[Window]], *, batch_pieces: int | None = None
    ) -> list[np.ndarray]:
        """Return the probabilities (token, label) of each document, given its `windows` of the first tagger."""
        wanted = [np.ones(len(document.tokens), dtype=bool) for document in documents]
        totals = [np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32) for document in documents]
        weights = [np.zeros((len(document.tokens), 1), dtype=np.float32) for document in documents]
        for place, stage in enumerate(self.stages):
            cut = partial(FoldTagger.cut, documents=documents, wanted=wanted)
            pairs = ahead(cut, stage.taggers) if place else [(stage.taggers[0], windows)]
            for (tagger, of_tagger), weight in zip(pairs, stage.weights, strict=True):
                scores = predict_group(tagger, documents, batch_pieces=batch_pieces, windows=of_tagger)
                for total, seen, mask, found in zip(totals, weights, wanted, scores, strict=True):
                    total[mask] += weight * found[mask]
                    seen[mask] += weight
            for total, seen, mask in zip(totals, weights, wanted, strict=True):
                mask &= total[:, OUTSIDE_ID] < stage.pass_below * seen[:, 0]
        return [total / seen for total, seen in zip(totals, weights, strict=True)]

    def on(self, device: str | torch.device) -> "Cascade":
        """Return the cascade with copies of its models on a device, as `FoldTagger.on` does."""
        return Cascade(
            tuple(replace(stage, taggers=tuple(tagger.on(device) for tagger in stage.taggers)) for stage in self.stages)
        )

    @property
    def device(self) -> torch.device:
        return self.stages[0].taggers[0].device


@dataclass(frozen=True)
class Ensemble:
    """Trained taggers with `weights` (tagger, sum 1), the threshold on P(O), and the names of the rules.

    `of_run` (tagger) is the index of the run that a tagger belongs to. `by_type` has thresholds of some PII types.
    """

    taggers: tuple[FoldTagger | Cascade, ...]
    weights: tuple[float, ...]
    of_run: tuple[int, ...]
    o_threshold: float
    rules: tuple[str, ...]
    by_type: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_models(self) -> int:
        """The number of models, those of all stages of a cascade included."""
        sizes = (sum(len(stage.taggers) for stage in each.stages) for each in self.taggers if isinstance(each, Cascade))
        return len(self.members) + sum(sizes)

    @property
    def members(self) -> list[FoldTagger]:
        """The taggers; none if they form a cascade."""
        return [tagger for tagger in self.taggers if isinstance(tagger, FoldTagger)]

    def predict(self, documents: Iterable[Document]) -> Iterator[tuple[Document, np.ndarray]]:
        """Yield each document with its probabilities (token, label): the weighted mean over taggers."""
        return predict_documents(self.taggers, documents, weights=self.weights)

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
        """Return the ensemble with its models copied to a device, as `FoldTagger.on` does."""
        return replace(self, taggers=tuple(tagger.on(device) for tagger in self.taggers))

    def with_engine(self, engine: str, *, n_tokens: int = MIN_TOKENS_FOR_ONNX) -> "Ensemble":
        """Return the ensemble with its models converted for an engine of ENGINES; exported ones and cascades stay.

        "onnx" computes what PyTorch does, in other kernels. "onnx-int8" rounds weights to 8 bits, which changes
        probabilities a little. "auto" is "onnx" on a CPU, if its packages are installed and `n_tokens` are enough to
        pay for the conversion, else "torch".

        Raises:
            KitError: a model is on a GPU, or as `write_onnx`.
        """
        on_cpu = all(tagger.device.type == "cpu" for tagger in self.taggers)
        if engine == "auto":
            engine = "onnx" if on_cpu and can_convert() and n_tokens >= MIN_TOKENS_FOR_ONNX else "torch"
        if engine == "torch":
            return self
        if not on_cpu:
            raise KitError(f"engine {engine!r} runs on a CPU only, and the models are on a GPU; choose engine 'torch'")
        int8 = engine == "onnx-int8"
        converted = (
            _converted(tagger, int8=int8) if isinstance(tagger, FoldTagger) else tagger for tagger in self.taggers
        )
        return replace(self, taggers=tuple(converted))

    def label(self, document: Document, probabilities: np.ndarray) -> list[str]:
        """Decide the labels (token) of a document from its probabilities (token, label)."""
        return label_document(
            document, probabilities, o_threshold=self.o_threshold, by_type=self.by_type, rules=self.rules
        )


def _converted(tagger: FoldTagger, *, int8: bool) -> FoldTagger:
    if isinstance(tagger.model, OnnxModel):
        return tagger
    with TemporaryDirectory() as folder:
        sizes = {"n_pieces": tagger.tokenizer.n_pieces, "window_size": tagger.window_size}
        write_onnx(tagger.model, Path(folder), **sizes, int8=int8)
        return replace(tagger, model=OnnxModel(Path(folder)))
