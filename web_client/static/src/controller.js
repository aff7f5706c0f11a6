// @ts-check
/** What the page works with: the call that runs, or the recorded session that is shown. */

import { Call } from "./call.js";
import { preferences } from "./preferences.js";
import { Problem } from "./problems.js";
import { SoundRecorder } from "./session_sound.js";
import { Replay } from "./transports/replay.js";

export class Controller {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.call = this.#newCall();
    this.sound = new SoundRecorder();
    /** @type {Replay | null} */
    this.replay = null;
    /** The turn that the views show; null: the newest. @type {string | null} */
    this.chosen = null;
  }

  #newCall() {
    /** @type {Call} */
    const call = new Call(() => {
      this.sound.follow(call, preferences.keepSound);
      this.changed();
    });
    return call;
  }

  get session() {
    return (this.replay ?? this.call).session;
  }

  /** Milliseconds since the session began. */
  get time() {
    return (this.replay ?? this.call).time;
  }

  /** @returns {Entry[]} */
  get entries() {
    return this.replay ? this.replay.entries.slice(0, this.replay.shown) : this.call.recording.entries;
  }

  /** The session as a file; with the sound of its calls where that was recorded. */
  async file() {
    const sound = this.replay ? this.replay.recorded : await this.sound.entries();
    const entries = [...this.entries, ...sound].sort((one, other) => one.t - other.t);
    return entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
  }

  /** Whether screen readers are told what the agent said. */
  get announce() {
    return preferences.announce;
  }

  /** @returns {import("./turn.js").Turn | null} */
  get turn() {
    const { session, chosen } = this;
    return (chosen && session.turnOf(chosen)) || session.turn;
  }

  /** @param {{microphone: boolean}} [needs] */
  async start(needs) {
    this.replay?.close();
    this.replay = null;
    this.chosen = null;
    await this.call.start(preferences, needs);
  }

  /** Forget the conversation; the next call begins with none. */
  async startAfresh() {
    this.replay?.close();
    this.replay = null;
    await this.call.hangUp();
    this.call = this.#newCall();
    this.sound = new SoundRecorder();
    this.chosen = null;
    this.changed();
  }

  /** Back from a recorded session to the page's own. */
  leaveReplay() {
    this.replay?.close();
    this.replay = null;
    this.chosen = null;
    this.changed();
  }

  async hangUp() {
    await this.call.hangUp();
  }

  /** Whether a call is up or coming up. */
  get live() {
    return this.call.session.phase !== "idle";
  }

  /** Typing begins a call without a microphone. @param {string} text */
  async say(text) {
    if (!this.live) await this.start({ microphone: false });
    if (this.call.transport) this.call.say(text);
  }

  /** @param {string | null} turn */
  choose(turn) {
    this.chosen = turn === this.session.turn?.id ? null : turn;
    this.changed();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.call.mute(muted);
  }

  /** @param {boolean} mode */
  holdToTalk(mode) {
    this.call.hold.use(mode);
  }

  press() {
    this.call.hold.press();
  }

  /** @param {boolean} [meant] */
  release(meant = true) {
    this.call.hold.release(meant);
  }

  interrupt() {
    this.call.interrupt();
  }

  dismissProblem() {
    this.call.dismissProblem();
  }

  /** @param {string} text of a recorded session */
  async show(text) {
    try {
      const replay = Replay.from(text, this.changed);
      await this.call.hangUp();
      this.replay?.close();
      this.replay = replay;
      this.chosen = null;
      replay.play();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.call.report(error);
    }
  }
}
