"""Compare how fast taggers predict on this machine's CPU with spaCy's NER and with transformers' pipeline."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, pipeline

from pii_kit.documents import Document, join_tokens
from pii_kit.files import KitError
from pii_kit.metrics import micro_fbeta
from pii_kit.models import flops
from pii_kit.models.encoder import EncoderForTokenClassification
from pii_kit.models.network import TorchNetwork
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Member, Tagger, fold_folders, load_member
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.report.timing import Loaded, Worker, in_turns, machine, matrix_rate, start_worker
from pii_kit.sample import make_documents
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training.ensemble import not_trained_on
from pii_kit.windows import cut_windows

logger = logging.getLogger(__name__)

SPACY, PIPELINE = "spaCy's NER", "pipeline"
N_DOCUMENTS = 32  # that each line is timed on
N_PIPELINE = 8  # of them, for the pipeline, which is slow
FIRST_DOCUMENT = 10**6  # no demo trains on made-up documents with such numbers
# Documents and tokens per document, for the curves. The last three have about as many tokens as the first.
SIZES = ((100, 100), (1_000, 100), (10_000, 100), (33, 300), (10, 1_000), (3, 3_000))


def long_documents() -> list[Document]:
    """Make up N_DOCUMENTS documents that are as long as the competition's."""
    return make_documents(N_DOCUMENTS, seed=0, first_document=FIRST_DOCUMENT, length=2.8)


def documents_of(n_documents: int, length: int) -> list[Document]:
    """Cut documents of `length` tokens each from `long_documents`, whose text repeats."""
    pairs = cycle(pair for doc in long_documents() for pair in zip(doc.tokens, doc.trailing_whitespace, strict=True))
    documents = []
    for number in range(n_documents):
        tokens, spaces = zip(*islice(pairs, length), strict=True)
        text = join_tokens(tokens, spaces)
        documents.append(Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces))
    return documents


def load_taggers(runs: Sequence[Path], engine: str) -> Loaded:
    """Load the tagger of runs in an engine. Raises KitError as `Tagger.load` does."""
    tagger = Tagger.load(*runs, mixed_data=True, engine=engine)

    def label(documents: Sequence[Document]) -> list[list[str]]:
        return [tagger.decide(*pair) for pair in tagger.predict(documents)]

    return Loaded(predict=label, label=label)


def load_spacy(training: Sequence[Document]) -> Loaded:
    """Train spaCy's NER. Without training documents, one epoch on made-up ones: enough for its speed alone.

    It is called with texts, in one process or in one for each core.
    """
    recognizer = train_spacy_ner(training) if training else train_spacy_ner(make_documents(20, seed=0), epochs=1)
    return Loaded(
        predict=lambda documents, **setting: list(recognizer.pipe([doc.full_text for doc in documents], **setting)),
        settings=[{"n_process": n} for n in sorted({1, torch.get_num_threads()})],
        label=(lambda documents: [label_with_spacy(recognizer, doc) for doc in documents]) if training else None,
    )


def load_pipeline(run: Path) -> Loaded:
    """Load the model of a run's only tagger into transformers' pipeline, which is called with texts."""
    (fold,) = fold_folders(run)
    find = pipeline_of(load_member(fold, devices=["cpu"], engine="torch"))
    return Loaded(
        predict=lambda documents, **setting: list(find([doc.full_text for doc in documents], **setting)),
        settings=[{"batch_size": size} for size in (1, 2, 4, 8, 16)],
    )


def pipeline_of(tagger: Member) -> Any:
    """Return transformers' pipeline with an encoder's weights and windows, but without the features of words."""
    network = _model(tagger)
    assert isinstance(network, EncoderForTokenClassification)
    config = network.config
    labels = {"id2label": config.id2label, "label2id": config.label2id}
    model = AutoModelForTokenClassification.from_config(type(config.encoder)(**config.encoder.to_dict() | labels))
    model.base_model.load_state_dict(network.encoder.state_dict())
    model.classifier.load_state_dict(network.classifier.state_dict())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tagger.tokenizer.tokenizer,
        pad_token=tagger.tokenizer.specials["pad"],
        unk_token=tagger.tokenizer.specials["unknown"],
        model_max_length=tagger.window_size,
    )
    settings: Any = {"stride": tagger.overlap, "aggregation_strategy": "first", "device": "cpu"}
    return pipeline("token-classification", model=model.eval(), tokenizer=tokenizer, **settings)


