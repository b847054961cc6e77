"use strict";
const buttons = document.querySelectorAll("[data-show]");
for (const button of buttons) {
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    for (const clip of document.querySelectorAll("[data-outcome]")) {
      clip.hidden = button.dataset.show !== "all" && clip.dataset.outcome !== button.dataset.show;
    }
  });
}
