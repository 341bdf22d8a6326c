"""Read documents that were labelled with other tools: doccano, Label Studio, and files of BIO tags."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pii_kit.documents import DataWarning, Document, covered_tokens, document_of_text, token_edges
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, label_span
from pii_kit.redact.forms import BOM, decode, json_entries
from pii_kit.rules import whitespace_is_outside

NO_TYPES: Mapping[str, str] = MappingProxyType({})
DOCCANO_FIELDS = ("label", "labels", "entities")
NO_PROBABILITIES = np.empty((0, len(LABELS)), dtype=np.float32)
DOCUMENT_START = "-DOCSTART-"
Place = tuple[int, int, str]  # start, end, label


class Annotated(NamedTuple):
    """A text with labelled places, in characters; `where` names it in errors, `number` is its id in the file."""

    where: str
    number: Any
    text: str
    places: list[Place]


def read_annotations(path: str | Path, form: str, *, types: Mapping[str, str] = NO_TYPES) -> tuple[list[Document], int]:
    """Read a file in one of FORMS as labelled documents, and count the spans that had to be extended.

    A span that starts or ends inside a token of `tokenize`, the competition's unit, is extended to the token's edge; a
    token that two spans share belongs to the first.
    Whitespace is labelled as in train.json. Documents have the ids of the file if all are different whole numbers, else
    numbers from 0. `types` maps labels of the file to PII types; labels mapped to "" are dropped.

    Raises:
        KitError: the file is not in this form, a label is neither a PII type nor in `types`, or a place is outside its
            text, empty, or shares a character with another one.
    """
    path = Path(path)
    if form not in FORMS:
        raise KitError(f"form is {form!r}; expected one of {', '.join(FORMS)}")
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    found = list(FORMS[form](decode(path.read_bytes(), path).removeprefix(BOM), path))
    if not found:
        raise KitError(f"{path}: holds no labelled documents")
    known = {**{pii_type: pii_type for pii_type in PII_TYPES}, **types}
    labels = {label for one in found for *_, label in one.places}
    unknown = sorted(label for label in labels if known.get(label) not in (*PII_TYPES, ""))
    if unknown:
        expected = f"expected {', '.join(PII_TYPES)}, or a --label LABEL=TYPE for each (LABEL= drops it)"
        raise KitError(f"{path}: unknown labels {', '.join(map(repr, unknown))}; {expected}")
    numbers = [one.number for one in found]
    are_numbers = all(type(number) is int and abs(number) < 2**63 for number in numbers)
    if not are_numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(found)))
    documents, n_extended = [], 0
    for number, one in zip(numbers, found, strict=True):
        places = [(start, end, known[label]) for start, end, label in one.places if known[label]]
        document, n_more = _labelled(document_of_text(one.text, number), places, one.where)
        documents.append(document)
        n_extended += n_more
    return documents, n_extended


def _labelled(document: Document, places: list[Place], where: str) -> tuple[Document, int]:
    """Return a document with labels at places, and how many of these had to be extended to the edges of tokens."""
    text, edges = document.full_text, token_edges(document)
    labels, done, n_extended = [OUTSIDE] * len(document.tokens), 0, 0
    for start, end, pii_type in sorted(set(places)):
        place = f"{where}: {pii_type} at characters {start} to {end}"
        if not 0 <= start < end <= len(text):
            raise KitError(f"{place}: expected places in the text, which has {len(text)} characters")
        if start < done:
            raise KitError(f"{place}: overlaps another span; expected one label for each character")
        done, span = end, text[start:end]
        if span.isspace():
            raise KitError(f"{place}: has only whitespace; expected a part of the text")
        start, end = end - len(span.lstrip()), start + len(span.rstrip())
        first, stop = covered_tokens(edges, start, end)
        free = first + (labels[first] != OUTSIDE)
        if free < stop:
            label_span(labels, free, stop, pii_type)
        n_extended += edges[first] < start or end < edges[stop - 1] + len(document.tokens[stop - 1])
    labels = whitespace_is_outside(document, labels, NO_PROBABILITIES)
    return replace(document, labels=tuple(labels)), n_extended


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    """Return a field of a JSON object. Raises KitError if it is missing or not of this kind."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise KitError(f"{where}: {name}: expected {_KINDS[kind]}")
    return value


