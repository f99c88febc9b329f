// The playground: a conversation with a deployed agent over a WebSocket. The messages stand in docs/frontend.md.
// What a model writes is shown as text and never interpreted.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const CODES_THAT_END = new Map([
  [4401, "You have been signed out. Reload the page to sign in again."],
  [4403, "You may not talk to this agent."],
  [4404, "This agent is no longer deployed here."],
]);

class Chat {
  constructor(element) {
    this.element = element;
    this.log = element.querySelector("[data-chat-log]");
    this.form = element.querySelector("form");
    this.field = element.querySelector("textarea");
    this.send = element.querySelector("[data-chat-send]");
    this.halt = element.querySelector("[data-chat-stop]");
    this.state = element.querySelector("[data-chat-state]");
    this.wait = FIRST_WAIT_MS;
    this.answer = null;
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.halt.addEventListener("click", () => this.socket.send(JSON.stringify({ type: "stop" })));
    this.enable(false);
    this.say("Connecting…");
    this.open();
  }

  open() {
    if (!this.element.isConnected) return;
    const address = new URL(this.element.dataset.playground, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => this.closed(event));
  }

  submit() {
    const text = this.field.value.trim();
    if (!text || this.send.disabled) return;
    this.element.querySelector("[data-chat-intro]")?.remove();
    this.turn("mine").bubble.textContent = text;
    this.socket.send(JSON.stringify({ type: "message", text }));
    this.field.value = "";
    this.answer = this.turn("theirs");
    this.answer.bubble.classList.add("streaming");
    this.enable(false);
    this.halt.hidden = false;
    this.send.hidden = true;
  }

  turn(side) {
    const element = Object.assign(document.createElement("div"), { className: `talk-turn ${side}` });
    const bubble = Object.assign(document.createElement("div"), { className: "talk-bubble" });
    const meta = Object.assign(document.createElement("div"), { className: "talk-meta" });
    element.append(bubble, meta);
    this.log.append(element);
    this.follow(true);
    return { element, bubble, meta };
  }

  // Follows the newest text, unless the reader has scrolled up to read.
  follow(always = false) {
    const distance = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight;
    if (always || distance < 80) this.log.scrollTop = this.log.scrollHeight;
  }

  receive(message) {
    const react = { ready: this.ready, waiting: this.waiting, token: this.token, done: this.done, error: this.failed }[message.type];
    react?.call(this, message);
  }

  ready() {
    this.wait = FIRST_WAIT_MS;
    this.say("");
    if (!this.answer) this.enable(true);
  }

  waiting({ reason }) {
    this.say(reason);
  }

  token({ text }) {
    if (!this.answer) return;
    this.say("");
    this.answer.bubble.append(text);
    this.follow();
  }

  done({ usage, execution_id: execution, duration_ms: duration }) {
    const facts = [];
    if (typeof duration === "number") facts.push(`${(duration / 1000).toFixed(1)} s`);
    if (usage?.output_tokens !== undefined) facts.push(`${usage.input_tokens ?? 0} → ${usage.output_tokens} tokens`);
    if (execution) facts.push(execution);
    this.finish(facts.join(" · "));
  }

  failed({ message, code }) {
    if (!this.answer) return this.say(message);
    if (!this.answer.bubble.textContent) {
      this.answer.bubble.classList.add("failed");
      this.answer.bubble.textContent = message;
      return this.finish(code ?? "");
    }
    this.finish([message, code].filter(Boolean).join(" · "));
  }

  finish(meta) {
    if (this.answer) {
      this.answer.bubble.classList.remove("streaming");
      this.answer.meta.textContent = meta;
      if (!this.answer.bubble.textContent) this.answer.bubble.textContent = "(no text)";
    }
    this.answer = null;
    this.halt.hidden = true;
    this.send.hidden = false;
    this.say("");
    this.enable(true);
    this.follow();
  }

  closed(event) {
    if (this.answer) {
      this.answer.bubble.classList.add("failed");
      this.finish("The connection broke before the answer was complete.");
    }
    this.enable(false);
    if (CODES_THAT_END.has(event.code)) return this.say(CODES_THAT_END.get(event.code));
    this.say("Connection lost. Reconnecting…");
    setTimeout(() => this.open(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  enable(able) {
    this.send.disabled = !able;
    if (able) this.field.focus({ preventScroll: true });
  }

  say(text) {
    this.state.textContent = text;
  }
}

const chats = new WeakSet();
function start(root = document) {
  for (const element of root.querySelectorAll("[data-playground]")) {
    if (chats.has(element)) continue;
    chats.add(element);
    new Chat(element);
  }
}
start();
document.addEventListener("htmx:load", (event) => start(event.detail.elt.parentElement ?? document));
