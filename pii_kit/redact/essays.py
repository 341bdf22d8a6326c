"""Read essays in any form of file, and write the same file with other texts.

Values, order, columns, encoding and byte order mark stay; the layout of JSON and the quoting of csv are Python's own.
"""

import csv
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pii_kit.documents import (
    FIELDS,
    DataWarning,
    Document,
    check_entry,
    document_of_text,
    document_to_label,
    join_tokens,
)
from pii_kit.files import KitError, printable
from pii_kit.redact.document import Redacted

TEXT_COLUMNS = ("full_text", "text")
LIST_FIELDS = FIELDS[2:]
ID_COLUMNS = ("document", "id", "essay_id", "text_id", "file_name", "filename")
TEXT_FORMS = (".txt", ".md")
FORMS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", *TEXT_FORMS)
BOM = "\ufeff"
N_NAMED = 5  # rows, columns or files in a message
Row = dict[str, Any]
Write = Callable[[list[Row]], Mapping[str, str | bytes]]  # rows → contents of the files by name


@dataclass(frozen=True, kw_only=True)
class Essays:
    """The rows of a file, or the text files of a folder.

    `contents` are the bytes of the input by file name, `documents` the essays by row; rows without text have none.
    `names` (by document number) say which row or file an essay is, as their owner knows them.
    """

    rows: list[Row]
    fields: list[str]  # for each row the field that holds its text
    documents: Mapping[int, Document]
    names: Mapping[int, str]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    write: Write = lambda rows: {}
    is_spreadsheet: bool = False

    def others(self) -> list[dict[str, str]]:
        """Return the other fields of each document, as text; of a file in a folder its name."""
        return [
            {
                name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                for name, value in self.rows[index].items()
                if name not in ("document", *LIST_FIELDS, self.fields[index])
            }
            for index in self.documents
        ]

    def redacted_rows(self, redacted: Iterable[Redacted]) -> list[Row]:
        """Return the rows with the redacted texts of the documents, in their order."""
        rows = list(self.rows)
        for index, document in zip(self.documents, redacted, strict=True):
            row = rows[index]
            new = {name: list(getattr(document.document, name)) for name in LIST_FIELDS if row.get(name) is not None}
            rows[index] = row | new | {self.fields[index]: document.text}
        return rows

    def redacted(self, redacted: Iterable[Redacted]) -> dict[str, bytes]:
        """Return the contents of the files with the redacted texts of the documents."""
        contents = {}
        for name, new in self.write(self.redacted_rows(redacted)).items():
            bom = BOM * self.contents[name].startswith(BOM.encode())
            contents[name] = (bom + new).encode("utf-8") if isinstance(new, str) else new
        return contents


def read_essays(path: str | Path, text_column: str | None = None, *, at_marks: bool = True) -> Essays:
    """Read a file, or all text files of a folder.

    Documents are numbered by their field `document` if each has a whole number there, otherwise by row. Warns of rows
    without text, which stay as they are, of texts that differ from their tokens, and of files that are left out.
    A submission counts the competition's tokens: without `at_marks`, texts have these (`document_to_label`).

    Raises:
        KitError: the file cannot be read. The message names file, row and column.
    """
    path = Path(path)
    if path.is_dir():
        form, contents = "", {file.name: file.read_bytes() for file in _text_files(path)}
    elif not path.is_file():
        raise KitError(f"{path}: no such file or folder")
    elif (form := path.suffix.lower()) in FORMS:
        contents = {"": path.read_bytes()}
    else:
        advice = "save it in UTF-8, a table as csv and other text as plain text"
        raise KitError(f"{path}: {form or 'no suffix'} is not read; {advice}; read are {', '.join(FORMS)} and folders")
    if form == ".parquet":
        rows, names, write = _read_parquet(contents[""], path)
    else:
        texts = {name: _decoded(content, path / name) for name, content in contents.items()}
        if form in (".csv", ".tsv"):
            rows, names, write = _read_csv(texts[""], path, text_column)
        elif form in ("", *TEXT_FORMS):
            rows, names = [{"name": name, "text": text} for name, text in texts.items()], list(texts)
            text_column, names, write = "text", names if form == "" else [path.name], _write_texts
        else:
            rows, names, write = _read_json(texts[""], path)
    essays = essays_of_rows(str(path), rows, names, text_column, at_marks=at_marks)
    return replace(essays, contents=contents, write=write, is_spreadsheet=form in (".csv", ".tsv"))


