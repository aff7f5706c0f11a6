// @ts-check
/** What was said, both sides. Only finished messages are announced to screen readers. */

import { h, setText } from "../dom.js";

const NO_WORDS = { user: "(nothing was understood)", assistant: "(nothing was heard)" };

export class Conversation extends HTMLElement {
  connectedCallback() {
    /** @type {Map<string, HTMLLIElement>} */
    this.lines = new Map();
    this.list = h("ol", { class: "conversation", tabindex: "0", "aria-label": "What was said" });
    this.announcer = h("div", { class: "unseen", role: "log", "aria-label": "Finished messages" });
    this.hint = h("p", { class: "hint" }, "Say something, or type below.");
    this.append(this.hint, this.list, this.announcer);
    /** @type {Set<string>} */
    this.announced = new Set();
  }

  /** @param {import("../controller.js").Controller} controller */
  render({ session, announce, replay }) {
    const { list, lines } = this;
    if (!list || !lines || !this.hint) return;
    if (session !== this.shown) this.#clear();
    this.shown = session;
    this.hint.hidden = session.items.length > 0 || replay !== null;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    for (const item of session.items) this.#renderItem(item, announce);
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  /** @type {import("../session.js").Session | undefined} */
  shown = undefined;

  #clear() {
    this.lines?.clear();
    this.announced?.clear();
    this.list?.replaceChildren();
    this.announcer?.replaceChildren();
  }

  /** @param {import("../session.js").Item} item @param {boolean} announce */
  #renderItem(item, announce) {
    let line = this.lines?.get(item.id);
    if (!line) {
      const who = item.role === "user" ? "You" : "Agent";
      const text = h("p", { class: "words" });
      line = h("li", { class: `said ${item.role}` }, h("span", { class: "who" }, who), text);
      this.lines?.set(item.id, line);
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
    if (this.announced?.has(item.id)) return;
    this.announced?.add(item.id);
    if (item.role === "assistant" && !agentToo) return; // it was spoken aloud already
    const who = item.role === "user" ? "You" : "Agent";
    this.announcer?.append(h("p", {}, `${who}: ${item.text}`));
  }
}

customElements.define("ob-conversation", Conversation);
