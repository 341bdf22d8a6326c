"""Write the errors on labelled documents as one self-contained HTML page with filters."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np

from pii_kit.data import Document, spell
from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, type_of
from pii_kit.metrics import Score
from pii_kit.pieces import encodable
from pii_kit.report import ERROR_COLOURS, error_kind, neighbourhoods

KIND_SIGNS = {"missed": "−", "false": "+", "wrong label": "≠", "right": "✓"}
KIND_LINES = {"missed": "double", "false": "dashed", "wrong label": "wavy", "right": "solid"}
STYLE = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, CanvasText 8%, Canvas);
  --line: color-mix(in srgb, CanvasText 25%, Canvas); --quiet: color-mix(in srgb, CanvasText 68%, Canvas); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 62rem; font: 1rem/1.6 system-ui, sans-serif;
  background: Canvas; color: CanvasText; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
body > header p { margin: 0 0 1rem; }
header p.note { margin: .4rem 0 1rem; color: var(--quiet); white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0 .5rem; }
dt { color: var(--quiet); font-size: .8rem; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; padding: .75rem 1rem; border-radius: .5rem;
  background: var(--soft); }
fieldset { position: relative; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; width: 100%; margin: 0;
  padding: 0 0 0 4rem; border: 0; }
legend { position: absolute; left: 0; padding: 0; font-weight: 600; font-size: .9rem; }
label { font-size: .9rem; white-space: nowrap; cursor: pointer; }
label small { color: var(--quiet); font-variant-numeric: tabular-nums; }
.help { margin: .25rem 0 0; width: 100%; color: var(--quiet); font-size: .85rem; line-height: 1.4; }
.bar { position: sticky; top: 0; z-index: 1; display: flex; align-items: baseline; justify-content: space-between;
  gap: 1rem; padding: .6rem 0; background: Canvas; border-bottom: 1px solid var(--line); }
[role=status] { font-weight: 600; }
button { font: inherit; font-size: .8rem; padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 1rem;
  background: Canvas; color: CanvasText; white-space: nowrap; cursor: pointer; }
button:hover { background: var(--soft); }
:focus-visible { outline: 2px solid Highlight; outline-offset: 2px; }
article { margin-top: 1.75rem; content-visibility: auto; contain-intrinsic-size: auto 14rem; }
article[hidden] { display: none; }
article header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem 1rem; }
h2 { margin: 0; font-size: 1.05rem; }
article header p { margin: 0; color: var(--quiet); font-size: .9rem; flex: 1; }
.essay { margin-top: .35rem; padding: .6rem .9rem; border-left: 3px solid var(--line); white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: isolate; }
.fold { margin: 0 .3rem; padding: 0 .5rem; color: var(--quiet); line-height: 1.5; }
mark { padding: .05rem .1rem .15rem; border-radius: .15rem; background: var(--colour); color: #111; cursor: help;
  text-decoration: underline var(--kind-line) 1.5px; text-underline-offset: .12em; }
mark[data-sign]::before { content: attr(data-sign); }
.span small { margin: 0 .3rem; font-size: .68rem; font-weight: 600; letter-spacing: .01em; white-space: nowrap;
  color: var(--quiet); user-select: none; }
.span.off mark { background: none; color: inherit;
  text-decoration-color: color-mix(in srgb, var(--colour) 75%, CanvasText); }
.span.off small { display: none; }
.key { padding: 0 .3rem .15rem; border-radius: .15rem; background: var(--colour); color: #111;
  text-decoration: underline var(--kind-line) 1.5px; text-underline-offset: .12em; }
#hint { position: fixed; z-index: 2; max-width: 24rem; margin: 0; padding: .5rem .75rem; border-radius: .4rem;
  background: CanvasText; color: Canvas; font: .8rem/1.45 ui-monospace, monospace; white-space: pre-wrap;
  pointer-events: none; }
#hint[hidden] { display: none; }
@media print { form, .bar button, .whole { display: none; } }
"""
# Without a script, everything stands open and the browser's own hints show `title`.
STYLE_WITHOUT_SCRIPT = """
form, .bar, .whole, .fold { display: none; }
article[hidden] { display: block; }
.folded[hidden] { display: inline; }
"""
SCRIPT = """
"use strict";
const form = document.querySelector("form"), hint = document.getElementById("hint");
const find = (selector, root = document) => [...root.querySelectorAll(selector)];
const boxes = {kind: find("[name=kind]"), type: find("[name=type]")};
const essays = find("article").map(article => ({article, spans: find(".span", article).map(span =>
  ({span, kind: span.dataset.kind, types: span.dataset.types.split(" "), size: find("mark", span).length}))}));
const chosen = group => group.filter(box => box.checked).map(box => box.value);

function show() {
  const kinds = chosen(boxes.kind), types = chosen(boxes.type);
  let documents = 0, tokens = 0;
  for (const {article, spans} of essays) {
    let inside = 0;
    for (const {span, kind, types: own, size} of spans) {
      const fits = kinds.includes(kind) && own.some(type => types.includes(type));
      span.classList.toggle("off", !fits);
      inside += fits ? size : 0;
    }
    article.hidden = inside === 0;
    documents += inside > 0;
    tokens += inside;
  }
  document.querySelector("[role=status]").textContent =
    `${documents} of ${essays.length} documents listed, with ${tokens} coloured tokens`;
}

// The address carries the filters that differ from the page's own: #type=EMAIL&kind=missed&kind=false
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const [name, group] of Object.entries(boxes))
    for (const box of group)
      box.checked = wanted.has(name) ? wanted.getAll(name).includes(box.value) : box.defaultChecked;
  show();
}

function writeAddress() {
  const wanted = new URLSearchParams();
  for (const [name, group] of Object.entries(boxes)) {
    if (group.every(box => box.checked === box.defaultChecked)) continue;
    const values = chosen(group);
    for (const value of values.length ? values : [""]) wanted.append(name, value);
  }
  try { history.replaceState(null, "", "#" + wanted); } catch { /* a page inside a notebook has no address */ }
}

function unfold(fold, open) {
  fold.setAttribute("aria-expanded", open);
  fold.nextElementSibling.hidden = !open;
}

function showHint(mark) {
  hint.textContent = mark.dataset.hint;
  hint.hidden = false;
  mark.setAttribute("aria-describedby", "hint");
  const at = mark.getClientRects()[0], below = at.bottom + 6;
  hint.style.left = Math.max(8, Math.min(at.left, innerWidth - hint.offsetWidth - 8)) + "px";
  hint.style.top = (below + hint.offsetHeight < innerHeight ? below : at.top - hint.offsetHeight - 6) + "px";
}

const hideHint = () => { hint.hidden = true; };

for (const mark of find("mark")) {
  mark.dataset.hint = mark.title;
  mark.removeAttribute("title");
}
for (const [begin, end] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  document.addEventListener(begin, event => event.target.matches("mark") && showHint(event.target));
  document.addEventListener(end, hideHint);
}
// Going to a token with Tab may scroll the page: its hint goes with it.
document.addEventListener("scroll", () => {
  const focused = document.activeElement;
  if (!hint.hidden && focused.matches("mark")) showHint(focused); else hideHint();
});
document.addEventListener("keydown", event => event.key === "Escape" && hideHint());
document.addEventListener("click", event => {
  const button = event.target;
  if (button.matches(".fold")) unfold(button, button.getAttribute("aria-expanded") === "false");
  if (button.matches(".whole")) {
    const open = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", open);
    button.textContent = open ? "Fold" : "Whole essay";
    find(".fold", button.closest("article")).forEach(fold => unfold(fold, open));
  }
});
form.addEventListener("change", () => { show(); writeAddress(); });
document.getElementById("reset").addEventListener("click", () => { form.reset(); show(); writeAddress(); });
addEventListener("hashchange", readAddress);
readAddress();
"""


