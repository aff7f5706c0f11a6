// @ts-check
/** Tabs over the elements with a `data-tab`; arrow keys move between them. */

import { h } from "../dom.js";

export class Tabs extends HTMLElement {
  connectedCallback() {
    /** @type {HTMLElement[]} */
    this.panels = [...this.querySelectorAll("[data-tab]")].filter((p) => p instanceof HTMLElement);
    this.list = h("div", { role: "tablist", "aria-label": "Views", keydown: this.#move });
    for (const panel of this.panels) {
      const name = panel.dataset.tab ?? "";
      const id = name.toLowerCase();
      panel.id = `panel-${id}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `tab-${id}`);
      panel.tabIndex = 0;
      const click = () => this.select(panel);
      this.list.append(
        h("button", { role: "tab", id: `tab-${id}`, "aria-controls": panel.id, click }, name),
      );
    }
    this.prepend(this.list);
    const wanted = new URLSearchParams(location.search).get("view");
    this.select(this.panels.find(({ dataset }) => dataset.tab?.toLowerCase() === wanted) ?? this.panels[0]);
  }

  /** @param {HTMLElement} panel */
  select(panel) {
    this.panels?.forEach((other, n) => {
      const tab = /** @type {HTMLElement} */ (this.list?.children[n]);
      const chosen = other === panel;
      other.hidden = !chosen;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    });
    this.controller?.changed();
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
  }

  /** @param {KeyboardEvent} event */
  #move = ({ key }) => {
    const { panels, list } = this;
    const step = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    if (!step || !panels || !list) return;
    const now = panels.findIndex(({ hidden }) => !hidden);
    const next = (now + step + panels.length) % panels.length;
    this.select(panels[next]);
    /** @type {HTMLElement} */ (list.children[next]).focus();
  };
}

customElements.define("ob-tabs", Tabs);
