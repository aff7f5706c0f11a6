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
    this.sound = h("button", { class: "quiet", click: () => this.#turnSound() });
    const end = h("button", { class: "quiet", click: () => this.controller?.replay?.finish() });
    wear(end, "To the end", ICONS.toEnd);
    const exit = h("button", { class: "button", click: () => this.controller?.leaveReplay() }, "Leave");
    exit.setAttribute("aria-label", "Leave the recording");
    this.bar = h("div", { class: "replay-bar", role: "group", "aria-label": "Recorded session", hidden: true });
    this.bar.append(this.toggle, this.speed, this.sound, this.place, end, exit);
    this.append(this.bar);
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { replay } = controller;
    const { bar, toggle, place, speed, sound } = this;
    if (!bar || !toggle || !place || !speed || !sound) return;
    bar.hidden = replay === null;
    if (!replay) return;
    const label = replay.paused ? (replay.over ? "Play again" : "Play") : "Pause";
    wear(toggle, label, label === "Pause" ? ICONS.pause : ICONS.play);
    sound.hidden = replay.sound === null;
    const heard = replay.sound?.on ?? false;
    wear(sound, heard ? "Turn the sound off" : "Turn the sound on", heard ? ICONS.sound : ICONS.noSound);
    speed.value = String(replay.speed);
    const last = replay.entries.at(-1)?.t ?? 0;
    setText(place, `${seconds(Math.min(replay.time, last))} of ${seconds(last)}`);
  }

  #turnSound() {
    const sound = this.controller?.replay?.sound;
    sound?.turn(!sound.on);
  }

  #toggle() {
    const replay = this.controller?.replay;
    if (replay?.paused) replay.play();
    else replay?.pause();
  }
}

/** @param {HTMLButtonElement} button @param {string} label @param {string} shape */
function wear(button, label, shape) {
  if (button.getAttribute("aria-label") === label) return;
  button.setAttribute("aria-label", label);
  button.title = label;
  button.replaceChildren(icon(shape));
}

/** @param {number} ms */
const seconds = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")}`;

customElements.define("ob-replay", ReplayBar);
