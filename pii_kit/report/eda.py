"""Tables about labelled essays: what is in them, how long they are, where PII stands."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pii_kit.data import Document
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, spans_of
from pii_kit.pieces import PieceTokenizer


def label_counts(documents: Sequence[Document]) -> pd.DataFrame:
    """A line per PII type: tokens labelled B- and I-, whole entities, and documents that hold it."""
    tokens = Counter(label for document in documents for label in document.labels)
    entities = Counter(pii_type for document in documents for *_, pii_type in spans_of(document.labels))
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
    """The set in a few figures."""
    n_tokens = [len(document.tokens) for document in documents]
    n_pii = sum(label != OUTSIDE for document in documents for label in document.labels)
    return pd.Series(
        {
            "documents": len(documents),
            "documents with PII": sum(bool(document.types) for document in documents),
            "tokens": sum(n_tokens),
            "tokens that are PII": n_pii,
            "per cent of tokens": round(100 * n_pii / max(sum(n_tokens), 1), 3),
            "longest document, tokens": max(n_tokens, default=0),
            "labels in use": len({label for document in documents for label in document.labels} & set(LABELS)),
        },
        name="value",
        dtype=object,
    )


def lengths(documents: Sequence[Document], tokenizer: PieceTokenizer) -> pd.DataFrame:
    """A line per document: its length in tokens and in pieces, and how many tokens are whitespace."""
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
    """A line per entity: its type, its first token, and where that stands in the essay, from 0 (head) to 1 (end)."""
    lines = [
        (document.document, pii_type, first, first / len(document.tokens))
        for document in documents
        for first, _, pii_type in spans_of(document.labels)
    ]
    return pd.DataFrame(lines, columns=["document", "type", "token", "position"])


def entities_per_document(documents: Sequence[Document]) -> pd.Series:
    """How many documents hold 0, 1, 2, … entities."""
    counts = Counter(len(spans_of(document.labels)) for document in documents)
    every = range(max(counts, default=0) + 1)
    return pd.Series([counts[n] for n in every], index=pd.Index(every, name="entities"), name="documents", dtype=int)