_KINDS = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def _doccano(content: str, path: Path) -> Iterator[Annotated]:
    """Yield the texts of JSON lines with `label` or `labels`, lists of [start, end, label], or with `entities`."""
    for position, (entry, _) in enumerate(json_entries(content, 0, path)):
        where = f"{path}: entry {position}"
        text = _field(entry, "text", str, where)
        name = next((name for name in DOCCANO_FIELDS if name in entry), DOCCANO_FIELDS[0])
        places = []
        for index, one in enumerate(_field(entry, name, list, where)):
            at = f"{where}: {name}[{index}]"
            if isinstance(one, dict):
                one = [one.get(key) for key in ("start_offset", "end_offset", "label")]
            if not isinstance(one, list) or [type(value) for value in one] != [int, int, str]:
                raise KitError(f"{at}: expected [start, end, label], or start_offset, end_offset and label")
            places.append((one[0], one[1], one[2]))
        yield Annotated(where, entry.get("id"), text, places)


def _label_studio(content: str, path: Path) -> Iterator[Annotated]:
    """Yield the texts of tasks with their first annotation that was not cancelled; tasks without one are left out."""
    n_left_out = 0
    for position, (task, _) in enumerate(json_entries(content, 0, path)):
        where = f"{path}: entry {position}"
        text = _field(_field(task, "data", dict, where), "text", str, f"{where}: data")
        annotations = _field(task, "annotations", list, where)
        valid = [index for index, one in enumerate(annotations) if not (type(one) is dict and one.get("was_cancelled"))]
        if not valid:
            n_left_out += 1
            continue
        inside = f"{where}: annotations[{valid[0]}]"
        results = _field(annotations[valid[0]], "result", list, inside)
        places = []
        for index, result in enumerate(results):
            at = f"{inside}.result[{index}]"
            if not _field(result, "type", str, at).endswith("labels"):
                continue  # choices, ratings and relations are about no characters
            value = _field(result, "value", dict, at)
            labels = _field(value, "labels", list, at)
            start, end = _field(value, "start", int, at), _field(value, "end", int, at)
            if len(labels) != 1 or type(labels[0]) is not str:
                raise KitError(f"{at}: labels: expected one label")
            if type(value.get("text")) is str and _visible(value["text"]) != _visible(text[start:end]):
                raise KitError(f"{at}: text: differs from the characters {start} to {end} of the task's text")
            places.append((start, end, labels[0]))
        yield Annotated(where, task.get("id"), text, places)
    if n_left_out:
        warnings.warn(f"{path}: {n_left_out} tasks have no annotation; they are left out", DataWarning, stacklevel=2)


def _visible(text: str) -> str:
    """Return a text without whitespace; Label Studio's backslash and n for a newline count as whitespace."""
    return "".join(text.replace("\\n", " ").split())


def _conll(content: str, path: Path) -> Iterator[Annotated]:
    """Yield the texts of lines with a token first and its BIO tag last, joined by spaces.

    A blank line ends a sentence, which becomes a line of the text, and -DOCSTART- starts a document.
    """
    text, gap, before, where = "", "", OUTSIDE, f"{path}: document from line 1"
    places: list[Place] = []
    for number, line in enumerate([*content.split("\n"), DOCUMENT_START], start=1):
        token, *more = re.split(r"[ \t]+", line.strip(" \t\r"))
        if token == DOCUMENT_START:
            if text:
                yield Annotated(where, None, text, places)
            text, places, gap, before, where = "", [], "", OUTSIDE, f"{path}: document from line {number}"
        elif not token:
            gap, before = "\n" if text else "", OUTSIDE
        else:
            tag = more[-1] if more else ""
            if tag != OUTSIDE and not re.fullmatch(r"[BI]-.+", tag):
                raise KitError(f"{path}: line {number}: expected a token and a tag: O, B-LABEL or I-LABEL")
            start = len(text) + len(gap)
            text += gap + token
            if tag.startswith("B-"):
                places.append((start, len(text), tag[2:]))
            elif tag != OUTSIDE:
                if before[2:] != tag[2:]:
                    raise KitError(f"{path}: line {number}: {tag} continues nothing; expected B-{tag[2:]} before it")
                places[-1] = (places[-1][0], len(text), tag[2:])
            gap, before = " ", tag


FORMS: Mapping[str, Callable[[str, Path], Iterator[Annotated]]] = {
    "doccano": _doccano,
    "label-studio": _label_studio,
    "conll": _conll,
}
