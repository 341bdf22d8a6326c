"""Show labelled documents in notebooks as HTML with coloured PII, or with coloured errors."""

from collections.abc import Mapping, Sequence

from spacy import displacy

from pii_kit.documents import Document, join_tokens, token_edges, true_labels
from pii_kit.labels import OUTSIDE, spans_of, type_of
from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS

LEFT_OUT = "…"


def highlight(document: Document, *, around: int | None = None) -> str:
    """Return a labelled document as HTML with coloured entities; with `around`, only that many tokens around each."""
    return _render(document, spans_of(true_labels(document)), TYPE_COLOURS, around)


def highlight_errors(document: Document, labels: Sequence[str], *, around: int | None = None) -> str:
    """Return a labelled document as HTML with its tokens coloured by `error_kind` of predicted `labels` (token)."""
    spans: list[tuple[int, int, str]] = []
    for index, (true, predicted) in enumerate(zip(true_labels(document), labels, strict=True)):
        if kind := error_kind(true, predicted):
            name = f"{kind} {type_of(true) or type_of(predicted)}"
            adjacent = spans and spans[-1][1:] == (index, name)
            first = spans.pop()[0] if adjacent else index
            spans.append((first, index + 1, name))
    return _render(document, spans, {name: ERROR_COLOURS[name.rsplit(" ", 1)[0]] for *_, name in spans}, around)


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


def _render(
    document: Document, spans: Sequence[tuple[int, int, str]], colours: Mapping[str, str], around: int | None
) -> str:
    edges, spaces = token_edges(document), document.trailing_whitespace
    text, n_tokens = join_tokens(document.tokens, spaces), len(document.tokens)
    parts = []
    for start, end in [(0, n_tokens)] if around is None else _neighbourhoods(spans, around, n_tokens):
        before, after = f"{LEFT_OUT} " * (start > 0), f" {LEFT_OUT}" * (end < n_tokens)
        shift = len(before) - edges[start]
        entities = [
            {"start": edges[first] + shift, "end": edges[last] - spaces[last - 1] + shift, "label": name}
            for first, last, name in sorted(spans)
            if start <= first < end
        ]
        parts.append({"text": before + text[edges[start] : edges[end]] + after, "ents": entities, "title": None})
    options = {"colors": {name.upper(): colour for name, colour in colours.items()}}  # displaCy looks up upper case
    return displacy.render(parts, style="ent", manual=True, options=options, jupyter=False)


def _neighbourhoods(spans: Sequence[tuple[int, int, str]], around: int, n_tokens: int) -> list[tuple[int, int]]:
    """Return the token ranges within `around` tokens of a span; overlapping and adjacent ranges are merged.

    >>> _neighbourhoods([(9, 10, "EMAIL"), (2, 3, "EMAIL"), (5, 6, "EMAIL")], 1, 10)
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
