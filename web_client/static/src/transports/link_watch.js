// @ts-check
/**
 * How far sound lags behind on a websocket, and what follows from it: a lighter format while the
 * link is slow, the full one again when it was good for a while, and sound left out rather than late.
 */

export const FULL = "audio/pcm";
export const LIGHT = "audio/pcmu";

const LATE_MS = 700; // from here on the link is slow
const MOST_LAG_MS = 1500; // from here on sound is left out: what is said is heard now or not at all
const PATIENCE_MS = 30_000; // without lag, before the full format is tried again
const MAX_PATIENCE_MS = 480_000;
const PROOF_MS = 10_000; // after which the full format has proved itself
/** Bytes a second of events with sound. */
const RATES = { [FULL]: 68_000, [LIGHT]: 12_700 };

export class LinkWatch {
  /** @param {number} now milliseconds */
  constructor(now) {
    this.format = FULL;
    this.calmSince = now;
    this.patience = PATIENCE_MS;
    /** When the full format was last tried, until it has proved itself. @type {number | null} */
    this.triedAt = null;
    /** Bytes in the full format that may wait yet after a change. */
    this.heavy = 0;
    /** When each ping that is not answered was sent. @type {number[]} */
    this.pings = [];
    /** Time of the newest pong on the server's clock; the next ping tells that it came. @type {number | null} */
    this.newest = null;
    this.leastDown = Infinity;
    /** The fastest answer to a ping, in milliseconds; 0: there was none. */
    this.leastTrip = 0;
    /** How much longer the newest pong was on its way than the fastest one. */
    this.downLate = 0;
  }

  /** @param {number} now */
  pinged(now) {
    this.pings.push(now);
  }

  /** The server answers pings in their order. @param {number} serverTime @param {number} now */
  ponged(serverTime, now) {
    const trip = now - (this.pings.shift() ?? now);
    if (trip) this.leastTrip = Math.min(this.leastTrip || trip, trip);
    this.newest = serverTime;
    this.leastDown = Math.min(this.leastDown, now - serverTime);
    this.downLate = now - serverTime - this.leastDown;
  }

  /** The format that the server goes by now. @param {string} format */
  follow(format) {
    this.format = format === LIGHT ? LIGHT : FULL;
  }

  /**
   * Milliseconds by which the microphone's sound lags behind, as far as it can be told: a pong that
   * is stuck on its way back counts, too, until it comes.
   * @param {number} waiting bytes that the browser could not send
   * @param {number} now
   */
  lag(waiting, now) {
    this.heavy = this.format === FULL ? waiting : Math.min(this.heavy, waiting);
    const unsent = 1000 * (this.heavy / RATES[FULL] + (waiting - this.heavy) / RATES[LIGHT]);
    return Math.max(unsent, this.pings.length ? now - this.pings[0] - this.downLate - this.leastTrip : 0);
  }

  /** Whether sound is to be left out. @param {number} waiting @param {number} now */
  isBehind(waiting, now) {
    return this.lag(waiting, now) > MOST_LAG_MS;
  }

  /**
   * Look at the link.
   * @param {number} waiting bytes that the browser could not send
   * @param {number} now
   * @returns {string | null} the format to change to, if any
   */
  look(waiting, now) {
    if (this.lag(waiting, now) > LATE_MS) return this.late(now);
    if (this.triedAt !== null && now - this.triedAt >= PROOF_MS) {
      Object.assign(this, { triedAt: null, patience: PATIENCE_MS });
    }
    if (this.format === FULL || now - this.calmSince < this.patience) return null;
    this.triedAt = now;
    return (this.format = FULL);
  }

  /** The link is slow, as was measured or as the server says. @param {number} now */
  late(now) {
    this.calmSince = now;
    if (this.format === LIGHT) return null;
    if (this.triedAt !== null) this.patience = Math.min(MAX_PATIENCE_MS, 2 * this.patience);
    this.triedAt = null;
    return (this.format = LIGHT);
  }
}