def _model(member: Member) -> Any:
    assert isinstance(member.network, TorchNetwork)
    return member.network.model


def operations(tagger: Tagger, documents: Sequence[Document]) -> float:
    """Count the floating-point operations of the matrix products of all windows, without padding, in all taggers."""
    total, by_run = 0.0, {}
    for member in tagger.members:
        run = member.run
        if run not in by_run:  # the taggers of a run are alike
            with torch.device("meta"):
                model = AutoModelForTokenClassification.from_config(_model(member).config)
            lengths = (8, 16, 24)  # the count is a polynomial of degree 2
            by_run[run] = np.polyfit(lengths, [flops(model, n_pieces=length) for length in lengths], 2)
        cuts: Any = {"size": member.window_size, "overlap": member.overlap}
        windows = [window for document in documents for window in cut_windows(document, member.tokenizer, **cuts)]
        total += float(np.polyval(by_run[run], list(map(len, windows))).sum())
    return total


def new_to_all(labelled: Sequence[Document], runs: Sequence[Path], training: Sequence[Document]) -> list[Document]:
    """Return the labelled documents that no run was trained on, and that are not among spaCy's training documents."""
    trained = {document.tokens for document in training}
    of_runs = [{document.number for document in not_trained_on(run, labelled)} for run in runs]
    return [doc for doc in labelled if doc.tokens not in trained and all(doc.number in of_run for of_run in of_runs)]


