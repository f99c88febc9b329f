// Behaviour that every page has. Each part hooks on a data attribute and on events that bubble to the document, so that
// it holds for content which htmx or a live region brings later.

const TOAST_MS = 6000;
const SLOW_MS = 300;

const announceable = (element) => element instanceof HTMLElement;

// Toasts ---------------------------------------------------------------------------------------------------------

function dismiss(toast) {
  toast.classList.add("leaving");
  setTimeout(() => toast.remove(), 250);
}

function keepToast(toast) {
  // What went wrong stays until it is read; the rest goes by itself, but not from under the pointer.
  if (toast.classList.contains("toast-error") || toast.classList.contains("toast-warning")) return;
  let timer = setTimeout(() => dismiss(toast), TOAST_MS);
  toast.addEventListener("pointerenter", () => clearTimeout(timer));
  toast.addEventListener("pointerleave", () => { timer = setTimeout(() => dismiss(toast), TOAST_MS); });
}

export function toast(level, text) {
  const template = document.getElementById(`toast-${level}`);
  const tray = document.querySelector(".toasts");
  if (!template || !tray) return;
  const element = template.content.firstElementChild.cloneNode(true);
  element.querySelector("span").textContent = text;
  tray.append(element);
  keepToast(element);
}

document.addEventListener("click", (event) => {
  const close = event.target.closest("[data-dismiss-toast]");
  if (close) dismiss(close.closest(".toast"));
});

// Times ----------------------------------------------------------------------------------------------------------

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

function words(seconds) {
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
  }
  return Math.abs(seconds) < 10 ? "just now" : relative.format(Math.round(seconds), "second");
}

function refreshTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const moment = new Date(element.dateTime);
    element.textContent = words((moment - Date.now()) / 1000);
    element.title = absolute.format(moment);
  }
}
setInterval(refreshTimes, 15000);

// Copy -----------------------------------------------------------------------------------------------------------

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS browsers offer no clipboard, except by this older way.
  const field = Object.assign(document.createElement("textarea"), { value: text, readOnly: true });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("the browser refused");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  event.preventDefault();
  try {
    await copyText(button.dataset.copy);
  } catch {
    toast("error", "The browser did not allow copying. Select the text and copy it by hand.");
    return;
  }
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1600);
});

// Dialogs --------------------------------------------------------------------------------------------------------

const sheet = () => document.getElementById("sheet");

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-sheet]")) {
    event.preventDefault();
    event.target.closest("dialog")?.close();
  }
  if (event.target instanceof HTMLDialogElement) event.target.close(); // the backdrop
  if (event.target.closest("[data-open-help]")) openHelp();
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "sheet-body") {
    if (!sheet().open) sheet().showModal();
    sheet().querySelector("[autofocus], .is-invalid, input:not([type=hidden]), textarea, select")?.focus();
  }
  ready(event.detail.target);
});

// A dangerous act whose name has to be typed: the button wakes when the text is right. The server checks it again.
function guard(field) {
  field.form.querySelector("[type=submit]").disabled = field.value.trim() !== field.dataset.typed;
}
document.addEventListener("input", (event) => event.target.matches?.("[data-typed]") && guard(event.target));

// Forms: one submit each -----------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (event.target.method === "get" || event.defaultPrevented) return;
  const button = event.submitter ?? event.target.querySelector("[type=submit]");
  if (!button) return;
  if (button.getAttribute("aria-busy") === "true") {
    event.preventDefault();
    return;
  }
  button.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  // A page that came back from the browser's cache still has its buttons busy.
  document.querySelectorAll("[aria-busy=true]").forEach((button) => button.removeAttribute("aria-busy"));
});

// htmx -----------------------------------------------------------------------------------------------------------

let pending = 0;
let slow = 0;
document.addEventListener("htmx:beforeRequest", () => {
  pending += 1;
  clearTimeout(slow);
  slow = setTimeout(() => document.querySelector(".loading-bar").classList.toggle("active", pending > 0), SLOW_MS);
});
document.addEventListener("htmx:afterRequest", (event) => {
  pending = Math.max(0, pending - 1);
  if (pending === 0) document.querySelector(".loading-bar").classList.remove("active");
  event.detail.elt.querySelectorAll?.("[aria-busy=true]").forEach((button) => button.removeAttribute("aria-busy"));
});
document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  const said = event.detail.xhr.getResponseHeader("Kaizen-Message");
  const known = { 403: "You may not do this.", 404: "This no longer exists.", 429: "Too many requests. Wait a moment, then try again." };
  toast("error", said || known[status] || `Studio answered with an error (${status}). Nothing was changed; try again.`);
});
document.addEventListener("htmx:sendError", () => toast("error", "Studio cannot be reached. Check the connection, then try again."));
document.addEventListener("htmx:timeout", () => toast("error", "Studio took too long to answer. Try again."));

// The search box has asked while it was typed in. Its change event comes when it is left, often by a click on a row's menu,
// and asking again would replace the row under the pointer.
document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-filters] [type=search]")) event.stopPropagation();
}, true);

// Filters with nothing in them do not belong into the address.
document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.matches?.("form[data-filters]")) return;
  const { parameters } = event.detail;
  for (const name of Object.keys(parameters)) if (parameters[name] === "") delete parameters[name];
});

// Keyboard -------------------------------------------------------------------------------------------------------

const LEADER_MS = 1200;
let leader = 0;

const typing = (element) =>
  announceable(element) && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));

function openHelp() {
  const list = document.getElementById("help-shortcuts");
  list.querySelectorAll("[data-added]").forEach((row) => row.remove());
  for (const link of document.querySelectorAll("a[data-shortcut]")) {
    const keys = Object.assign(document.createElement("dt"), { innerHTML: "<kbd>g</kbd> <kbd></kbd>" });
    keys.lastElementChild.textContent = link.dataset.shortcut;
    const meaning = Object.assign(document.createElement("dd"), { textContent: link.textContent.trim() });
    for (const row of [keys, meaning]) row.dataset.added = "";
    list.append(keys, meaning);
  }
  document.getElementById("help").showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  const inSequence = Date.now() - leader < LEADER_MS;
  leader = 0;
  if (inSequence) {
    const link = [...document.querySelectorAll("a[data-shortcut]")].find((each) => each.dataset.shortcut === event.key);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
  } else if (event.key === "g") {
    leader = Date.now();
  } else if (event.key === "?") {
    event.preventDefault();
    openHelp();
  } else if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  }
});

// Disabled actions say why; they are focusable, so they must not act.
document.addEventListener("click", (event) => {
  if (event.target.closest("[aria-disabled=true]")) event.preventDefault();
}, true);

// What new content needs, whether it came with the page, with htmx or with a live region.
function ready(root) {
  refreshTimes(root);
  root.querySelectorAll("[data-typed]").forEach(guard);
}
document.addEventListener("kaizen:morphed", (event) => ready(event.target));

ready(document);
document.querySelectorAll(".toasts .toast").forEach(keepToast);
