// @ts-check
/** Plays a recorded session in its own time, without a server; with its sound where it has some. */

import { now } from "../clock.js";
import { parseRecording } from "../recording.js";
import { Session } from "../session.js";
import { SessionSound, isSound } from "../session_sound.js";

const LONGEST_PAUSE_MS = 1500; // between two entries without sound; nobody wants to watch silence

export class Replay {
  /**
   * @param {Entry[]} entries
   * @param {() => void} changed
   */
  constructor(entries, changed) {
    this.entries = entries.filter((entry) => !isSound(entry));
    /** The sound of the calls, as it is in the file. */
    this.recorded = entries.filter(isSound);
    this.sound = this.recorded.length ? new SessionSound(this.recorded, changed) : null;
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
    if (this.paused) return Math.min(next, this.anchor.t);
    return Math.min(next, this.sound?.time ?? this.anchor.t + (now() - this.anchor.at) * this.speed);
  }

  get paused() {
    return this.timer === undefined;
  }

  get over() {
    return this.shown >= this.entries.length;
  }

  /** Stop where it is. */
  pause() {
    this.anchor = { t: this.time, at: now() };
    this.stop();
    this.changed();
  }

  /** @param {number} speed 1: as it was */
  setSpeed(speed) {
    this.anchor = { t: this.time, at: now() };
    this.speed = speed;
    this.sound?.setSpeed(speed);
    if (!this.paused) this.play();
    this.changed();
  }

  /** Go on, or begin again after the end. */
  play() {
    if (this.over) this.#rewind();
    else if (this.paused) this.anchor = { ...this.anchor, at: now() };
    this.#wait();
    this.changed();
  }

  #rewind() {
    Object.assign(this, { session: new Session(), shown: 0, anchor: { t: 0, at: now() } });
    this.sound?.rewind();
  }

  #wait() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const next = this.entries[this.shown];
    if (!next) return this.sound?.pause();
    this.sound?.play(this.anchor.t);
    const heard = this.sound?.time ?? null; // then it is the clock, and silence is as long as it was
    const wait = heard === null ? Math.min(LONGEST_PAUSE_MS, next.t - this.anchor.t) : Math.max(0, next.t - heard);
    this.timer = setTimeout(() => this.#step(), wait / this.speed);
  }

  /** Show everything at once. */
  finish() {
    this.stop();
    while (this.shown < this.entries.length) this.#take();
    this.changed();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.sound?.pause();
  }

  /** The recording is not wanted any more. */
  close() {
    this.stop();
    this.sound?.close();
  }

  #step() {
    const t = Math.max(this.entries[this.shown].t, this.sound?.time ?? 0);
    while (this.entries[this.shown]?.t <= t) this.#take();
    this.changed();
    this.#wait();
  }

  #take() {
    const entry = this.entries[this.shown++];
    this.session.take(entry);
    if (entry.event.type === "page.connected") this.session.transport = "replay";
    this.anchor = { t: entry.t, at: now() };
  }
}
