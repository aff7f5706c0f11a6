// @ts-check
/** A reply step by step: what each position held, and when it became final. */

/**
 * @typedef {object} Cell one position of the reply
 * @property {string} text empty while it is masked and nothing is predicted
 * @property {boolean} masked
 * @property {number} confidence
 * @property {number | null} finalStep step at which it became final; null: it is open
 * @property {"accepted" | "corrected" | "unverified" | null} origin where a draft led to it: a
 *   drafted token that the model agreed with, its own in the place of another, or one without a check
 */

/** @typedef {import("./turn.js").Step} Step */

/** What models write where a reply ends; it is not part of the words. */
const END_MARK = /^<[|/]?\w+[|]?>$/;

/**
 * The positions of a reply after `count` of its steps. Every step tells all positions of the
 * reply so far, also where it is made canvas by canvas.
 * @param {Step[]} steps
 * @param {number} count
 * @returns {Cell[]}
 */
export function cellsAfter(steps, count) {
  const last = steps[count - 1];
  if (!last) return [];
  return last.tokens.map((token, position) => {
    const masked = last.masked[position];
    return {
      text: END_MARK.test(token) ? "" : token,
      masked,
      confidence: last.confidence[position],
      finalStep: masked ? null : finalStep(steps, count, position),
      origin: masked ? null : originOf(steps, count, position),
    };
  });
}

/**
 * A step makes its accepted tokens final first, then the model's own, then what is not checked.
 * @param {Step[]} steps
 * @param {number} count
 * @param {number} position
 * @returns {Cell["origin"]}
 */
function originOf(steps, count, position) {
  const n = finalStep(steps, count, position) - 1;
  const { draft } = steps[n];
  if (!draft) return null;
  const before = n > 0 ? steps[n - 1].masked.filter((open) => !open).length : 0;
  const place = position - before;
  if (place < draft.accepted) return "accepted";
  if (place > draft.accepted) return "unverified";
  return draft.corrected ? "corrected" : null;
}

/**
 * The first step since which the position has not been open.
 * @param {Step[]} steps
 * @param {number} count
 * @param {number} position
 */
function finalStep(steps, count, position) {
  let n = count - 1;
  while (n > 0 && steps[n - 1].masked[position] === false) n--;
  return n + 1;
}

/**
 * The heat strip: a row for each step, a cell for each position of the whole reply.
 * @param {Step[]} steps
 * @returns {(Cell | null)[][]} null: the step did not reach that far
 */
export function strip(steps) {
  const width = Math.max(0, ...steps.map(({ tokens }) => tokens.length));
  return steps.map((_, n) => {
    const cells = cellsAfter(steps, n + 1);
    return Array.from({ length: width }, (_, position) => cells[position] ?? null);
  });
}

/** What a voice speaks in a second, in letters, where nothing tells better. */
const LETTERS_PER_SECOND = 15;

/**
 * How many letters of a reply were spoken, by the places of its words in its sound. In a session
 * of a server that tells none it is an estimate, exact at both ends of a finished reply.
 * @param {import("./turn.js").Turn} turn
 * @param {number} t
 */
export function lettersSpoken(turn, t) {
  const letters = [...turn.words.trim()].length;
  const played = turn.playedBy(t);
  if (turn.places.length > 0) return Math.min(letters, lettersBy(turn.places, played));
  if (turn.status !== "completed" || turn.doneAt === null) {
    return Math.min(letters, (played / 1000) * LETTERS_PER_SECOND);
  }
  const whole = turn.playedBy(turn.doneAt);
  return whole > 0 ? (played / whole) * letters : letters;
}

/**
 * Within a word the place moves evenly.
 * @param {import("./turn.js").Place[]} places
 * @param {number} played milliseconds
 */
function lettersBy(places, played) {
  const next = places.findIndex(({ end_ms }) => end_ms > played);
  if (next < 0) return places[places.length - 1].characters;
  const before = places[next - 1] ?? { end_ms: 0, characters: 0 };
  const part = (played - before.end_ms) / (places[next].end_ms - before.end_ms);
  return before.characters + part * (places[next].characters - before.characters);
}
