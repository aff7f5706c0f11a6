// @ts-check
/** The denoise view: masks turn into words, step by step; below, every step at a glance. */

import { cellsAfter, lettersSpoken } from "../denoising.js";
import { calm, h, icon, setText } from "../dom.js";
import { ICONS } from "../icons.js";
import { drawStrip } from "./strip.js";

const PACE_MS = 45; // steps that arrive together are shown one after the other
const REPLAY_MS = 160;

export class Denoise extends HTMLElement {
  connectedCallback() {
    this.caption = h("p", { class: "asked" });
    const older = this.#arrow("Older turn", ICONS.back, -1);
    const newer = this.#arrow("Newer turn", ICONS.forward, 1);
    this.chooser = h("div", { class: "chooser" }, older, newer);
    this.canvas = h("div", { class: "canvas", "aria-hidden": "true" });
    this.plain = h("p", { class: "unseen" });
    this.figures = h("dl", { class: "figures" });
    this.strip = h("canvas", { class: "strip", role: "img", "aria-label": "Steps by positions" });
    this.slider = h("input", {
      type: "range",
      min: 0,
      "aria-label": "Step",
      input: () => this.#scrub(),
    });
    this.button = h("button", { class: "quiet", click: () => this.#replay() });
    this.step = h("span", { class: "step" });
    this.empty = h("div", { class: "empty" }, ...this.#invitation());
    this.full = h(
      "div",
      { class: "denoise" },
      h("div", { class: "view-head" }, this.caption, this.chooser),
      this.canvas,
      this.plain,
      h("div", { class: "scrubber" }, this.button, this.slider, this.step),
      h(
        "figure",
        { class: "strip-figure" },
        this.strip,
        h("figcaption", {}, legend()),
      ),
      this.figures,
    );
    this.append(this.empty, this.full);
  }

  /** Steps that are on show. */
  shown = 0;
  /** The step that was chosen by hand; null: the newest. @type {number | null} */
  scrubbed = null;
  /** @type {import("../turn.js").Turn | null} */
  turn = null;
  advancedAt = 0;
  /** @type {number | null} */
  replayedFrom = null;
  drawn = "";

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { turn } = controller;
    if (!this.empty || !this.full) return;
    this.empty.hidden = turn !== null;
    this.full.hidden = turn === null;
    if (!turn) return;
    if (turn !== this.turn) this.#begin(turn);
    this.#advance(turn);
    const count = this.scrubbed ?? this.shown;
    this.#renderHead(controller, turn);
    this.#renderCanvas(controller, turn, count);
    this.#renderScrubber(turn, count);
    const theme = document.documentElement.dataset.theme;
    const drawn = [turn.id, turn.steps.length, count, theme, this.clientWidth].join();
    if (drawn !== this.drawn && this.strip) drawStrip(this.strip, turn.steps, count);
    this.drawn = drawn;
    this.#renderFigures(turn);
  }

  /** @param {import("../turn.js").Turn} turn */
  #begin(turn) {
    this.turn = turn;
    this.scrubbed = null;
    this.replayedFrom = null;
    this.shown = turn.status === "in_progress" ? 0 : turn.steps.length;
  }

  /** @param {import("../turn.js").Turn} turn */
  #advance(turn) {
    const now = performance.now();
    if (this.replayedFrom !== null) {
      this.scrubbed = Math.floor((now - this.replayedFrom) / REPLAY_MS);
      if (this.scrubbed >= turn.steps.length) {
        this.replayedFrom = null;
        this.scrubbed = null;
      }
      this.controller?.changed();
    }
    if (calm()) this.shown = turn.steps.length;
    if (this.shown >= turn.steps.length) return;
    if (now - this.advancedAt >= PACE_MS) {
      this.shown++;
      this.advancedAt = now;
    }
    this.controller?.changed();
  }

