// @ts-check
/** Puts the page together and draws it once a frame, when something changed or moves. */

import { Controller } from "./controller.js";
import { listenToKeys } from "./keyboard.js";
import { Problem } from "./problems.js";
import "./views/talk.js";
import "./views/conversation.js";
import "./views/composer.js";
import "./views/problem.js";
import "./views/replay.js";
import "./views/menu.js";
import "./views/tabs.js";
import "./views/denoise.js";
import "./views/latency.js";
import "./views/events.js";
import "./views/decisions.js";

/** @typedef {HTMLElement & {render(controller: Controller): void}} View */

const DEMO = "demo.jsonl";
const CARET_MS = 60;

const controller = new Controller(draw);
const views = /** @type {View[]} */ (
  ["problem", "replay", "connection", "menu", "talk", "conversation", "composer", "tabs", "denoise", "latency", "events", "decisions"].map(
    (name) => document.querySelector(`ob-${name}`),
  )
);
const talk = /** @type {import("./views/talk.js").Talk} */ (document.querySelector("ob-talk"));
let waiting = false;
let changed = true;
let drawnAt = 0;

function draw() {
  changed = true;
  wait();
}

function wait() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(frame);
}

/** The agent often runs on the same machine: draw when something changed, and levels only.
 * @param {number} at */
function frame(at) {
  waiting = false;
  const { audio } = controller.call;
  const caretMoves = controller.session.running && at - drawnAt > CARET_MS;
  if (changed || caretMoves) {
    changed = false;
    drawnAt = at;
    for (const view of views) if (!view.closest("[role=tabpanel][hidden]")) view.render(controller);
  }
  talk.meter(audio?.mouth.level ?? 0, audio?.ear.level ?? 0);
  if (audio || controller.session.running) wait(); // levels and the caret move by themselves
}

async function replay() {
  const wanted = new URLSearchParams(location.search).get("replay");
  if (wanted === null) return;
  const url = new URL(wanted && wanted !== "demo" ? wanted : DEMO, location.href);
  if (url.origin !== location.origin) return; // somebody else's file is chosen by hand
  const response = await fetch(url);
  await controller.show(response.ok ? await response.text() : "");
}

const composer = /** @type {HTMLElement} */ (document.querySelector("ob-composer"));
listenToKeys(controller, () => composer.focus());
addEventListener("pagehide", () => void controller.hangUp());
if (!isSecureContext) controller.call.report(new Problem("insecure_origin"));
draw();
void replay();
