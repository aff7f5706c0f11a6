// @ts-check
/** What went wrong and what to do next. */

import { h, icon, setText } from "../dom.js";
import { ICONS } from "../icons.js";
import { advice } from "../problems.js";

export class ProblemCard extends HTMLElement {
  connectedCallback() {
    this.card = h("div", { class: "problem", role: "alert" });
    this.append(this.card);
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    const { card } = this;
    const { problem } = controller.session;
    if (!card || problem === this.shown) return;
    this.shown = problem;
    card.hidden = !problem;
    card.replaceChildren();
    if (!problem) return;
    const { title, next, typing, details } = advice(problem.code, problem.details);
    const close = h(
      "button",
      { class: "quiet", "aria-label": "Dismiss", click: () => controller.dismissProblem() },
      icon(ICONS.close),
    );
    const text = h("div", {}, h("strong", {}, title), h("p", {}, next));
    if (details && details !== problem.code) text.append(h("p", { class: "details" }, details));
    if (typing) {
      const go = () => void controller.start({ microphone: false });
      text.append(h("button", { class: "button", click: go }, "Go on by typing"));
    }
    card.append(text, close);
  }

  /** @type {import("../session.js").Session["problem"] | undefined} */
  shown = undefined;
}

/** The way to the server, in the header. */
export class Connection extends HTMLElement {
  connectedCallback() {
    this.pill = h("span", { class: "pill" });
    this.append(this.pill);
  }

  /** @param {import("../controller.js").Controller} controller */
  render({ session }) {
    const { transport, phase, roundTrip } = session;
    const up = transport === "replay" || !["idle", "connecting"].includes(phase);
    if (!this.pill) return;
    this.pill.hidden = !up;
    if (!transport) return;
    const names = { webrtc: "WebRTC", websocket: "Websocket", replay: "Replay" };
    const trip = roundTrip === null || transport === "replay" ? "" : ` · ${roundTrip.toFixed(0)} ms`;
    setText(this.pill, names[transport] + trip);
  }
}

customElements.define("ob-problem", ProblemCard);
customElements.define("ob-connection", Connection);
