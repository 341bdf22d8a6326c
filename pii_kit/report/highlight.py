"""Show labelled documents in notebooks as HTML with coloured PII, or with coloured errors."""

from collections.abc import Mapping, Sequence
from itertools import groupby

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
    edges, spaces, n_tokens = token_edges(document), document.trailing_whitespace, len(document.tokens)
    text = join_tokens(document.tokens, spaces)
    ranges = [range(n_tokens)] if around is None else [range(first - around, end + around) for first, end, _ in spans]
    near = sorted({token for of_span in ranges for token in of_span if 0 <= token < n_tokens})
    parts = []
    # Token numbers without a gap differ from their places in the list by the same number.
    for _, group in groupby(enumerate(near), key=lambda pair: pair[1] - pair[0]):
        tokens = [token for _, token in group]
        start, end = tokens[0], tokens[-1] + 1
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
