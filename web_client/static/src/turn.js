// @ts-check
/** One reply and what led to it, as the events tell it. Times are those of the entries. */

/**
 * @typedef {object} Step one denoising step
 * @property {number} t
 * @property {number} step
 * @property {number | null} of
 * @property {string[]} tokens
 * @property {boolean[]} masked
 * @property {number[]} confidence
 * @property {number} ms
 * @property {Draft} [draft] what became of the draft that the step checked, if it checked one
 */

/** @typedef {{drafted: number, accepted: number, corrected: boolean, unverified: number}} Draft */

/** @typedef {{end_ms: number, characters: number}} Place where a word ends in the sound */

/** @typedef {{stage: string, start_ms: number, end_ms: number}} Work */

/** @typedef {{hit: boolean, saved_ms: number, revisions: number, wasted_ms: number}} Speculation */

/**
 * @typedef {object} Timings `onebreath.turn.timings`
 * @property {Record<string, number>} spans_ms
 * @property {number | null} speech_end_ms
 * @property {Work[]} [work]
 * @property {Speculation | null} [speculation]
 * @property {number | null} [budget_ms]
 */

export class Turn {
  /**
   * @param {string} id of the response
   * @param {number} number counts from 1
   * @param {number} t
   * @param {Question} question
   */
  constructor(id, number, t, question) {
    this.id = id;
    this.number = number;
    this.createdAt = t;
    this.question = question;
    /** @type {string | null} */
    this.itemId = null;
    /** @type {Step[]} */
    this.steps = [];
    /** Words that will not change any more; they run ahead of the sound. */
    this.words = "";
    /** Where its words end in its sound, as far as that is made. @type {Place[]} */
    this.places = [];
    /** What the conversation remembers: the words that were heard. @type {string | null} */
    this.heard = null;
    /** @type {"in_progress" | "completed" | "cancelled" | "failed"} */
    this.status = "in_progress";
    /** @type {Timings | null} */
    this.timings = null;
    /** @type {number | null} */
    this.timingsAt = null;
    /** First sound, measured in the page. @type {number | null} */
    this.firstSoundAt = null;
    /** @type {number | null} */
    this.silencedAt = null;
    /** @type {number | null} */
    this.doneAt = null;
    /** What the responder counted. @type {Record<string, number>} */
    this.stats = {};
  }

  /** End of the caller's speech, or the moment at which the typed words were sent. */
  get zero() {
    return this.question.speechEndAt ?? this.question.askedAt ?? this.createdAt;
  }

  /** Milliseconds from the end of the caller's speech to the first sound in the page. */
  get voiceToVoice() {
    if (this.firstSoundAt === null || this.question.resumed) return null;
    return this.firstSoundAt - this.zero;
  }

  /** Milliseconds of the reply's sound that were played by `t`. @param {number} t */
  playedBy(t) {
    if (this.firstSoundAt === null) return 0;
    return Math.max(0, Math.min(t, this.silencedAt ?? this.doneAt ?? t) - this.firstSoundAt);
  }
}

/** What the caller said, as far as it matters for timing. */
export class Question {
  constructor() {
    /** @type {string | null} */
    this.itemId = null;
    /** When the server said that the caller had finished. @type {number | null} */
    this.stoppedAt = null;
    /** When the caller's last sound ended, measured in the page. @type {number | null} */
    this.speechEndAt = null;
    /** When the reply to typed words was asked for. @type {number | null} */
    this.askedAt = null;
    this.typed = false;
    /** Whether its reply goes on over another connection, so that there is nothing to time. */
    this.resumed = false;
  }
}
