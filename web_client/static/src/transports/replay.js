// @ts-check
/** Plays a recorded session in its own time, without a server and without sound. */

import { now } from "../clock.js";
import { parseRecording } from "../recording.js";
import { Session } from "../session.js";

const LONGEST_PAUSE_MS = 1500; // between two entries; nobody wants to watch silence

export class Replay {
  /**
   * @param {Entry[]} entries
   * @param {() => void} changed
   */
  constructor(entries, changed) {
    this.entries = entries;
    this.changed = changed;
    this.session = new Session();
    this.shown = 0;
    this.speed = 1;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** Time of the session, and when on the page it was so. */
    this.anchor = { t: 0, at: now() };
  }

  /**
   * @param {string} text of the file
   * @param {() => void} changed
   */
  static from(text, changed) {
    return new Replay(parseRecording(text), changed);
  }

  /** Time of the session, between two entries too. */
  get time() {
    const next = this.entries[this.shown]?.t ?? Infinity;
    return Math.min(next, this.anchor.t + (now() - this.anchor.at) * this.speed);
  }

  play() {
    clearTimeout(this.timer);
    const next = this.entries[this.shown];
    if (!next) return;
    const wait = Math.min(LONGEST_PAUSE_MS, next.t - this.anchor.t);
    this.timer = setTimeout(() => this.#step(), wait / this.speed);
  }

  /** Show everything at once. */
  finish() {
    clearTimeout(this.timer);
    while (this.shown < this.entries.length) this.#take();
    this.changed();
  }

  stop() {
    clearTimeout(this.timer);
  }

  #step() {
    const { t } = this.entries[this.shown];
    while (this.entries[this.shown]?.t <= t) this.#take();
    this.changed();
    this.play();
  }

  #take() {
    const entry = this.entries[this.shown++];
    this.session.take(entry);
    if (entry.event.type === "page.connected") this.session.transport = "replay";
    this.anchor = { t: entry.t, at: now() };
  }
}
