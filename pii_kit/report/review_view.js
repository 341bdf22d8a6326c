// What the page shows: documents with their spans, the current one, and the selection.
const AROUND = 30; // tokens shown on each side of a detection
const SIGNS = {detection: "●", suggestion: "○", accepted: "✓", rejected: "✗"};
const [main, dock, about, types, progress, message, help, file, suggestions] = ["main", "#dock", "#about", "#types",
  "progress", "[role=status]", "dialog", "[type=file]", "#suggestions"].map(selector => document.querySelector(selector));
const owners = new WeakMap(); // article to its essay, mark to its span
const past = []; // undone from the end: each step maps changed spans to what they were, null for added ones
let current = null, cursor = null, step = null, scope = 0, unsaved = false;

const essays = data.documents.map(([number, tokens, spans, title]) => {
  const body = element("div", {className: "essay"}), counts = element("p");
  const whole = wholeButton();
  const head = element("header", {}, element("h2", {}, title), counts, whole);
  const article = element("article", {tabIndex: -1, ariaLabel: title}, head, body);
  const essay = {number, title, tokens, article, body, counts, whole, marks: new Map(), drawn: false, near: false};
  essay.spans = spans.map(([start, end, type, chance, suggested]) =>
    ({essay, start, end, type: data.types[type], chance, suggested: Boolean(suggested), decision: "undecided"}));
  owners.set(article, essay);
  return essay;
});

const isUndecided = span => span.decision === "undecided";
const isReplaced = span => span.decision === "accepted" || isUndecided(span) && !span.suggested;
const isShown = span => suggestions.checked || !span.suggested || !isUndecided(span);
const overlap = (one, other) => one.start < other.end && other.start < one.end;
const stateOf = span => isUndecided(span) ? (span.suggested ? "suggestion" : "detection") : span.decision;
const textOf = ({tokens}, start, end) => tokens.slice(start, end).join("");

// A rejected span is not shown where a span that is replaced overlaps it.
function shownSpans({spans}) {
  const chosen = [];
  const byUse = spans.filter(isShown).sort((one, other) => isReplaced(other) - isReplaced(one) || one.start - other.start);
  for (const span of byUse) if (!chosen.some(other => overlap(span, other))) chosen.push(span);
  return chosen.sort((one, other) => one.start - other.start);
}

function segment(essay, name, className, start, end) {
  const node = element(name, {className}, textOf(essay, start, end));
  Object.assign(node.dataset, {start, end});
  return node;
}

function drawSpan(span) {
  const {essay, start, end, type, chance} = span, state = stateOf(span);
  const mark = segment(essay, "mark", "", start, end), space = mark.textContent.match(/ ?$/)[0];
  mark.textContent = mark.textContent.slice(0, mark.textContent.length - space.length);
  const detail = isUndecided(span) ? `${type} ${Math.round(100 * chance)}%` : type;
  mark.setAttribute("role", "note");
  mark.ariaLabel = `${mark.textContent}, ${state} ${detail}`;
  mark.ariaCurrent = span === current;
  mark.tabIndex = span === current ? 0 : -1;
  owners.set(mark, span);
  essay.marks.set(span, mark);
  const box = element("span", {className: "span"}, mark, element("small", {ariaHidden: "true"}, `${SIGNS[state]} ${detail}`));
  Object.assign(box.dataset, {state, type});
  return [box, space];
}

function drawFold(essay, start, end, open) {
  const text = segment(essay, "span", "folded", start, end);
  text.hidden = !open;
  return element("span", {}, foldButton(end - start, open), text);
}

function draw(essay) {
  const isWhole = essay.whole.ariaPressed === "true";
  const open = find(".fold[aria-expanded=true]", essay.body).map(fold => fold.nextElementSibling.dataset);
  const parts = [], addText = (start, end) => start < end && parts.push(segment(essay, "span", "text", start, end));
  essay.marks.clear();
  let done = 0;
  for (const span of [...shownSpans(essay), null]) {
    const next = span ? span.start : essay.tokens.length;
    const from = done ? Math.min(done + AROUND, next) : 0, to = span ? Math.max(next - AROUND, from) : next;
    addText(done, from);
    if (from < to) parts.push(drawFold(essay, from, to, isWhole || open.some(old => old.start <= from && from < old.end)));
    addText(to, next);
    if (span) parts.push(...drawSpan(span));
    done = span?.end;
  }
  essay.body.replaceChildren(...parts);
  const spans = essay.spans.filter(isShown);
  essay.counts.textContent = spans.length ?
    `${spans.filter(span => !isUndecided(span)).length} of ${spans.length} decided` : "no detections";
  essay.drawn = true;
}

