"""Compare how fast taggers predict on this machine's CPU with spaCy's NER and with transformers' pipeline."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, pipeline

from pii_kit.data import Document, spell
from pii_kit.metrics import micro_fbeta
from pii_kit.models import flops
from pii_kit.models.encoder import EncoderForTokenClassification
from pii_kit.predict import Ensemble, Tagger
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.report.timing import Loaded, Worker, in_turns, machine, matrix_rate, start_worker
from pii_kit.sample import make_documents
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training.ensemble import load_ensemble, not_trained_on
from pii_kit.training.runs import fold_folders
from pii_kit.windows import cut_windows

logger = logging.getLogger(__name__)

SPACY, PIPELINE = "spaCy's NER", "pipeline"
N_DOCUMENTS = 32  # that each line is timed on
N_PIPELINE = 8  # of them, for the pipeline, which is slow
FIRST_DOCUMENT = 10**6  # no demo trains on made-up documents with such numbers
# Numbers of documents and their length in tokens, for the curves. Those of other lengths have as many tokens in all.
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
        text = spell(tokens, spaces)
        documents.append(Document(document=number, full_text=text, tokens=tokens, trailing_whitespace=spaces))
    return documents


def load_taggers(runs: Sequence[Path], engine: str) -> Loaded:
    """Load the ensemble of runs in an engine. Raises KitError as `load_ensemble` and `Ensemble.with_engine` do."""
    ensemble = load_ensemble(runs, mixed_data=True).with_engine(engine)

    def label(documents: Sequence[Document]) -> list[list[str]]:
        return [ensemble.label(*pair) for pair in ensemble.predict(documents)]

    return Loaded(predict=label, label=label)


def load_spacy(training: Sequence[Document]) -> Loaded:
    """Train spaCy's NER. Without training documents, one epoch on made-up ones: enough for its speed alone.

    It is called with texts, in one process or in one for each core.
    """
    recognizer = train_spacy_ner(training) if training else train_spacy_ner(make_documents(20, seed=0), epochs=1)
    return Loaded(
        predict=lambda documents, **setting: list(recognizer.pipe([doc.full_text for doc in documents], **setting)),
        settings=[{"n_process": n} for n in sorted({1, psutil.cpu_count() or 1})],
        label=(lambda documents: [label_with_spacy(recognizer, doc) for doc in documents]) if training else None,
    )


def load_pipeline(run: Path) -> Loaded:
    """Load the model of a run's only tagger into transformers' pipeline, which is called with texts."""
    (tagger,) = load_ensemble([run]).taggers
    find = pipeline_of(tagger)
    return Loaded(
        predict=lambda documents, **setting: list(find([doc.full_text for doc in documents], **setting)),
        settings=[{"batch_size": size} for size in (1, 2, 4, 8, 16)],
    )


def pipeline_of(tagger: Tagger) -> Any:
    """Return transformers' pipeline with an encoder's weights and windows, but without the features of words."""
    assert isinstance(tagger.model, EncoderForTokenClassification)
    config = tagger.model.config
    labels = {"id2label": config.id2label, "label2id": config.label2id}
    model = AutoModelForTokenClassification.from_config(type(config.encoder)(**config.encoder.to_dict() | labels))
    model.base_model.load_state_dict(tagger.model.encoder.state_dict())
    model.classifier.load_state_dict(tagger.model.classifier.state_dict())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tagger.tokenizer.tokenizer,
        pad_token=tagger.tokenizer.specials["pad"],
        unk_token=tagger.tokenizer.specials["unknown"],
        model_max_length=tagger.window_size,
    )
    settings = {"stride": tagger.overlap, "aggregation_strategy": "first", "device": "cpu"}
    return pipeline("token-classification", model=model.eval(), tokenizer=tokenizer, **settings)


def operations(ensemble: Ensemble, documents: Sequence[Document]) -> float:
    """Count the floating-point operations of the matrix products of all windows, without padding, in all taggers."""
    total, by_run = 0.0, {}
    for run, tagger in zip(ensemble.of_run, ensemble.taggers, strict=True):
        if run not in by_run:  # the taggers of a run are alike
            with torch.device("meta"):
                model = AutoModelForTokenClassification.from_config(tagger.model.config)
            lengths = (8, 16, 24)  # the count is a polynomial of degree 2
            by_run[run] = np.polyfit(lengths, [flops(model, n_pieces=length) for length in lengths], 2)
        cuts = {"size": tagger.window_size, "overlap": tagger.overlap}
        windows = [window for document in documents for window in cut_windows(document, tagger.tokenizer, **cuts)]
        total += float(np.polyval(by_run[run], list(map(len, windows))).sum())
    return total


@dataclass(frozen=True)
class Bench:
    """What was measured: a table `lines` by name, a table `curves`, and `about`, the machine and the settings."""

    lines: pd.DataFrame
    curves: pd.DataFrame
    about: dict[str, Any]


def run_bench(
    runs: Sequence[Path],
    *,
    engines: Sequence[str],
    documents: Sequence[Document],
    labelled: Sequence[Document],
    training: Sequence[Document],
    repeats: int,
) -> Bench:
    """Measure each run, one of its folds, and all runs together, in each engine.

    Speed is measured on `documents`. F5 is measured on those `labelled` documents that no run was trained on, and
    that are not among the `training` documents of spaCy's NER. Whatever is measured runs in a process of its own, in
    turns with its peers, so that a machine that is slow for a while is slow for both.

    Raises KitError as `load_ensemble` and `Ensemble.with_engine` do.
    """
    about = {"machine": machine(), "matrix_product_flops": matrix_rate(), "repeats": repeats}
    of_runs = [{document.document for document in not_trained_on(run, labelled)} for run in runs]
    trained = {document.tokens for document in training}
    new = [doc for doc in labelled if doc.tokens not in trained and all(doc.document in of_run for of_run in of_runs)]
    about |= {"f5_documents": len(new), "f5_rows": len(true_rows(new))}
    turns: list[dict[str, list[float]]] = []
    facts: dict[str, dict[str, Any]] = {}
    few = documents[:N_PIPELINE]

    def add(name: str, worker: Worker, timed: Sequence[Document], **more: Any) -> tuple[Worker, Sequence[Document]]:
        logger.info("%s", name)
        labels = worker.labels(new) if new else None
        facts[name] = {**_facts(worker, timed), "f5": _f5(new, labels), **more}
        return worker, timed

    with start_worker(partial(load_spacy, training), documents) as spacy:
        peers = {SPACY: add(SPACY, spacy, documents)}
        for subject, folders in _subjects(runs):
            ensemble = load_ensemble(folders, mixed_data=True)
            floor = operations(ensemble, documents) / about["matrix_product_flops"]
            with ExitStack() as stack:
                of_subject = dict(peers)
                if len(ensemble.taggers) == 1 and isinstance(ensemble.taggers[0].model, EncoderForTokenClassification):
                    worker = stack.enter_context(start_worker(partial(load_pipeline, folders[0]), few))
                    name = f"{PIPELINE}, {subject}"
                    of_subject[name] = add(name, worker, few)
                for engine in engines:
                    with start_worker(partial(load_taggers, folders, engine), documents) as worker:
                        name = f"{subject}, {engine}"
                        tasks = {name: add(name, worker, documents, floor_seconds=floor), **of_subject}
                        turns.append(in_turns(tasks, repeats))
        lines = table_of(turns, facts)
        about["turns"] = turns
        curves = _curves(spacy, runs, engines, lines, documents, repeats)
    return Bench(lines, curves, about)


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


def _facts(worker: Worker, documents: Sequence[Document]) -> dict[str, Any]:
    return {
        "documents": len(documents),
        "tokens": sum(len(document.tokens) for document in documents),
        "setting": ", ".join(f"{name} {value}" for name, value in worker.setting.items()),
        "load_seconds": worker.load_seconds,
        "peak_mib": worker.peak_memory / 2**20,
    }


def _f5(documents: Sequence[Document], labels: Sequence[Sequence[str]] | None) -> float:
    if labels is None:
        return float("nan")
    numbers = [document.document for document in documents]
    return micro_fbeta(true_rows(documents), submission_rows(zip(numbers, labels, strict=True))).f


def table_of(turns: Sequence[Mapping[str, Sequence[float]]], facts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one line for each name in `facts`, from the seconds of all its turns.

    Speeds are from the median of the seconds. `times_spacy` and `times_pipeline` are medians over turns of how many
    times as many tokens per second as the peer in the same turn.
    """
    lines = {}
    for name, fact in facts.items():
        shared = [turn for turn in turns if name in turn]
        seconds = np.concatenate([turn[name] for turn in shared])
        median = np.median(seconds)
        line = {
            **fact,
            "documents_per_second": fact["documents"] / median,
            "tokens_per_second": fact["tokens"] / median,
        }
        line |= {"fastest_seconds": seconds.min(), "slowest_seconds": seconds.max()}
        if "floor_seconds" in fact:
            line["floor_tokens_per_second"] = fact["tokens"] / fact["floor_seconds"]
            line["share_of_floor"] = fact["floor_seconds"] / median
        for kind, column in ((SPACY, "times_spacy"), (PIPELINE, "times_pipeline")):
            peer = next((other for other in shared[0] if other.startswith(kind)), name)
            if peer != name:
                of_peer = np.concatenate([turn[peer] for turn in shared]) / facts[peer]["tokens"]
                line[column] = float(np.median(of_peer / (seconds / fact["tokens"])))
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("name")


