// @ts-check
/** The one button, the state of the call in words, and what is understood while you speak. */

import { h, icon, setText } from "../dom.js";
import { ICONS } from "../icons.js";

/** @type {Record<import("../session.js").Phase, string>} */
const STATES = {
  idle: "Start talking",
  connecting: "Connecting…",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
};

const LONG_PRESS_MS = 300;

export class Talk extends HTMLElement {
  connectedCallback() {
    this.button = h("button", { class: "orb", click: () => this.#toggle() });
    this.ring = h("span", { class: "orb-ring", "aria-hidden": "true" });
    this.state = h("p", { class: "state", role: "status" });
    this.partial = h("p", { class: "partial", "aria-hidden": "true" });
    this.mute = this.#control("Mute", ICONS.microphone, "M", (controller) =>
      controller.mute(!controller.session.muted),
    );
    this.hold = this.#control("Hold to talk", ICONS.hold, "Space", () => {});
    this.#listenToHolding(this.hold);
    this.interrupt = this.#control("Interrupt", ICONS.interrupt, "Esc", (controller) => controller.interrupt());
    this.controls = h("div", { class: "controls" }, this.mute, this.hold, this.interrupt);
    this.append(h("div", { class: "orb-place" }, this.ring, this.button), this.state, this.partial, this.controls);
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { session } = controller;
    this.#renderButton(controller.live);
    this.dataset.phase = session.callerSpeaks ? "hearing" : session.phase;
    setText(/** @type {Element} */ (this.state), describe(session));
    this.#renderPartial(session.partial);
    const { mute, hold, interrupt } = this;
    if (!mute || !hold || !interrupt || !this.controls) return;
    this.controls.hidden = !controller.call.transport;
    press(mute, session.muted);
    press(hold, session.holdToTalk);
    /** @type {HTMLButtonElement} */ (interrupt).disabled = !session.running;
  }

  /** How loud mouth and ear are, 0 to 1. @param {number} mouth @param {number} ear */
  meter(mouth, ear) {
    const level = this.dataset.phase === "speaking" ? ear : mouth;
    this.ring?.style.setProperty("--level", level.toFixed(3));
  }

  /** @param {boolean} live */
  #renderButton(live) {
    const { button } = this;
    const label = live ? "End the call" : "Start talking";
    if (!button || button.getAttribute("aria-label") === label) return;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.replaceChildren(icon(live ? ICONS.hangUp : ICONS.microphone));
  }

  /** @param {{text: string, stable: string}} partial */
  #renderPartial({ text, stable }) {
    const { partial } = this;
    if (!partial || partial.textContent === text) return;
    const sure = text.startsWith(stable) ? stable.length : 0;
    partial.replaceChildren(text.slice(0, sure), h("span", { class: "unsure" }, text.slice(sure)));
  }

  /** A long press talks; a short one, or a key on the button, changes the mode.
   * @param {HTMLElement} button */
  #listenToHolding(button) {
    let pressedAt = 0;
    let wasOn = false;
    button.addEventListener("pointerdown", () => {
      pressedAt = performance.now();
      wasOn = this.controller?.session.holdToTalk ?? false;
      this.controller?.press();
    });
    const letGo = () => {
      if (!this.controller?.session.holding) return;
      const long = performance.now() - pressedAt > LONG_PRESS_MS;
      this.controller.release(long);
      if (!long && wasOn) this.controller.holdToTalk(false);
    };
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      button.addEventListener(end, letGo);
    }
    button.addEventListener("click", ({ detail }) => {
      const { controller } = this;
      if (detail === 0) controller?.holdToTalk(!controller.session.holdToTalk); // no pointer: a key
    });
  }

  #toggle() {
    const { controller } = this;
    if (!controller) return;
    void (controller.live ? controller.hangUp() : controller.start());
  }

  /**
   * @param {string} label
   * @param {string} path
   * @param {string} key
   * @param {(controller: import("../controller.js").Controller) => void} act
   */
  #control(label, path, key, act) {
    const click = () => this.controller && act(this.controller);
    const hint = h("kbd", { "aria-hidden": "true" }, key);
    return h("button", { class: "control", click, title: `${label} (${key})` }, icon(path), label, hint);
  }
}

/** @param {import("../session.js").Session} session */
function describe(session) {
  if (session.holding) return "Listening: let go when you are done";
  if (session.callerSpeaks) return "Hearing you";
  if (session.phase === "listening" && session.holdToTalk) return "Hold Space and talk";
  if (session.phase === "listening" && session.muted) return "Muted";
  return STATES[session.phase];
}

/** @param {Element} button @param {boolean} pressed */
function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

customElements.define("ob-talk", Talk);
