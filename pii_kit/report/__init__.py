"""Essays with their PII, or a model's errors, in colour: HTML from displaCy, for notebooks."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import pandas as pd
from spacy import displacy

from pii_kit.data import Document, spell
from pii_kit.labels import OUTSIDE, PII_TYPES, spans_of, type_of

TYPE_COLOURS = dict(
    zip(PII_TYPES, ("#8ecae6", "#ffd166", "#b8e0a8", "#f4a261", "#cdb4db", "#90dbd0", "#f7b7c5"), strict=True)
)
ERROR_COLOURS = {"right": "#b8e0a8", "missed": "#f28482", "false": "#ffd166", "wrong label": "#cdb4db"}


def highlight(document: Document, *, around: int | None = None) -> str:
    """A labelled document to HTML, its entities coloured by type; with `around` only so many tokens round each."""
    spans = spans_of(document.labels)
    return _render(document, spans, TYPE_COLOURS, around)


def highlight_errors(document: Document, labels: Sequence[str], *, around: int | None = None) -> str:
    """A labelled document and what a model said of it (token) to HTML: tokens right, missed, false, of wrong label."""
    spans: list[tuple[int, int, str]] = []
    for index, pair in enumerate(zip(document.labels, labels, strict=True)):
        kind = error_kind(*pair)
        if kind is None:
            continue
        true, found = map(type_of, pair)
        name = f"{kind} {true or found}"
        if spans and spans[-1][1:] == (index, name):
            spans[-1] = (spans[-1][0], index + 1, name)
        else:
            spans.append((index, index + 1, name))
    colours = {name: ERROR_COLOURS[name.rsplit(" ", 1)[0]] for *_, name in spans}
    return _render(document, spans, colours, around)


def error_kind(true: str, found: str) -> str | None:
    """A token's true and decided label to a name of ERROR_COLOURS; None where both are O.

    >>> error_kind("B-EMAIL", "I-EMAIL"), error_kind("B-EMAIL", "O"), error_kind("O", "O")
    ('wrong label', 'missed', None)
    """
    if true == found:
        return None if true == OUTSIDE else "right"
    if found == OUTSIDE:
        return "missed"
    return "false" if true == OUTSIDE else "wrong label"


def error_counts(documents: Sequence[Document], labels: Sequence[Sequence[str]]) -> pd.DataFrame:
    """A line per document with wrong rows, worst first: rows missed, false, of wrong label, and their cost.

    The cost is what the rows add to the denominator of F5: 25 for a miss, 1 for a false alarm, 26 for a wrong label.
    """
    lines = []
    for document, found in zip(documents, labels, strict=True):
        kinds = Counter(error_kind(*pair) for pair in zip(document.labels, found, strict=True))
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
        inside = sorted(
            (
                {"start": edges[first - start], "end": edges[end - start] - spaces[end - start - 1], "label": name}
                for first, end, name in spans
                if start <= first and end <= stop
            ),
            key=lambda entity: entity["start"],
        )
        parts.append({"text": spell(tokens, spaces), "ents": inside, "title": None})
    options = {"colors": {name.upper(): colour for name, colour in colours.items()}}  # displaCy looks them up so
    return displacy.render(parts, style="ent", manual=True, options=options, jupyter=False)


def neighbourhoods(spans: Sequence[tuple[int, int, str]], around: int, n_tokens: int) -> list[tuple[int, int]]:
    """The ranges of tokens within `around` of a span, those that touch made one.

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
