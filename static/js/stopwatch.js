// Elapsed time that runs on: <span data-stopwatch="2026-01-01T12:00:00+00:00"></span>.
// The server says when it began; as long as an element stands on the page, its time goes on.

const TICK_MS = 100;

function inWords(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

function tick() {
  for (const element of document.querySelectorAll("[data-stopwatch]")) {
    element.textContent = inWords(Date.now() - Date.parse(element.dataset.stopwatch));
  }
}

tick();
setInterval(tick, TICK_MS);
document.addEventListener("kaizen:morphed", tick);
