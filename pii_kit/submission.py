"""Labels to the rows that Kaggle scores, checked before anybody spends a try on them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pii_kit.data import Document
from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABELS, OUTSIDE

COLUMNS = ["row_id", "document", "token", "label"]
Row = tuple[int, int, str]  # document, token, label
ROWS_NAMED = 5  # in a problem's text


def submission_rows(labelled: Iterable[tuple[int, Sequence[str]]]) -> pd.DataFrame:
    """Pairs of a document's number and its labels (token) to rows of all that is not O, sorted, row_id from 0."""
    return rows_table(row for document, labels in labelled for row in label_rows(document, labels))


def label_rows(document: int, labels: Sequence[str]) -> list[Row]:
    """What is not O among a document's labels (token).

    >>> label_rows(7, ["O", "B-EMAIL"])
    [(7, 1, 'B-EMAIL')]
    """
    return [(document, token, label) for token, label in enumerate(labels) if label != OUTSIDE]


def rows_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows in any order to the table that is submitted: sorted, row_id from 0."""
    frame = pd.DataFrame(sorted(rows), columns=COLUMNS[1:])
    frame.insert(0, "row_id", range(len(frame)))
    return frame.astype({"document": "int64", "token": "int64", "label": "str"})


def true_rows(documents: Iterable[Document]) -> pd.DataFrame:
    """The rows of labelled documents. Raises KitError, naming the document, where labels are missing."""
    documents = list(documents)
    for document in documents:
        if document.labels is None:
            raise KitError(f"document {document.document}: labels missing (scoring needs them)")
    return submission_rows((document.document, document.labels) for document in documents)


def label_documents(documents: Iterable[Document], rows: pd.DataFrame) -> list[Document]:
    """Documents with the labels that rows give them, O elsewhere: what `true_rows` undoes."""
    labels = {(doc, token): label for doc, token, label in rows[COLUMNS[1:]].itertuples(index=False)}
    return [
        replace(doc, labels=tuple(labels.get((doc.document, token), OUTSIDE) for token in range(len(doc.tokens))))
        for doc in documents
    ]


def write_submission(path: str | Path, rows: pd.DataFrame) -> None:
    """Rows to a csv file, whole or not at all; no rows give the header alone."""
    with atomic_write(path) as handle:
        rows.to_csv(handle, index=False, columns=COLUMNS, lineterminator="\n")


def read_submission(path: str | Path, documents: Iterable[Document]) -> pd.DataFrame:
    """A submission's rows. Raises KitError with every problem that `check_submission` finds."""
    problems = check_submission(path, documents)
    if problems:
        raise KitError(f"{path}: {len(problems)} problems: " + "; ".join(problems))
    return pd.read_csv(path, dtype={"document": "int64", "token": "int64", "label": "str"}, keep_default_na=False)


def check_submission(path: str | Path, documents: Iterable[Document]) -> list[str]:
    """Every reason for which Kaggle would refuse the file or a row cannot be right, each with its rows; empty if none.

    Rows are counted as row_id is: the first one after the header is row 0. Raises KitError if the file cannot be read
    as a csv table at all.
    """
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not a csv table with the header {','.join(COLUMNS)}: {error}") from None
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes what is too much for row labels
        return [f"rows hold more values than the {len(rows.columns)} columns"]
    if list(rows.columns) != COLUMNS:
        return [f"columns are {','.join(map(str, rows.columns))}; expected {','.join(COLUMNS)}, in this order"]

    n_tokens = {document.document: len(document.tokens) for document in documents}
    row_id, document, token = (_whole_numbers(rows[name]) for name in COLUMNS[:3])
    known = document.isin(n_tokens)
    length = document.map(n_tokens).where(known)
    counting = pd.Series(range(len(rows)), index=rows.index)
    filled = rows.ne("")
    findings = (
        [(f"{name}: empty value", ~filled[name]) for name in COLUMNS]
        + [
            (f"{name}: not a whole number", filled[name] & numbers.isna())
            for name, numbers in zip(COLUMNS, (row_id, document, token), strict=False)
        ]
        + [
            ("row_id: does not count 0, 1, 2, …", row_id.notna() & (row_id != counting)),
            ("document: not in the data", document.notna() & ~known),
            ("token: outside its document", known & token.notna() & ((token < 0) | (token >= length))),
            ("label: O, which is not submitted", rows["label"] == OUTSIDE),
            ("label: unknown", filled["label"] & ~rows["label"].isin(LABELS)),
            (
                "document and token: same as in a row above",
                document.notna() & token.notna() & pd.DataFrame({"document": document, "token": token}).duplicated(),
            ),
        ]
    )
    return [f"{what} ({_name_rows(bad)})" for what, bad in findings if bad.any()]


def _whole_numbers(column: pd.Series) -> pd.Series:
    """Text to numbers, missing where the text is not plain digits."""
    return (
        pd.to_numeric(column.where(column.str.fullmatch(r"-?\d{1,15}")), errors="coerce")
        .astype("Int64")
        .astype("Float64")
    )


def _name_rows(bad: pd.Series) -> str:
    rows = bad[bad].index.tolist()
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:ROWS_NAMED]))}{more}"
