"""Load trained runs and find the PII of documents and texts: as probabilities, labels, or spans of characters."""

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from pydantic import AliasPath, BaseModel, Field

from pii_kit import patterns
from pii_kit.documents import Document, covered_tokens, document_to_label, join_tokens, token_edges
from pii_kit.files import KitError, atomic_folder, read_record, recover_folder, write_json
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, spans_of
from pii_kit.lexicon import N_ROWS
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.models.onnx import OnnxNetwork, can_convert, to_onnx
from pii_kit.pieces import PieceTokenizer, read_tokenizer, write_tokenizer
from pii_kit.rules import label_document
from pii_kit.windows import Window, collate, cut_windows, merge_windows, similar_length_batches

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
DEFAULT_RUN = Path(__file__).with_name("default_tagger")  # comes with the kit; its README.md says how it was made
ENGINES = ("auto", "torch", "onnx", "onnx-int8")
MIN_TOKENS_FOR_ONNX = 100_000  # with fewer tokens, converting the models to ONNX takes longer than it saves
DOCUMENTS_AT_A_TIME = 64
N_AHEAD = 2  # parts of the work that are computed at the same time, while the caller uses another
Item = TypeVar("Item")
Made = TypeVar("Made")


class Network(Protocol):
    """A trained model that several threads may call at the same time."""

    n_workers: int  # batches that it computes at the same time: one for each core, or for each GPU
    batch_pieces: int  # size of a batch in pieces, padding included

    def __call__(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return logits (batch, piece, label) in float32 for a batch of `windows.collate`."""

    def one_core_a_batch(self) -> AbstractContextManager[None]:
        """Return a context in which a batch uses one core."""


@dataclass(frozen=True)
class Member:
    """A trained network with its tokenizer, windows (in pieces) and threshold; `run` is the index of its run."""

    network: Network
    tokenizer: PieceTokenizer
    window_size: int
    overlap: int
    o_threshold: float
    weight: float = 1.0
    run: int = 0

    def predict(self, documents: Sequence[Document], workers: Executor) -> list[np.ndarray]:
        """Return the probabilities (token, label) of each document. Few windows are shared among the workers."""
        windows = [cut_windows(doc, self.tokenizer, size=self.window_size, overlap=self.overlap) for doc in documents]
        flat = list(chain.from_iterable(windows))
        lengths = list(map(len, flat))
        share = math.ceil(len(flat) / self.network.n_workers) * max(lengths, default=0)
        batches = similar_length_batches(lengths, min(self.network.batch_pieces, share))
        computed = workers.map(self._compute, ([flat[index] for index in batch] for batch in batches))
        scores = dict(zip(chain.from_iterable(batches), chain.from_iterable(computed), strict=True))
        indices = iter(range(len(flat)))
        return [
            merge_windows(len(doc.tokens), parts, [scores[next(indices)] for _ in parts], len(LABELS))
            for doc, parts in zip(documents, windows, strict=True)
        ]

    def _compute(self, windows: Sequence[Window]) -> list[np.ndarray]:
        """Return the probabilities (piece, label) of each window of a batch."""
        batch = collate(windows, pad_id=self.tokenizer.pad_id)
        batch.pop("labels", None)
        logits = self.network(batch)
        scores = np.exp(logits - logits.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return [of_window[: len(window)] for window, of_window in zip(windows, scores, strict=True)]


def predict_documents(
    members: Sequence[Member], documents: Iterable[Document]
) -> Iterator[tuple[Document, np.ndarray]]:
    """Yield each document with its probabilities (token, label): the mean over members by their weights.

    Documents are read in small groups, so memory does not grow with their number. While the caller uses one group,
    the next ones are predicted.

    Raises:
        KitError: a network returns numbers that are not finite.
    """
    documents = iter(documents)
    total = sum(member.weight for member in members)
    groups = iter(lambda: list(islice(documents, DOCUMENTS_AT_A_TIME)), [])
    parts = ((group, member) for group in groups for member in members)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(N_AHEAD))
        for member in members:
            stack.enter_context(member.network.one_core_a_batch())
        workers = ThreadPoolExecutor(max(member.network.n_workers for member in members))
        # After an error the workers end first: threads that wait for their batches then end at once.
        stack.callback(workers.shutdown, cancel_futures=True)
        predicted = ahead(lambda part: part[1].predict(part[0], workers), parts, threads)
        while of_members := list(islice(predicted, len(members))):
            (group, _), _ = of_members[0]
            for document, *of_document in zip(group, *(scores for _, scores in of_members), strict=True):
                mean = sum(member.weight / total * scores for member, scores in zip(members, of_document, strict=True))
                if not np.isfinite(mean).all():
                    raise KitError(f"document {document.number}: probabilities are no numbers; train the model again")
                yield document, mean


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


@dataclass(frozen=True, slots=True)
class PiiSpan:
    """PII of one type in a text: `text` is at characters `start` to `end` (exclusive), without outer whitespace.

    `probability` is 1 − P(O) of its token with the lowest P(O), near 0 where only a rule or a pattern found it.
    `source` is "model", or "pattern" where only `pii_kit.patterns` found it.
    """

    start: int
    end: int
    type: str
    probability: float
    text: str
    source: str = "model"


@dataclass(frozen=True)
class Tagger:
    """The members of one run or of several, with their threshold on P(O) and rules; see `Tagger.load`.

    `thresholds` overrides the threshold for single PII types.
    """

    members: tuple[Member, ...]
    o_threshold: float
    rules: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        *runs: str | Path,
        o_threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        engine: str = "auto",
        devices: Sequence[str] | None = None,
        n_tokens: int = 0,
    ) -> Self:
        """Load the folders of one run, or of several whose predictions are averaged with equal weights.

        Args:
            runs: folders of runs or of exported runs. None: the tagger that comes with the kit.
            o_threshold: threshold on P(O). None: the mean of the runs' thresholds.
            thresholds: thresholds on P(O) of single PII types.
            engine: "torch"; "onnx", which gives the same probabilities on a CPU; "onnx-int8", which rounds weights to 8
                bits; "auto": "onnx" on a CPU if `n_tokens` pay for the conversion. Exported runs are always ONNX.
            devices: of PyTorch, such as "cuda:0", which share the work. None: all GPUs that work, else the CPU.

        Raises:
            KitError: a folder has no trained tagger or is damaged, or a setting has a wrong value.

        Example:
            Tagger.load("runs/sha_rnn", "runs/mobilebert").label("My name is Ana Silva.")
        """
        if engine not in ENGINES:
            raise KitError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
        if o_threshold is not None and not 0 <= o_threshold <= 1:
            raise KitError(f"o_threshold is {o_threshold}; expected 0 to 1")
        for pii_type, threshold in (thresholds or {}).items():
            if pii_type not in PII_TYPES or not 0 <= threshold <= 1:
                raise KitError(f"threshold {pii_type}={threshold}; expected 0 to 1 for one of {', '.join(PII_TYPES)}")
        folders = list(map(Path, runs)) or [DEFAULT_RUN]
        records = [read_record(run / "run.json", _Run) for run in folders if (run / "run.json").exists()]
        if len({record.data for record in records}) > 1:
            logger.warning("the runs were trained on different documents; they are averaged all the same")
        members: list[Member] = []
        decisions: list[_Decision] = []
        for index, run in enumerate(folders):
            folds = fold_folders(run)
            of_run = [load_member(fold, engine=engine, devices=devices, n_tokens=n_tokens) for fold in folds]
            members += [replace(member, run=index, weight=1 / len(folders) / len(folds)) for member in of_run]
            if (run / "decision.json").exists():
                decisions.append(read_record(run / "decision.json", _Decision))
            else:  # a single network, or folds that are still trained
                decisions.append(_Decision(o_threshold=sum(member.o_threshold for member in of_run) / len(folds)))
        if o_threshold is None:
            o_threshold = sum(decision.o_threshold for decision in decisions) / len(folders)
        rules = dict.fromkeys(rule for decision in decisions for rule in decision.rules)
        return cls(tuple(members), o_threshold, tuple(rules), dict(thresholds or {}))

    def __repr__(self) -> str:
        runs = len({member.run for member in self.members})
        return f"Tagger({len(self.members)} networks of {runs} runs, P(O) < {self.o_threshold:g})"

    def of_runs(self, runs: Collection[int]) -> "Tagger":
        """Return the tagger with the members of some of its runs alone; their weights then sum to 1."""
        members = [member for member in self.members if member.run in runs]
        total = sum(member.weight for member in members)
        return replace(self, members=tuple(replace(member, weight=member.weight / total) for member in members))

    def predict(self, documents: Iterable[Document]) -> Iterator[tuple[Document, np.ndarray]]:
        """Yield each document with its probabilities (token, label): the weighted mean over members."""
        return predict_documents(self.members, documents)

    def decide(self, document: Document, probabilities: np.ndarray, *, keep_sure: bool = False) -> list[str]:
        """Decide the labels (token) of a document from its probabilities (token, label): thresholds, then rules.

        Rules are made for the competition's score. With `keep_sure` they remove no token that the model is sure of.
        """
        limits: dict[str, Any] = {"o_threshold": self.o_threshold, "by_type": self.thresholds}
        return label_document(document, probabilities, **limits, rules=self.rules, keep_sure=keep_sure)

    def label(self, text: str) -> list[PiiSpan]:
        """Return the PII of a text of any length, in its order. For many texts, `label_texts` is faster."""
        ((_, spans),) = self.label_documents([document_to_label(text)])
        return spans

    def label_texts(self, texts: Iterable[str]) -> Iterator[list[PiiSpan]]:
        """Yield the PII of each text. Texts are read in small groups."""
        if isinstance(texts, str):
            raise KitError("label_texts takes several texts; call label for a single one")
        documents = (document_to_label(text, number) for number, text in enumerate(texts))
        return (spans for _, spans in self.label_documents(documents))

    def label_documents(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[PiiSpan]]]:
        """Yield each document with its PII; places are those in its joined tokens."""
        for document, probabilities in self.predict(documents):
            yield document, spans_in(document, self.decide(document, probabilities, keep_sure=True), probabilities)

    def probabilities(self, text: str) -> "pd.DataFrame":
        """Return a table with a row for each token of a text: token, start, end, and the probability of each label."""
        import pandas as pd

        document = document_to_label(text)
        ((_, probabilities),) = self.predict([document])
        edges = token_edges(document)[:-1]
        ends = [start + len(token) for start, token in zip(edges, document.tokens, strict=True)]
        places = pd.DataFrame({"token": document.tokens, "start": edges, "end": ends})
        return places.join(pd.DataFrame(probabilities, columns=list(LABELS)))


def spans_in(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[PiiSpan]:
    """Return the entities of `labels` (token) as spans of characters, without whitespace, and what patterns find."""
    text, edges = join_tokens(document.tokens, document.trailing_whitespace), token_edges(document)
    places = [(edges[first], edges[end], pii_type, "model") for first, end, pii_type in spans_of(labels)]
    for start, end, pii_type in patterns.find(text):
        places = [place for place in places if place[0] < start or end < place[1] or place[:2] == (start, end)]
        if not any(first < end and start < last for first, last, *_ in places):
            places.append((start, end, pii_type, "pattern"))
    spans = []
    for start, end, pii_type, source in sorted(places):
        first, last = covered_tokens(edges, start, end)
        start, span = end - len(text[start:end].lstrip()), text[start:end].strip()
        if span:
            probability = 1 - float(probabilities[first:last, OUTSIDE_ID].min())
            spans.append(PiiSpan(start, start + len(span), pii_type, probability, span, source))
    return spans


class _Decision(BaseModel):
    """decision.json of a run; its other fields are for other readers."""

    o_threshold: float = Field(ge=0, le=1)
    rules: tuple[str, ...] = ()


class _Windows(BaseModel):
    """decision.json of a trained network."""

    window_size: int = Field(ge=3)
    overlap: int = Field(ge=0)
    o_threshold: float = Field(ge=0, le=1)


class _Run(BaseModel):
    """run.json: what of it is needed to load the run; `training.runs` has its other fields."""

    data: str
    folds: list[int] = []
    epochs: int | None = Field(None, validation_alias=AliasPath("settings", "train", "epochs"))


class _Config(BaseModel, extra="allow"):
    """config.json of a trained network; transformers reads its other fields."""

    id2label: dict[int, str] = {}
    n_features: int = 0
    vocab_size: int = 0
    encoder: "_Config | None" = None


def load_member(
    folder: str | Path, *, devices: Sequence[str] | None = None, engine: str = "auto", n_tokens: int = 0
) -> Member:
    """Load the trained network of a fold's folder; the settings are those of `Tagger.load`.

    Raises:
        KitError: it is missing or damaged, or was trained with other labels or features.
    """
    folder = Path(folder)
    if not has_tagger(folder):
        reason = "no folder 'tagger' in it" if folder.exists() else "no such folder"
        raise KitError(f"{folder}: not a run folder with a trained model ({reason})")
    inside = folder / "tagger"
    config, sizes = read_record(inside / "config.json", _Config), read_record(inside / "decision.json", _Windows)
    if '"auto_map"' in config.model_dump_json():
        raise KitError(f"{inside / 'config.json'}: names code of its own (auto_map), which is never run")
    if config.n_features not in (0, N_ROWS):
        raise KitError(f"{inside}: a table of {config.n_features} features, expected {N_ROWS}; train it again")
    if config.id2label != dict(enumerate(LABELS)):
        raise KitError(f"{inside}: trained with other labels than those of pii_kit/labels.py; train it again")
    if sizes.overlap > sizes.window_size - 3:  # two pieces of a window may be special
        raise KitError(f"{inside}: windows of {sizes.window_size} pieces cannot overlap by {sizes.overlap}")
    tokenizer = read_tokenizer(inside)
    if tokenizer.n_pieces > (config.encoder or config).vocab_size:
        raise KitError(f"{inside}: the model knows fewer pieces than its tokenizer; copy the run again")
    network: Network
    if (inside / ONNX_FILE).exists():
        network = OnnxNetwork(inside / ONNX_FILE)
    else:
        from pii_kit.models.network import TorchNetwork, load_model, working_devices

        model, devices = load_model(inside), devices or working_devices()
        is_worth_it = devices[0] == "cpu" and n_tokens >= MIN_TOKENS_FOR_ONNX and can_convert()
        network = TorchNetwork(model, devices)
        if engine.startswith("onnx") or (engine == "auto" and is_worth_it):
            pieces = {"n_pieces": tokenizer.n_pieces, "window_size": sizes.window_size}
            try:
                network = to_onnx(model.eval(), **pieces, int8=engine == "onnx-int8")
            except KitError as error:
                if engine != "auto":
                    raise
                logger.warning("%s: %s; it is predicted with PyTorch", folder, error)
    return Member(network=network, tokenizer=tokenizer, **dict(sizes))


def save_member(folder: Path, model: "PreTrainedModel", tokenizer: PieceTokenizer, **sizes: int | float) -> None:
    """Replace the trained network of a fold's folder; `sizes` are window_size, overlap and o_threshold of `Member`."""
    from pii_kit.models.network import save_model

    with atomic_folder(folder / "tagger") as inside:
        save_model(inside, model)
        write_tokenizer(inside, tokenizer)
        write_json(inside / "decision.json", dict(_Windows.model_validate(sizes)))


def has_tagger(folder: Path, name: str = "tagger") -> bool:
    """Return whether a fold's folder holds a trained network, finished or not."""
    recover_folder(folder / name)
    return (folder / name).is_dir()


def fold_folders(run: str | Path) -> list[Path]:
    """Return the folders of a run's folds whose taggers count; for a run of one network, the run itself.

    Of an unfinished run these are the finished folds, or if there are none, those that have a tagger.
    """
    run = Path(run)
    folds = sorted(run.glob("fold_*"), key=lambda fold: (len(fold.name), fold.name))
    folds = [fold for fold in folds if has_tagger(fold)] or folds or [run]
    if not (run / "run.json").exists():
        return folds
    record = read_record(run / "run.json", _Run)
    if (run / "result.json").exists() or record.epochs is None:
        return [run / f"fold_{fold}" for fold in record.folds] or folds
    histories = {fold: fold / "history.json" for fold in folds}
    rows = {fold: read_record(path, list[dict[str, Any]]) for fold, path in histories.items() if path.exists()}
    return [fold for fold in folds if rows.get(fold) and rows[fold][-1].get("epoch") == record.epochs] or folds
