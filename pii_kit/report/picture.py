"""Draw a document with its PII highlighted beside its redacted form, as a picture."""

from collections.abc import Sequence
from itertools import accumulate, groupby

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pii_kit.documents import Document, true_labels
from pii_kit.labels import spans_of
from pii_kit.report import TYPE_COLOURS

FONT = "DejaVu Sans Mono"  # comes with matplotlib; the width of its characters is ADVANCE times the font size
FONT_SIZE, ADVANCE, LINE_HEIGHT = 9.0, 0.6021, 1.55
MORE = "…"  # ends a picture whose document goes on
Cell = tuple[str, str | None]  # a character and the PII type that it belongs to


def draw_redaction(before: Document, after: Document, *, width: int = 56, n_lines: int = 22) -> Figure:
    """Draw the first `n_lines` lines of two labelled documents side by side, each `width` characters wide."""
    pages = [_lines(document, width)[: n_lines + 1] for document in (before, after)]
    n_rows = max(map(len, pages))
    column = FONT_SIZE * ADVANCE / 72  # inches
    row = FONT_SIZE * LINE_HEIGHT / 72
    figure, ax = plt.subplots(figsize=((2 * width + 8) * column, (n_rows + 4) * row))
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, 2 * width + 8), ylim=(n_rows + 4, 0))
    ax.axis("off")
    for place, (title, lines) in enumerate(zip(("detected", "redacted"), pages, strict=True)):
        left = 2 + place * (width + 4)
        ax.text(left, 0.9, title, family=FONT, size=FONT_SIZE, weight="bold", va="center")
        for number, line in enumerate(lines):
            middle = number + 2.5
            if number == n_lines:
                line = [(MORE, None)]
            start = left
            for pii_type, cells in groupby(line, key=lambda cell: cell[1]):
                text = "".join(character for character, _ in cells)
                if pii_type:
                    box = Rectangle((start, middle - 0.42), len(text), 0.84, color=TYPE_COLOURS[pii_type], lw=0)
                    ax.add_patch(box)
                ax.text(start, middle, text, family=FONT, size=FONT_SIZE, va="center", parse_math=False)
                start += len(text)
    types = sorted({pii_type for lines in pages for line in lines for _, pii_type in line if pii_type})
    patches = [Patch(color=TYPE_COLOURS[pii_type], label=pii_type) for pii_type in types]
    corner = (2 / (2 * width + 8), 0)
    ax.legend(
        handles=patches, ncols=7, frameon=False, loc="lower left", bbox_to_anchor=corner, fontsize=8, borderaxespad=0
    )
    return figure


def _lines(document: Document, width: int) -> list[list[Cell]]:
    """Return the document's text as lines of at most `width` characters, wrapped at spaces; empty lines are joined."""
    type_of_character: list[str | None] = [None] * len(document.full_text)
    pairs = zip(document.tokens, document.trailing_whitespace, strict=True)
    edges = [0, *accumulate(len(token) + space for token, space in pairs)]
    for first, end, pii_type in spans_of(true_labels(document)):
        stop = edges[end] - document.trailing_whitespace[end - 1]
        type_of_character[edges[first] : stop] = [pii_type] * (stop - edges[first])
    lines: list[list[Cell]] = [[]]
    for cell in zip(document.full_text, type_of_character, strict=True):
        if cell[0] == "\n":
            lines += [[]] if lines[-1] or (len(lines) > 1 and lines[-2]) else []
            continue
        lines[-1].append((" " if cell[0].isspace() else cell[0], cell[1]))
        if len(lines[-1]) > width:
            lines[-1:] = _wrap(lines[-1], width)
    return lines


def _wrap(line: Sequence[Cell], width: int) -> list[list[Cell]]:
    """Split a line that is too long after its last space, or at `width` if it has none."""
    spaces = [index for index, (character, _) in enumerate(line) if character == " "]
    end = spaces[-1] + 1 if spaces else width
    return [list(line[:end]), list(line[end:])]
