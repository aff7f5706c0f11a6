// @ts-check
/** How loud a signal was, block by block: where speech ended, where sound began. */

/** The levels of docs/latency.md. */
export const AUDIBLE = 10 ** (-40 / 20);
export const NOISE_FLOOR = 10 ** (-50 / 20);

const HISTORY_SECONDS = 60;
const FLOOR_SECONDS = 8;
const OVER_THE_FLOOR = 4; // 12 dB: a steady noise is not speech
const LOUDEST_FLOOR = 10 ** (-30 / 20);

/** @typedef {{at: number, peaks: Float32Array}} Report peaks of blocks; `at` in seconds */

export class Loudness {
  /** @param {number} blockSeconds length of a block */
  constructor(blockSeconds) {
    this.block = blockSeconds;
    this.peaks = new Float32Array(Math.round(HISTORY_SECONDS / blockSeconds));
    this.count = 0;
    /** Seconds on the sound's clock at which block 0 would have begun. */
    this.origin = 0;
  }

  /** @param {Report} report the blocks after those of the last report */
  push({ at, peaks }) {
    this.origin = at - this.count * this.block;
    for (const peak of peaks) this.peaks[this.count++ % this.peaks.length] = peak;
  }

  /** The newest peak, from 0 to 1. */
  get level() {
    return this.count ? this.#peak(this.count - 1) : 0;
  }

  /** The loudest of the newest peaks, from 0 to 1. @param {number} blocks */
  loudest(blocks) {
    let most = 0;
    for (let k = 1; k <= Math.min(blocks, this.count, this.peaks.length); k++) {
      most = Math.max(most, this.#peak(this.count - k));
    }
    return most;
  }

  /** Steady noise of the last seconds; 0 while nothing is known. */
  get floor() {
    const span = Math.min(this.count, Math.round(FLOOR_SECONDS / this.block), this.peaks.length);
    const recent = Array.from({ length: span }, (_, k) => this.#peak(this.count - 1 - k));
    recent.sort((a, b) => a - b);
    return Math.min(LOUDEST_FLOOR, recent[Math.floor(span / 10)] ?? 0);
  }

  /**
   * Where the last sound above the noise ended before `when`.
   * @param {number} when seconds
   * @param {number} within seconds to look back
   * @returns {number | null} seconds; null: there was none
   */
  lastLoudBefore(when, within) {
    const threshold = Math.max(NOISE_FLOOR, this.floor * OVER_THE_FLOOR);
    const newest = Math.min(this.count, Math.floor((when - this.origin) / this.block)) - 1;
    const oldest = Math.max(0, this.count - this.peaks.length, newest - within / this.block);
    for (let block = newest; block >= oldest; block--) {
      if (this.#peak(block) > threshold) return this.origin + (block + 1) * this.block;
    }
    return null;
  }

  /** @param {number} block */
  #peak(block) {
    return this.peaks[block % this.peaks.length];
  }
}

/**
 * Where the first audible block of a report begins.
 * @param {Report} report
 * @param {number} blockSeconds
 * @returns {number | null} seconds
 */
export function firstAudible({ at, peaks }, blockSeconds) {
  const block = peaks.findIndex((peak) => peak > AUDIBLE);
  return block < 0 ? null : at + block * blockSeconds;
}
