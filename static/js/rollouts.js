// Rows of a plan's form, and the clocks of a rollout: <progress data-from data-until> and <time data-countdown datetime>.

// Rows ------------------------------------------------------------------------------------------------------------

const rowsOf = (list) => [...list.children].filter((row) => !row.classList.contains("no-js-only"));

function numbered(list) {
  rowsOf(list).forEach((row, index) => {
    for (const field of row.querySelectorAll("[aria-label]")) {
      field.setAttribute("aria-label", field.getAttribute("aria-label").replace(/(step) \S+$/, `$1 ${index + 1}`));
    }
  });
  const rows = rowsOf(list).length;
  list.parentElement.querySelector("[data-add-row]").disabled = rows >= Number(list.dataset.most);
  for (const button of list.querySelectorAll("[data-remove-row]")) button.disabled = rows <= 1;
  // The picture of the plan asks anew.
  list.dispatchEvent(new CustomEvent("kaizen:rows", { bubbles: true }));
}

document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-add-row]");
  if (add) {
    const list = add.parentElement.querySelector("[data-rows]");
    const rows = rowsOf(list);
    const row = rows.at(-1).cloneNode(true);
    // The new row goes before the last, which is everything and stays last, with the same soak.
    row.querySelector("input").value = "";
    list.insertBefore(row, rows.at(-1));
    numbered(list);
    row.querySelector("input").focus();
  }
  const remove = event.target.closest("[data-remove-row]");
  if (remove) {
    const list = remove.closest("[data-rows]");
    const row = remove.closest("li");
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    numbered(list);
    next?.querySelector("input")?.focus();
  }
});

// Clocks ----------------------------------------------------------------------------------------------------------

function span(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  const parts = [[Math.floor(left / 3600), "h"], [Math.floor((left % 3600) / 60), "min"], [left % 60, "s"]];
  const shown = parts.filter(([amount]) => amount > 0).slice(0, 2);
  return shown.length ? shown.map(([amount, unit]) => `${amount} ${unit}`).join(" ") : "0 s";
}

function tick() {
  const now = Date.now();
  for (const clock of document.querySelectorAll("time[data-countdown]")) clock.textContent = span((new Date(clock.dateTime) - now) / 1000);
  for (const bar of document.querySelectorAll("progress[data-until]")) {
    const [from, until] = [new Date(bar.dataset.from), new Date(bar.dataset.until)];
    bar.value = until > from ? Math.min(100, (100 * (now - from)) / (until - from)) : 100;
  }
}
setInterval(tick, 1000);
document.addEventListener("kaizen:morphed", tick);
document.addEventListener("htmx:load", tick);
tick();
