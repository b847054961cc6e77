"use strict";
// A press on a segment plays it, and no further.
const sound = document.getElementById("sound");
let stop = Infinity;
if (sound) {
  sound.addEventListener("timeupdate", () => {
    if (sound.currentTime >= stop) { sound.pause(); stop = Infinity; }
  });
  document.addEventListener("click", (event) => {
    const place = event.target.closest("[data-start]");
    if (!place) return;
    sound.currentTime = Number(place.dataset.start);
    stop = Number(place.dataset.end);
    sound.play();
  });
}