def run_bench(
    runs: Sequence[Path],
    *,
    engines: Sequence[str],
    documents: Sequence[Document],
    labelled: Sequence[Document],
    training: Sequence[Document],
    repeats: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Measure one fold and all folds of each run, and all runs together, in each engine.

    Whatever is measured runs in a process of its own, in turns with its peers, so that a machine that is slow for a
    while is slow for both. F5 is measured on `new_to_all` documents.

    Returns:
        The table of `table_of` on `documents`; the table of `_curves` for spaCy and, in its fastest engine, one fold of
        each run; the machine and all seconds.

    Raises:
        KitError: a run is exported, or as `Tagger.load`.
    """
    for run in runs:
        if any(run.rglob(ONNX_FILE)):
            raise KitError(f"{run}: an exported run; choose the run itself, whose models bench converts")
    about: dict[str, Any] = {"machine": machine(), "matrix_product_flops": (rate := matrix_rate()), "repeats": repeats}
    new = new_to_all(labelled, runs, training)
    about |= {"f5_documents": len(new), "f5_rows": len(true_rows(new))}
    turns: list[dict[str, list[float]]] = []
    facts: dict[str, dict[str, Any]] = {}
    loads: dict[str, Callable[[], Loaded]] = {}
    of_one_fold: list[list[str]] = []  # names, one for each engine

    def add(name: str, worker: Worker, timed: Sequence[Document], **more: float) -> tuple[Worker, Sequence[Document]]:
        logger.info("%s", name)
        n_tokens = sum(len(document.tokens) for document in timed)
        facts[name] = {"documents": len(timed), "tokens": n_tokens, "setting": worker.setting, **more}
        facts[name] |= {"load_seconds": worker.load_seconds, "peak_mib": worker.peak_memory / 2**20}
        if new and (labels := worker.labels(new)):
            rows = submission_rows(zip((document.number for document in new), labels, strict=True))
            facts[name]["f5"] = micro_fbeta(true_rows(new), rows).f
        return worker, timed

    if training:
        logger.info("training %s on %d documents, which may take minutes", SPACY, len(training))
    with ExitStack() as stack:
        spacy = stack.enter_context(start_worker(partial(load_spacy, training), documents))
        of_spacy = {SPACY: add(SPACY, spacy, documents)}
        for subject, folders in _subjects(runs):
            tagger = Tagger.load(*folders, mixed_data=True, devices=["cpu"], engine="torch")
            limit_seconds = operations(tagger, documents) / rate
            with ExitStack() as of_subject:
                peers = dict(of_spacy)
                if len(tagger.members) == 1 and isinstance(_model(tagger.members[0]), EncoderForTokenClassification):
                    few, name = documents[:N_PIPELINE], f"{PIPELINE}, {subject}"
                    worker = of_subject.enter_context(start_worker(partial(load_pipeline, folders[0]), few))
                    peers[name] = add(name, worker, few)
                for name, engine in ((f"{subject}, {engine}", engine) for engine in engines):
                    loads[name] = partial(load_taggers, folders, engine)
                    with start_worker(loads[name], documents) as worker:
                        own = add(name, worker, documents, limit_seconds=limit_seconds)
                        turns.append(in_turns({name: own, **peers}, repeats))
            if len(tagger.members) == 1:
                of_one_fold.append([f"{subject}, {engine}" for engine in engines])
        lines = table_of(turns, facts)
        fastest = [lines.loc[names, "tokens_per_second"].idxmax() for names in of_one_fold]
        workers = {name: stack.enter_context(start_worker(loads[name], documents)) for name in fastest}
        curves = _curves({SPACY: spacy, **workers}, repeats)
    return lines, curves, about | {"turns": turns}


def _subjects(runs: Sequence[Path]) -> Iterator[tuple[str, list[Path]]]:
    """Yield names and folders to average: for each run one fold and all folds, and all runs."""
    names = [run.resolve().name for run in runs]
    for name, run in zip(names if len({*names}) == len(names) else map(str, runs), runs, strict=True):
        folds = fold_folders(run)
        yield f"{name}, 1 fold", folds[:1]
        if len(folds) > 1:
            yield f"{name}, {len(folds)} folds", [run]
    if len(runs) > 1:
        yield "all runs", list(runs)


def table_of(turns: Sequence[Mapping[str, Sequence[float]]], facts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one line for each name in `facts`, from the seconds of all its turns.

    Speeds are from the median of the seconds. `times_spacy` and `times_pipeline` are medians over turns of how many
    times as many tokens per second as the peer in the same turn.
    """
    lines = {}
    for name, fact in facts.items():
        shared = [turn for turn in turns if name in turn]
        seconds = np.concatenate([turn[name] for turn in shared])
        median, limit = np.median(seconds), fact.get("limit_seconds", np.nan)
        line = {**fact, **{f"{unit}_per_second": fact[unit] / median for unit in ("documents", "tokens")}}
        line |= {"limit_tokens_per_second": fact["tokens"] / limit, "share_of_limit": limit / median}
        for kind, column in ((SPACY, "times_spacy"), (PIPELINE, "times_pipeline")):
            line[column] = np.nan
            for peer in (other for other in shared[0] if other.startswith(kind) and name not in (SPACY, other)):
                of_peer = np.concatenate([turn[peer] for turn in shared]) / facts[peer]["tokens"]
                line[column] = float(np.median(of_peer / (seconds / fact["tokens"])))
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("name")


def _curves(workers: Mapping[str, Worker], repeats: int) -> pd.DataFrame:
    """Return the median seconds of workers, one of them SPACY, for each of SIZES.

    Each uses the setting that is fastest on the first 1,000 documents.
    """
    rows = []
    for n_documents, length in SIZES:
        logger.info("%d documents of %d tokens", n_documents, length)
        made = documents_of(n_documents, length)
        settings = {name: worker.choose_setting(made[:1000]) for name, worker in workers.items()}
        seconds = in_turns({name: (worker, made) for name, worker in workers.items()}, repeats)
        for name, setting in settings.items():
            row = {"name": name, "documents": n_documents, "length": length, "setting": setting}
            row |= {"seconds": float(np.median(seconds[name]))}
            rows.append({**row, "times_spacy": float(np.median(np.divide(seconds[SPACY], seconds[name])))})
    return pd.DataFrame(rows)