def essays_of_rows(
    where: str, rows: list[Row], names: Sequence[str], text_column: str | None = None, *, at_marks: bool = True
) -> Essays:
    """Return the essays of rows, whose missing values are None, with the `names` by which their owner knows them.

    Raises KitError as `read_essays`.
    """
    fields = [text_field(list(row), text_column, f"{where}: {name}") for row, name in zip(rows, names, strict=True)]
    numbers = [_whole(row.get("document")) for row in rows]
    if None in numbers:
        numbers = list(range(len(rows)))
    elif len(set(numbers)) < len(numbers):
        raise KitError(f"{where}: {len(numbers) - len(set(numbers))} document numbers are used twice")
    documents: dict[int, Document] = {}
    without, differing = [], []
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        text = row[fields[index]]
        lists = {key: row[key] for key in LIST_FIELDS if row.get(key) is not None}
        if text is None or text != text or (isinstance(text, str) and not text.strip()):  # NaN is not itself
            without.append(name)
        elif not isinstance(text, str):
            raise KitError(f"{where}: {name}: expected text, found {type(text).__name__}")
        elif lists:
            entry = {"document": numbers[index], "full_text": text, **lists}
            documents[index] = document = check_entry(entry, f"{where}: {name}")
            if join_tokens(document.tokens, document.trailing_whitespace) != text:
                differing.append(name)
        else:
            tokenized = document_to_label if at_marks else document_of_text
            documents[index] = tokenized(text, numbers[index] or 0)
    problems = {
        f"{len(without)} without text, passed through as they are: {_some(without)}": without,
        f"{len(differing)} whose text differs from their tokens, which are used: {_some(differing)}": differing,
        "the file holds no essays": not rows,
    }
    for problem in filter(problems.get, problems):
        warnings.warn(f"{where}: {problem}", DataWarning, stacklevel=3)
    known = {document.number: _full_name(rows[index], names[index]) for index, document in documents.items()}
    return Essays(rows=rows, fields=fields, documents=documents, names=known)


def text_field(columns: Sequence[str], wanted: str | None, where: str) -> str:
    """Return the column that holds the text, in any casing and with spaces around."""
    found = {column.strip().casefold(): column for column in reversed(columns) if isinstance(column, str)}
    for name in [wanted.strip().casefold()] if wanted else TEXT_COLUMNS:
        if name in found:
            return found[name]
    expected = f"no column {printable(wanted)!r}" if wanted else f"no column {' or '.join(TEXT_COLUMNS)}"
    raise KitError(f"{where}: {expected}; found {_some(map(str, columns))}; --text-column NAME chooses one")


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    return value if type(value) is int else None


def _full_name(row: Row, name: str) -> str:
    known = next((column for column in ID_COLUMNS if row.get(column) not in (None, "")), None)
    return f"{name} ({known} {printable(str(row[known]))})" if known else name


def _some(names: Iterable[str]) -> str:
    listed = list(map(printable, names))
    return ", ".join(listed[:N_NAMED]) + f" and {len(listed) - N_NAMED} more" * (len(listed) > N_NAMED)


def _text_files(folder: Path) -> list[Path]:
    """Return the text files in a folder; links and folders inside it are not read."""
    entries = sorted(folder.iterdir())
    files = [path for path in entries if path.suffix.lower() in TEXT_FORMS and path.is_file() and not path.is_symlink()]
    if not files:
        raise KitError(f"{folder}: no {' or '.join(TEXT_FORMS)} files; other forms are given as one file")
    if left_out := [path.name for path in entries if path not in files]:
        why = f"links, or no {' or '.join(TEXT_FORMS)} files"
        warnings.warn(f"{folder}: {len(left_out)} left out ({why}): {_some(left_out)}", DataWarning, stacklevel=3)
    return files


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8 first") from None


