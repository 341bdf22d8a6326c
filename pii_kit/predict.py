"""Predict probabilities (token, label) of documents with trained taggers, alone or as an ensemble."""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.models.onnx import OnnxModel, can_convert, to_onnx
from pii_kit.pieces import PieceTokenizer
from pii_kit.rules import label_document
from pii_kit.windows import Window, collate, cut_windows, merge_windows, similar_length_batches

DOCUMENTS_AT_A_TIME = 64
N_AHEAD = 2  # parts of the work that are computed at the same time, while the caller uses another
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

    def predict(
        self,
        documents: Sequence[Document],
        batch_pieces: int,
        workers: "BatchWorkers",
        wanted: Sequence[np.ndarray | None] = (),
    ) -> list[np.ndarray]:
        """Return the probabilities (token, label) of each document. Tokens in no window have zeros.

        With `wanted`, a mask (token,) of each document, other tokens are read only as context.
        """
        windows = [
            cut_windows(document, self.tokenizer, size=self.window_size, overlap=self.overlap, wanted=of_document)
            if of_document is None or of_document.any()
            else []
            for document, of_document in zip(documents, wanted or [None] * len(documents), strict=True)
        ]
        flat = [window for of_document in windows for window in of_document]
        scores = iter(_predict_windows(self, flat, batch_pieces, workers))
        return [
            merge_windows(len(document.tokens), of_document, list(islice(scores, len(of_document))), len(LABELS))
            for document, of_document in zip(documents, windows, strict=True)
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

    Documents are read in small groups, so memory does not grow with their number. Taggers and groups overlap: while
    the caller uses one group, others are predicted, and no core waits for the last batch of a tagger. `batch_pieces`
    is the size of a batch, in pieces; default: PIECES_PER_BATCH.
    """
    documents = iter(documents)
    weights = weights or [1 / len(taggers)] * len(taggers)
    groups = iter(lambda: list(islice(documents, DOCUMENTS_AT_A_TIME)), [])
    parts = ((group, tagger) for group in groups for tagger in taggers)
    batch_pieces = batch_pieces or PIECES_PER_BATCH[taggers[0].device.type]
    # After an error the workers end first: threads that wait for their batches then end at once.
    with ThreadPoolExecutor(N_AHEAD) as threads, BatchWorkers(taggers[0].device) as workers:
        predicted = ahead(lambda part: part[1].predict(part[0], batch_pieces, workers), parts, threads)
        while of_taggers := list(islice(predicted, len(taggers))):
            (group, _), _ = of_taggers[0]
            for document, *probabilities in zip(group, *(scores for _, scores in of_taggers), strict=True):
                yield document, sum(weight * scores for weight, scores in zip(weights, probabilities, strict=True))


def ahead(make: Callable[[Item], Made], items: Iterable[Item], threads: Executor) -> Iterator[tuple[Item, Made]]:
    """Yield each item with what `make` returns for it. While one is used, `threads` make the next N_AHEAD.

    The items themselves are read in the caller's thread: those of a database may allow no other.
    """
    coming: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        coming.append((item, threads.submit(make, item)))
        if len(coming) > N_AHEAD:
            oldest, made = coming.popleft()
            yield oldest, made.result()
    for last, made in coming:
        yield last, made.result()


class BatchWorkers(ThreadPoolExecutor):
    """Threads that compute batches, under the autocast of the thread that makes them: one for each core, or for a GPU.

    Small models gain little from cores that share a batch, so while it is open PyTorch uses one core for an operation.
    """

    def __init__(self, device: torch.device):
        self.n_threads = torch.get_num_threads()
        self.n_workers = self.n_threads if device.type == "cpu" else 1
        enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        self.autocast = partial(torch.autocast, device.type, dtype, enabled=enabled)
        super().__init__(self.n_workers)

    def __enter__(self) -> "BatchWorkers":
        torch.set_num_threads(self.n_threads // self.n_workers)
        return self

    def __exit__(self, *error) -> None:
        self.shutdown(cancel_futures=True)
        torch.set_num_threads(self.n_threads)


def predict_group(
    tagger: "FoldTagger | Cascade", documents: Sequence[Document], *, batch_pieces: int
) -> list[np.ndarray]:
    """Return the probabilities (token, label) of each document by one tagger, all windows held in memory."""
    with BatchWorkers(tagger.device) as workers:
        return tagger.predict(documents, batch_pieces, workers)


def _predict_windows(
    tagger: FoldTagger, windows: Sequence[Window], batch_pieces: int, workers: BatchWorkers
) -> list[np.ndarray]:
    """Return the probabilities (piece, label) of each window. Few windows are shared among the workers."""
    tagger.model.eval()

    @torch.inference_mode()
    def predict(batch: Sequence[int]) -> list[np.ndarray]:
        inputs = collate([windows[index] for index in batch], pad_id=tagger.tokenizer.pad_id)
        inputs.pop("labels", None)
        with workers.autocast():
            logits = tagger.model(**{name: tensor.to(tagger.device) for name, tensor in inputs.items()}).logits
        scores = logits.float().softmax(-1).cpu().numpy()
        return [of_window[: len(windows[index])] for index, of_window in zip(batch, scores, strict=True)]

    lengths = list(map(len, windows))
    share = math.ceil(len(windows) / workers.n_workers) * max(lengths, default=0)
    batches = similar_length_batches(lengths, min(batch_pieces, share))
    found = {
        index: scores
        for batch, of_batch in zip(batches, workers.map(predict, batches), strict=True)
        for index, scores in zip(batch, of_batch, strict=True)
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

    def predict(self, documents: Sequence[Document], batch_pieces: int, workers: BatchWorkers) -> list[np.ndarray]:
        """Return the probabilities (token, label) of each document."""
        wanted = [np.ones(len(document.tokens), dtype=bool) for document in documents]
        totals = [np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32) for document in documents]
        weights = [np.zeros((len(document.tokens), 1), dtype=np.float32) for document in documents]
        for place, stage in enumerate(self.stages):
            for tagger, weight in zip(stage.taggers, stage.weights, strict=True):
                scores = tagger.predict(documents, batch_pieces, workers, wanted if place else ())
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
            KitError: a model is on a GPU, or as `to_onnx`.
        """
        on_cpu = all(tagger.device.type == "cpu" for tagger in self.taggers)
        if engine == "auto":
            engine = "onnx" if on_cpu and can_convert() and n_tokens >= MIN_TOKENS_FOR_ONNX else "torch"
        if engine == "torch":
            return self
        if not on_cpu:
            raise KitError(f"engine {engine!r} runs on a CPU only, and the models are on a GPU; choose engine 'torch'")
        return replace(self, taggers=tuple(_to_onnx(tagger, int8=engine == "onnx-int8") for tagger in self.taggers))

    def label(self, document: Document, probabilities: np.ndarray) -> list[str]:
        """Decide the labels (token) of a document from its probabilities (token, label)."""
        return label_document(
            document, probabilities, o_threshold=self.o_threshold, by_type=self.by_type, rules=self.rules
        )


def _to_onnx(tagger: FoldTagger | Cascade, *, int8: bool) -> FoldTagger | Cascade:
    if isinstance(tagger, Cascade) or isinstance(tagger.model, OnnxModel):
        return tagger
    sizes = {"n_pieces": tagger.tokenizer.n_pieces, "window_size": tagger.window_size}
    return replace(tagger, model=to_onnx(tagger.model, **sizes, int8=int8))
