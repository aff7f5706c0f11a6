// @ts-check
/** The bar over a recorded session: pause, speed, to the end, back to the page's own. */

import { h, icon, setText } from "../dom.js";
import { ICONS } from "../icons.js";

const SPEEDS = [0.5, 1, 2, 4];

export class ReplayBar extends HTMLElement {
  connectedCallback() {
    this.toggle = h("button", { class: "quiet", click: () => this.#toggle() });
    this.speed = h("select", {
      "aria-label": "Speed",
      change: () => this.controller?.replay?.setSpeed(Number(this.speed?.value)),
    });
    for (const speed of SPEEDS) this.speed.append(h("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    this.place = h("span", { class: "step" });
    const end = h("button", { class: "button", click: () => this.controller?.replay?.finish() }, "To the end");
    const exit = h("button", { class: "button", click: () => this.controller?.leaveReplay() }, "Leave the recording");
    this.bar = h("div", { class: "replay-bar", role: "group", "aria-label": "Recorded session", hidden: true });
    this.bar.append(this.toggle, this.speed, this.place, end, exit);
    this.append(this.bar);
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { replay } = controller;
    const { bar, toggle, place, speed } = this;
    if (!bar || !toggle || !place || !speed) return;
    bar.hidden = replay === null;
    if (!replay) return;
    const label = replay.paused ? (replay.over ? "Play again" : "Play") : "Pause";
    if (toggle.getAttribute("aria-label") !== label) {
      toggle.setAttribute("aria-label", label);
      toggle.title = label;
      toggle.replaceChildren(icon(label === "Pause" ? ICONS.pause : ICONS.play));
    }
    speed.value = String(replay.speed);
    const last = replay.entries.at(-1)?.t ?? 0;
    setText(place, `${seconds(Math.min(replay.time, last))} of ${seconds(last)}`);
  }

  #toggle() {
    const replay = this.controller?.replay;
    if (replay?.paused) replay.play();
    else replay?.pause();
  }
}

/** @param {number} ms */
const seconds = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")}`;

customElements.define("ob-replay", ReplayBar);
