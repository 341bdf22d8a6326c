"""Exchange labels with other tools: read what people labelled with them, and write spans for them."""

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape, unescape
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import spacy
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from spacy import displacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import iob_utils
from spacy.util import filter_spans

from pii_kit.documents import DataWarning, Document, covered_tokens, document_of_text, join_tokens, token_edges
from pii_kit.files import KitError, atomic_write, check_record, loading, printable
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, label_span
from pii_kit.pieces import encodable
from pii_kit.predict import PiiSpan
from pii_kit.report import TYPE_COLOURS
from pii_kit.rules import whitespace_is_outside

FORMS = ("doccano", "label-studio", "conll")
SPAN_FORMS = ("jsonl", "docbin", "html")
SPAN_FIELDS = ("start", "end", "type", "probability")
NOTHING: Mapping[Any, str] = MappingProxyType({})
NO_PROBABILITIES = np.empty((0, len(LABELS)), dtype=np.float32)
SPANS = ("label", "labels", "entities", "annotations")  # the field of the spans in versions of doccano
TAG = re.compile(r"O|([BIOESLUM])-(.+)", re.IGNORECASE)
BILUO = {"S": "U", "E": "L", "M": "I"}  # prefixes of BIOES and BMES
Place = tuple[int, int, list[str]]  # start and end in characters, labels
Labelled = Iterable[tuple[Document, Sequence[PiiSpan]]]  # what `Tagger.label_documents` yields
Annotated = tuple[str, Any, str, list[Place]]  # where it stands, for errors; number; text; labelled places


def read_annotations(
    path: str | Path, form: str, *, types: Mapping[str, str] = NOTHING, text_field: str | None = None
) -> tuple[list[Document], int]:
    """Read a file in one of FORMS as labelled documents, and count the spans that were extended to whole tokens.

    A token that two spans share belongs to the first. Documents have the ids of the file if all are different whole
    numbers, else numbers from 0.

    Args:
        types: labels of the file → PII types; labels mapped to "" are dropped.
        text_field: field of the text; default: "text", or the only field with text.

    Raises:
        KitError: the file is not in this form, a label is neither a PII type nor in `types`, or a span is outside its
            text, has more than one label, or overlaps another one.
    """
    with loading(path):
        content = Path(path).read_text(encoding="utf-8-sig")
    texts = list(_conll(content, path) if form == "conll" else _json(content, path, text_field))
    if not texts:
        raise KitError(f"{path}: holds no labelled documents")
    known = {pii_type: pii_type for pii_type in PII_TYPES} | dict(types)
    labels = {label for *_, places in texts for *_, labels in places for label in labels}
    if unknown := sorted(label for label in labels if known.get(label) not in (*PII_TYPES, "")):
        expected = f"expected {', '.join(PII_TYPES)}, or a --label LABEL=TYPE for each (LABEL= drops it)"
        raise KitError(f"{path}: unknown labels {', '.join(map(printable, unknown))}; {expected}")
    numbers = [number for _, number, *_ in texts]
    are_numbers = all(type(number) is int and abs(number) < 2**63 for number in numbers)
    if not are_numbers or len(set(numbers)) < len(texts):
        numbers = list(range(len(texts)))
    pairs = [
        _labelled(document_of_text(text, number), where, places, known)
        for number, (where, _, text, places) in zip(numbers, texts, strict=True)
    ]
    return [document for document, _ in pairs], sum(n_extended for _, n_extended in pairs)


def _labelled(
    document: Document, where: str, places: Sequence[Place], types: Mapping[str, str]
) -> tuple[Document, int]:
    """Return the labelled document, and how many of its spans were extended to the edges of tokens."""
    text, edges = document.full_text, token_edges(document)
    labels, done, n_extended = [OUTSIDE] * len(document.tokens), 0, 0
    spans = {
        (start, end, " and ".join(sorted({types[label] for label in names} - {""}))) for start, end, names in places
    }
    for start, end, pii_type in sorted(span for span in spans if span[2]):
        place = f"{where}: {pii_type} at characters {start} to {end}"
        if pii_type not in PII_TYPES:
            raise KitError(f"{place}: expected one label; --label LABEL= drops one")
        if not 0 <= start < end <= len(text) or text[start:end].isspace():
            raise KitError(f"{place}: expected a part of the text, which has {len(text)} characters")
        if start < done:
            raise KitError(f"{place}: overlaps another span; expected one label for each character")
        done, span = end, text[start:end]
        start, end = end - len(span.lstrip()), start + len(span.rstrip())
        first, stop = covered_tokens(edges, start, end)
        n_extended += edges[first] < start or end < edges[stop - 1] + len(document.tokens[stop - 1])
        first += labels[first] != OUTSIDE
        if first < stop:
            label_span(labels, first, stop, pii_type)
    return replace(document, labels=tuple(whitespace_is_outside(document, labels, NO_PROBABILITIES))), n_extended


