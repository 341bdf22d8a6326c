"""Read documents in all supported forms, with the places of their fields in the file."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pii_kit.documents import FIELDS, DataWarning, Document, check_entry, join_tokens, tokenize
from pii_kit.files import KitError

TEXT_FIELDS = ("full_text", "text")
LIST_FIELDS = FIELDS[2:]
FORMS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}
BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\n\r]*")
_CSV_CELL = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|((?!")[^,\r\n]*+))(,|\r\n|\n|\r|\Z)')
Entry = tuple[dict[str, Any], dict[str, tuple[int, int]]]  # fields of a document, and their places in the file


@dataclass(frozen=True, kw_only=True)
class Item:
    """A document in a file, the places of its fields there, and its other fields as text."""

    document: Document
    places: Mapping[str, tuple[int, int]]
    others: Mapping[str, str] = field(default_factory=dict)
    text_differs: bool = False


@dataclass(frozen=True, kw_only=True)
class File:
    """An input file; `name` is empty unless it is in a folder."""

    name: str
    form: str
    content: bytes
    items: tuple[Item, ...]


def read_files(path: Path) -> list[File]:
    """Read a file, or all text files of a folder, as documents. Raises KitError, which names file, document, field.

    Documents are numbered by their field `document` if each has a whole number there, otherwise from 0.
    """
    suffixes = ", ".join(FORMS)
    if path.is_dir():
        names = text_files(path)
        if not names:
            raise KitError(f"{path}: the folder has no .txt files; other forms ({suffixes}) are given as one file")
        n_others = sum(1 for _ in path.iterdir()) - len(names)
        if n_others:
            warnings.warn(
                f"{path}: files and folders left out, because they are no .txt files: {n_others}",
                DataWarning,
                stacklevel=2,
            )
        return [_read_file(path / name, "text", name, number) for number, name in enumerate(names)]
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    if path.suffix.lower() not in FORMS:
        raise KitError(f"{path}: unknown form; expected a file with one of {suffixes}, or a folder of .txt files")
    return [_read_file(path, FORMS[path.suffix.lower()], "", 0)]


def text_files(folder: Path) -> list[str]:
    """Return the names of the text files in a folder, sorted; folders inside it are not read."""
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.is_file())


def _read_file(path: Path, form: str, name: str, number: int) -> File:
    content = path.read_bytes()
    if form == "parquet":
        entries = _parquet_entries(content, path)
    else:
        text = decode(content, path)
        start = len(BOM) * text.startswith(BOM)
        entries = list(_ENTRIES[form](text, start, path))
    numbers = [entry.get("document") for entry, _ in entries]
    if not all(type(one) is int for one in numbers):
        numbers = list(range(number, number + len(entries)))
    items: list[Item] = []
    for position, ((entry, places), one) in enumerate(zip(entries, numbers, strict=True)):
        items.append(item_of(entry, places, one, path, position))
    check_items(items, path)
    return File(name=name, form=form, content=content, items=tuple(items))


def check_items(items: Sequence[Item], path: Path | str) -> None:
    """Raise KitError if a document number is used twice; warn of texts that differ from their tokens."""
    n_numbers = len({item.document.number for item in items})
    if n_numbers < len(items):
        raise KitError(f"{path}: {len(items) - n_numbers} document numbers are used twice")
    n_different = sum(item.text_differs for item in items)
    if n_different:
        where = f"{path}: full_text differs from the tokens in {n_different} of {len(items)} documents"
        warnings.warn(f"{where}; the tokens are used, and the output's text is theirs", DataWarning, stacklevel=2)


def decode(content: bytes, path: Path) -> str:
    """Return the text of a file in UTF-8. Raises KitError, which names the first byte that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8 first") from None


def item_of(entry: dict[str, Any], places: Mapping, number: int | None, path: Path | str, position: int) -> Item:
    """Return a document of its fields. Raises KitError, which names `path`, document and field."""
    name = next((name for name in TEXT_FIELDS if name in entry), None)
    if name is None:
        raise KitError(f"{path}: entry {position}: full_text missing; expected a field full_text or text")
    text = entry[name]
    given = {key: tuple(entry[key]) if type(entry[key]) is list else entry[key] for key in LIST_FIELDS if key in entry}
    if not given:
        given["tokens"], given["trailing_whitespace"] = tokenize(text) if isinstance(text, str) else ((), ())
    document = check_entry({"document": number, "full_text": text, **given}, f"{path}: document {number}")
    others = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)
        for key, value in entry.items()
        if key not in (name, "document", *LIST_FIELDS)
    }
    return Item(
        document=document,
        places={"full_text": places[name]} | {key: places[key] for key in LIST_FIELDS if key in places},
        others=others,
        text_differs=join_tokens(document.tokens, document.trailing_whitespace) != text,
    )


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of a value of numpy or of another library."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _text_entry(text: str, start: int, path: Path) -> Iterator[Entry]:
    yield {"full_text": text[start:]}, {"full_text": (start, len(text))}