def _write_texts(rows: list[Row]) -> dict[str, str]:
    return {row["name"]: row["text"] for row in rows}


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an object has a field twice")  # one value would be lost
    return dict(pairs)


def _read_json(text: str, path: Path) -> tuple[list[Row], list[str], Write]:
    """Return the objects of a JSON list, or of JSON lines, with their names and what writes them."""
    is_list, is_ascii = path.suffix.lower() == ".json", text.isascii()
    values: Any = []
    names = []
    for number, part in enumerate([text] if is_list else text.split("\n"), 1):
        if part.strip():
            names.append(f"line {number}")
            try:
                values.append(json.loads(part, object_pairs_hook=_without_repeats))
            except (ValueError, RecursionError) as error:
                where = path if is_list else f"{path}: line {number}"
                raise KitError(f"{where}: not JSON, or incomplete: {error}") from None
    if is_list and values:
        (values,) = values
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise KitError(f"{path}: expected a list of objects, or .jsonl with one in each line")

    def dumped(value: Any) -> str:
        """Return JSON; text of other alphabets is escaped if it is in the file, or if UTF-8 cannot hold it."""
        new = json.dumps(value, ensure_ascii=is_ascii)
        return json.dumps(value) if re.search("[\ud800-\udfff]", new) else new

    if is_list:
        return values, [f"entry {n}" for n in range(1, len(values) + 1)], lambda rows: {"": dumped(rows)}
    return values, names, lambda rows: {"": "".join(dumped(row) + "\n" for row in rows)}


def _read_csv(text: str, path: Path, text_column: str | None) -> tuple[list[Row], list[str], Write]:
    """Return the rows with their names and what writes them; the delimiter is that which finds the text's column."""
    csv.field_size_limit(sys.maxsize)
    first = text.split("\n", 1)[0]
    wanted = {text_column.strip().casefold()} if text_column else {*TEXT_COLUMNS}

    def fit(delimiter: str) -> tuple[bool, int]:
        cells = {cell.strip(' "\r').casefold() for cell in first.split(delimiter)}
        return bool(wanted & cells), len(cells)

    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=fit)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise KitError(f"{path}: line {reader.line_num}: {error}; is a quote not closed?") from None
    header = list(reader.fieldnames or ())
    if header:
        text_field(header, text_column, str(path))
    if len(set(header)) < len(header) or {*LIST_FIELDS} & {*header}:
        raise KitError(f"{path}: two columns have one name, or a column of lists, which csv cannot hold")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise KitError(f"{path}: row {number}: more or fewer cells than the {len(header)} of the header")

    def write(rows: list[Row]) -> dict[str, str]:
        handle = io.StringIO(newline="")
        writer = csv.writer(handle, delimiter=delimiter, lineterminator="\r\n" if first.endswith("\r") else "\n")
        writer.writerows([header, *(row.values() for row in rows)] if header else [])
        return {"": handle.getvalue()}

    return rows, [f"row {number}" for number in range(2, len(rows) + 2)], write  # as a spreadsheet numbers them


def _read_parquet(content: bytes, path: Path) -> tuple[list[Row], list[str], Write]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise KitError("parquet files need pyarrow: pip install pyarrow") from None
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise KitError(f"{path}: not a parquet file, or damaged: {type(error).__name__}") from None
    rows = table.to_pylist()

    def write(new_rows: list[Row]) -> dict[str, bytes]:
        new, buffer = table, io.BytesIO()
        for place, kind in enumerate(table.schema):
            column = [row[kind.name] for row in new_rows]
            if any(value is not row[kind.name] for value, row in zip(column, rows, strict=True)):
                new = new.set_column(place, kind, pyarrow.array(column, kind.type))
        pyarrow.parquet.write_table(new, buffer)
        return {"": buffer.getvalue()}

    return rows, [f"row {number}" for number in range(1, len(rows) + 1)], write