def render_page(
    *,
    title: str,
    note: str,
    score: Score,
    n_documents: tuple[int, int, int],
    n_tokens: Mapping[str, int],
    n_tokens_of_types: Mapping[str, Counter],
    articles: Iterable[str],
) -> Iterator[str]:
    """Escaped texts, counts and the documents' HTML to the parts of a page.

    `n_documents` counts all, those with errors and those listed; `n_tokens` the coloured ones per kind;
    `n_tokens_of_types` per type those wrong (True) and right (False).
    """
    # Should an essay's text ever escape its place, it still runs no script and loads nothing.
    only_ours = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{only_ours}'"
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}{_kind_style()}</style>\n"
        f"<noscript><style>{STYLE_WITHOUT_SCRIPT}</style></noscript>\n</head>\n<body>\n"
    )
    yield _header(title, note, score, n_documents)
    yield _filters(n_tokens, n_tokens_of_types)
    yield '<main aria-label="Documents">\n'
    yield from articles
    yield f'</main>\n<pre id="hint" role="tooltip" hidden></pre>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'


def _kind_style() -> str:
    return "".join(
        f'[data-kind="{kind}"] {{ --colour: {ERROR_COLOURS[kind]}; --kind-line: {line}; }}\n'
        for kind, line in KIND_LINES.items()
    )


