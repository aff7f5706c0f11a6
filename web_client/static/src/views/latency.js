// @ts-check
/** The latency waterfall: a row for each turn, zero is the end of your speech. */

import { h } from "../dom.js";
import { STAGES, STAGE_NAMES, bars, percentile, voiceToVoices, work } from "../latency.js";

const SHOWN = 12; // turns on a page
const ROUND = 500; // the axis ends at a multiple of this many milliseconds

export class Latency extends HTMLElement {
  connectedCallback() {
    this.summary = h("dl", { class: "figures large" });
    this.legend = h("ul", { class: "stages" }, ...STAGES.map(key), ...marks());
    this.rows = h("ol", { class: "waterfall" });
    this.axis = h("div", { class: "ticks", "aria-hidden": "true" });
    this.chart = h("div", { class: "chart", "aria-hidden": "true" }, this.rows, this.axis);
    this.place = h("span", { class: "step", role: "status" });
    this.older = h("button", { class: "button", click: () => this.#turnPage(1) }, "Older turns");
    this.newer = h("button", { class: "button", click: () => this.#turnPage(-1) }, "Newer turns");
    this.pager = h("div", { class: "pager" }, this.older, this.place, this.newer);
    this.table = h("table");
    this.explain = h(
      "p",
      { class: "note" },
      "Zero is the end of your speech, and the last mark is the first sound of the reply: both are measured in this page, so the bars sum to what you waited.",
    );
    this.empty = h("div", { class: "empty" }, h("p", {}, "After the first reply you will see here what you waited for."));
    this.full = h("div", {}, this.summary, this.legend, this.chart, this.pager, h("div", { class: "unseen" }, this.table), this.explain);
    this.append(this.empty, this.full);
  }

  drawn = "";
  /** Pages back from the newest. */
  page = 0;

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { session } = controller;
    const { empty, full } = this;
    if (!empty || !full) return;
    const trip = session.roundTrip ?? 0;
    const turns = session.turns
      .map((turn) => ({ turn, known: bars(turn, trip) }))
      .filter(({ known }) => known.length)
      .map((row) => ({ ...row, work: work(row.turn, row.known) }));
    empty.hidden = turns.length > 0;
    full.hidden = turns.length === 0;
    const pages = Math.max(1, Math.ceil(turns.length / SHOWN));
    this.page = Math.min(this.page, pages - 1);
    const drawn = this.page + turns.map(({ turn }) => `${turn.id} ${turn.silencedAt} ${turn.status}`).join();
    if (!turns.length || drawn === this.drawn) return;
    this.drawn = drawn;
    this.#renderSummary(session.turns);
    const end = turns.length - this.page * SHOWN;
    const start = Math.max(0, end - SHOWN);
    this.#renderPager(pages, `Turns ${start + 1} to ${end} of ${turns.length}`);
    this.#renderChart(session, turns.slice(start, end));
  }

  /** @param {number} pages @param {string} place */
  #renderPager(pages, place) {
    const { pager, older, newer } = this;
    if (!pager || !older || !newer || !this.place) return;
    pager.hidden = pages === 1;
    older.disabled = this.page === pages - 1;
    newer.disabled = this.page === 0;
    this.place.textContent = place;
  }

  /** @param {number} step */
  #turnPage(step) {
    this.page = Math.max(0, this.page + step);
    this.controller?.changed();
  }

  /** @param {import("../turn.js").Turn[]} turns */
  #renderSummary(turns) {
    const heard = voiceToVoices(turns);
    const saved = turns.map(({ timings }) => timings?.speculation?.saved_ms ?? 0);
    const ms = (/** @type {number | null} */ value) => (value === null ? "–" : `${value.toFixed(0)} ms`);
    const rows = [
      ["voice to voice, median", ms(percentile(heard, 0.5))],
      ["95th percentile", ms(percentile(heard, 0.95))],
      ["spoken turns", String(heard.length)],
    ];
    const total = saved.reduce((sum, value) => sum + value, 0);
    if (total > 0) rows.push(["saved by speculation", ms(total / turns.length)]);
    this.summary?.replaceChildren(
      ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
  }

  /**
   * @param {import("../session.js").Session} session
   * @param {{turn: import("../turn.js").Turn, known: import("../latency.js").Bar[], work: ReturnType<typeof work>}[]} turns
   */
  #renderChart(session, turns) {
    const ends = turns.flatMap(({ turn, known, work }) => [
      known[known.length - 1].end,
      turn.timings?.budget_ms ?? 0,
      ...work.map(({ end }) => end),
    ]);
    const from = Math.min(0, ...turns.flatMap(({ work }) => work.map(({ start }) => start)));
    const left = -Math.ceil(-from / 100) * 100;
    const right = Math.ceil((Math.max(...ends) * 1.02) / ROUND) * ROUND;
    const scale = { left, right };
    const lines = turns.map((row) => {
      const asked = session.item(row.turn.question.itemId)?.text ?? "";
      return line(row, asked, scale);
    });
    this.rows?.replaceChildren(...lines);
    this.axis?.replaceChildren(...ticks(scale));
    this.table?.replaceChildren(...tableRows(session, turns));
    this.#renderLegend(turns);
  }

