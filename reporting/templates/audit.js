"use strict";
const store = "audiollm-audit-" + document.body.dataset.run;
const cards = [...document.querySelectorAll("article[data-id]")];
const filters = document.querySelectorAll("[data-show]");

function load() {
  try {
    return JSON.parse(localStorage.getItem(store)) || {};
  } catch {
    return {};
  }
}

const marks = load();

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify(marks));
  } catch {
    // Without storage the marks live as long as the page.
  }
}

function ours(card) {
  const mark = marks[card.dataset.id];
  return mark && mark.answer === card.dataset.answer ? mark : null;
}

function show() {
  const counts = { accept: 0, reject: 0 };
  for (const card of cards) {
    const mark = ours(card);
    if (mark) counts[mark.mark] += 1;
    card.dataset.marked = mark ? mark.mark : "";
    for (const button of card.querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(Boolean(mark) && button.dataset.mark === mark.mark));
    }
  }
  for (const counter of document.querySelectorAll("[data-count]")) counter.textContent = counts[counter.dataset.count];
}

for (const card of cards) {
  const note = card.querySelector("input");
  note.value = ours(card) ? ours(card).note : "";
  for (const button of card.querySelectorAll("[data-mark]")) {
    button.addEventListener("click", () => {
      const before = ours(card);
      if (before && before.mark === button.dataset.mark) {
        delete marks[card.dataset.id];
      } else {
        marks[card.dataset.id] = {
          id: card.dataset.id,
          mark: button.dataset.mark,
          answer: card.dataset.answer,
          note: note.value,
          provenance: JSON.parse(card.dataset.provenance),
        };
      }
      keep();
      show();
    });
  }
  note.addEventListener("input", () => {
    if (ours(card)) {
      ours(card).note = note.value;
      keep();
    }
  });
}

for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => {
    const text = JSON.stringify({ run: document.body.dataset.run, marks: cards.map(ours).filter(Boolean) }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
    link.download = "marks.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

for (const button of filters) {
  button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
    for (const card of cards) {
      card.hidden = button.dataset.show !== "all" && card.dataset.kind !== button.dataset.show;
    }
  });
}

show();
