"""Explore labelled documents: label counts, lengths, and positions of PII as tables."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pii_kit.data import Document
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, spans_of
from pii_kit.pieces import PieceTokenizer
from pii_kit.report import true_labels


def label_counts(documents: Sequence[Document]) -> pd.DataFrame:
    """Count, for each PII type, the B- and I- tokens, the entities, and the documents that contain the type."""
    tokens = Counter(label for document in documents for label in true_labels(document))
    entities = Counter(pii_type for document in documents for *_, pii_type in spans_of(true_labels(document)))
    holders = Counter(pii_type for document in documents for pii_type in document.types)
    lines = [
        {
            "type": pii_type,
            "B-": tokens[f"B-{pii_type}"],
            "I-": tokens[f"I-{pii_type}"],
            "entities": entities[pii_type],
            "documents": holders[pii_type],
        }
        for pii_type in PII_TYPES
    ]
    return pd.DataFrame(lines).set_index("type")


def overview(documents: Sequence[Document]) -> pd.Series:
    """Return the main figures of a data set."""
    n_tokens = [len(document.tokens) for document in documents]
    n_pii = sum(label != OUTSIDE for document in documents for label in true_labels(document))
    return pd.Series(
        {
            "documents": len(documents),
            "documents with PII": sum(bool(document.types) for document in documents),
            "tokens": sum(n_tokens),
            "tokens that are PII": n_pii,
            "per cent of tokens": round(100 * n_pii / max(sum(n_tokens), 1), 3),
            "longest document, tokens": max(n_tokens, default=0),
            "labels in use": len({label for document in documents for label in true_labels(document)} & set(LABELS)),
        },
        name="value",
        dtype=object,
    )


def lengths(documents: Sequence[Document], tokenizer: PieceTokenizer) -> pd.DataFrame:
    """Return the length of each document in tokens and in pieces, and its number of whitespace tokens."""
    return pd.DataFrame(
        {
            "document": document.document,
            "tokens": len(document.tokens),
            "pieces": len(tokenizer.cut(document).ids),
            "whitespace": sum(token.isspace() for token in document.tokens),
        }
        for document in documents
    )


def entity_positions(documents: Sequence[Document]) -> pd.DataFrame:
    """Return the type, first token and relative position (0 = start, 1 = end of the document) of each entity."""
    lines = [
        (document.document, pii_type, first, first / len(document.tokens))
        for document in documents
        for first, _, pii_type in spans_of(true_labels(document))
    ]
    return pd.DataFrame(lines, columns=["document", "type", "token", "position"])


def entities_per_document(documents: Sequence[Document]) -> pd.Series:
    """Count the documents that contain 0, 1, 2, … entities."""
    counts = Counter(len(spans_of(true_labels(document))) for document in documents)
    every = range(max(counts, default=0) + 1)
    return pd.Series([counts[n] for n in every], index=pd.Index(every, name="entities"), name="documents", dtype=int)
