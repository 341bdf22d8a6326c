"""The frame of the error browser's page: head, figures, filters, style and script. `browser` fills it."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from pii_kit.highlight import ERROR_COLOURS
from pii_kit.metrics import Score

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
