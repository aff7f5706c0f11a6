// @ts-check
/** The answers to the server's questions about the last turn; hidden where it asks none. */

import { h } from "../dom.js";

const percent = (/** @type {number} */ share) => `${Math.round(100 * share)} %`;

export class Decisions extends HTMLElement {
  connectedCallback() {
    this.rows = h("dl", { class: "decisions" });
    this.tags = h("p", { class: "note" });
    this.append(h("h2", {}, "Decisions on the last turn"), this.rows, this.tags);
    this.hidden = true;
  }

  drawn = "";

  /** @param {import("../controller.js").Controller} controller */
  render({ session }) {
    const { rows, tags } = this;
    const { decisions } = session;
    this.hidden = decisions.answers.length === 0;
    const drawn = JSON.stringify(decisions);
    if (!rows || !tags || drawn === this.drawn) return;
    this.drawn = drawn;
    rows.replaceChildren(...decisions.answers.map(row));
    tags.hidden = decisions.tags.length === 0 && decisions.effects.length === 0;
    tags.textContent = [...decisions.tags, ...decisions.effects].join(", ");
  }
}

/** @param {import("../decided.js").Decision} decision */
function row({ name, label, probability, by }) {
  const meter = h("meter", { min: "0", max: "1", value: String(probability), "aria-hidden": "true" });
  const value = h("dd", { title: `answered by a ${by}` }, `${label} `, meter, ` ${percent(probability)}`);
  return h("div", {}, h("dt", {}, name.replaceAll("_", " ")), value);
}

customElements.define("ob-decisions", Decisions);
