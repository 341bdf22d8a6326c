"""Redact tables of documents: one function for pandas, Ray and Spark, whose workers get it with its settings."""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pii_kit.documents import Document, read_documents
from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE
from pii_kit.redact import Redaction
from pii_kit.redact.document import redact_document
from pii_kit.redact.forms import LIST_FIELDS, TEXT_FIELDS, Item, check_items, item_of
from pii_kit.redact.leaks import find_leaks
from pii_kit.redact.release import Release, describe, hash_of, report_of
from pii_kit.submission import label_documents, read_submission

if TYPE_CHECKING:  # what loads taggers takes seconds, and a worker with a submission needs none: see _load_tagger
    from pii_kit.predict import Tagger

COUNTS = ("documents", "changed_documents", "types")


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """How to redact tables: the settings, and labels of a submission or of taggers: of run folders, or the kit's own.

    `train` and `mixed_data` are those of `Tagger.load`, `recall` is that of `with_recall`, which needs `train`,
    `o_threshold` replaces the threshold of the runs, and `thresholds` are pairs of a PII type and its threshold on
    P(O). Paths become absolute, because workers may run in other folders.

    Raises:
        KitError: there are both a submission and runs, or a recall without `train` or with `o_threshold`.
    """

    settings: Redaction
    runs: tuple[Path, ...] = ()
    submission: Path | None = None
    train: Path | None = None
    mixed_data: bool = False
    recall: float | None = None
    o_threshold: float | None = None
    thresholds: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.runs and self.submission:
            raise KitError("labels come either from runs or from a submission; expected one of them")
        if not self.submission:
            from pii_kit.predict import DEFAULT_RUN

            object.__setattr__(self, "runs", self.runs or (DEFAULT_RUN,))
        if self.recall and not self.train:
            raise KitError("a recall needs train: the file of essays that the runs were trained on")
        if self.recall and self.o_threshold:
            raise KitError("a recall chooses the threshold that o_threshold sets; expected one of them")
        object.__setattr__(self, "runs", tuple(Path(run).resolve() for run in self.runs))
        for name in ("submission", "train"):
            if path := getattr(self, name):
                object.__setattr__(self, name, Path(path).resolve())

    def sources(self) -> dict[str, Any]:
        """Return fingerprints of what labels come from. Raises KitError if it is not there."""
        if self.submission:
            return {"submission_sha256": _hash_of_file(self.submission)}
        from pii_kit.training.runs import fingerprint_runs

        limits = {"thresholds": dict(self.thresholds), "recall": self.recall, "o_threshold": self.o_threshold}
        train = {"train_sha256": _hash_of_file(self.train)} if self.train else {}
        return {"taggers": fingerprint_runs(self.runs)} | limits | train

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for equal output, without the key and without strings of `allow` and `deny`."""
        secrets = json.dumps([sorted(self.settings.allow), self.settings.deny]).encode()
        digest = hmac.new(self.settings.key or b"", secrets, "sha256").hexdigest()
        return describe(self.settings) | self.sources() | {"key, allow, deny": digest}


def _hash_of_file(path: Path) -> str:
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    return hash_of(path.read_bytes())


def redact_table(table: pd.DataFrame, config: TableConfig) -> pd.DataFrame:
    """Return a table of documents without their PII: same columns, order, dtypes and index; the input is unchanged.

    The table needs a column `document` with whole numbers, none of them twice in all tables, because surrogates depend
    on them, and `full_text` or `text`. It may have `tokens`, `trailing_whitespace` and `labels`, which stay consistent
    with the text. Other columns pass through. A process reads the submission, or loads the taggers, once.

    Raises:
        KitError: a column is missing or a value is wrong; the message names document and field.
    """
    return redact_rows(table, config)[0]


def redact_rows(table: pd.DataFrame, config: TableConfig) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return what `redact_table` does, and a report of counts, which `add_reports` adds up."""
    items = _items(table)
    documents = [item.document for item in items]
    labels = _labels(documents, config)
    redacted = [redact_document(*pair, config.settings) for pair in zip(documents, labels, strict=True)]
    leaks = tuple(find_leaks(items, redacted, config.settings))
    release = Release(files=(), contents=(), edits=(), redacted=tuple(redacted), leaks=leaks)
    new = table.copy(deep=False)
    for name in {_text_column(table), *LIST_FIELDS} & {*table.columns}:
        values: list[Any] = [getattr(one.document, name if name in LIST_FIELDS else "full_text") for one in redacted]
        values = [list(value) if isinstance(value, tuple) else value for value in values]
        missing = [_cell(old) is None for old in table[name]]
        values = [old if is_missing else new for old, new, is_missing in zip(table[name], values, missing, strict=True)]
        new[name] = pd.Series(values, index=table.index, dtype=table[name].dtype)
    report = report_of(release, config.settings, {})
    leaks_report = {name: report["leaks"][name] for name in ("unexplained", "explained")}
    return new, {name: report[name] for name in COUNTS} | {
        "leaks": leaks_report,
        "documents_with_unexplained_leaks": sorted({leak.document for leak in release.unexplained}),
        "texts_that_differ_from_tokens": sum(item.text_differs for item in items),
        "labelled_tokens": sum(label != OUTSIDE for of_one in labels for label in of_one),
    }


