"""Labelled documents made of parts: of spans of text, each with its PII type or None, or of other documents' tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import spacy

from pii_kit.data import Document, spell
from pii_kit.labels import OUTSIDE

TOKENIZER = spacy.blank("en").tokenizer
ADDRESS = "STREET_ADDRESS"

Span = tuple[str, str | None]


def document_of_spans(number: int, spans: Sequence[Span]) -> Document:
    """Spans to a document. Raises ValueError where PII parts a token, or holds whitespace tokens and is no address.

    >>> document_of_spans(1, [("By ", None), ("Ana Silva", "NAME_STUDENT")]).labels
    ('O', 'B-NAME_STUDENT', 'I-NAME_STUDENT')
    """
    full_text = "".join(text for text, _ in spans)
    tokens = TOKENIZER(full_text)
    labels = [OUTSIDE] * len(tokens)
    begin = 0
    for text, pii_type in spans:
        end = begin + len(text)
        if pii_type:
            entity = tokens.char_span(begin, end)
            if entity is None or (pii_type != ADDRESS and any(token.is_space for token in entity)):
                raise ValueError(f"document {number}: {pii_type} {text!r} does not fit spaCy's tokens")
            for token in entity:
                labels[token.i] = f"{'B' if token.i == entity.start else 'I'}-{pii_type}"
        begin = end
    return Document(
        document=number,
        full_text=full_text,
        tokens=tuple(token.text for token in tokens),
        trailing_whitespace=tuple(bool(token.whitespace_) for token in tokens),
        labels=tuple(labels),
    )


def cut(document: Document, first: int, end: int) -> Document:
    """The tokens from `first` to `end` of a labelled document, as a document that spells them alone."""
    part = slice(first, end)
    return join(
        document.document,
        [
            replace(
                document,
                tokens=document.tokens[part],
                trailing_whitespace=document.trailing_whitespace[part],
                labels=document.labels[part],
            )
        ],
    )


def join(number: int, parts: Iterable[Document]) -> Document:
    """Parts, in their order, to one document; undoes `cut`. `full_text` of a part does not count, its tokens do."""
    parts = list(parts)
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labels = tuple(label for part in parts for label in part.labels)
    return Document(
        document=number, full_text=spell(tokens, spaces), tokens=tokens, trailing_whitespace=spaces, labels=labels
    )
