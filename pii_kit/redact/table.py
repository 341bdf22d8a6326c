"""Redact tables of pandas, and so of Spark, whose workers get one function with its settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.predict import Tagger
from pii_kit.redact.document import Redaction
from pii_kit.redact.essays import LIST_FIELDS, essays_of_rows
from pii_kit.redact.release import redact_essays, report_of
from pii_kit.submission import label_documents, read_submission


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """How to redact tables: the settings, and labels of a submission or of a tagger: of run folders, or the kit's own.

    `o_threshold` and `thresholds` (pairs of a PII type and its threshold) are those of `Tagger.load`,
    `text_column` is that of `read_essays`.
    Paths become absolute, because workers may run in other folders.
    """

    settings: Redaction
    runs: tuple[str | Path, ...] = ()
    submission: str | Path | None = None
    o_threshold: float | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    text_column: str | None = None

    def __post_init__(self) -> None:
        if self.runs and self.submission:
            raise KitError("labels come either from runs or from a submission; expected one of them")
        object.__setattr__(self, "runs", tuple(Path(run).resolve() for run in self.runs))
        if self.submission:
            object.__setattr__(self, "submission", Path(self.submission).resolve())

    def labels(self, documents: Sequence[Document]) -> Iterator[Sequence[str]]:
        """Yield the labels (token) of each document. A process reads the submission, or loads the tagger, once."""
        if not self.submission:
            tagger = _load(self.runs, self.o_threshold, self.thresholds)
            yield from (tagger.decide(*pair, keep_sure=True) for pair in tagger.predict(documents))
            return
        rows = read_rows(Path(self.submission))
        n_tokens = {document.number: len(document.tokens) for document in documents}
        rows = rows[rows["document"].isin(n_tokens.keys())]
        outside = rows[rows["token"] >= rows["document"].map(n_tokens)]
        if len(outside):
            first = f"document {outside['document'].iloc[0]}: token {outside['token'].iloc[0]}"
            raise KitError(f"{self.submission}: {first}: outside its document; is it of other documents?")
        yield from (document.labels or () for document in label_documents(documents, rows))


def redact_table(table: pd.DataFrame, config: TableConfig) -> pd.DataFrame:
    """Return a table of essays without their PII: same columns, order, dtypes and index; the input is unchanged.

    The table needs a column `full_text` or `text`, or the `text_column` of the settings. It may have `tokens`,
    `trailing_whitespace` and `labels`, which stay consistent with the text. Other columns and missing texts stay.
    Surrogates depend on the column `document`, if that has whole numbers, none twice in all tables; else on the row.

    Raises:
        KitError: a column is missing or a value is wrong; the message names row and column.
    """
    return redact_rows(table, config)[0]


def redact_rows(table: pd.DataFrame, config: TableConfig) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return what `redact_table` does, and the report of `report_of`."""
    if not table.columns.is_unique:
        raise KitError("the table has two columns of the same name")
    rows = [{name: _cell(value) for name, value in row.items()} for row in table.to_dict("records")]
    essays = essays_of_rows(rows, list(map(str, table.columns)), config.text_column)
    release = redact_essays(essays, config.labels(list(essays.documents.values())), config.settings)
    new = table.copy(deep=False)
    redacted = essays.redacted_rows(release.redacted)
    for name in {*essays.fields, *LIST_FIELDS} & {*table.columns}:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            raise KitError(f"{name}: a categorical column, whose dtype holds the texts; expected strings")
        values = [old if row[name] is None else row[name] for old, row in zip(table[name], redacted, strict=True)]
        new[name] = pd.Series(values, index=table.index, dtype=table[name].dtype)
    return new, report_of(release, {})


def _cell(value: Any) -> Any:
    """Return a value as JSON has it: lists of Python's objects, and None for what pandas takes for missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


@lru_cache(maxsize=1)
def _load(runs: tuple[Path, ...], o_threshold: float | None, thresholds: tuple[tuple[str, float], ...]) -> Tagger:
    return Tagger.load(*runs, o_threshold=o_threshold, thresholds=dict(thresholds))


@lru_cache(maxsize=1)
def read_rows(submission: Path) -> pd.DataFrame:
    """Read a submission, once in a process. Raises KitError as `read_submission`."""
    return read_submission(submission, None)
