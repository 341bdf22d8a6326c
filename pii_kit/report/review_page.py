"""Write a page on which a person decides what is PII: one HTML file with all documents and their detections."""

import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from string import Template
from types import MappingProxyType

from pii_kit.documents import Document
from pii_kit.files import atomic_write
from pii_kit.labels import PII_TYPES
from pii_kit.redact.decisions import FORMAT, Detection, fingerprint_texts
from pii_kit.report import TYPE_COLOURS
from pii_kit.report.page import build_page, escaped, read_asset


def write_review_page(
    path: str | Path,
    documents: Sequence[Document],
    detections: Sequence[Sequence[Detection]],
    *,
    title: str,
    note: str = "",
    names: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Write documents and their detections (document, detection) as a page that saves decisions about them.

    `title` is the heading of the page, and `note` is text below it, such as the threshold. `names` are those of the
    documents' files, by document number. The document with the most
    uncertain detection comes first, documents without any come last. The page holds all documents, so only its owner
    can read the file. It is written completely or not at all. `read_decisions` reads what the page saves.
    """
    pairs = list(zip(documents, detections, strict=True))
    pairs.sort(key=lambda pair: min((one.margin for one in pair[1]), default=inf))  # equals keep their order
    content = {
        "format": FORMAT,
        "fingerprint": fingerprint_texts(documents),
        "types": PII_TYPES,
        "documents": [_entry(*pair, names) for pair in pairs],
    }
    # Text of documents goes through JSON into text nodes, never through HTML; "<" alone could end the JSON.
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    body = Template(read_asset("review_page.html")).substitute(title=escaped(title), note=escaped(note), data=data)
    style = read_asset("review_page.css") + "".join(
        f'[data-type="{pii_type}"] {{ --colour: {colour}; }}\n' for pii_type, colour in TYPE_COLOURS.items()
    )
    with atomic_write(path, private=True) as handle:
        handle.writelines(build_page(title, [body], style=style, scripts=["review_view.js", "review_page.js"]))


def _entry(document: Document, detections: Sequence[Detection], names: Mapping[int, str]) -> list:
    """Return a document for the page; its number is text, because JavaScript rounds large numbers."""
    tokens = [token + " " * space for token, space in zip(document.tokens, document.trailing_whitespace, strict=True)]
    spans = [
        [one.start, one.end, PII_TYPES.index(one.pii_type), round(one.chance, 4), int(one.is_suggestion)]
        for one in detections
    ]
    return [str(document.number), tokens, spans, names.get(document.number, f"Document {document.number}")]
