const form = document.querySelector("form"), hint = document.getElementById("hint");
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

for (const mark of find("mark")) {
  mark.dataset.hint = mark.title;
  mark.removeAttribute("title");
}
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
