// @ts-check
/** The answers to questions about the last turn of a session. */

/**
 * @typedef {object} Decision the answer to a question about the call
 * @property {string} name
 * @property {string} label
 * @property {number} probability
 * @property {"rule" | "head" | "model"} by
 */

/** @typedef {{itemId: string | null, answers: Decision[], tags: string[], effects: string[]}} Decisions */

/**
 * Takes the answers of one moment: later ones to the same questions about the same turn win.
 * @param {import("./session.js").Session} session
 * @param {any} event
 */
export function addDecisions(session, { item_id, decisions, tags, effects }) {
  const same = session.decisions.itemId === item_id;
  const known = same ? session.decisions.answers : [];
  const named = new Set(decisions.map((/** @type {Decision} */ { name }) => name));
  const answers = [...known.filter(({ name }) => !named.has(name)), ...decisions];
  const before = same ? session.decisions.effects : [];
  session.decisions = { itemId: item_id, answers, tags, effects: [...before, ...effects] };
}
