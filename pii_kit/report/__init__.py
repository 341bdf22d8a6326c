"""Show documents in notebooks: tables of what they contain, and coloured HTML of their PII or of errors."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, cycle

import pandas as pd
from spacy import displacy

from pii_kit.documents import Document, join_tokens, true_labels
from pii_kit.labels import OUTSIDE, PII_TYPES, spans_of, type_of
from pii_kit.pieces import PieceTokenizer

COLOURS = ("#8ecae6", "#ffd166", "#b8e0a8", "#f4a261", "#cdb4db", "#90dbd0", "#f7b7c5")
TYPE_COLOURS = dict(zip(PII_TYPES, cycle(COLOURS)))
ERROR_COLOURS = {"correct": "#b8e0a8", "missed": "#f28482", "false": "#ffd166", "wrong label": "#cdb4db"}


def highlight(document: Document, *, around: int | None = None) -> str:
    """Return a labelled document as HTML with coloured entities; with `around`, only that many tokens around each."""
    return _render(document, spans_of(true_labels(document)), TYPE_COLOURS, around)


def highlight_errors(document: Document, labels: Sequence[str], *, around: int | None = None) -> str:
    """Return a labelled document as HTML with its tokens coloured by error kind (see `error_kind`).

    `labels` are the predicted labels, one per token. With `around`, show only that many tokens on each side of every
    coloured token.
    """
    spans: list[tuple[int, int, str]] = []
    for index, (true, predicted) in enumerate(zip(true_labels(document), labels, strict=True)):
        if kind := error_kind(true, predicted):
            name = f"{kind} {type_of(true) or type_of(predicted)}"
            adjacent = spans and spans[-1][1:] == (index, name)
            first = spans.pop()[0] if adjacent else index
            spans.append((first, index + 1, name))
    colours = {name: ERROR_COLOURS[name.rsplit(" ", 1)[0]] for *_, name in spans}
    return _render(document, spans, colours, around)


def error_kind(true: str, predicted: str) -> str | None:
    """Return the kind of error of a token, a key of ERROR_COLOURS; None if both labels are O.

    >>> error_kind("B-EMAIL", "I-EMAIL"), error_kind("B-EMAIL", "O"), error_kind("O", "O")
    ('wrong label', 'missed', None)
    """
    if true == predicted:
        return None if true == OUTSIDE else "correct"
    if predicted == OUTSIDE:
        return "missed"
    return "false" if true == OUTSIDE else "wrong label"


def error_counts(documents: Sequence[Document], labels: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Count the wrong rows of every document with errors; documents that cost the most F5 come first.

    The cost is what the errors add to the denominator of F5: 25 for a miss, 1 for a false row, 26 for a wrong label.
    """
    lines = []
    for document, predicted in zip(documents, labels, strict=True):
        kinds = Counter(error_kind(*pair) for pair in zip(true_labels(document), predicted, strict=True))
        lines.append((document.number, kinds["missed"], kinds["false"], kinds["wrong label"]))
    table = pd.DataFrame(lines, columns=["document", "missed", "false", "wrong label"])
    table["cost"] = 25 * (table["missed"] + table["wrong label"]) + table["false"] + table["wrong label"]
    return table[table["cost"] > 0].sort_values(["cost", "document"], ascending=[False, True], ignore_index=True)


def _render(document: Document, spans: Sequence[tuple[int, int, str]], colours: dict, around: int | None) -> str:
    ranges = [(0, len(document.tokens))] if around is None else neighbourhoods(spans, around, len(document.tokens))
    parts = []
    for start, stop in ranges:
        tokens, spaces = document.tokens[start:stop], document.trailing_whitespace[start:stop]
        edges = [0, *accumulate(len(token) + space for token, space in zip(tokens, spaces, strict=True))]
        entities = [
            {"start": edges[first - start], "end": edges[end - start] - spaces[end - start - 1], "label": name}
            for first, end, name in sorted(spans)
            if start <= first and end <= stop
        ]
        parts.append({"text": join_tokens(tokens, spaces), "ents": entities, "title": None})
    options = {"colors": {name.upper(): colour for name, colour in colours.items()}}  # displaCy looks up upper case
    return displacy.render(parts, style="ent", manual=True, options=options, jupyter=False)


def neighbourhoods(spans: Sequence[tuple[int, int, str]], around: int, n_tokens: int) -> list[tuple[int, int]]:
    """Return the token ranges within `around` tokens of a span; overlapping and adjacent ranges are merged.

    >>> neighbourhoods([(9, 10, "EMAIL"), (2, 3, "EMAIL"), (5, 6, "EMAIL")], 1, 10)
    [(1, 7), (8, 10)]
    """
    ranges: list[tuple[int, int]] = []
    for first, end, _ in sorted(spans):
        start, stop = max(first - around, 0), min(end + around, n_tokens)
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(stop, ranges[-1][1]))
        else:
            ranges.append((start, stop))
    return ranges


def label_counts(documents: Sequence[Document]) -> pd.DataFrame:
    """Count, for each PII type, the B- and I- tokens, the entities, and the documents that contain the type."""
    tokens = Counter(label for document in documents for label in true_labels(document))
    entities = Counter(pii_type for document in documents for *_, pii_type in spans_of(true_labels(document)))
    holders = Counter(pii_type for document in documents for pii_type in document.types)
    lines = [(kind, tokens[f"B-{kind}"], tokens[f"I-{kind}"], entities[kind], holders[kind]) for kind in PII_TYPES]
    return pd.DataFrame(lines, columns=["type", "B-", "I-", "entities", "documents"]).set_index("type")


def overview(documents: Sequence[Document]) -> pd.Series:
    """Return the main figures of a data set."""
    n_tokens = [len(document.tokens) for document in documents]
    labels = Counter(label for document in documents for label in true_labels(document))
    n_pii = labels.total() - labels[OUTSIDE]
    return pd.Series(
        {
            "documents": len(documents),
            "documents with PII": sum(bool(document.types) for document in documents),
            "tokens": sum(n_tokens),
            "tokens that are PII": n_pii,
            "per cent of tokens": round(100 * n_pii / max(sum(n_tokens), 1), 3),
            "longest document, tokens": max(n_tokens, default=0),
            "labels in use": len(labels),
        },
        name="value",
        dtype=object,
    )


def lengths(documents: Sequence[Document], tokenizer: PieceTokenizer) -> pd.DataFrame:
    """Return the length of each document in tokens and in pieces, and its number of whitespace tokens."""
    lines = [
        (doc.number, len(doc.tokens), len(tokenizer.cut(doc).ids), sum(map(str.isspace, doc.tokens)))
        for doc in documents
    ]
    return pd.DataFrame(lines, columns=["document", "tokens", "pieces", "whitespace"])


def entity_positions(documents: Sequence[Document]) -> pd.DataFrame:
    """Return the type, first token and relative position (0 = start, 1 = end of the document) of each entity."""
    lines = [
        (document.number, pii_type, first, first / len(document.tokens))
        for document in documents
        for first, _, pii_type in spans_of(true_labels(document))
    ]
    return pd.DataFrame(lines, columns=["document", "type", "token", "position"])


def entities_per_document(documents: Sequence[Document]) -> pd.Series:
    """Count the documents that contain 0, 1, 2, … entities."""
    counts = Counter(len(spans_of(true_labels(document))) for document in documents)
    every = range(max(counts, default=0) + 1)
    return pd.Series([counts[n] for n in every], index=pd.Index(every, name="entities"), name="documents", dtype=int)