def _header(title: str, note: str, score: Score, n_documents: tuple[int, int, int]) -> str:
    n_all, n_wrong, n_listed = n_documents
    figures = {
        "F5": f"{score.f:.4f}",
        "precision": f"{score.precision:.4f}",
        "recall": f"{score.recall:.4f}",
        "rows right": score.tp,
        "rows false": score.fp,
        "rows missed": score.fn,
    }
    counts = (
        f"{n_all} documents: {n_wrong} with errors, {n_listed - n_wrong} with right rows only, "
        f"{n_all - n_listed} with nothing true and nothing found, which are not listed."
    )
    figures_html = "".join(f"<div><dt>{name}</dt> <dd>{figure}</dd></div>\n" for name, figure in figures.items())
    note_html = f'<p class="note">{note}</p>\n' if note else ""
    return f"<header>\n<h1>{title}</h1>\n{note_html}<dl>\n{figures_html}</dl>\n<p>{counts}</p>\n</header>\n"


def _filters(n_tokens: Mapping[str, int], n_tokens_of_types: Mapping[str, Counter]) -> str:
    kinds = "".join(
        _box("kind", kind, kind != "right", f'<span class="key" data-kind="{kind}">{KIND_SIGNS[kind]} {kind}</span>', n)
        for kind, n in n_tokens.items()
    )
    types = "".join(
        _box("type", pii_type, True, pii_type, f"{counts[True]}/{counts.total()}")
        for pii_type, counts in n_tokens_of_types.items()
    )
    return (
        '<form autocomplete="off" aria-label="Filters">\n'
        f"<fieldset><legend>Kind</legend>\n{kinds}</fieldset>\n<fieldset><legend>Type</legend>\n{types}</fieldset>\n"
        '<p class="help">Numbers are tokens; of a type, the wrong ones and all. A document is listed while a token in '
        "it has a chosen kind and a chosen type; other tokens are only underlined. A wrong label is one false and one "
        "missed row. Hover over a coloured token, or go to it with Tab, for its labels and probabilities.</p>\n"
        '</form>\n<div class="bar"><span role="status"></span>'
        '<button type="button" id="reset">Reset filters</button></div>\n'
    )


def _box(name: str, value: str, checked: bool, caption: str, count: object) -> str:
    state = " checked" if checked else ""
    box = f'<input type="checkbox" name="{name}" value="{value}"{state}>'
    return f"<label>{box} {caption} <small>{count}</small></label>\n"


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