def _curves(
    spacy: Worker,
    runs: Sequence[Path],
    engines: Sequence[str],
    lines: pd.DataFrame,
    documents: Sequence[Document],
    repeats: int,
) -> pd.DataFrame:
    """Return median seconds by number and length of documents: spaCy's, and of a fold of each run in its best engine."""
    rows = []
    with ExitStack() as stack:
        workers = {SPACY: spacy}
        for subject, folders in _subjects(runs):
            if subject.endswith(", 1 fold"):
                engine = lines["tokens_per_second"][[f"{subject}, {engine}" for engine in engines]].argmax()
                load = partial(load_taggers, folders, engines[engine])
                workers[f"{subject}, {engines[engine]}"] = stack.enter_context(start_worker(load, documents))
        for n_documents, length in SIZES:
            logger.info("%d documents of %d tokens", n_documents, length)
            made = documents_of(n_documents, length)
            seconds = in_turns({name: (worker, made) for name, worker in workers.items()}, repeats)
            for name, of_name in seconds.items():
                times_spacy = float(np.median(np.array(seconds[SPACY]) / of_name))
                row = {"name": name, "documents": n_documents, "length": length, "seconds": float(np.median(of_name))}
                rows.append({**row, "times_spacy": times_spacy})
    return pd.DataFrame(rows)
