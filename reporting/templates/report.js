"use strict";
const wanted = { outcome: "all", task: "all", label: "all" };
const questions = [...document.querySelectorAll(".question")];

function fits(question) {
  const data = question.dataset;
  const outcome = wanted.outcome === "differ" ? "differ" in data : data.result === wanted.outcome;
  return (wanted.outcome === "all" || outcome)
    && (wanted.task === "all" || data.task === wanted.task)
    && (wanted.label === "all" || data.label === wanted.label);
}

function show() {
  for (const question of questions) question.hidden = !fits(question);
  for (const clip of document.querySelectorAll(".clips > article")) {
    clip.hidden = !clip.querySelector(".question:not([hidden])");
  }
  const left = questions.filter((question) => !question.hidden).length;
  const status = document.getElementById("shown");
  if (status) status.textContent = left === questions.length ? "" : `${left} of ${questions.length} answers`;
}

for (const button of document.querySelectorAll("button[data-filter]")) {
  button.addEventListener("click", () => {
    wanted[button.dataset.filter] = button.dataset.value;
    for (const other of document.querySelectorAll("button[data-filter]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    show();
  });
}
for (const menu of document.querySelectorAll("select[data-filter]")) {
  menu.addEventListener("change", () => {
    wanted[menu.dataset.filter] = menu.value;
    show();
  });
}
// One recording at a time.
document.addEventListener("play", (event) => {
  for (const audio of document.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
}, true);
