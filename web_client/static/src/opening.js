// @ts-check
/** What the server is told when a call begins: what is wanted of it, and what was said before. */

import { KEPT, WISHES } from "./session.js";

const REMEMBERED = 20; // messages of the call before that a new one begins with

/**
 * @typedef {object} Wishes what a visitor may want of the agent; empty strings leave the server's choice
 * @property {string} instructions
 * @property {string} eagerness "", "low", "medium", "high" or "auto"
 * @property {string} tools a JSON list of functions
 */

/**
 * The event that asks for what is wanted; null where all is the server's choice.
 * @param {Wishes} wishes
 * @returns {WireEvent | null}
 */
export function asked({ instructions, eagerness, tools }) {
  const session = {
    ...(instructions && { instructions }),
    ...(eagerness && { audio: { input: { turn_detection: { type: "semantic_vad", eagerness } } } }),
    ...(tools && { tools: JSON.parse(tools) }),
  };
  if (!Object.keys(session).length) return null;
  return { type: "session.update", event_id: WISHES, session: { type: "realtime", ...session } };
}

/**
 * Whether a text may be asked for as tools: a JSON list of functions with names.
 * @param {string} text
 */
export function areTools(text) {
  if (!text.trim()) return true;
  try {
    const tools = JSON.parse(text);
    return Array.isArray(tools) && tools.every((tool) => tool?.type === "function" && tool.name);
  } catch {
    return false;
  }
}

/**
 * The conversation so far, as events.
 * @param {import("./session.js").Item[]} items
 * @returns {WireEvent[]}
 */
export function remembered(items) {
  const said = items.filter(({ text }) => text).slice(-REMEMBERED);
  return said.map(({ role, text }, n) => {
    const content = [{ type: role === "user" ? "input_text" : "output_text", text }];
    const item = { id: `${KEPT}${n + 1}`, type: "message", role, content };
    return { type: "conversation.item.create", item };
  });
}
