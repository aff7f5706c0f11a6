// @ts-check
/**
 * Where the time of a turn went, at the caller's ear.
 *
 * All ends are the page's: the end of speech and the first sound are measured in the page, and
 * so is the arrival of the events between. Only what the server did in between is taken from
 * its spans, as durations, so no two clocks are compared and the bars sum to the whole.
 */

/** In flow order. */
export const STAGES = /** @type {const} */ ([
  "endpoint_wait",
  "asr",
  "prefill",
  "denoise",
  "tts",
  "transport",
  "playout",
]);

/** @typedef {typeof STAGES[number]} Stage */

/** @type {Record<Stage, string>} */
export const STAGE_NAMES = {
  endpoint_wait: "Waiting for the end",
  asr: "Hearing",
  prefill: "Reading",
  denoise: "Denoising",
  tts: "Voice",
  transport: "Network",
  playout: "Playout",
};

/** @typedef {{stage: Stage, start: number, end: number}} Bar milliseconds after the end of speech */

/**
 * The bars from the end of speech to the first sound.
 * @param {import("./turn.js").Turn} turn
 * @param {number} roundTrip of a ping, in ms
 * @returns {Bar[]} empty while it is not known
 */
export function bars(turn, roundTrip) {
  const { timings, timingsAt, voiceToVoice, zero, question } = turn;
  if (!timings || timingsAt === null || voiceToVoice === null) return [];
  /** @type {Record<string, number>} */
  const spans = { ...timings.spans_ms, transport: 0, playout: 0 };
  if (question.stoppedAt !== null && question.speechEndAt !== null) {
    spans.endpoint_wait = Math.max(0, question.stoppedAt - zero - roundTrip);
  }
  // The timings leave the server with the first audible sound.
  spans.playout = Math.max(0, /** @type {number} */ (turn.firstSoundAt) - timingsAt);
  const others = STAGES.reduce((sum, stage) => sum + (spans[stage] ?? 0), 0);
  spans.transport = voiceToVoice - others;
  let at = 0;
  return STAGES.map((stage) => {
    const start = at;
    at += spans[stage] ?? 0;
    return { stage, start, end: at };
  });
}

/**
 * What the stages did and when, speculation included.
 * @param {import("./turn.js").Turn} turn
 * @param {Bar[]} known the bars of the turn
 * @returns {(Bar & {speculative: boolean})[]}
 */
export function work(turn, known) {
  const { timings } = turn;
  if (!timings?.work?.length || !known.length) return [];
  const wait = timings.spans_ms.endpoint_wait;
  const shift = known[0].end - wait; // the server saw speech end that much later than the page
  return timings.work
    .filter(({ stage }) => STAGES.includes(/** @type {Stage} */ (stage)))
    .map(({ stage, start_ms, end_ms }) => ({
      stage: /** @type {Stage} */ (stage),
      start: start_ms + shift,
      end: end_ms + shift,
      speculative: end_ms <= wait,
    }));
}

/**
 * @param {number[]} values
 * @param {number} share from 0 to 1
 * @returns {number | null} nearest rank
 */
export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/**
 * Voice to voice of all turns that were spoken and heard.
 * @param {import("./turn.js").Turn[]} turns
 */
export function voiceToVoices(turns) {
  return turns.flatMap((turn) =>
    turn.voiceToVoice === null || turn.question.typed ? [] : [turn.voiceToVoice],
  );
}