class _Span(BaseModel, strict=True):
    """A span of doccano or Label Studio; `globalOffsets` are places in a page without its tags."""

    start: int = Field(validation_alias=AliasChoices(AliasPath("globalOffsets", "start"), "start_offset", "start"))
    end: int = Field(validation_alias=AliasChoices(AliasPath("globalOffsets", "end"), "end_offset", "end"))
    labels: list[str] | str = Field(validation_alias=AliasChoices("label", "labels", "hypertextlabels"))
    text: Any = None


class _Annotation(BaseModel):
    result: list[dict[str, Any]]
    was_cancelled: bool | None = False


class _Task(BaseModel):  # of Label Studio
    annotations: list[_Annotation] = Field(validation_alias=AliasChoices("annotations", "completions"))


def _json(content: str, path: str | Path, text_field: str | None) -> Iterator[Annotated]:
    """Yield the texts of a JSON list or JSON lines, each a task of Label Studio or an object with a text and spans.

    A task has the spans of its first annotation that was not cancelled; a task without one is left out.
    """
    with loading(path):
        lines = [line for line in content.split("\n") if line.strip()]
        entries = json.loads(content) if content.lstrip().startswith("[") else list(map(json.loads, lines))
    n_left_out = 0
    for position, entry in enumerate(entries):
        where, is_html = f"{path}: entry {position}", False
        if not isinstance(entry, dict):
            raise KitError(f"{where}: expected an object with a text and its labels")
        if isinstance(fields := entry.get("data"), dict):
            annotations = check_record(entry, _Task, where).annotations
            annotations = [annotation for annotation in annotations if not annotation.was_cancelled]
            if not annotations:
                n_left_out += 1
                continue
            # Choices, ratings and relations are about no characters.
            regions = [region for region in annotations[0].result if str(region.get("type")).endswith("labels")]
            spans = [region.get("value") for region in regions]
            is_html = any(region["type"].startswith("hyper") for region in regions)
        else:
            lists = [entry[name] for name in SPANS if isinstance(entry.get(name), list)]
            if not lists:
                raise KitError(f"{where}: {SPANS[0]}: expected a list of spans")
            fields, spans = {"text": fields, **entry}, lists[0]
        text = _text_of(fields, text_field, where)
        text = unescape(re.sub("<[^>]*>", "", text)) if is_html else text
        yield where, entry.get("id"), text, [_place(span, text, f"{where}: span {i}") for i, span in enumerate(spans)]
    if n_left_out:
        warnings.warn(f"{path}: {n_left_out} tasks have no annotation; they are left out", DataWarning, stacklevel=2)


def _text_of(fields: Mapping[str, Any], name: str | None, where: str) -> str:
    texts = {field: text for field, text in fields.items() if isinstance(text, str)}
    name = name or (next(iter(texts)) if len(texts) == 1 else "text")
    if name not in texts:
        others = ", ".join(map(printable, texts)) or "none"
        raise KitError(f"{where}: {name}: expected a text; fields with text: {others} (choose with --text-field)")
    return texts[name]


def _place(entry: Any, text: str, where: str) -> Place:
    entry = dict(zip(("start", "end", "labels"), entry, strict=False)) if isinstance(entry, list) else entry
    span = check_record(entry, _Span, where)
    start, end = span.start, span.end
    if isinstance(span.text, str) and _visible(span.text) != _visible(text[start:end]):
        units = text.encode("utf-16-le", "surrogatepass")  # JavaScript counts an emoji as two
        start, end = (len(units[: 2 * edge].decode("utf-16-le", "replace")) for edge in (start, end))
        if _visible(span.text) != _visible(text[start:end]):
            raise KitError(f"{where}: text: differs from the characters {span.start} to {span.end} of the document")
    return start, end, [span.labels] if isinstance(span.labels, str) else span.labels


def _visible(text: str) -> str:
    """Return a text without whitespace; Label Studio's backslash and n for a newline count as whitespace."""
    return "".join(text.replace("\\n", " ").split())


