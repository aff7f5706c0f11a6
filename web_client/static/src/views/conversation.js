// @ts-check
/** What was said, both sides. Only finished messages are announced to screen readers. */

import { h, setText } from "../dom.js";

const NO_WORDS = { user: "(nothing was understood)", assistant: "(nothing was heard)" };

/** Questions that the small default model knows the answer to. */
const QUESTIONS = ["What is the capital of France?", "How many legs does a spider have?", "Who wrote Romeo and Juliet?"];

/** Which models answer, in words; empty where the server does not say. */
async function aboutTheServer() {
  try {
    const response = await fetch("about.json");
    const { recogniser, responder, voice } = await response.json();
    return `Heard by ${recogniser}, answered by ${responder}, spoken by ${voice}.`;
  } catch {
    return "";
  }
}

export class Conversation extends HTMLElement {
  connectedCallback() {
    /** By message: their ids change when another call begins. @type {Map<import("../session.js").Item, HTMLLIElement>} */
    this.lines = new Map();
    this.list = h("ol", { class: "conversation", tabindex: "0", "aria-label": "What was said" });
    this.announcer = h("div", { class: "unseen", role: "log", "aria-label": "Finished messages" });
    this.hint = h("div", { class: "hint" }, ...this.#welcome());
    this.append(this.hint, this.list, this.announcer);
    /** @type {Set<import("../session.js").Item>} */
    this.announced = new Set();
    this.#keepTheEndInSight(this.list);
  }

  /** A card above makes the list smaller, and would cover what was said last. @param {HTMLElement} list */
  #keepTheEndInSight(list) {
    let atEnd = true;
    list.addEventListener("scroll", () => (atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40));
    new ResizeObserver(() => {
      if (atEnd) list.scrollTop = list.scrollHeight;
    }).observe(list);
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    const { session, announce, replay } = controller;
    this.controller = controller;
    const { list, lines } = this;
    if (!list || !lines || !this.hint) return;
    if (session !== this.shown) this.#clear();
    this.shown = session;
    this.hint.hidden = session.items.length > 0 || replay !== null;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    for (const [item, line] of lines) {
      if (session.items.includes(item)) continue;
      line.remove();
      lines.delete(item);
    }
    for (const item of session.items) this.#renderItem(item, announce);
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  /** @type {import("../session.js").Session | undefined} */
  shown = undefined;

  /** What this is, for somebody who sees it for the first time. */
  #welcome() {
    const models = h("p", { class: "note" });
    void aboutTheServer().then((text) => (models.textContent = text));
    const ask = (/** @type {string} */ text) =>
      h("button", { class: "button", click: () => void this.controller?.say(text) }, text);
    return [
      h("p", {}, "Talk with an agent that answers aloud. You can interrupt it at any word."),
      h("p", {}, "Say something, or try:"),
      h("div", { class: "questions" }, ...QUESTIONS.map(ask)),
      models,
    ];
  }

  /** @type {import("../controller.js").Controller | undefined} */
  controller = undefined;

  #clear() {
    this.lines?.clear();
    this.announced?.clear();
    this.list?.replaceChildren();
    this.announcer?.replaceChildren();
  }

  /** @param {import("../session.js").Item} item @param {boolean} announce */
  #renderItem(item, announce) {
    let line = this.lines?.get(item);
    if (!line) {
      const who = item.role === "user" ? "You" : "Agent";
      const text = h("p", { class: "words" });
      line = h("li", { class: `said ${item.role}` }, h("span", { class: "who" }, who), text);
      this.lines?.set(item, line);
      this.list?.append(line);
    }
    const words = /** @type {Element} */ (line.lastElementChild);
    setText(words, item.text || (item.finished ? NO_WORDS[item.role] : "…"));
    line.classList.toggle("cut", item.cut);
    line.classList.toggle("pending", !item.finished);
    line.title = item.cut ? "You interrupted; only this much was heard." : "";
    if (item.finished && item.text) this.#announce(item, announce);
  }

  /** @param {import("../session.js").Item} item @param {boolean} agentToo */
  #announce(item, agentToo) {
    if (this.announced?.has(item)) return;
    this.announced?.add(item);
    if (item.role === "assistant" && !agentToo) return; // it was spoken aloud already
    const who = item.role === "user" ? "You" : "Agent";
    this.announcer?.append(h("p", {}, `${who}: ${item.text}`));
  }
}

customElements.define("ob-conversation", Conversation);
