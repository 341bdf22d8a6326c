"""Read essays in any form of file, and write the same file with other texts.

Values, order, columns, encoding and byte order mark stay; the layout of JSON and the quoting of csv are Python's own.
"""

import csv
import io
import json
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pii_kit.documents import FIELDS, DataWarning, Document, check_entry, document_of_text, join_tokens
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


@dataclass(frozen=True, kw_only=True)
class Essays:
    """The rows of a file, or the text files of a folder.

    `contents` are the bytes of the input by file name, `documents` the essays by row; rows without text have none.
    `names` (by document number) say which row or file an essay is, as their owner knows them.
    """

    form: str  # suffix, or folder
    contents: Mapping[str, bytes]
    rows: list[Row]
    fields: list[str]  # for each row the field that holds its text
    documents: Mapping[int, Document]
    names: Mapping[int, str]
    table: Any = None  # of parquet
    header: list[str] = field(default_factory=list)  # of csv
    layout: Mapping[str, Any] = field(default_factory=dict)  # of csv: delimiter and line end

    @property
    def is_spreadsheet(self) -> bool:
        return self.form in (".csv", ".tsv")

    def others(self) -> list[dict[str, str]]:
        """Return the other fields of each document, as text; of a file in a folder its name."""
        left_out = {"document", *LIST_FIELDS}
        return [
            {
                name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                for name, value in self.rows[index].items()
                if name not in left_out and name != self.fields[index]
            }
            for index in self.documents
        ]

    def redacted_rows(self, redacted: Iterable[Redacted]) -> list[Row]:
        """Return the rows with the redacted texts of the documents, in their order."""
        rows = list(self.rows)
        for index, one in zip(self.documents, redacted, strict=True):
            row = rows[index]
            new = {name: list(getattr(one.document, name)) for name in LIST_FIELDS if row.get(name) is not None}
            rows[index] = row | new | {self.fields[index]: one.text}
        return rows

    def redacted(self, redacted: Iterable[Redacted]) -> dict[str, bytes]:
        """Return the contents of the files with the redacted texts of the documents."""
        rows = self.redacted_rows(redacted)
        if self.form == ".parquet":
            return {"": self._parquet(rows)}
        if self.form == "folder":
            texts = {row["name"]: row["text"] for row in rows}
        elif self.form in TEXT_FORMS:
            texts = {"": rows[0]["text"]}
        elif self.is_spreadsheet:
            handle = io.StringIO(newline="")
            csv.writer(handle, **self.layout).writerows([self.header, *(row.values() for row in rows)])
            texts = {"": handle.getvalue() if self.header else ""}
        elif self.form == ".json":
            texts = {"": self._json(rows)}
        else:
            texts = {"": "".join(self._json(row) + "\n" for row in rows)}
        boms = {name: BOM * content.startswith(BOM.encode()) for name, content in self.contents.items()}
        return {name: (boms[name] + text).encode("utf-8") for name, text in texts.items()}

    def _json(self, value: Any) -> str:
        """Return JSON; text of other alphabets is escaped if it is in the file, or if UTF-8 cannot hold it."""
        text = json.dumps(value, ensure_ascii=self.contents[""].isascii())
        has_half_pairs = not text.isascii() and re.search("[\ud800-\udfff]", text)
        return json.dumps(value) if has_half_pairs else text

    def _parquet(self, rows: list[Row]) -> bytes:
        import pyarrow.parquet

        table = self.table
        for name in {*self.fields, *LIST_FIELDS} & {*table.column_names}:
            place = table.column_names.index(name)
            kind = table.schema.field(place)
            table = table.set_column(place, kind, pyarrow.array([row[name] for row in rows], kind.type))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        return buffer.getvalue()


def essays_of_rows(rows: list[Row], columns: list[str], text_column: str | None = None) -> Essays:
    """Return the essays of a table, whose missing values are None. Raises KitError as `read_essays`."""
    _text_field(columns, text_column, "table")
    return _essays(Path("table"), "table", {}, rows, [f"row {n}" for n in range(1, len(rows) + 1)], text_column)


def read_essays(path: str | Path, text_column: str | None = None) -> Essays:
    """Read a file, or all text files of a folder.

    Documents are numbered by their field `document` if each has a whole number there, otherwise by row. Warns of rows
    without text, which stay as they are, of texts that differ from their tokens, and of files that are left out.

    Raises:
        KitError: the file cannot be read. The message names file, row and column.
    """
    path = Path(path)
    if path.is_dir():
        contents = {name: (path / name).read_bytes() for name in _text_files(path)}
        rows = [{"name": name, "text": decoded(content, path / name)} for name, content in contents.items()]
        return _essays(path, "folder", contents, rows, list(contents), text_column="text")
    form = path.suffix.lower()
    if not path.is_file():
        raise KitError(f"{path}: no such file or folder")
    if form not in FORMS:
        advice = "save it in UTF-8, a table as csv and other text as plain text"
        raise KitError(f"{path}: {form or 'no suffix'} is not read; {advice}; read are {', '.join(FORMS)} and folders")
    content = path.read_bytes()
    if form == ".parquet":
        table = _parquet_table(content, path)
        names = [f"row {number}" for number in range(1, table.num_rows + 1)]
        return replace(_essays(path, form, {"": content}, table.to_pylist(), names, text_column), table=table)
    text = decoded(content, path)
    if form in (".csv", ".tsv"):
        layout, header, rows = _csv_rows(text, path, form, text_column)
        names = [f"row {number}" for number in range(2, len(rows) + 2)]  # as a spreadsheet numbers them
        essays = _essays(path, form, {"": content}, rows, names, text_column)
        return replace(essays, layout=layout, header=header)
    if form in TEXT_FORMS:
        return _essays(path, form, {"": content}, [{"text": text}], [path.name], "text")
    rows, names = json_rows(text, path, in_lines=form != ".json")
    return _essays(path, form, {"": content}, rows, names, text_column)


