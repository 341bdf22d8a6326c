"""Write the errors on labelled documents as one self-contained HTML page with filters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from pii_kit.documents import Document, join_tokens, true_labels
from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, type_of
from pii_kit.metrics import BETA, Score
from pii_kit.report import ERROR_COLOURS, error_kind, neighbourhoods
from pii_kit.report.page import build_page, escaped, read_asset

KIND_SIGNS = {"missed": "−", "false": "+", "wrong label": "≠", "correct": "✓"}
KIND_LINES = {"missed": "double", "false": "dashed", "wrong label": "wavy", "correct": "solid"}
AROUND = 30  # tokens shown on each side of a coloured token
N_LIKELIEST = 3  # labels listed in the tooltip of a token


@dataclass(frozen=True)
class Mark:
    """A token to colour: its index, kind of error, the types of its true and predicted label, and tooltip."""

    token_index: int
    kind: str
    types: tuple[str, ...]
    hint: str


@dataclass(frozen=True)
class CheckedDocument:
    """A document with its coloured tokens, in order, and its score."""

    document: Document
    marks: tuple[Mark, ...]
    score: Score

    @property
    def cost(self) -> int:
        """What the errors add to the denominator of F5, as in `report.error_counts`."""
        return round(BETA**2 * self.score.fn + self.score.fp)


def write_error_page(
    path: str | Path,
    documents: Sequence[Document],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[Sequence[str]],
    *,
    title: str,
    note: str = "",
) -> None:
    """Write labelled documents, their probabilities (token, label) and predicted labels (token) as one HTML page.

    `title` is the heading of the page, and `note` is text below it, such as the threshold.

    Documents with missed rows come first, and among them the documents that cost the most F5. Documents with only
    correct rows are hidden until a filter shows them. Documents without any true or predicted PII are only counted.
    The file is written completely or not at all.

    Raises:
        KitError: A document has no labels, an unknown label, or a wrong number of labels or probabilities.
    """
    if not len(documents) == len(probabilities) == len(labels):
        raise KitError(
            "the error page needs probabilities and labels for every document; there are "
            f"{len(documents)} documents, {len(probabilities)} with probabilities, {len(labels)} with labels"
        )
    checked = [check_document(*one) for one in zip(documents, probabilities, labels, strict=True)]
    listed = sorted(
        (essay for essay in checked if essay.marks),
        key=lambda essay: (essay.score.fn == 0, -essay.cost, essay.document.number),
    )
    with atomic_write(path) as handle:
        style = read_asset("error_page.css") + "".join(
            f'[data-kind="{kind}"] {{ --colour: {ERROR_COLOURS[kind]}; --underline: {line}; }}\n'
            for kind, line in KIND_LINES.items()
        )
        body = _body(checked, listed, escaped(title), escaped(note))
        without_script = read_asset("error_page_noscript.css")
        handle.writelines(
            build_page(title, body, style=style, scripts=["error_page.js"], without_script=without_script)
        )


def check_document(document: Document, probabilities: np.ndarray, labels: Sequence[str]) -> CheckedDocument:
    """Compare the predicted labels of a document with its true labels. Raises KitError as `write_error_page`."""
    where, n_tokens, true = f"document {document.number}", len(document.tokens), true_labels(document)
    if not n_tokens == len(true) == len(labels) == len(probabilities):
        counts = f"{len(true)} true and {len(labels)} predicted labels, {len(probabilities)} probabilities"
        raise KitError(f"{where}: {n_tokens} tokens, but {counts}; expected one of each per token")
    if n_tokens and probabilities.shape != (n_tokens, len(LABELS)):
        raise KitError(f"{where}: probabilities have shape {probabilities.shape}, expected {(n_tokens, len(LABELS))}")
    unknown = sorted({*true, *labels} - {*LABELS})
    if unknown:
        raise KitError(f"{where}: unknown label {unknown[0]!r}, expected one of the {len(LABELS)} BIO labels")

    marks = []
    for index, pair in enumerate(zip(true, labels, strict=True)):
        if kind := error_kind(*pair):
            types = tuple(dict.fromkeys(filter(None, map(type_of, pair))))
            marks.append(Mark(index, kind, types, _hint(index, *pair, probabilities[index])))
    kinds = Counter(mark.kind for mark in marks)
    wrong = kinds["wrong label"]  # one false row and one missed row
    score = Score(tp=kinds["correct"], fp=kinds["false"] + wrong, fn=kinds["missed"] + wrong)
    return CheckedDocument(document, tuple(marks), score)


def _hint(index: int, true: str, predicted: str, scores: np.ndarray) -> str:
    likeliest = np.argsort(-scores, kind="stable")[:N_LIKELIEST]
    lines = [
        f"token {index}",
        f"true label       {true}",
        f"predicted label  {predicted}",
        f"P(O)             {scores[OUTSIDE_ID]:.5f}",
        "most likely:",
        *(f"{scores[label]:.5f}  {LABELS[label]}" for label in likeliest),
    ]
    return "\n".join(lines)


def _body(
    checked: Sequence[CheckedDocument], listed: Sequence[CheckedDocument], title: str, note: str
) -> Iterator[str]:
    """Yield the parts of the page's body; title and note are escaped already."""
    yield _header(checked, listed, title, note)
    yield _filters([mark for essay in listed for mark in essay.marks])
    yield '<main aria-label="Documents">\n'
    yield from map(_article, listed)
    yield '</main>\n<pre id="hint" role="tooltip" hidden></pre>\n'


