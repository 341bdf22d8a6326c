"""Show labelled documents: as HTML with coloured PII or errors, and as a picture before and after redaction."""

from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from spacy import displacy

from pii_kit.documents import Document, join_tokens, token_edges, true_labels
from pii_kit.labels import spans_of, type_of
from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS, error_kind

LEFT_OUT = "…"
FONT = "DejaVu Sans Mono"  # comes with matplotlib; the width of its characters is ADVANCE times the font size
FONT_SIZE, ADVANCE, LINE_HEIGHT = 9.0, 0.6021, 1.55
MARGIN, GAP = 2, 4  # characters


def highlight(document: Document, *, around: int) -> str:
    """Return the entities of a labelled document, coloured, with so many tokens around each, as HTML."""
    return _render(document, spans_of(true_labels(document)), TYPE_COLOURS, around)


def highlight_errors(document: Document, labels: Sequence[str], *, around: int) -> str:
    """Return the tokens with true or predicted PII, coloured by their `error_kind`, with tokens around, as HTML."""
    spans: list[tuple[int, int, str]] = []
    for index, (true, predicted) in enumerate(zip(true_labels(document), labels, strict=True)):
        if kind := error_kind(true, predicted):
            name = f"{kind} {type_of(true) or type_of(predicted)}"
            adjacent = spans and spans[-1][1:] == (index, name)
            first = spans.pop()[0] if adjacent else index
            spans.append((first, index + 1, name))
    return _render(document, spans, {name: ERROR_COLOURS[name.rsplit(" ", 1)[0]] for *_, name in spans}, around)


def _render(document: Document, spans: Sequence[tuple[int, int, str]], colours: Mapping[str, str], around: int) -> str:
    edges, spaces, n_tokens = token_edges(document), document.trailing_whitespace, len(document.tokens)
    text = join_tokens(document.tokens, spaces)
    ranges = [range(max(first - around, 0), min(end + around, n_tokens)) for first, end, _ in spans]
    near = sorted(set(chain.from_iterable(ranges)))
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


def draw_redaction(before: Document, after: Document, *, width: int = 56, n_lines: int = 22) -> Figure:
    """Draw the first `n_lines` lines of two labelled documents side by side, each `width` characters wide."""
    pages = [_lines(document, width) for document in (before, after)]
    pages = [page if len(page) <= n_lines else [*page[:n_lines], ("…", [None])] for page in pages]
    n_columns, n_rows = 2 * (width + MARGIN) + GAP, max(map(len, pages)) + 4
    size = (n_columns * FONT_SIZE * ADVANCE / 72, n_rows * FONT_SIZE * LINE_HEIGHT / 72)  # inches
    figure, ax = plt.subplots(figsize=size)
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    ax.axis("off")
    font: Any = {"family": FONT, "size": FONT_SIZE, "va": "center", "parse_math": False}
    for left, title, lines in zip((MARGIN, MARGIN + width + GAP), ("detected", "redacted"), pages, strict=True):
        ax.text(left, 0.9, title, weight="bold", **font)
        for row, (text, types) in enumerate(lines):
            start = left
            for pii_type, cells in groupby(zip(text, types, strict=True), key=itemgetter(1)):
                part = "".join(character for character, _ in cells)
                if pii_type:
                    ax.add_patch(Rectangle((start, row + 2.08), len(part), 0.84, color=TYPE_COLOURS[pii_type], lw=0))
                ax.text(start, row + 2.5, part, **font)
                start += len(part)
    drawn = {pii_type for lines in pages for _, types in lines for pii_type in types}
    patches = [Patch(color=colour, label=name) for name, colour in TYPE_COLOURS.items() if name in drawn]
    ax.legend(handles=patches, ncols=7, frameon=False, fontsize=8, loc="lower left")
    return figure


def _lines(document: Document, width: int) -> list[tuple[str, list[str | None]]]:
    """Return a document's text in lines with the PII type of each character; several empty lines become one."""
    types: list[str | None] = [None] * len(document.full_text)
    edges = token_edges(document)
    for first, end, pii_type in spans_of(true_labels(document)):
        stop = edges[end] - document.trailing_whitespace[end - 1]
        types[edges[first] : stop] = [pii_type] * (stop - edges[first])
    lines: list[tuple[str, list[str | None]]] = []
    place = 0
    for paragraph in document.full_text.split("\n"):
        for number, text in enumerate(wrap(paragraph, width, expand_tabs=False, drop_whitespace=False) or [""]):
            line = text.removeprefix(" ") if number else text  # the space that a line is wrapped at
            if line or not lines or lines[-1][0]:
                lines.append((line, types[place + len(text) - len(line) : place + len(text)]))
            place += len(text)
        place += 1
    return lines
