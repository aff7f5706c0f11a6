// @ts-check
/** Typing instead of talking. */

import { h, icon } from "../dom.js";
import { ICONS } from "../icons.js";

const LONGEST = 2000; // characters that the server takes

export class Composer extends HTMLElement {
  connectedCallback() {
    this.input = h("input", {
      type: "text",
      name: "message",
      maxlength: LONGEST,
      autocomplete: "off",
      "aria-label": "Message",
      placeholder: "Or type a message",
    });
    const send = h("button", { class: "send", "aria-label": "Send" }, icon(ICONS.send));
    this.form = h("form", { class: "composer", submit: this.#submit }, this.input, send);
    this.append(this.form);
  }

  focus() {
    this.input?.focus();
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    if (this.form) this.form.hidden = controller.replay !== null;
  }

  /** @param {Event} event */
  #submit = (event) => {
    event.preventDefault();
    const text = this.input?.value.trim();
    if (!text || !this.input) return;
    this.input.value = "";
    void this.controller?.say(text);
  };
}

customElements.define("ob-composer", Composer);
