
// What a reviewer does: moves, decisions, files, keys and clicks.
function move(distance) {
  const order = essays.flatMap(shownSpans), place = order.indexOf(current) + distance;
  if (order.length) go(order[Math.max(0, Math.min(place, order.length - 1))]);
}

function moveDocument(distance) {
  const essay = essays[essays.indexOf(focusedEssay()) + distance];
  if (!essay) return;
  const [first = null] = shownSpans(essay);
  go(first);
  if (!first) essay.article.focus();
}

function nextUndecided() {
  const order = essays.flatMap(shownSpans), place = order.indexOf(current) + 1;
  const next = [...order.slice(place), ...order.slice(0, place)].find(isUndecided);
  if (!next) report("Save the decisions.");
  go(next ?? current);
}

// Decisions. `act` makes one step for undo out of all changes of an action.
function act(action) {
  const before = current;
  step = new Map();
  const text = action();
  if (!step.size) return;
  past.push({step, before});
  unsaved = true;
  redraw([...step.keys()].map(span => span.essay));
  report(text);
}

function change(span, values) {
  if (!step.has(span)) step.set(span, {type: span.type, decision: span.decision});
  Object.assign(span, values);
}

function accept(span, type = span.type) {
  for (const other of span.essay.spans)
    if (other !== span && isReplaced(other) && overlap(span, other)) change(other, {decision: "rejected"});
  change(span, {decision: "accepted", type});
}

const spanAt = ({spans}, {start, end}) => spans.find(span => span.start === start && span.end === end);

function add(essay, {start, end}, type) {
  let span = spanAt(essay, {start, end});
  if (!span) {
    span = {essay, start, end, type, chance: null, suggested: false, decision: "rejected"};
    step.set(span, null);
    essay.spans.push(span);
  }
  accept(span, type);
  return span;
}

// Return what was done to all mentions of a span's string in the given documents.
function applyToMentions({essay: own, start, end, type, decision}, within) {
  const words = own.tokens.slice(start, end).map(token => token.trimEnd());
  const isHere = (tokens, place) => words.every((word, index) => tokens[place + index]?.trimEnd() === word);
  for (const essay of within)
    for (let place = 0; place + words.length <= essay.tokens.length; place++) {
      if (!essay.tokens[place].startsWith(words[0]) || !isHere(essay.tokens, place)) continue;
      const range = {start: place, end: place + words.length}, same = spanAt(essay, range);
      if (decision === "rejected") {
        if (same) change(same, {decision});
      } else if (!essay.spans.some(span => span !== same && isReplaced(span) && overlap(span, range)))
        add(essay, range, type);
    }
  return `${step.size} mention${step.size > 1 ? "s" : ""} ${decision}.`;
}

function decide(decision, type = current.type) {
  const range = selected();
  act(() => {
    if (range) current = add(range.essay, range, type);
    else if (decision === "accepted") accept(current, type);
    else change(current, {decision});
    if (scope) return applyToMentions(current, scope === 1 ? [current.essay] : essays);
  });
  scope = 0;
  if (range) go(current); else nextUndecided();
}

function undo() {
  const {step: last, before} = past.pop();
  for (const [span, values] of last)
    if (values) Object.assign(span, values); else span.essay.spans.splice(span.essay.spans.indexOf(span), 1);
  unsaved = true;
  redraw([...last.keys()].map(span => span.essay));
  report("Undone.");
  go(before);
}

// Files
function save() {
  const documents = {};
  for (const {number, spans} of essays) {
    const kept = spans.filter(span => isReplaced(span) || span.decision === "rejected");
    if (kept.length) documents[number] = kept.map(({start, end, type, decision}) => ({start, end, type, decision}));
  }
  const text = JSON.stringify({format: data.format, data: data.fingerprint, documents}, null, 1);
  const address = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  element("a", {href: address, download: "decisions.json"}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  unsaved = false;
  report("Saved as decisions.json.");
}

function checked(text) {
  const {format, data: fingerprint, documents} = JSON.parse(text);
  if (format !== data.format) throw new Error("not a file of decisions");
  if (fingerprint !== data.fingerprint) throw new Error("decisions about other documents");
  return essays.flatMap(essay => (documents[essay.number] ?? []).map(({start, end, type, decision}) => {
    const isPlace = Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start < end && end <= essay.tokens.length;
    if (!isPlace || !data.types.includes(type)) throw new Error(`a wrong span in document ${essay.number}`);
    return {essay, start, end, type, decision};
  }));
}

async function load(chosen) {
  const wasUnsaved = unsaved;
  try {
    const spans = checked(await chosen.text());
    act(() => {
      for (const range of spans) {
        const span = spanAt(range.essay, range);
        if (span && range.decision === "rejected") change(span, {decision: "rejected"});
      }
      for (const range of spans) if (range.decision === "accepted") add(range.essay, range, range.type);
      return `Loaded ${chosen.name}.`;
    });
    unsaved = wasUnsaved;
    nextUndecided();
  } catch (error) {
    report(`${chosen.name} was not loaded: ${error.message}`);
  }
}

const actions = {
  a: () => decide("accepted"),
  r: () => decide("rejected"),
  m: () => { scope = (scope + 1) % 3; describe(); },
  j: () => move(1),
  k: () => move(-1),
  J: () => moveDocument(1),
  K: () => moveDocument(-1),
  u: undo,
  s: save,
  "?": () => help.showModal(),
  Escape: () => { getSelection().removeAllRanges(); cursor = null; },
};
data.types.forEach((type, index) => {
  const key = String(index + 1), button = element("button", {type: "button"}, type, " ", element("kbd", {}, key));
  Object.assign(button.dataset, {key, type});
  button.setAttribute("aria-keyshortcuts", key);
  types.append(button);
  actions[key] = () => decide("accepted", type);
});

function press(key) {
  if (Object.hasOwn(actions, key) && !document.querySelector(`[data-key="${key}"]`)?.disabled) actions[key]();
}

document.addEventListener("keydown", event => {
  if (!main.contains(document.activeElement) || event.altKey) return;
  const {key, shiftKey} = event, isArrow = key === "ArrowLeft" || key === "ArrowRight";
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") press("u");
  } else if (isArrow) {
    event.preventDefault();
    walk(key === "ArrowRight" ? 1 : -1, shiftKey);
  } else if (!event.repeat || "jk".includes(key)) press(key); // a key that is held decides once
});
// A click on a button of the dock keeps the selection, and the focus in the documents.
dock.addEventListener("mousedown", event => event.preventDefault());
main.addEventListener("mousedown", () => { cursor = null; });
document.addEventListener("click", event => {
  const button = event.target.closest("[data-key]");
  if (button) press(button.dataset.key);
  if (event.target.matches("[data-scope]")) {
    scope = Number(event.target.dataset.scope);
    describe();
  }
  if (document.activeElement === document.body && !selected()) go(current);
});
document.addEventListener("focusin", event => event.target.matches("mark") && choose(owners.get(event.target)));
document.addEventListener("selectionchange", describe);
suggestions.addEventListener("change", () => {
  redraw(essays);
  report();
  if (current && !isShown(current)) nextUndecided();
});
document.getElementById("load").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  if (file.files.length) load(file.files[0]);
  file.value = "";
});
addEventListener("beforeunload", event => unsaved && event.preventDefault());

main.append(...essays.map(essay => essay.article));
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const essay = owners.get(entry.target);
    essay.near = entry.isIntersecting;
    if (essay.near && !essay.drawn) draw(essay);
  }
}, {rootMargin: "1500px"});
for (const {article} of essays) observer.observe(article);
report();
nextUndecided();
scrollTo(0, 0);
