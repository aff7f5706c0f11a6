// @ts-check
/** The button that calls, the state of the call in words, and what the caller can do in it. */

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
    this.button = h("button", { class: "orb", click: () => void this.controller?.start() });
    this.ring = h("span", { class: "orb-ring", "aria-hidden": "true" });
    this.state = h("p", { class: "state", role: "status" });
    this.partial = h("p", { class: "partial", "aria-hidden": "true" });
    this.mute = this.#control("Mute", "Mute", ICONS.microphone, "M", (controller) =>
      controller.mute(!controller.session.muted),
    );
    this.hold = this.#control("Hold to talk", "Hold", ICONS.hold, "Space", () => {});
    this.#listenToHolding(this.hold);
    this.interrupt = this.#control("Interrupt", "Interrupt", ICONS.interrupt, "Esc", (controller) =>
      controller.interrupt(),
    );
    this.end = this.#control("End the call", "End", ICONS.hangUp, "", (controller) => void controller.hangUp());
    this.end.classList.add("end");
    this.controls = h("div", { class: "controls" }, this.mute, this.hold, this.interrupt, this.end);
    const afresh = () => void this.controller?.startAfresh();
    this.afresh = h("button", { class: "button", click: afresh }, "New conversation");
    this.append(
      h("div", { class: "orb-place" }, this.ring, this.button),
      this.state,
      this.partial,
      this.controls,
      this.afresh,
    );
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    const { session } = controller;
    const kept = !controller.live && controller.call.session.items.length > 0;
    this.#renderButton(controller.live, kept && !controller.replay, session);
    this.dataset.phase = session.callerSpeaks ? "hearing" : session.phase;
    setText(/** @type {Element} */ (this.state), describe(session, kept));
    this.#renderPartial(session.partial);
    const { mute, hold, interrupt, afresh } = this;
    if (!mute || !hold || !interrupt || !this.controls || !afresh) return;
    this.controls.hidden = !controller.live;
    afresh.hidden = !kept || controller.replay !== null;
    const up = controller.call.transport !== null;
    mute.hidden = hold.hidden = !session.microphone && session.phase !== "connecting";
    mute.disabled = hold.disabled = !up;
    press(mute, session.muted);
    press(hold, session.holdToTalk);
    interrupt.disabled = !session.running;
  }

  /** How loud mouth and ear are, 0 to 1. @param {number} mouth @param {number} ear */
  meter(mouth, ear) {
    const level = this.dataset.phase === "speaking" ? ear : mouth;
    this.ring?.style.setProperty("--level", level.toFixed(3));
  }

  /**
   * In a call it only shows: what ends the call stands elsewhere.
   * @param {boolean} live @param {boolean} again @param {import("../session.js").Session} session
   */
  #renderButton(live, again, session) {
    const { button } = this;
    const typed = live && !session.microphone && session.phase !== "connecting";
    const label = live ? "In a call" : again ? "Call again" : "Start talking";
    const look = `${label} ${typed}`;
    if (!button || button.dataset.look === look) return;
    button.dataset.look = look;
    button.disabled = live;
    button.setAttribute("aria-label", label);
    button.title = live ? "" : label;
    button.replaceChildren(icon(typed ? ICONS.keyboard : ICONS.microphone));
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

  /**
   * @param {string} name
   * @param {string} label as much of the name as a phone has room for
   * @param {string} path
   * @param {string} key
   * @param {(controller: import("../controller.js").Controller) => void} act
   */
  #control(name, label, path, key, act) {
    const click = () => this.controller && act(this.controller);
    const title = key ? `${name} (${key})` : name;
    const hint = key ? [h("kbd", { "aria-hidden": "true" }, key)] : [];
    return h("button", { class: "control", "aria-label": name, click, title }, icon(path), label, ...hint);
  }
}

/** @param {import("../session.js").Session} session @param {boolean} kept */
function describe(session, kept) {
  if (session.reconnecting) return "Reconnecting, your conversation is kept";
  if (session.phase === "idle" && kept) return "Call again";
  if (session.phase === "listening" && !session.microphone) return "Type a message";
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