def _essays(
    path: Path, form: str, contents: Mapping[str, bytes], rows: list[Row], names: list[str], text_column: str | None
) -> Essays:
    """Make essays of rows, whose names their owner knows."""
    fields: list[str] = []
    for row, name in zip(rows, names, strict=True):
        is_alike = bool(fields) and rows[len(fields) - 1].keys() == row.keys()
        fields.append(fields[-1] if is_alike else _text_field(list(row), text_column, f"{path}: {name}"))
    numbers = [_whole(row.get("document")) for row in rows]
    if None in numbers:
        numbers = list(range(len(rows)))
    elif len(set(numbers)) < len(numbers):
        raise KitError(f"{path}: {len(numbers) - len(set(numbers))} document numbers are used twice")
    documents: dict[int, Document] = {}
    without, differing = [], []
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        text, where = row[fields[index]], f"{path}: {name}"
        lists = {key: row[key] for key in LIST_FIELDS if row.get(key) is not None}
        if text is None or text != text or (isinstance(text, str) and not text.strip()):  # NaN is not itself
            without.append(name)
        elif not isinstance(text, str):
            raise KitError(f"{where}: expected text, found {type(text).__name__}")
        elif lists:
            document = check_entry({"document": numbers[index], "full_text": text, **lists}, where)
            documents[index] = document
            if join_tokens(document.tokens, document.trailing_whitespace) != text:
                differing.append(name)
        else:
            documents[index] = document_of_text(text, numbers[index] or 0)
    for found, problem in (
        (without, "without text, passed through as they are"),
        (differing, "whose text differs from their tokens, which are used"),
    ):
        if found:
            warnings.warn(f"{path}: {len(found)} {problem}: {_some(found)}", DataWarning, stacklevel=3)
    if not rows:
        warnings.warn(f"{path}: the file holds no essays", DataWarning, stacklevel=3)
    known = {document.number: _full_name(rows[index], names[index]) for index, document in documents.items()}
    return Essays(form=form, contents=contents, rows=rows, fields=fields, documents=documents, names=known)


def _text_field(columns: list[str], wanted: str | None, where: str) -> str:
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


def _text_files(folder: Path) -> list[str]:
    """Return the names of the text files in a folder; links and folders inside it are not read."""
    entries = sorted(folder.iterdir())
    files = [path for path in entries if path.suffix.lower() in TEXT_FORMS and path.is_file() and not path.is_symlink()]
    if not files:
        raise KitError(f"{folder}: no {' or '.join(TEXT_FORMS)} files; other forms are given as one file")
    if left_out := [path.name for path in entries if path not in files]:
        why = f"links, or no {' or '.join(TEXT_FORMS)} files"
        warnings.warn(f"{folder}: {len(left_out)} left out ({why}): {_some(left_out)}", DataWarning, stacklevel=3)
    return [path.name for path in files]


def decoded(content: bytes, path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark."""
    try:
        return content.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8 first") from None


def json_rows(text: str, path: Path, *, in_lines: bool) -> tuple[list[Row], list[str]]:
    """Return the objects of a JSON list, or of JSON lines, and what they are called in messages."""
    lines = [(f"line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if in_lines:
        values = [_parsed(line, f"{path}: {name}") for name, line in lines]
    else:
        values = _parsed(text, str(path)) if lines else []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise KitError(f"{path}: expected a list of objects, or .jsonl with one in each line")
    return values, [name for name, _ in lines] if in_lines else [f"entry {n}" for n in range(1, len(values) + 1)]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise KitError(f"{where}: not JSON, or incomplete: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an object has a field twice")
    return dict(pairs)


def _csv_rows(text: str, path: Path, form: str, text_column: str | None) -> tuple[dict[str, Any], list[str], list[Row]]:
    """Return delimiter and line end, the header, and the rows."""
    csv.field_size_limit(sys.maxsize)
    first = text.split("\n", 1)[0]
    wanted = {text_column.strip().casefold()} if text_column else {*TEXT_COLUMNS}

    def fit(delimiter: str) -> tuple[bool, int]:
        cells = {cell.strip(' "\r').casefold() for cell in first.split(delimiter)}
        return bool(wanted & cells), len(cells)

    delimiter = "\t" if form == ".tsv" else max(",;\t", key=fit)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise KitError(f"{path}: line {reader.line_num}: {error}; is a quote not closed?") from None
    header = list(reader.fieldnames or ())
    if header:
        _text_field(header, text_column, str(path))
    if len(set(header)) < len(header) or {*LIST_FIELDS} & {*header}:
        raise KitError(f"{path}: two columns have one name, or a column of lists, which csv cannot hold")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise KitError(f"{path}: row {number}: more or fewer cells than the {len(header)} of the header")
    return {"delimiter": delimiter, "lineterminator": "\r\n" if first.endswith("\r") else "\n"}, header, rows


def _parquet_table(content: bytes, path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise KitError("parquet files need pyarrow: pip install pyarrow") from None
    try:
        return pyarrow.parquet.read_table(io.BytesIO(content))
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise KitError(f"{path}: not a parquet file, or damaged: {type(error).__name__}") from None
