"""Write a page on which a person decides what is PII: one HTML file with all documents and their detections."""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from types import MappingProxyType

from pii_kit.documents import Document
from pii_kit.labels import PII_TYPES
from pii_kit.redact.review import FORMAT, Detection, fingerprint_texts
from pii_kit.report import TYPE_COLOURS
from pii_kit.report.page import colour_rules, escaped, write_page


def write_review_page(
    path: str | Path,
    documents: Sequence[Document],
    detections: Sequence[Sequence[Detection]],
    *,
    title: str,
    note: str = "",
    names: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Write documents with their detections as a page. `redact.review.read_decisions` reads what the page saves.

    The document with the most uncertain detection comes first. `names` are shown instead of documents' numbers.
    """
    pairs = list(zip(documents, detections, strict=True))
    pairs.sort(key=lambda pair: min((one.margin for one in pair[1]), default=inf))  # equals keep their order
    content = {
        "format": FORMAT,
        "fingerprint": fingerprint_texts(documents),
        "types": PII_TYPES,
        "documents": [_entry(*pair, names) for pair in pairs],
    }
    scripts, style = ["review_view.js", "review_page.js"], colour_rules("type", TYPE_COLOURS)
    texts = {"title": escaped(title), "note": escaped(note)}
    write_page(path, "review_page", data=content, scripts=scripts, style=style, **texts)


def _entry(document: Document, detections: Sequence[Detection], names: Mapping[int, str]) -> list:
    """Return a document for the page; its number is text, because JavaScript rounds large numbers."""
    tokens = [token + " " * space for token, space in zip(document.tokens, document.trailing_whitespace, strict=True)]
    spans = [
        [one.start, one.end, PII_TYPES.index(one.pii_type), round(one.chance, 4), int(one.is_suggestion)]
        for one in detections
    ]
    return [str(document.number), tokens, spans, names.get(document.number, f"Document {document.number}")]
