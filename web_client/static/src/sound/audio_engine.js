// @ts-check
/**
 * The page's sound: one AudioContext with a microphone, a speaker and a tap on each, so that
 * both are timed by the same clock.
 */

import { SoundClock, now } from "../clock.js";
import { Problem } from "../problems.js";
import { Loudness, firstAudible } from "./loudness.js";
import { Microphone } from "./microphone.js";
import { plainTap } from "./plain.js";
import { Speaker } from "./speaker.js";

const WORKLETS = ["capture", "playback", "loudness"];

const RESUME_MS = 5000;

export class AudioEngine {
  /** @param {AudioContext} context */
  constructor(context) {
    this.context = context;
    this.clock = new SoundClock();
    this.mouth = new Loudness(0.005);
    this.ear = new Loudness(0.005);
    this.microphone = new Microphone(context, this.#tap(this.mouth));
    /** Told when sound becomes audible; set by whoever waits for it. @type {((pageMs: number) => void) | null} */
    this.onAudible = null;
    this.speaker = new Speaker(context, this.#tap(this.ear, (report) => this.#listen(report)));
  }

  /** Must be called while the user's click is being handled. */
  static async open() {
    const context = new AudioContext({ latencyHint: "interactive" });
    try {
      await Promise.race([context.resume(), tooLate()]);
    } catch (error) {
      await context.close();
      throw error;
    }
    const modules = WORKLETS.map((name) => new URL(`${name}.worklet.js`, import.meta.url));
    try {
      // Pages that are not secure have no worklets; see plain.js.
      await Promise.all(modules.map((module) => context.audioWorklet?.addModule(module)));
    } catch (error) {
      await context.close();
      throw new Problem("server_gone", String(error)); // the files come from the server
    }
    return new AudioEngine(context);
  }

  /**
   * When the caller's last sound before `pageMs` ended.
   * @param {number} pageMs
   * @param {number} withinMs to look back
   * @returns {number | null} page time; null: nothing was loud
   */
  speechEndBefore(pageMs, withinMs) {
    const end = this.mouth.lastLoudBefore(this.clock.toSound(pageMs), withinMs / 1000);
    return end === null ? null : this.clock.toPage(end);
  }

  /** Go on with microphone and speaker of sound that cannot go on itself. @param {AudioEngine} old */
  takeOver(old) {
    this.onAudible = old.onAudible;
    this.microphone.adopt(old.microphone);
    this.speaker.adopt(old.speaker);
  }

  async close() {
    this.microphone.close();
    this.speaker.close();
    if (this.context.state !== "closed") await this.context.close();
  }

  /**
   * @param {Loudness} loudness
   * @param {(report: import("./loudness.js").Report) => void} [also]
   */
  #tap(loudness, also) {
    const take = (/** @type {import("./loudness.js").Report & {block: number}} */ data) => {
      loudness.block = data.block;
      this.clock.observe(data.at + data.peaks.length * data.block, now());
      loudness.push(data);
      also?.(data);
    };
    if (!this.context.audioWorklet) return plainTap(this.context, loudness.block, take);
    const node = new AudioWorkletNode(this.context, "loudness", {
      channelCount: 1,
      channelCountMode: "explicit",
      numberOfOutputs: 0,
    });
    node.port.onmessage = ({ data }) => take(data);
    return node;
  }

  /** @param {import("./loudness.js").Report} report */
  #listen(report) {
    const at = this.onAudible && firstAudible(report, this.ear.block);
    if (at !== null) this.onAudible?.(this.clock.toPage(at));
  }
}

/** Without any sound output some browsers never resume a context, nor say so. */
async function tooLate() {
  await new Promise((resolve) => setTimeout(resolve, RESUME_MS));
  throw new Problem("no_sound", "the sound output did not start");
}