def _header(checked: Sequence[CheckedDocument], listed: Sequence[CheckedDocument], title: str, note: str) -> str:
    score = Score(*(sum(getattr(essay.score, count) for essay in checked) for count in ("tp", "fp", "fn")))
    shares = {"F5": score.f, "precision": score.precision, "recall": score.recall}
    rows = {"correct rows": score.tp, "false rows": score.fp, "missed rows": score.fn}
    figures = {name: f"{share:.4f}" for name, share in shares.items()} | rows
    n_wrong = sum(essay.cost > 0 for essay in checked)
    counts = (
        f"{len(checked)} documents: {n_wrong} with errors, {len(listed) - n_wrong} with only correct rows, "
        f"{len(checked) - len(listed)} without true or predicted PII (not listed)."
    )
    figures_html = "".join(f"<div><dt>{name}</dt> <dd>{figure}</dd></div>\n" for name, figure in figures.items())
    note_html = f'<p class="note">{note}</p>\n' if note else ""
    return f"<header>\n<h1>{title}</h1>\n{note_html}<dl>\n{figures_html}</dl>\n<p>{counts}</p>\n</header>\n"


def _filters(marks: Sequence[Mark]) -> str:
    of_kinds = Counter(mark.kind for mark in marks)
    kinds = "".join(
        _box("kind", kind, f'<span class="key" data-kind="{kind}">{sign} {kind}</span>', f"{of_kinds[kind]}")
        for kind, sign in KIND_SIGNS.items()
    )
    types = ""
    for pii_type in PII_TYPES:
        wrong = [mark.kind != "correct" for mark in marks if pii_type in mark.types]
        types += _box("type", pii_type, pii_type, f"{sum(wrong)}/{len(wrong)}")
    return (
        '<form autocomplete="off" aria-label="Filters">\n'
        f"<fieldset><legend>Kind</legend>\n{kinds}</fieldset>\n<fieldset><legend>Type</legend>\n{types}</fieldset>\n"
        '<p class="help">The numbers count tokens; for a type: wrong tokens / all coloured tokens. A document is '
        "listed if at least one of its tokens has a selected kind and a selected type. Its other coloured tokens are "
        "only underlined. A wrong label counts as one false row and one missed row. The cost of a document is what its "
        "errors add to the denominator of F5: 25 for a missed row, 1 for a false row. Point at a coloured token, or "
        "move to it with the Tab key, to see its labels and probabilities.</p>\n"
        '</form>\n<div class="bar"><span role="status"></span>'
        '<button type="button" id="reset">Reset filters</button></div>\n'
    )