  /** @param {import("../controller.js").Controller} controller @param {import("../turn.js").Turn} turn */
  #renderHead({ session }, turn) {
    const asked = session.item(turn.question.itemId)?.text;
    if (this.caption) setText(this.caption, `Turn ${turn.number}${asked ? ` · ${asked}` : ""}`);
    const place = session.turns.indexOf(turn);
    const [older, newer] = /** @type {HTMLCollectionOf<HTMLButtonElement>} */ (
      this.chooser?.children
    );
    older.disabled = place <= 0;
    newer.disabled = place >= session.turns.length - 1;
  }

  /**
   * @param {import("../controller.js").Controller} controller
   * @param {import("../turn.js").Turn} turn
   * @param {number} count
   */
  #renderCanvas(controller, turn, count) {
    const { canvas, plain } = this;
    if (!canvas || !plain) return;
    const cells = cellsAfter(turn.steps, count).filter(({ text, masked }) => text || masked);
    while (canvas.children.length > cells.length) canvas.lastElementChild?.remove();
    const spoken = this.scrubbed === null ? lettersSpoken(turn, controller.time) : -1;
    const steps = Math.max(1, turn.steps.length - 1);
    let letters = 0;
    cells.forEach((cell, n) => {
      const chip = canvas.children[n] ?? canvas.appendChild(newChip());
      const width = cell.text.trim().length + 1;
      const passed = spoken >= letters + width - 1;
      const now = spoken > 0 && !passed && spoken >= letters && turn.status === "in_progress";
      letters += width;
      dress(/** @type {HTMLElement} */ (chip), cell, steps, passed ? "passed" : now ? "now" : "ahead");
    });
    setText(plain, turn.status === "in_progress" ? "" : (turn.heard ?? turn.words));
  }

  /** @param {import("../turn.js").Turn} turn @param {number} count */
  #renderScrubber({ steps, status }, count) {
    const { slider, button, step } = this;
    if (!slider || !button || !step) return;
    slider.max = String(steps.length);
    slider.value = String(count);
    slider.disabled = button.disabled = status === "in_progress" || steps.length === 0;
    const label = this.replayedFrom === null ? "Play the steps again" : "Pause";
    if (button.getAttribute("aria-label") !== label) {
      button.setAttribute("aria-label", label);
      button.replaceChildren(icon(this.replayedFrom === null ? ICONS.play : ICONS.pause));
    }
    const of = steps[count - 1]?.of ?? steps.length;
    setText(step, `Step ${count} of ${Math.max(of, steps.length)}`);
  }

  /** @param {import("../turn.js").Turn} turn */
  #renderFigures(turn) {
    const { steps, stats } = turn;
    const drafts = this.querySelector(".axis.drafts");
    if (drafts) drafts.toggleAttribute("hidden", !steps.some(({ draft }) => draft));
    const ms = steps.reduce((sum, step) => sum + step.ms, 0);
    const tokens = stats.tokens ?? null;
    const rows = [
      ["steps", String(steps.length)],
      ["tokens", tokens === null ? "" : String(tokens)],
      ["tokens per step", tokens && steps.length ? (tokens / steps.length).toFixed(1) : ""],
      ["denoising", ms ? `${ms.toFixed(0)} ms` : ""],
      ["prompt in the cache", stats.cached_tokens === undefined ? "" : `${stats.cached_tokens} tokens`],
    ].filter(([, value]) => value);
    const key = rows.flat().join();
    if (!this.figures || this.figures.dataset.key === key) return;
    this.figures.dataset.key = key;
    this.figures.replaceChildren(
      ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
  }

  #scrub() {
    const { slider, turn } = this;
    if (!slider || !turn) return;
    this.replayedFrom = null;
    const wanted = Number(slider.value);
    this.scrubbed = wanted >= turn.steps.length ? null : wanted;
    this.controller?.changed();
  }

  #replay() {
    const now = performance.now();
    const at = this.scrubbed ?? 0;
    this.replayedFrom = this.replayedFrom === null ? now - at * REPLAY_MS : null;
    this.controller?.changed();
  }

  /** @param {string} label @param {string} path @param {number} step */
  #arrow(label, path, step) {
    const click = () => {
      const { controller } = this;
      const turns = controller?.session.turns ?? [];
      const next = turns[turns.findIndex((turn) => turn === this.turn) + step];
      if (next) controller?.choose(next.id);
    };
    return h("button", { class: "quiet", "aria-label": label, click }, icon(path));
  }

  #invitation() {
    const masks = Array.from({ length: 14 }, () => h("span", { class: "chip masked blank" }));
    return [
      h("div", { class: "canvas", "aria-hidden": "true" }, ...masks),
      h("p", {}, "Ask something: the reply appears here while it is written, word by word, step by step."),
      h(
        "p",
        { class: "note" },
        "The default model writes from left to right; where its drafter guesses the next words, it checks them together and several are final in a step. Models that are trained to denoise, such as LLaDA or SDAR, finish them in any order.",
      ),
      h("p", {}, h("a", { href: "?replay=demo" }, "Watch a recorded session")),
    ];
  }
}

/** A word and the gap before it, which a line may break at. */
function newChip() {
  return h("span", { class: "chip" }, h("span"), h("span", { class: "word" }));
}

/**
 * @param {HTMLElement} chip
 * @param {import("../denoising.js").Cell} cell
 * @param {number} steps
 * @param {"passed" | "now" | "ahead"} place
 */
function dress(chip, cell, steps, place) {
  const { text, masked, confidence, finalStep } = cell;
  const [gap, word] = /** @type {Element[]} */ ([...chip.children]);
  setText(word, text.trimStart());
  setText(gap, text.startsWith(" ") ? " " : "");
  chip.classList.toggle("masked", masked);
  chip.classList.toggle("blank", masked && !text);
  chip.classList.toggle("now", place === "now");
  chip.classList.toggle("passed", place === "passed");
  chip.style.setProperty("--age", finalStep === null ? "0" : String((finalStep - 1) / steps));
  chip.style.setProperty("--sure", confidence.toFixed(2));
}

function legend() {
  const early = h("span", {}, "first step");
  const late = h("span", {}, "last step");
  const ramp = h("span", { class: "ramp", "aria-hidden": "true" });
  return h(
    "span",
    { class: "legend" },
    h("span", { class: "axis" }, "Rows are steps, columns are positions."),
    h("span", { class: "axis drafts" }, "Dot: drafted, and the model agreed. Ring: it said another."),
    h("span", { class: "scale" }, early, ramp, late),
  );
}

customElements.define("ob-denoise", Denoise);
