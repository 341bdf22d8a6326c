const SIGNS = {missed: "−", false: "+", "wrong label": "≠", correct: "✓"};
const AROUND = 30; // tokens shown on each side of a coloured token
const form = document.querySelector("form"), hint = document.getElementById("hint");

// Documents: a mark is [token index, kind of error, PII types, tooltip].
function drawSpan(tokens, spaces, marks) {
  const [[, kind, types]] = marks;
  const name = types.length > 1 ? types.join(" as ") : `${types[0]}${kind === "wrong label" ? " B/I" : ""}`;
  const span = element("span", {className: "span"});
  for (const [index, , , text] of marks) {
    const token = tokens[index], mark = element("mark", {tabIndex: 0}, token);
    mark.dataset.hint = text;
    if (!token.trim()) mark.dataset.sign = token.includes("\n") ? "↵" : token ? "␣" : "∅";
    span.append(mark, " ".repeat(index < marks.at(-1)[0] && spaces[index]));
  }
  span.append(element("small", {}, `${SIGNS[kind]} ${kind} ${name}`));
  Object.assign(span.dataset, {kind, types: types.join(" ")});
  return {span, kind, types, size: marks.length};
}

function drawEssay([number, tokens, spaces, marks, cost]) {
  const body = element("div", {className: "essay"}), spans = [], counts = [];
  const at = new Map(marks.map(mark => [mark[0], mark])), near = new Set();
  for (const [index] of marks) for (let i = index - AROUND; i <= index + AROUND; i++) near.add(i);
  const group = index => at.has(index) ? at.get(index).slice(1, 3).join() : near.has(index);
  for (let start = 0, end; start < tokens.length; start = end) {
    for (end = start + 1; end < tokens.length && group(end) === group(start);) end++;
    const text = tokens.slice(start, end).map((token, place) => token + " ".repeat(spaces[start + place])).join("");
    if (at.has(start)) {
      spans.push(drawSpan(tokens, spaces, Array.from({length: end - start}, (_, place) => at.get(start + place))));
      body.append(spans.at(-1).span, " ".repeat(spaces[end - 1]));
    } else if (near.has(start)) body.append(text);
    else body.append(foldButton(end - start), element("span", {className: "folded", hidden: true}, text));
  }
  for (const kind of Object.keys(SIGNS)) {
    const n = marks.filter(mark => mark[1] === kind).length;
    if (n) counts.push(`${n} ${kind}`);
  }
  const title = element("h2", {}, `Document ${number}`), about = element("p", {}, `${counts.join(", ")} · cost ${cost}`);
  const head = element("header", {}, title, about, ...body.querySelector(".fold") ? [wholeButton()] : []);
  const article = element("article", {id: `document-${number}`}, head, body);
  document.querySelector("main").append(article);
  return {article, spans};
}

const essays = data.documents.map(drawEssay);
const marked = essays.flatMap(({spans}) => spans);
const count = spans => spans.reduce((sum, {size}) => sum + size, 0);

// Filters
function addBox(name, value, caption, counted) {
  const box = element("input", {type: "checkbox", name, value, defaultChecked: value !== "correct"});
  const label = element("label", {}, box, " ", caption, " ", element("small", {}, counted));
  document.getElementById(`${name}s`).append(label);
  return box;
}

const boxes = {
  kind: Object.entries(SIGNS).map(([kind, sign]) => {
    const key = element("span", {className: "key"}, `${sign} ${kind}`);
    key.dataset.kind = kind;
    return addBox("kind", kind, key, count(marked.filter(span => span.kind === kind)));
  }),
  type: data.types.map(type => {
    const own = marked.filter(span => span.types.includes(type));
    return addBox("type", type, type, `${count(own.filter(span => span.kind !== "correct"))}/${count(own)}`);
  }),
};
const chosen = group => group.filter(box => box.checked).map(box => box.value);

function show() {
  const kinds = chosen(boxes.kind), types = chosen(boxes.type);
  let documents = 0, tokens = 0;
  for (const {article, spans} of essays) {
    const inside = count(spans.filter(({span, kind, types: own}) =>
      !span.classList.toggle("off", !(kinds.includes(kind) && own.some(type => types.includes(type))))));
    article.hidden = inside === 0;
    documents += inside > 0;
    tokens += inside;
  }
  document.querySelector("[role=status]").textContent =
    `${documents} of ${essays.length} documents listed, with ${tokens} coloured tokens`;
}

// The address holds the filters that differ from the defaults: #type=EMAIL&kind=missed&kind=false
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

function showHint(mark) {
  hint.textContent = mark.dataset.hint;
  hint.hidden = false;
  mark.setAttribute("aria-describedby", "hint");
  const at = mark.getClientRects()[0], below = at.bottom + 6;
  hint.style.left = Math.max(8, Math.min(at.left, innerWidth - hint.offsetWidth - 8)) + "px";
  hint.style.top = (below + hint.offsetHeight < innerHeight ? below : at.top - hint.offsetHeight - 6) + "px";
}

const hideHint = () => { hint.hidden = true; };

for (const [begin, end] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  document.addEventListener(begin, event => event.target.matches("mark") && showHint(event.target));
  document.addEventListener(end, hideHint);
}
// Moving to a token with Tab may scroll the page, so a scroll moves the hint of the focused token instead of hiding it.
document.addEventListener("scroll", () => {
  const focused = document.activeElement;
  if (!hint.hidden && focused.matches("mark")) showHint(focused); else hideHint();
});
document.addEventListener("keydown", event => event.key === "Escape" && hideHint());
form.addEventListener("change", () => { show(); writeAddress(); });
document.getElementById("reset").addEventListener("click", () => { form.reset(); show(); writeAddress(); });
addEventListener("hashchange", readAddress);
readAddress();