def _box(name: str, value: str, caption: str, count: str) -> str:
    state = "" if value == "correct" else " checked"
    box = f'<input type="checkbox" name="{name}" value="{value}"{state}>'
    return f"<label>{box} {caption} <small>{count}</small></label>\n"


def _article(essay: CheckedDocument) -> str:
    """Return a document's part of the page; text far from any coloured token is folded."""
    number, n_tokens = essay.document.number, len(essay.document.tokens)
    shown = neighbourhoods([(mark.token_index, mark.token_index + 1, "") for mark in essay.marks], AROUND, n_tokens)
    text, done = "", 0
    for start, stop in shown:
        text += _folded(essay.document, done, start) + _coloured(essay, start, stop)
        done = stop
    text += _folded(essay.document, done, n_tokens)

    kinds = Counter(mark.kind for mark in essay.marks)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in KIND_SIGNS if kinds[kind])
    button = '<button type="button" class="whole" aria-pressed="false">Show all text</button>'
    return (
        f'<article id="document-{number}"{"" if essay.cost else " hidden"}>\n'
        f"<header><h2>Document {number}</h2> <p>{counts} · cost {essay.cost}</p>"
        f"{'' if shown == [(0, n_tokens)] else button}</header>\n"
        f'<div class="essay">{text}</div>\n</article>\n'
    )


def _spelled(document: Document, start: int, stop: int) -> str:
    return escaped(join_tokens(document.tokens[start:stop], document.trailing_whitespace[start:stop]))


def _folded(document: Document, start: int, stop: int) -> str:
    """Return the tokens from `start` to `stop` as hidden text behind a button."""
    if start == stop:
        return ""
    count = f"{stop - start} token{'s' if stop - start > 1 else ''}"
    button = f'<button type="button" class="fold" aria-expanded="false">… {count} …</button>'
    return f'{button}<span class="folded" hidden>{_spelled(document, start, stop)}</span>'


def _coloured(essay: CheckedDocument, start: int, stop: int) -> str:
    """Return the tokens from `start` to `stop` as HTML; adjacent tokens of one kind and type share a caption."""
    document, text, done = essay.document, "", start
    inside = [mark for mark in essay.marks if start <= mark.token_index < stop]
    # In adjacent tokens, the token index minus the position in the list is constant.
    runs = groupby(enumerate(inside), lambda pair: (pair[1].token_index - pair[0], pair[1].kind, pair[1].types))
    for _, run in runs:
        marks = [mark for _, mark in run]
        first, last = marks[0].token_index, marks[-1].token_index
        text += _spelled(document, done, first) + _span(document, marks) + " " * document.trailing_whitespace[last]
        done = last + 1
    return text + _spelled(document, done, stop)


def _span(document: Document, marks: Sequence[Mark]) -> str:
    """Return adjacent tokens of one kind and type as HTML, each with its tooltip, and one caption for all."""
    kind, types, last = marks[0].kind, marks[0].types, marks[-1].token_index
    name = " as ".join(types) if len(types) > 1 or kind != "wrong label" else f"{types[0]} B/I"
    text = ""
    for mark in marks:
        token, space = document.tokens[mark.token_index], document.trailing_whitespace[mark.token_index]
        text += f'<mark tabindex="0"{_sign(token)} title="{mark.hint}">{escaped(token)}</mark>'
        text += " " * (space and mark.token_index < last)
    caption = f"<small>{KIND_SIGNS[kind]} {kind} {name}</small>"
    return f'<span class="span" data-kind="{kind}" data-types="{" ".join(types)}">{text}{caption}</span>'


def _sign(token: str) -> str:
    """Return the attribute with a visible sign for a token that is empty or whitespace."""
    return "" if token.strip() else f' data-sign="{"↵" if chr(10) in token else "␣" if token else "∅"}"'