def json_entries(text: str, start: int, path: Path | str) -> Iterator[Entry]:
    """Yield the objects of a JSON list, or of JSON lines, with the places of their values."""
    place = _skip(text, start)
    in_list = text.startswith("[", place)
    try:
        if in_list:
            json.loads(text[start:])  # so that the scan below needs no checks
        place = _skip(text, place + in_list)
        while place < len(text) and text[place] != "]":
            _, end = json.JSONDecoder().raw_decode(text, place)
            if text[place] != "{":
                raise KitError(f"{path}: a document is no object; expected a list of objects, or one in each line")
            yield _json_object(text, place, path)
            place = _skip(text, end)
            place = _skip(text, place + (in_list and text[place] == ","))
        if place < len(text) and not in_list:
            raise KitError(f"{path}: not JSON lines: character {place} belongs to no object")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise KitError(f"{path}: not JSON: {error.msg} at {where}; is the file complete?") from None
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: not JSON, or too large a number: {type(error).__name__}") from None


def _json_object(text: str, place: int, path: Path | str) -> Entry:
    entry: dict[str, Any] = {}
    places: dict[str, tuple[int, int]] = {}
    place = _skip(text, place + 1)
    while text[place] != "}":
        key, place = json.JSONDecoder().raw_decode(text, place)
        start = _skip(text, _skip(text, place) + 1)
        if key in entry:
            raise KitError(f"{path}: an object has a field twice, at character {start}; expected it once")
        entry[key], place = json.JSONDecoder().raw_decode(text, start)
        places[key] = start, place
        place = _skip(text, place)
        place = _skip(text, place + (text[place] == ","))
    return entry, places


def _skip(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()  # type: ignore[union-attr]  # it matches everywhere


def _csv_entries(text: str, start: int, path: Path) -> Iterator[Entry]:
    header: list[str] = []
    place, row = start, 0
    while place < len(text):
        values, places = [], []
        separator = ","
        while separator == ",":
            cell = _CSV_CELL.match(text, place)
            if cell is None:
                raise KitError(f"{path}: row {row}: a quote is not closed, or text follows it")
            quoted, plain, separator = cell.groups()
            values.append(plain if quoted is None else quoted.replace('""', '"'))
            places.append((place, cell.end() - len(separator)))
            place = cell.end()
        row += 1
        if not header:
            header = _checked_header(values, path)
        elif len(values) != len(header) and values != [""]:
            raise KitError(f"{path}: row {row}: {len(values)} cells; expected {len(header)} as in the header")
        elif values != [""]:
            entry: dict[str, Any] = dict(zip(header, values, strict=True))
            if re.fullmatch("-?[0-9]{1,19}", entry.get("document", "")):
                entry["document"] = int(entry["document"])
            yield entry, dict(zip(header, places, strict=True))


def _checked_header(names: list[str], path: Path) -> list[str]:
    if len(set(names)) < len(names) or not {*TEXT_FIELDS} & {*names}:
        found = f"found {len(names)} column{'s' * (len(names) > 1)}, separated by commas"
        raise KitError(
            f"{path}: expected a header with different names, one of them {' or '.join(TEXT_FIELDS)}; {found}"
        )
    if lists := sorted({*LIST_FIELDS} & {*names}):
        raise KitError(
            f"{path}: {', '.join(lists)}: a csv file cannot hold lists; remove the columns, or use JSON lines"
        )
    return names


def parquet_module() -> Any:
    """Return pyarrow.parquet, which only parquet files need. Raises KitError if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise KitError("parquet files need pyarrow: pip install pyarrow") from None
    return pyarrow.parquet


def _parquet_entries(content: bytes, path: Path) -> list[Entry]:
    parquet = parquet_module()
    try:
        rows = parquet.read_table(BytesIO(content)).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are these
        raise KitError(f"{path}: not a parquet file: {type(error).__name__}") from None
    return [(row, dict.fromkeys(row, (place, place + 1))) for place, row in enumerate(rows)]


_ENTRIES: Mapping[str, Callable[[str, int, Path], Iterator[Entry]]] = {
    "text": _text_entry,
    "json": json_entries,
    "csv": _csv_entries,
}
