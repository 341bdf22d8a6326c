"""A model's errors on labelled essays as one HTML page that needs nothing else: filters, and probabilities on hover."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np

from pii_kit.browser_page import KIND_SIGNS, render_page
from pii_kit.data import Document, spell
from pii_kit.errors import KitError
from pii_kit.files import atomic_write
from pii_kit.highlight import error_kind, neighbourhoods
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, type_of
from pii_kit.metrics import Score
from pii_kit.pieces import encodable

AROUND = 30  # tokens shown on each side of a coloured one
N_LIKELIEST = 3  # labels named on hover


@dataclass(frozen=True)
class Mark:
    """A token to colour: its place, its kind of error, the type or types of its two labels, what hovering says."""

    token_index: int
    kind: str
    types: tuple[str, ...]
    hint: str


@dataclass(frozen=True)
class Judged:
    """A document with what is coloured in it, in order, and its rows right, false and missed."""

    document: Document
    marks: tuple[Mark, ...]
    score: Score

    @property
    def cost(self) -> int:
        """What the document adds to the denominator of F5 beside its right rows, as in `highlight.error_counts`."""
        return round(self.score.beta**2 * self.score.fn + self.score.fp)


def write_error_page(
    path: str | Path,
    documents: Sequence[Document],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[Sequence[str]],
    *,
    title: str,
    note: str = "",
) -> None:
    """Labelled documents with probabilities (token, label) and decided labels (token) of each, to a page at `path`.

    Documents with missed rows come first, the dearest in F5 at the top; those with right rows only are behind a filter;
    those with nothing true and nothing found are only counted. `note` (say, thresholds) stands below the title. The
    page is written whole or not at all. Raises KitError, naming the document, where labels are missing or unknown, or
    lengths differ.
    """
    if not len(documents) == len(probabilities) == len(labels):
        counts = f"{len(documents)} documents, {len(probabilities)} with probabilities, {len(labels)} with labels"
        raise KitError(f"the error page needs both for every document, and has {counts}")
    judged = [judge(*one) for one in zip(documents, probabilities, labels, strict=True)]
    listed = sorted(
        (essay for essay in judged if essay.marks),
        key=lambda essay: (essay.score.fn == 0, -essay.cost, essay.document.document),
    )
    marks = [mark for essay in listed for mark in essay.marks]
    page = render_page(
        title=_text(title),
        note=_text(note),
        score=Score(*(sum(getattr(essay.score, count) for essay in judged) for count in ("tp", "fp", "fn"))),
        n_documents=(len(judged), sum(essay.cost > 0 for essay in judged), len(listed)),
        n_tokens={kind: sum(mark.kind == kind for mark in marks) for kind in KIND_SIGNS},
        n_tokens_of_types={
            pii_type: Counter(mark.kind != "right" for mark in marks if pii_type in mark.types)
            for pii_type in PII_TYPES
        },
        articles=map(_article, listed),
    )
    with atomic_write(path) as handle:
        handle.writelines(page)


def judge(document: Document, probabilities: np.ndarray, labels: Sequence[str]) -> Judged:
    """A labelled document, probabilities (token, label) and decided labels (token) to its marks. Raises KitError."""
    where, n_tokens = f"document {document.document}", len(document.tokens)
    if document.labels is None:
        raise KitError(f"{where}: labels missing (the error page needs them)")
    if not n_tokens == len(document.labels) == len(labels) == len(probabilities):
        counts = f"{len(document.labels)} true and {len(labels)} decided labels, {len(probabilities)} probabilities"
        raise KitError(f"{where}: {n_tokens} tokens, but {counts}")
    if n_tokens and probabilities.shape != (n_tokens, len(LABELS)):
        raise KitError(f"{where}: probabilities are {probabilities.shape}, expected {(n_tokens, len(LABELS))}")
    unknown = sorted({*document.labels, *labels} - {*LABELS})
    if unknown:
        raise KitError(f"{where}: {unknown[0]!r} is none of the {len(LABELS)} BIO labels")

    marks = []
    for index, pair in enumerate(zip(document.labels, labels, strict=True)):
        if kind := error_kind(*pair):
            types = tuple(dict.fromkeys(filter(None, map(type_of, pair))))
            marks.append(Mark(index, kind, types, _hint(index, *pair, probabilities[index])))
    kinds = Counter(mark.kind for mark in marks)
    wrong = kinds["wrong label"]  # a row submitted for nothing and a row missed
    score = Score(tp=kinds["right"], fp=kinds["false"] + wrong, fn=kinds["missed"] + wrong)
    return Judged(document, tuple(marks), score)


def _hint(index: int, true: str, found: str, scores: np.ndarray) -> str:
    likeliest = np.argsort(-scores, kind="stable")[:N_LIKELIEST]
    lines = [
        f"token {index}",
        f"true label     {true}",
        f"decided label  {found}",
        f"P(O)           {scores[OUTSIDE_ID]:.5f}",
        "likeliest:",
        *(f"{scores[label]:.5f}  {LABELS[label]}" for label in likeliest),
    ]
    return "\n".join(lines)


def _text(text: str) -> str:
    """Text to HTML that shows it; halves of surrogate pairs, which no file in UTF-8 holds, become question marks."""
    return escape(encodable(text))


def _article(essay: Judged) -> str:
    """A document to its part of the page: number, counts, and its text, folded where nothing coloured is near."""
    number, n_tokens = essay.document.document, len(essay.document.tokens)
    places = [(mark.token_index, mark.token_index + 1, "") for mark in essay.marks]
    shown = neighbourhoods(places, AROUND, n_tokens)
    text, done = "", 0
    for start, stop in shown:
        text += _folded(essay.document, done, start) + _coloured(essay, start, stop)
        done = stop
    text += _folded(essay.document, done, n_tokens)

    kinds = Counter(mark.kind for mark in essay.marks)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in KIND_SIGNS if kinds[kind])
    button = '<button type="button" class="whole" aria-pressed="false">Whole essay</button>'
    return (
        f'<article id="document-{number}"{"" if essay.cost else " hidden"}>\n'
        f"<header><h2>Document {number}</h2> <p>{counts} · cost {essay.cost}</p>"
        f"{'' if shown == [(0, n_tokens)] else button}</header>\n"
        f'<div class="essay">{text}</div>\n</article>\n'
    )


def _folded(document: Document, start: int, stop: int) -> str:
    """Tokens to a button that stands for them, and their text, hidden."""
    if start == stop:
        return ""
    text = _text(spell(document.tokens[start:stop], document.trailing_whitespace[start:stop]))
    count = f"{stop - start} token{'s' if stop - start > 1 else ''}"
    button = f'<button type="button" class="fold" aria-expanded="false">… {count} …</button>'
    return f'{button}<span class="folded" hidden>{text}</span>'


def _coloured(essay: Judged, start: int, stop: int) -> str:
    """The tokens from `start` to `stop` to HTML; neighbours of one kind and type share a caption."""
    document, text, done = essay.document, "", start
    inside = [mark for mark in essay.marks if start <= mark.token_index < stop]
    # Side by side, place and position in the list rise together.
    runs = groupby(enumerate(inside), lambda pair: (pair[1].token_index - pair[0], pair[1].kind, pair[1].types))
    for _, run in runs:
        marks = [mark for _, mark in run]
        first, last = marks[0].token_index, marks[-1].token_index
        text += _text(spell(document.tokens[done:first], document.trailing_whitespace[done:first]))
        text += _span(document, marks) + " " * document.trailing_whitespace[last]
        done = last + 1
    return text + _text(spell(document.tokens[done:stop], document.trailing_whitespace[done:stop]))


def _span(document: Document, marks: Sequence[Mark]) -> str:
    """Marks of one kind and type, side by side, to HTML: each token with its hint, and one caption."""
    kind, types, last = marks[0].kind, marks[0].types, marks[-1].token_index
    name = " as ".join(types) if len(types) > 1 or kind != "wrong label" else f"{types[0]} B/I"
    text = ""
    for mark in marks:
        token, space = document.tokens[mark.token_index], document.trailing_whitespace[mark.token_index]
        text += f'<mark tabindex="0"{_sign(token)} title="{mark.hint}">{_text(token)}</mark>'
        text += " " * (space and mark.token_index < last)
    caption = f"<small>{KIND_SIGNS[kind]} {kind} {name}</small>"
    return f'<span class="span" data-kind="{kind}" data-types="{" ".join(types)}">{text}{caption}</span>'


def _sign(token: str) -> str:
    """A sign for a token that cannot be seen."""
    if token.strip():
        return ""
    return f' data-sign="{"↵" if chr(10) in token else "␣" if token else "∅"}"'
