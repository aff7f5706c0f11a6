// @ts-check
/** Keeps the page's sound running: contexts that the browser stops, interrupts or closes. */

import { Problem } from "./problems.js";
import { AudioEngine } from "./sound/audio_engine.js";

const STOPPED_MS = 3000; // then only the person can help

export class ContextWatch {
  /**
   * @param {import("./call.js").Call} call
   * @param {(event: WireEvent) => void} note
   */
  constructor(call, note) {
    this.call = call;
    this.note = note;
    /** @type {AudioContext | null} */
    this.context = null;
    this.rebuilding = false;
    this.told = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {AudioContext} context */
  start(context) {
    this.context = context;
  }

  stop() {
    this.context = null;
    this.#wait(false);
    this.told = false;
  }

  /**
   * Look at the context: after a call, an alarm or a locked screen the browser may let it run again
   * at once, when the page is shown, or at a touch.
   */
  async keepRunning() {
    const { context } = this;
    if (!context) return;
    if (context.state === "running") {
      if (this.timer !== undefined) this.call.audio?.clock.restart();
      this.#wait(false);
      this.#tell(false);
      return;
    }
    this.#wait(true);
    if (context.state === "closed") await this.#rebuild();
    else await context.resume().catch(() => {}); // then the next touch tries again
  }

  /** A closed context stays closed: the call goes on with another one. */
  async #rebuild() {
    if (this.rebuilding || !this.call.transport) return;
    this.rebuilding = true;
    try {
      const audio = await AudioEngine.open();
      await this.#replaceBy(audio);
      this.note({ type: "page.sound.rebuilt" });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#tell(true);
    } finally {
      this.rebuilding = false;
    }
    await this.keepRunning();
  }

  /** @param {AudioEngine} audio */
  async #replaceBy(audio) {
    const { call } = this;
    const { audio: old, transport } = call;
    if (!old || !transport) return audio.close(); // hung up meanwhile
    audio.takeOver(old);
    call.audio = audio;
    call.useSpeaker(call.output);
    transport.use(audio);
    call.devices.start(audio, call.devices.deviceId);
    await old.close();
  }

  /** @param {boolean} stopped */
  #wait(stopped) {
    if (stopped) {
      this.timer ??= setTimeout(() => this.#tell(true), STOPPED_MS);
      return;
    }
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** @param {boolean} stopped */
  #tell(stopped) {
    const { call } = this;
    if (stopped && !this.told) call.report(new Problem("sound_stopped"));
    if (!stopped && this.told && call.session.problem?.code === "sound_stopped") call.dismissProblem();
    this.told = stopped;
  }
}
