"use strict";
const find = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = JSON.parse(document.getElementById("data").textContent);

// Text becomes text nodes, and never HTML.
function element(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function foldButton(n, isOpen = false) {
  const button = element("button", {type: "button", className: "fold"}, `… ${n} token${n > 1 ? "s" : ""} …`);
  button.setAttribute("aria-expanded", isOpen);
  return button;
}

function unfold(fold, open) {
  fold.setAttribute("aria-expanded", open);
  fold.nextElementSibling.hidden = !open;
}

function showWhole(button, open) {
  button.setAttribute("aria-pressed", open);
  button.textContent = open ? "Show less" : "Show all text";
  find(".fold", button.closest("article")).forEach(fold => unfold(fold, open));
}

const wholeButton = () => element("button", {type: "button", className: "whole", ariaPressed: "false"}, "Show all text");

document.addEventListener("click", event => {
  const button = event.target;
  if (button.matches(".fold")) unfold(button, button.getAttribute("aria-expanded") === "false");
  if (button.matches(".whole")) showWhole(button, button.getAttribute("aria-pressed") === "false");
});