def add_reports(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add the counts of two reports, and join their lists.

    >>> add_reports({"n": 1, "of": {"a": 2}}, {"n": 3, "of": {"b": 4}})
    {'n': 4, 'of': {'a': 2, 'b': 4}}
    """
    return {
        name: add_reports(one.get(name, {}), other.get(name, {}))
        if isinstance(value, Mapping)
        else one.get(name, type(value)()) + other.get(name, type(value)())
        for name, value in {**one, **other}.items()
    }


def _text_column(table: pd.DataFrame) -> str:
    for name in TEXT_FIELDS:
        if name in table.columns:
            return name
    raise KitError(f"the table has no column {' or '.join(TEXT_FIELDS)}")


def _items(table: pd.DataFrame) -> list[Item]:
    text = _text_column(table)
    if "document" not in table.columns:
        raise KitError("the table has no column document; expected a whole number for each document, and none twice")
    if not table.columns.is_unique:
        raise KitError("the table has two columns of the same name")
    if isinstance(table[text].dtype, pd.CategoricalDtype):
        raise KitError(f"{text}: a categorical column, whose dtype holds the texts; expected strings")
    items = []
    for position, row in enumerate(table.to_dict("records")):
        entry = {name: _cell(value) for name, value in row.items()}
        entry = {name: value for name, value in entry.items() if value is not None or name not in LIST_FIELDS}
        items.append(item_of(entry, dict.fromkeys(entry, (0, 0)), entry["document"], "table", position))
    check_items(items, "table")
    return items


def _cell(value: Any) -> Any:
    """Return a value as JSON has it: lists of Python's objects, and None for what pandas takes for missing."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _labels(documents: Sequence[Document], config: TableConfig) -> list[Sequence[str]]:
    """Return the labels (document, token) of documents."""
    if not config.submission:
        tagger = _load_tagger(config.runs, config.train, config.mixed_data, config.recall)
        o_threshold = config.o_threshold or tagger.o_threshold
        tagger = replace(tagger, o_threshold=o_threshold, thresholds=dict(config.thresholds))
        return [tagger.decide(*pair, keep_sure=True) for pair in tagger.predict(documents)]
    rows = read_rows(config.submission)
    n_tokens = {document.number: len(document.tokens) for document in documents}
    rows = rows[rows["document"].isin(n_tokens.keys())]
    outside = rows[rows["token"] >= rows["document"].map(n_tokens)]
    if len(outside):
        first = f"document {outside['document'].iloc[0]}: token {outside['token'].iloc[0]}"
        raise KitError(f"{config.submission}: {first}: outside its document; is it of other documents?")
    return [document.labels or () for document in label_documents(documents, rows)]


@lru_cache(maxsize=1)
def _load_tagger(runs: tuple[Path, ...], train: Path | None, mixed_data: bool, recall: float | None) -> "Tagger":
    from pii_kit.predict import Tagger
    from pii_kit.training.ensemble import with_chosen_threshold, with_recall

    tagger = Tagger.load(*runs, mixed_data=mixed_data)
    documents = read_documents(train, labels_required=True) if train else []
    if recall:
        return with_recall(tagger, runs, documents, recall)[0]
    return with_chosen_threshold(tagger, runs, documents) if documents and len(runs) > 1 else tagger


@lru_cache(maxsize=1)
def read_rows(submission: Path) -> pd.DataFrame:
    """Read a submission, once in a process. Raises KitError as `read_submission`."""
    return read_submission(submission, None)
