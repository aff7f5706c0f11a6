// @ts-check
/** Every event of the session, filtered, and the session as a file. */

import { h, icon } from "../dom.js";
import { matcher } from "../filter.js";
import { ICONS } from "../icons.js";

const SHOWN = 300; // newest that match
const ARROWS = { server: "↓", client: "↑", page: "·" };
const SENDERS = { server: "from the server", client: "to the server", page: "noticed by the page" };

export class Events extends HTMLElement {
  connectedCallback() {
    this.filter = h("input", {
      type: "search",
      placeholder: "Filter, e.g. response or -denoise",
      "aria-label": "Filter events",
      input: () => this.controller?.changed(),
    });
    const file = h("input", { type: "file", accept: ".jsonl", hidden: true, change: () => void this.#open(file) });
    this.download = h("button", { class: "button", click: () => void this.#save() }, icon(ICONS.download), "Download");
    const open = h("button", { class: "button", click: () => file.click() }, icon(ICONS.open), "Open");
    this.count = h("p", { class: "note" });
    this.list = h("ol", { class: "events" });
    const bar = h("div", { class: "events-bar" }, this.filter, this.download, open, file);
    this.append(bar, this.count, this.list);
  }

  drawn = "";

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { entries } = controller;
    const { filter, list, count, download } = this;
    if (!filter || !list || !count || !download) return;
    const drawn = `${entries.length} ${entries.at(-1)?.t} ${filter.value}`;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    download.disabled = entries.length === 0;
    const found = entries.filter(matcher(filter.value));
    const shown = found.slice(-SHOWN);
    count.textContent = `${found.length} of ${entries.length} events${found.length > SHOWN ? `, the newest ${SHOWN} shown` : ""}`;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    this.#renderList(list, shown);
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  /** Lines of entries that stay are kept, so that an open one stays open.
   * @param {HTMLOListElement} list @param {Entry[]} shown */
  #renderList(list, shown) {
    const kept = new Set(shown);
    for (const [entry, line] of this.lines) {
      if (kept.has(entry)) continue;
      line.remove();
      this.lines.delete(entry);
    }
    shown.forEach((entry, n) => {
      let line = this.lines.get(entry);
      if (!line) this.lines.set(entry, (line = eventLine(entry)));
      if (list.children[n] !== line) list.insertBefore(line, list.children[n] ?? null);
    });
  }

  /** @type {Map<Entry, HTMLLIElement>} */
  lines = new Map();

  async #save() {
    const text = await this.controller?.file();
    if (text === undefined) return;
    const url = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
    h("a", { href: url, download: "session.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  /** @param {HTMLInputElement} input */
  async #open(input) {
    const [file] = input.files ?? [];
    input.value = "";
    if (file) await this.controller?.show(await file.text());
  }
}

/** @param {Entry} entry */
function eventLine({ t, from, event }) {
  const { type, event_id, ...body } = event;
  const summary = h(
    "summary",
    {},
    h("span", { class: "t" }, (t / 1000).toFixed(2)),
    h("span", { class: "from", "aria-label": SENDERS[from], role: "img" }, ARROWS[from]),
    h("span", { class: "type" }, type),
    h("span", { class: "brief" }, brief(body)),
  );
  return h("li", { class: from }, h("details", {}, summary, h("pre", {}, JSON.stringify(event, null, 2))));
}

/** What one line can say of an event. @param {Record<string, any>} body */
function brief(body) {
  const text = body.error?.message ?? body.transcript ?? body.text ?? body.delta ?? body.message ?? body.details;
  if (typeof text === "string") return text;
  if (body.step) return `${body.step}${body.of ? ` of ${body.of}` : ""}`;
  return body.response?.status ?? body.item?.role ?? body.transport ?? "";
}

customElements.define("ob-events", Events);
