"""Show documents with their PII, or with the errors of a prediction, as coloured HTML (displaCy) in notebooks."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import pandas as pd
from spacy import displacy

from pii_kit.data import Document, spell
from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE, PII_TYPES, spans_of, type_of

TYPE_COLOURS = dict(
    zip(PII_TYPES, ("#8ecae6", "#ffd166", "#b8e0a8", "#f4a261", "#cdb4db", "#90dbd0", "#f7b7c5"), strict=True)
)
ERROR_COLOURS = {"correct": "#b8e0a8", "missed": "#f28482", "false": "#ffd166", "wrong label": "#cdb4db"}


def true_labels(document: Document) -> tuple[str, ...]:
    """Return the labels of a document. Raises KitError if it has none."""
    if document.labels is None:
        raise KitError(f"document {document.document}: labels missing; expected a labelled document")
    return document.labels


def highlight(document: Document, *, around: int | None = None) -> str:
    """Return a labelled document as HTML, entities coloured by type; with `around`, only so many tokens beside each."""
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
        lines.append((document.document, kinds["missed"], kinds["false"], kinds["wrong label"]))
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
        parts.append({"text": spell(tokens, spaces), "ents": entities, "title": None})
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
