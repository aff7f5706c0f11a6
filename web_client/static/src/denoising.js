// @ts-check
/** A reply's canvases, step by step: what each position held, when it became final. */

/**
 * @typedef {object} Cell one position of the reply
 * @property {string} text empty while it is masked and nothing is predicted
 * @property {boolean} masked
 * @property {number} confidence
 * @property {number | null} finalStep step at which it became final
 */

/** @typedef {import("./turn.js").Step} Step */

/**
 * A reply longer than a canvas goes canvas by canvas; a new one begins where open positions
 * follow a step that left none.
 * @param {Step[]} steps
 * @returns {Step[][]} the steps of each canvas
 */
export function canvases(steps) {
  /** @type {Step[][]} */
  const found = [];
  steps.forEach((step, n) => {
    const before = steps[n - 1];
    const longer = before && step.tokens.length > before.tokens.length;
    const reopened = before && !before.masked.includes(true) && !longer;
    const replaced = before && !continues(before, step);
    if (!before || reopened || replaced) found.push([]);
    found[found.length - 1].push(step);
  });
  return found;
}

/** Final words stay where they are within a canvas. @param {Step} before @param {Step} after */
function continues(before, after) {
  const kept = before.tokens.filter((text, n) => !before.masked[n] && after.tokens[n] === text);
  const final = before.masked.filter((masked) => !masked).length;
  return kept.length * 2 >= final;
}

/**
 * The positions of a reply after `count` of its steps.
 * @param {Step[]} steps
 * @param {number} count
 * @returns {Cell[]}
 */
export function cellsAfter(steps, count) {
  return canvases(steps.slice(0, count)).flatMap(cellsOf);
}

/** @param {Step[]} steps of one canvas @returns {Cell[]} */
function cellsOf(steps) {
  const last = steps[steps.length - 1];
  return last.tokens.map((text, position) => {
    const masked = last.masked[position];
    const confidence = last.confidence[position];
    return { text, masked, confidence, finalStep: masked ? null : finalStep(steps, position) };
  });
}

/** @param {Step[]} steps @param {number} position */
function finalStep(steps, position) {
  let n = steps.length - 1;
  while (n > 0 && steps[n - 1].masked[position] === false) n--;
  return steps[n].step;
}

/**
 * The heat strip: a row for each step, a cell for each position of the whole reply.
 * @param {Step[]} steps
 * @returns {(Cell | null)[][]} null: the position is on another canvas
 */
export function strip(steps) {
  const groups = canvases(steps);
  const widths = groups.map((group) => Math.max(...group.map(({ tokens }) => tokens.length)));
  const total = widths.reduce((sum, width) => sum + width, 0);
  let left = 0;
  return groups.flatMap((group, n) => {
    const rows = group.map((_, k) => {
      const cells = cellsOf(group.slice(0, k + 1));
      const row = Array.from({ length: total }, () => /** @type {Cell | null} */ (null));
      cells.forEach((cell, position) => (row[left + position] = cell));
      return row;
    });
    left += widths[n];
    return rows;
  });
}

/** What a voice speaks in a second, in letters, until a finished reply tells better. */
const LETTERS_PER_SECOND = 15;

/**
 * How many letters of a reply were spoken. The wire has no times of words: the place is in
 * proportion to the sound, exact at both ends of a finished reply and an estimate between.
 * @param {import("./turn.js").Turn} turn
 * @param {number} t
 */
export function lettersSpoken(turn, t) {
  const letters = turn.words.trim().length;
  if (turn.status !== "completed" || turn.doneAt === null) {
    return Math.min(letters, (turn.playedBy(t) / 1000) * LETTERS_PER_SECOND);
  }
  const whole = turn.playedBy(turn.doneAt);
  return whole > 0 ? (turn.playedBy(t) / whole) * letters : letters;
}
