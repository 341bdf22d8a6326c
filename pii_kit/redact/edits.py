"""Change only the text of a file, whatever its layout.

Redaction edits the places of the text in the file. So everything else in the output is the input's, byte for byte, and
the edits in reverse restore the input. Parquet alone is written anew.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import pairwise

from pii_kit.redact import Redacted
from pii_kit.redact.forms import LIST_FIELDS, TEXT_FIELDS, File, Item, parquet_module

# Each match is one character of the string; a surrogate pair is one too.
_JSON_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.")
_JSON_ITEM = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|true|false')
_CSV_ESCAPE = re.compile('""')
_NOTHING = re.compile("(?!)")
Edit = tuple[int, int, str]  # start and end in characters, and the text to put there


def rebuild(file: File, redacted: Sequence[Redacted]) -> tuple[bytes, list[Edit] | None]:
    """Return the content of the redacted file, and the edits that restore the original (None for parquet)."""
    if file.form == "parquet":
        return _parquet_content(file, redacted), None
    text = file.content.decode("utf-8")
    edits = [edit for pair in zip(file.items, redacted, strict=True) for edit in _EDITS[file.form](text, *pair)]
    new, back = edited(text, sorted(edits))
    return new.encode("utf-8"), back


def edited(text: str, edits: Sequence[Edit]) -> tuple[str, list[Edit]]:
    """Apply edits, in order; return the new text and the edits that undo them.

    >>> edited("By Ana.", [(3, 6, "Boris")])
    ('By Boris.', [(3, 8, 'Ana')])
    """
    parts, back, done, length = [], [], 0, 0
    for start, end, new in edits:
        length += start - done
        parts += [text[done:start], new]
        back.append((length, length + len(new), text[start:end]))
        done, length = end, length + len(new)
    return "".join([*parts, text[done:]]), back


def _raw_edits(
    raw: str, offset: int, redacted: Redacted, escape: re.Pattern, encode: Callable[[str], str]
) -> Iterator[Edit]:
    """Yield the edits of a string that stands in the file with escapes, each of which is one character."""
    escapes = escape.finditer(raw)
    following = next(escapes, None)
    shift = 0
    for change in redacted.changes:
        places = []
        for place in (change.start, change.end):
            while following and following.start() - shift < place:
                shift += len(following[0]) - 1
                following = next(escapes, None)
            places.append(offset + place + shift)
        yield places[0], places[1], encode(change.text)


def _text_edits(text: str, item: Item, redacted: Redacted) -> Iterator[Edit]:
    return _raw_edits(text, item.places["full_text"][0], redacted, _NOTHING, str)


def _csv_edits(text: str, item: Item, redacted: Redacted) -> Iterator[Edit]:
    start, end = item.places["full_text"]
    if text.startswith('"', start):
        yield from _raw_edits(
            text[start + 1 : end - 1], start + 1, redacted, _CSV_ESCAPE, lambda new: new.replace('"', '""')
        )
    elif redacted.changes:
        new = redacted.document.full_text
        needs_quotes = any(character in new for character in ',"\r\n')
        yield start, end, '"{}"'.format(new.replace('"', '""')) if needs_quotes else new


def _encode(value: str | bool) -> str:
    """Return JSON; half surrogate pairs, which are not printable, must be escaped."""
    return json.dumps(value, ensure_ascii=not str(value).isprintable())


def _json_edits(text: str, item: Item, redacted: Redacted) -> Iterator[Edit]:
    start, end = item.places["full_text"]

    if item.text_differs:
        yield start, end, _encode(redacted.document.full_text)
    else:
        raw = text[start + 1 : end - 1]
        yield from _raw_edits(raw, start + 1, redacted, _JSON_ESCAPE, lambda new: _encode(new)[1:-1])
    for name in LIST_FIELDS:
        if name in item.places:
            first, last = item.places[name]
            places = [match.span() for match in _JSON_ITEM.finditer(text, first, last)]
            separator = text[places[0][1] : places[1][0]] if len(places) > 1 else ", "
            old, new = getattr(item.document, name), getattr(redacted.document, name)
            for begin, stop, new_begin, new_stop in _list_edits(old, new, redacted):
                yield places[begin][0], places[stop - 1][1], separator.join(map(_encode, new[new_begin:new_stop]))


def _list_edits(old: Sequence, new: Sequence, redacted: Redacted) -> Iterator[tuple[int, int, int, int]]:
    """Yield the parts of a list that changed: whole regions, and single items between them (repaired labels)."""
    n = len(old), len(old), len(new), len(new)
    for before, region in pairwise([(0, 0, 0, 0), *redacted.regions, n]):
        for gap in range(region[0] - before[1]):
            place, new_place = before[1] + gap, before[3] + gap
            if old[place] != new[new_place]:
                yield place, place + 1, new_place, new_place + 1
        if region is not n and old[region[0] : region[1]] != new[region[2] : region[3]]:
            yield region


_EDITS: Mapping[str, Callable[[str, Item, Redacted], Iterator[Edit]]] = {
    "text": _text_edits,
    "json": _json_edits,
    "csv": _csv_edits,
}


def _parquet_content(file: File, redacted: Sequence[Redacted]) -> bytes:
    import pyarrow

    table = parquet_module().read_table(BytesIO(file.content))
    named = next(name for name in TEXT_FIELDS if name in table.column_names)
    for name in {named, *LIST_FIELDS} & {*table.column_names}:
        values = [getattr(one.document, "full_text" if name == named else name) for one in redacted]
        place = table.column_names.index(name)
        kind = table.schema.field(place)
        table = table.set_column(
            place, kind, pyarrow.array([v if isinstance(v, str) else list(v) for v in values], kind.type)
        )
    buffer = BytesIO()
    parquet_module().write_table(table, buffer)
    return buffer.getvalue()
