"use strict";
// Blurred texts: a click, Enter or Space shows one; the buttons show all. Without scripts they stay blurred.
const veils = [...document.querySelectorAll(".veil")];
for (const veil of veils) veil.dataset.label = veil.getAttribute("aria-label");

function show(veil, open) {
  veil.setAttribute("aria-pressed", String(open));
  // The label stands in for the text to screen readers, so it has to go when the text is shown.
  if (open) veil.removeAttribute("aria-label");
  else veil.setAttribute("aria-label", veil.dataset.label);
}
const isOpen = (element) => element.getAttribute("aria-pressed") === "true";

document.addEventListener("click", (event) => {
  const veil = event.target.closest(".veil");
  // Selecting a shown text to copy it must not hide it.
  if (veil && (!isOpen(veil) || getSelection().isCollapsed)) show(veil, !isOpen(veil));
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches(".veil") || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  show(event.target, !isOpen(event.target));
});
for (const button of document.querySelectorAll(".all")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = !isOpen(button);
    button.setAttribute("aria-pressed", String(open));
    for (const veil of veils) show(veil, open);
  });
}

const filter = document.querySelector(".filter");
if (filter) {
  const choose = () => {
    const chosen = filter.querySelector(":checked").value;
    for (const list of document.querySelectorAll(".pair-list")) list.hidden = list.dataset.list !== chosen;
  };
  filter.hidden = false;
  filter.addEventListener("change", choose);
  choose();
}

// A printed page has no folds, but for tables that may quote hurtful sentences.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.closed)")) fold.open = true;
});
