"""Write predictions for other tools: JSON lines, spaCy's DocBin, and a displaCy page."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import spacy
from spacy import displacy
from spacy.tokens import Doc, DocBin, Span

from pii_kit.documents import Document, covered_tokens, join_tokens, token_edges
from pii_kit.files import atomic_write
from pii_kit.pieces import encodable
from pii_kit.predict import PiiSpan
from pii_kit.report import TYPE_COLOURS

Found = Iterable[tuple[Document, list[PiiSpan]]]  # what `Tagger.label_documents` yields
NO_NAMES: Mapping[int, str] = MappingProxyType({})


def write_jsonl(path: str | Path, found: Found, *, names: Mapping[int, str] = NO_NAMES) -> None:
    """Write a line for each document: its number, text and spans, and its name if `names` (by number) has one."""
    with atomic_write(path) as handle:
        for document, spans in found:
            places = [
                {"start": span.start, "end": span.end, "type": span.type, "probability": span.probability}
                for span in spans
            ]
            text = join_tokens(document.tokens, document.trailing_whitespace)
            handle.write(json.dumps({**_identity(document, names), "text": text, "spans": places}) + "\n")


def _identity(document: Document, names: Mapping[int, str]) -> dict[str, Any]:
    number = document.number
    return {"document": number, "name": names[number]} if number in names else {"document": number}


def write_docbin(path: str | Path, found: Found, *, names: Mapping[int, str] = NO_NAMES) -> None:
    """Write a spaCy DocBin (.spacy) of documents with their own tokens, whitespace and entities.

    `DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)` reads it; with `DocBin(store_user_data=True)`,
    `doc.user_data` has the document's number and name. spaCy has no empty tokens, so they become spaces.
    """
    vocab = spacy.blank("en").vocab
    docs = DocBin(attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True)
    for document, spans in found:
        words = [encodable(token) or " " for token in document.tokens]
        spaces = list(document.trailing_whitespace)
        doc = Doc(vocab, words=words, spaces=spaces, user_data=_identity(document, names))
        edges = token_edges(document)
        doc.ents = [Span(doc, *covered_tokens(edges, span.start, span.end), label=span.type) for span in spans]
        docs.add(doc)
    with atomic_write(path) as handle:
        handle.buffer.write(docs.to_bytes())


def write_html(path: str | Path, found: Found, *, names: Mapping[int, str] = NO_NAMES) -> None:
    """Write a displaCy page with the entities of all documents in the kit's colours; it loads nothing."""
    pages = [
        {
            "title": escape(names.get(document.number, f"Document {document.number}")),
            "text": join_tokens(document.tokens, document.trailing_whitespace),
            "ents": [{"start": span.start, "end": span.end, "label": span.type} for span in spans],
        }
        for document, spans in found
    ]
    options = {"colors": dict(TYPE_COLOURS)}
    page = displacy.render(pages, style="ent", page=True, manual=True, jupyter=False, options=options)
    with atomic_write(path) as handle:
        handle.write(page.encode("ascii", "xmlcharrefreplace").decode())  # displaCy's page names no encoding


WRITERS = {"jsonl": write_jsonl, "docbin": write_docbin, "html": write_html}