def _conll(content: str, path: str | Path) -> Iterator[Annotated]:
    """Yield the texts of lines with a token first and its tag last, joined by spaces.

    Tags are IO, IOB1, BIO, BIOES or BILUO. A blank line ends a sentence, which becomes a line of the text, and
    -DOCSTART- starts a document. Lines without a tag are comments if they begin with "#". Columns are separated by tabs
    if the line has one. A first column that counts the tokens of each sentence is left out (CoNLL-U).
    """
    documents: list[tuple[int, list[list[list[str]]]]] = [(1, [[]])]  # first line, sentences of lines of columns
    for number, line in enumerate(content.replace("\r", "").split("\n"), start=1):
        columns = [column.strip(" ") for column in re.split("\t" if "\t" in line.strip() else " +", line.strip(" \t"))]
        if columns[0] == "-DOCSTART-" or line.startswith("# newdoc"):
            documents.append((number, [[]]))
        elif columns == [""]:
            documents[-1][1].append([])
        elif len(columns) > 1 and TAG.fullmatch(columns[-1]):
            if len(columns) < 10 or columns[0].isdecimal():  # CoNLL-U's "2-3" is a word of the next two lines
                documents[-1][1][-1].append(columns)
        elif not line.startswith("#"):
            raise KitError(f"{path}: line {number}: expected a token and a tag: O, or B- or I- and a label")
    sentences = [sentence for _, of_document in documents for sentence in of_document if sentence]
    rows = [(str(index), columns) for sentence in sentences for index, columns in enumerate(sentence, 1)]
    is_counted = len(rows) > len(sentences) and all(len(row) > 2 and row[0] == index for index, row in rows)
    for number, of_document in documents:
        lines = [[columns[int(is_counted)] for columns in sentence] for sentence in of_document if sentence]
        edges = list(accumulate((len(token) + 1 for tokens in lines for token in tokens), initial=0))
        tags = [
            tag for sentence in of_document for tag in iob_utils.iob_to_biluo([_biluo(row[-1]) for row in sentence])
        ]
        spans = iob_utils.tags_to_entities(tags)
        places = [(edges[first], edges[last + 1] - 1, [label]) for label, first, last in spans]
        if lines:
            yield f"{path}: document from line {number}", None, "\n".join(map(" ".join, lines)), places


def _biluo(tag: str) -> str:
    prefix = tag[0].upper()
    return BILUO.get(prefix, prefix) + tag[1:]


def write_spans(path: str | Path, form: str, labelled: Labelled, names: Mapping[int, str] = NOTHING) -> None:
    """Write what `Tagger.label_documents` yields in one of SPAN_FORMS; `names` are those of documents (by number).

    - jsonl: a line for each document with its number, name, text and spans.
    - docbin: `DocBin(store_user_data=True).from_disk(path).get_docs(spacy.blank("en").vocab)` reads it; `doc.user_data`
      has number and name.
    - html: a page of displaCy in the kit's colours, which loads nothing.
    """
    with atomic_write(path, private=True) as handle:
        if form == "jsonl":
            for document, spans in labelled:
                places = [{field: getattr(span, field) for field in SPAN_FIELDS} for span in spans]
                text = join_tokens(document.tokens, document.trailing_whitespace)
                handle.write(json.dumps({**_identity(document, names), "text": text, "spans": places}) + "\n")
        elif form == "docbin":
            docbin = DocBin(["ENT_IOB", "ENT_TYPE"], store_user_data=True, docs=_docs(labelled, names))
            handle.buffer.write(docbin.to_bytes())
        else:
            docs = list(_docs(labelled, names))
            for doc in docs:
                doc.user_data["title"] = escape(doc.user_data.get("name", f"Document {doc.user_data['document']}"))
            page = displacy.render(docs, style="ent", page=True, jupyter=False, options={"colors": dict(TYPE_COLOURS)})
            handle.write(page.encode("ascii", "xmlcharrefreplace").decode())  # displaCy's page names no encoding


def _identity(document: Document, names: Mapping[int, str]) -> dict[str, Any]:
    number = document.number
    return {"document": number, "name": names[number]} if number in names else {"document": number}


def _docs(labelled: Labelled, names: Mapping[int, str]) -> Iterator[Doc]:
    """Yield documents of spaCy with their own tokens and entities; empty tokens, which it has not, become spaces."""
    vocab = spacy.blank("en").vocab
    for document, spans in labelled:
        words, spaces = [encodable(token) or " " for token in document.tokens], list(document.trailing_whitespace)
        doc, edges = Doc(vocab, words=words, spaces=spaces, user_data=_identity(document, names)), token_edges(document)
        ents = [Span(doc, *covered_tokens(edges, span.start, span.end), label=span.type) for span in spans]
        doc.ents = filter_spans(ents)  # two patterns may stand in one token
        yield doc
