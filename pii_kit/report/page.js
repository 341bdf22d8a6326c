"use strict";
const find = (selector, root = document) => [...root.querySelectorAll(selector)];

function unfold(fold, open) {
  fold.setAttribute("aria-expanded", open);
  fold.nextElementSibling.hidden = !open;
}

function showWhole(button, open) {
  button.setAttribute("aria-pressed", open);
  button.textContent = open ? "Show less" : "Show all text";
  find(".fold", button.closest("article")).forEach(fold => unfold(fold, open));
}

document.addEventListener("click", event => {
  const button = event.target;
  if (button.matches(".fold")) unfold(button, button.getAttribute("aria-expanded") === "false");
  if (button.matches(".whole")) showWhole(button, button.getAttribute("aria-pressed") === "false");
});
