// @ts-check
/** The items of the conversation as the server tells them, at first or over another connection. */

import { Question } from "./turn.js";

/** @typedef {import("./session.js").Session} Session */

/** Begins the ids of messages that a new call begins with. */
export const KEPT = "kept_";

/** @param {Session} session @param {WireEvent} item */
export function addItem(session, item) {
  if (item.role !== "user" && item.role !== "assistant") return;
  if (item.id.startsWith(KEPT)) return; // it is shown already
  const [part] = item.content;
  const text = part?.text ?? part?.transcript ?? "";
  const told = { text, finished: !!text, cut: item.status === "incomplete" };
  const known = session.item(item.id);
  if (known) {
    Object.assign(known, told); // told again over another connection
    return;
  }
  session.items.push({ id: item.id, role: item.role, ...told });
  if (!part?.text) return;
  session.question.itemId = item.id;
  session.question.typed = true;
}

/** The server tells the conversation again; a reply that goes on begins again, under another id.
 * @param {Session} session */
export function resumed(session) {
  if (session.running) {
    session.running.status = "cancelled";
    session.question = new Question();
    session.question.resumed = true;
  }
  Object.assign(session, { callerSpeaks: false, ducked: false, phase: "listening", partial: { text: "", stable: "" } });
}