  /** Marks are explained where there are some.
   * @param {{turn: import("../turn.js").Turn, work: ReturnType<typeof work>}[]} turns */
  #renderLegend(turns) {
    const shown = {
      hatched: turns.some(({ work }) => work.some(({ speculative }) => speculative)),
      limit: turns.some(({ turn }) => turn.timings?.budget_ms),
    };
    for (const [name, some] of Object.entries(shown)) {
      const mark = this.legend?.querySelector(`[data-mark=${name}]`);
      mark?.toggleAttribute("hidden", !some);
    }
  }
}

/** @typedef {{left: number, right: number}} Scale */

/**
 * @param {{turn: import("../turn.js").Turn, known: import("../latency.js").Bar[], work: ReturnType<typeof work>}} row
 * @param {string} asked
 * @param {Scale} scale
 */
function line({ turn, known, work }, asked, scale) {
  const total = known[known.length - 1].end;
  const track = h("div", { class: "track" }, ...known.map((found) => bar(found, scale)));
  const zero = h("span", { class: "zero" });
  place(zero, 0, null, scale);
  const mark = h("span", { class: "first-sound", title: "first sound" });
  place(mark, total, null, scale);
  track.append(zero, mark);
  const budget = turn.timings?.budget_ms;
  if (budget) {
    const limit = h("span", { class: "budget", title: `budget: ${budget} ms` });
    place(limit, budget, null, scale);
    track.append(limit);
  }
  const head = h(
    "div",
    { class: "row-head" },
    h("span", { class: "asked", title: asked }, `${turn.number} · ${turn.question.typed ? "typed: " : ""}${asked}`),
    h("span", { class: "total" }, `${total.toFixed(0)} ms`),
  );
  const lanes = [head, track];
  if (work.length) {
    const lane = work.map((found) => {
      const shown = bar(found, scale);
      shown.classList.toggle("speculative", found.speculative);
      return shown;
    });
    lanes.push(h("div", { class: "track work" }, ...lane));
  }
  return h("li", {}, ...lanes);
}

/** @param {import("../latency.js").Bar} found @param {Scale} scale */
function bar({ stage, start, end }, scale) {
  const title = `${STAGE_NAMES[stage]}: ${(end - start).toFixed(0)} ms`;
  const shown = h("span", { class: `bar ${stage}`, title });
  place(shown, start, end, scale);
  return shown;
}

/**
 * @param {HTMLElement} element
 * @param {number} start
 * @param {number | null} end
 * @param {Scale} scale
 */
function place(element, start, end, { left, right }) {
  const share = (/** @type {number} */ ms) => ((ms - left) / (right - left)) * 100;
  element.style.left = `${share(start)}%`;
  if (end !== null) element.style.width = `${Math.max(0, share(end) - share(start))}%`;
}

/** @param {Scale} scale */
function ticks(scale) {
  const step = ROUND * Math.ceil(scale.right / ROUND / 6);
  const count = Math.floor(scale.right / step) + 1;
  return Array.from({ length: count }, (_, n) => {
    const ms = n * step;
    const text = ms === 0 ? "0" : ms % 1000 && scale.right <= 2000 ? `${ms} ms` : `${ms / 1000} s`;
    const tick = h("span", { class: "tick" }, text);
    place(tick, ms, null, scale);
    tick.classList.toggle("last", ms > scale.right * 0.95);
    return tick;
  });
}

/**
 * The same in numbers, for those who do not see the chart.
 * @param {import("../session.js").Session} session
 * @param {{turn: import("../turn.js").Turn, known: import("../latency.js").Bar[]}[]} turns
 */
function tableRows(session, turns) {
  const names = ["Turn", ...STAGES.map((stage) => STAGE_NAMES[stage]), "Voice to voice"];
  const head = h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)));
  const rows = turns.map(({ turn, known }) => {
    const asked = session.item(turn.question.itemId)?.text ?? "";
    const cells = known.map(({ start, end }) => h("td", {}, `${(end - start).toFixed(0)} ms`));
    const total = h("td", {}, `${known[known.length - 1].end.toFixed(0)} ms`);
    return h("tr", {}, h("th", { scope: "row" }, `${turn.number}: ${asked}`), ...cells, total);
  });
  return [h("caption", {}, "Latency by turn"), h("thead", {}, head), h("tbody", {}, ...rows)];
}

/** @param {import("../latency.js").Stage} stage */
function key(stage) {
  return h("li", {}, h("span", { class: `swatch ${stage}` }), STAGE_NAMES[stage]);
}

function marks() {
  const mark = (/** @type {string} */ name, /** @type {string} */ look, /** @type {string} */ text) =>
    h("li", { "data-mark": name }, h("span", { class: `swatch ${look}` }), text);
  return [
    mark("sound", "dot", "First sound"),
    mark("limit", "limit", "Budget"),
    mark("hatched", "speculative denoise", "Done early, by speculation"),
  ];
}

customElements.define("ob-latency", Latency);
