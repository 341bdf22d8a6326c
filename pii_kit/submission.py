"""Turn labels into submission rows, write them as csv, and check a csv before it is submitted."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABELS, OUTSIDE

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["row_id", "document", "token", "label"]
Row = tuple[int, int, str]  # document, token, label
ROWS_NAMED = 5  # rows listed per problem
NOT_COUNTING = "row_id: does not count 0, 1, 2, …"


def label_rows(document: int, labels: Sequence[str]) -> list[Row]:
    """Return the rows of one document: its labels (token) that are not O.

    >>> label_rows(7, ["O", "B-EMAIL"])
    [(7, 1, 'B-EMAIL')]
    """
    return [(document, token, label) for token, label in enumerate(labels) if label != OUTSIDE]


def rows_table(rows: Iterable[Row]) -> "pd.DataFrame":
    """Return rows as the table to submit: sorted, row_id from 0."""
    import pandas as pd

    frame = pd.DataFrame(sorted(rows), columns=COLUMNS[1:])
    frame.insert(0, "row_id", range(len(frame)))
    return frame.astype({"document": "int64", "token": "int64", "label": "str"})


def submission_rows(labelled: Iterable[tuple[int, Sequence[str]]]) -> "pd.DataFrame":
    """Return the table to submit for pairs of document number and labels (token)."""
    return rows_table(row for document, labels in labelled for row in label_rows(document, labels))


def true_rows(documents: Iterable[Document]) -> "pd.DataFrame":
    """Return the rows of labelled documents. Raises KitError if a document has no labels."""
    return submission_rows((document.number, true_labels(document)) for document in documents)


def label_documents(documents: Iterable[Document], rows: "pd.DataFrame") -> list[Document]:
    """Return documents labelled by rows, O where there is no row. The inverse of `true_rows`."""
    labels = {(doc, token): label for doc, token, label in rows[COLUMNS[1:]].itertuples(index=False)}
    return [
        replace(doc, labels=tuple(labels.get((doc.number, token), OUTSIDE) for token in range(len(doc.tokens))))
        for doc in documents
    ]


def write_submission(path: str | Path, rows: "pd.DataFrame") -> None:
    """Write rows to a csv file, completely or not at all. Without rows it has only the header."""
    with atomic_write(path) as handle:
        rows.to_csv(handle, index=False, columns=COLUMNS, lineterminator="\n")


def read_submission(path: str | Path, documents: Iterable[Document] | None) -> "pd.DataFrame":
    """Read a submission. Raises KitError with every problem that `check_submission` finds."""
    import pandas as pd

    problems = check_submission(path, documents)
    if problems:
        raise KitError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}: {'; '.join(problems)}")
    return pd.read_csv(path, dtype={"document": "int64", "token": "int64", "label": "str"}, keep_default_na=False)


def check_submission(path: str | Path, documents: Iterable[Document] | None) -> list[str]:
    """Return every problem for which Kaggle would refuse the file, or a row cannot be right.

    Without documents (None), rows may name any document and token. The first row after the header is row 0.

    Raises:
        KitError: the file cannot be read as a csv table.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not a csv table with the header {','.join(COLUMNS)}: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus values for row names
        return [f"rows hold more values than the {len(table.columns)} columns"]
    if list(table.columns) != COLUMNS:  # another kind of file may have text of an essay in their place
        are_names = len(table.columns) <= 20 and all(re.fullmatch(r"[\w .-]{1,30}", name) for name in table.columns)
        names = ",".join(table.columns) if are_names else f"{len(table.columns)}, and no names"
        return [f"columns are {names}; expected {','.join(COLUMNS)}, in this order"]

    n_tokens = None if documents is None else {document.number: len(document.tokens) for document in documents}
    bad_rows: dict[str, list[str]] = {}
    seen: set[tuple] = set()
    for row, values in enumerate(table.fillna("").itertuples(index=False, name=None)):
        for problem in _problems(row, values, n_tokens, seen):
            bad_rows.setdefault(problem, []).append(str(row))
    if NOT_COUNTING in bad_rows:  # mostly a consequence of the others
        bad_rows[NOT_COUNTING] = bad_rows.pop(NOT_COUNTING)
    problems = []
    for problem, rows in bad_rows.items():
        more = f" and {len(rows) - ROWS_NAMED} more" * (len(rows) > ROWS_NAMED)
        problems.append(f"{problem} (row{'s' * (len(rows) > 1)} {', '.join(rows[:ROWS_NAMED])}{more})")
    return problems


def _problems(row: int, values: Sequence[str], n_tokens: Mapping[int, int] | None, seen: set[tuple]) -> Iterator[str]:
    # Plain digits as whole numbers, exactly: a float would round numbers from 2**53 up.
    numbers = [int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None for text in values[:3]]
    (row_id, document, token), label = numbers, values[3]
    for name, value, number in zip(COLUMNS, values, [*numbers, 0], strict=True):
        if not value:
            yield f"{name}: empty value"
        elif number is None:
            yield f"{name}: not a whole number"
    if row_id not in (None, row):
        yield NOT_COUNTING
    if document is not None and n_tokens is not None and document not in n_tokens:
        yield "document: not in the data"
    elif document is not None and token is not None and not 0 <= token < (n_tokens or {}).get(document, math.inf):
        yield "token: outside its document"
    if label == OUTSIDE:
        yield "label: O, which is not submitted"
    elif label and label not in LABELS:
        yield "label: unknown"
    if (document, token) in seen and None not in (document, token):
        yield "document and token: same as in a row above"
    seen.add((document, token))
