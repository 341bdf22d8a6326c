"""Draw a document with its PII highlighted beside its redacted form, as a picture."""

from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pii_kit.documents import Document, token_edges, true_labels
from pii_kit.labels import spans_of
from pii_kit.report import TYPE_COLOURS

FONT = "DejaVu Sans Mono"  # comes with matplotlib; the width of its characters is ADVANCE times the font size
FONT_SIZE, ADVANCE, LINE_HEIGHT = 9.0, 0.6021, 1.55
MARGIN, GAP = 2, 4  # characters
Cell = tuple[str, str | None]  # a character and the PII type that it belongs to


def draw_redaction(before: Document, after: Document, *, width: int = 56, n_lines: int = 22) -> Figure:
    """Draw the first `n_lines` lines of two labelled documents side by side, each `width` characters wide."""
    pages = [_lines(document, width) for document in (before, after)]
    pages = [page if len(page) <= n_lines else [*page[:n_lines], [("…", None)]] for page in pages]
    n_columns, n_rows = 2 * (width + MARGIN) + GAP, max(map(len, pages)) + 4
    size = (n_columns * FONT_SIZE * ADVANCE / 72, n_rows * FONT_SIZE * LINE_HEIGHT / 72)  # inches
    figure, ax = plt.subplots(figsize=size)
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    ax.axis("off")
    font: Any = {"family": FONT, "size": FONT_SIZE, "va": "center"}
    for left, title, lines in zip((MARGIN, MARGIN + width + GAP), ("detected", "redacted"), pages, strict=True):
        ax.text(left, 0.9, title, weight="bold", **font)
        for row, line in enumerate(lines):
            start = left
            for pii_type, cells in groupby(line, key=lambda cell: cell[1]):
                text = "".join(character for character, _ in cells)
                if pii_type:
                    ax.add_patch(Rectangle((start, row + 2.08), len(text), 0.84, color=TYPE_COLOURS[pii_type], lw=0))
                ax.text(start, row + 2.5, text, parse_math=False, **font)
                start += len(text)
    types = {pii_type for lines in pages for line in lines for _, pii_type in line if pii_type}
    patches = [Patch(color=TYPE_COLOURS[pii_type], label=pii_type) for pii_type in sorted(types)]
    place: Any = {"loc": "lower left", "bbox_to_anchor": (MARGIN / n_columns, 0), "borderaxespad": 0}
    ax.legend(handles=patches, ncols=7, frameon=False, fontsize=8, **place)
    return figure


def _lines(document: Document, width: int) -> list[list[Cell]]:
    """Return a document's text as lines of `width` characters, wrapped at spaces; empty lines are joined."""
    types: list[str | None] = [None] * len(document.full_text)
    edges = token_edges(document)
    for first, end, pii_type in spans_of(true_labels(document)):
        stop = edges[end] - document.trailing_whitespace[end - 1]
        types[edges[first] : stop] = [pii_type] * (stop - edges[first])
    lines: list[list[Cell]] = [[]]
    for character, type_here in zip(document.full_text, types, strict=True):
        if character == "\n":
            lines += [[]] if lines[-1] or (len(lines) > 1 and lines[-2]) else []
            continue
        lines[-1].append((" " if character.isspace() else character, type_here))
        if len(lines[-1]) > width:  # a space may hang over the margin
            spaces = [index for index, (sign, _) in enumerate(lines[-1]) if sign == " "]
            end = spaces[-1] + 1 if spaces else width
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    return lines