function redraw(changed) {
  for (const essay of new Set(changed)) if (essay.near) draw(essay); else essay.drawn = false;
}

function report(text = "") {
  const spans = essays.flatMap(essay => essay.spans).filter(isShown);
  progress.max = spans.length || 1;
  progress.value = spans.filter(span => !isUndecided(span)).length;
  message.textContent = `${progress.value} of ${spans.length} decided${text && `. ${text}`}`;
}

function describe() {
  const range = selected(), shown = range ?? current;
  const details = !shown ? ["Click a detection, or select text to add one."] : [
    element("bdi", {}, `“${textOf(shown.essay, shown.start, shown.end).trim()}”`),
    range ? " selected: add it as 1 to 7" : ` ${shown.type} · ${stateOf(shown)}`,
    !range && shown.chance !== null ? ` · P(PII) ${(100 * shown.chance).toFixed(1)}%` : "",
    ` · ${shown.essay.title}`];
  about.replaceChildren(...details);
  types.firstElementChild.textContent = range ? "Add as" : "Type";
  find("[data-scope]").forEach((button, place) => { button.ariaPressed = place === scope; });
  for (const button of find("[data-key]")) {
    const key = button.dataset.key;
    if ("ar".includes(key)) button.disabled = Boolean(range) || !current;
    if (key === "u") button.disabled = !past.length;
    if (key > "0" && key < "9") {
      button.disabled = !shown;
      button.ariaPressed = !range && shown?.type === data.types[key - 1];
    }
  }
}

function choose(span) {
  for (const [one, isOn] of [[current, false], [span, true]]) {
    const mark = one?.essay.marks.get(one);
    if (mark) Object.assign(mark, {tabIndex: isOn ? 0 : -1, ariaCurrent: isOn});
  }
  current = span;
  describe();
}

function go(span) {
  cursor = null;
  getSelection().removeAllRanges();
  if (span && !span.essay.drawn) draw(span.essay);
  choose(span);
  const mark = span?.essay.marks.get(span) ?? main;
  mark.focus({preventScroll: true});
  if (span) mark.scrollIntoView({block: "nearest"});
}

// Selection: the tokens that the browser's selection touches, whether it was made by mouse or by keyboard.
function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0), parent = range.commonAncestorContainer;
  const body = (parent.closest ? parent : parent.parentElement).closest(".essay");
  const inside = body ? find("[data-start]", body).filter(node => range.intersectsNode(node)) : [];
  if (!inside.length || inside.some(node => node.hidden)) return null;
  const essay = owners.get(body.closest("article")), first = inside[0], last = inside.at(-1);
  let start = tokenAt(essay, first, range.startContainer === first.firstChild ? range.startOffset : 0, false);
  let end = tokenAt(essay, last, range.endContainer === last.firstChild ? range.endOffset : Infinity, true);
  while (start < end && !essay.tokens[start].trim()) start++;
  while (start < end && !essay.tokens[end - 1].trim()) end--;
  return start < end ? {essay, start, end} : null;
}

// Return the first token of a segment that ends after a place in its text or, if `starts`, that starts there or later.
function tokenAt({tokens}, node, place, starts) {
  const end = Number(node.dataset.end);
  let token = Number(node.dataset.start), at = 0;
  while (token < end && (starts ? at < place : at + tokens[token].trimEnd().length <= place)) at += tokens[token++].length;
  return token;
}

function placeOf(essay, token, isEnd) {
  const node = find("[data-start]", essay.body).find(({dataset}) => dataset.start <= token && token < dataset.end);
  if (node.hidden) unfold(node.previousElementSibling, true);
  const before = textOf(essay, Number(node.dataset.start), token).length;
  return [node.firstChild, before + (isEnd ? essay.tokens[token].trimEnd().length : 0)];
}

const focusedEssay = () => owners.get(document.activeElement.closest("article")) ?? current?.essay;

// Select the next token, or extend the selection by it; tokens of whitespace are passed over.
function walk(direction, extend) {
  const essay = focusedEssay();
  if (!essay) return;
  if (!essay.drawn) draw(essay);
  const {start, end} = selected() ?? (document.activeElement.matches("mark") ? current : null) ?? {start: 0, end: 0};
  let {anchor, head} = cursor ?? (direction > 0 ? {anchor: start, head: end - 1} : {anchor: end - 1, head: start});
  do head += direction; while (head in essay.tokens && !essay.tokens[head].trim());
  if (!(head in essay.tokens)) return;
  if (!extend) anchor = head;
  const [first, last] = [placeOf(essay, Math.min(anchor, head), false), placeOf(essay, Math.max(anchor, head), true)];
  getSelection().setBaseAndExtent(...first, ...last);
  cursor = {anchor, head};
  describe();
}
