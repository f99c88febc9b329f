// Regions of a page that a WebSocket keeps fresh: <div class="live" data-live="/ws/live/<name>/<id>/">.
// The server sends the region's inner HTML; what the person is doing in it (focus, typed text, open menus) survives.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
// The server says something every five seconds; a socket that is silent for longer is dead without knowing it.
const SILENCE_MS = 20000;
const CODES_THAT_END = new Map([
  [4401, "You have been signed out. Reload the page to sign in again."],
  [4403, "You may no longer see this."],
  [4404, "This no longer exists."],
]);

class LiveRegion {
  constructor(element) {
    this.element = element;
    this.body = element.querySelector("[data-live-body]");
    this.hint = element.querySelector(".live-hint");
    this.wait = FIRST_WAIT_MS;
    this.open();
  }

  open() {
    if (!this.element.isConnected) return;
    const address = new URL(this.element.dataset.live, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => this.closed(event));
    this.listen();
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.close(), SILENCE_MS);
  }

  receive(message) {
    if (!this.element.isConnected) return this.stop();
    this.listen();
    this.wait = FIRST_WAIT_MS;
    this.element.classList.remove("reconnecting");
    if (message.reload) return location.reload();
    if (message.gone) return this.end(message.reason);
    if (typeof message.html !== "string") return;
    window.Idiomorph.morph(this.body, message.html, {
      morphStyle: "innerHTML",
      ignoreActiveValue: true,
      callbacks: { beforeAttributeUpdated: keepsOpen, beforeNodeMorphed: keepsNode },
    });
    window.htmx?.process(this.body);
    this.body.dispatchEvent(new CustomEvent("kaizen:morphed", { bubbles: true }));
  }

  closed(event) {
    clearTimeout(this.silence);
    if (this.ended || !this.element.isConnected) return;
    if (CODES_THAT_END.has(event.code)) return this.end(CODES_THAT_END.get(event.code));
    this.say("Connection lost. Reconnecting; what you see may be out of date.");
    // Jitter, so that the browsers of a whole company do not return in one instant after a restart.
    setTimeout(() => this.open(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  end(reason) {
    this.say(reason || "This is no longer updated.");
    this.stop();
  }

  say(text) {
    this.hint.querySelector("span").textContent = text;
    this.element.classList.add("reconnecting");
  }

  stop() {
    this.ended = true;
    clearTimeout(this.silence);
    this.socket.close();
  }
}

// Whether a <details> or a menu is open is the reader's state, not the server's.
function keepsOpen(name, node) {
  if (name === "open" && node.tagName === "DETAILS") return false;
  if (["class", "aria-expanded", "style", "data-popper-placement"].includes(name) && node.matches?.(".dropdown-menu.show, [aria-expanded=true]")) return false;
  return true;
}

// What somebody has typed or ticked is not the server's to take back.
function isFilledIn(node) {
  if (node instanceof HTMLSelectElement) return node.selectedIndex !== Math.max(0, [...node.options].findLastIndex((option) => option.defaultSelected));
  if (node instanceof HTMLTextAreaElement) return node.value !== node.defaultValue;
  return node instanceof HTMLInputElement && (node.value !== node.defaultValue || node.checked !== node.defaultChecked);
}

// What charts.js drew is not in the server's HTML: keep it, and only say which figures belong to it now.
function keepsNode(node, fresh) {
  if (isFilledIn(node)) return false;
  for (const name of ["chart", "chartLegend"]) {
    if (node.dataset?.[name] && fresh.dataset?.[name]) {
      node.dataset[name] = fresh.dataset[name];
      return false;
    }
  }
  return true;
}

const regions = new WeakMap();
function start(root = document) {
  for (const element of root.querySelectorAll("[data-live]")) {
    if (!regions.has(element)) regions.set(element, new LiveRegion(element));
  }
}
start();
document.addEventListener("htmx:load", (event) => start(event.detail.elt.parentElement ?? document));
// A page kept by the browser for its back button must not hold sockets.
addEventListener("pagehide", () => document.querySelectorAll("[data-live]").forEach((element) => regions.get(element)?.stop()));
addEventListener("pageshow", (event) => event.persisted && location.reload());
