// @ts-check
/**
 * What happens to microphone, speaker, screen and context while a call runs. What the browser lets
 * a page mend is mended; else the page says what to do.
 */

import { ContextWatch } from "./context_watch.js";
import { Problem } from "./problems.js";

const LOOK_MS = 500;
const SILENT_MS = 3000;
/** @type {MediaSessionAction[]} */
const ACTIONS = ["hangup", /** @type {any} */ ("togglemicrophone")];

/**
 * Whether a microphone gives nothing although it should: zeros for 3 s from one that gave
 * none before (some microphones gate their noise to zeros, which means nothing).
 */
export class SilenceWatch {
  constructor() {
    this.zeroMs = 0;
    this.gated = false;
    this.silent = false;
  }

  /**
   * @param {number} level of the loudest sample since the last look, 0 to 1
   * @param {number} ms since then
   * @returns {boolean} whether the microphone is silent
   */
  look(level, ms) {
    if (level > 0) {
      if (this.zeroMs > 0 && this.zeroMs < SILENT_MS) this.gated = true;
      this.zeroMs = 0;
      this.silent = false;
    } else {
      this.zeroMs += ms;
      this.silent = this.zeroMs >= SILENT_MS && !this.gated;
    }
    return this.silent;
  }
}

export class DeviceWatch {
  /**
   * @param {import("./call.js").Call} call
   * @param {(event: WireEvent) => void} note
   */
  constructor(call, note) {
    this.call = call;
    this.note = note;
    this.sound = new ContextWatch(call, note);
    /** Chosen microphone; empty: the system's. */
    this.deviceId = "";
    /** @type {(() => void)[]} */
    this.undo = [];
    this.told = false;
    this.defaultName = "";
  }

  /**
   * @param {import("./sound/audio_engine.js").AudioEngine} audio
   * @param {string} deviceId
   */
  start(audio, deviceId) {
    this.stop();
    this.deviceId = deviceId;
    const { microphone, context } = audio;
    microphone.onLost = () => void this.#reopen("microphone_lost");
    if (microphone.track) this.#watchMicrophone(audio);
    this.sound.start(context);
    this.#on(context, "statechange", () => void this.sound.keepRunning());
    this.#on(document, "visibilitychange", () => this.#appear());
    this.#on(document, "pointerdown", () => void this.sound.keepRunning());
    void this.#keepAwake();
    this.#controls();
  }

  stop() {
    for (const undo of this.undo.splice(0)) undo();
    this.sound.stop();
    this.told = false;
  }

  /** @param {import("./sound/audio_engine.js").AudioEngine} audio */
  #watchMicrophone({ microphone, mouth }) {
    const watch = new SilenceWatch();
    let track = microphone.track;
    let counted = mouth.count;
    const timer = setInterval(() => {
      if (microphone.track !== track) {
        track = microphone.track;
        Object.assign(watch, new SilenceWatch());
      }
      if (microphone.muted || mouth.count === counted) return; // a sleeping context says nothing
      counted = mouth.count;
      const blocks = Math.round(LOOK_MS / 1000 / mouth.block);
      this.#tell((watch.look(mouth.loudest(blocks), LOOK_MS) || track?.muted) ?? false);
    }, LOOK_MS);
    this.undo.push(() => clearInterval(timer));
    void this.#noteDefault();
    if (navigator.mediaDevices) this.#on(navigator.mediaDevices, "devicechange", () => void this.#devicesChanged());
  }

  /** @param {boolean} silent */
  #tell(silent) {
    if (silent && !this.told) this.call.report(new Problem("microphone_silent"));
    if (!silent && this.told && this.call.session.problem?.code === "microphone_silent") this.call.dismissProblem();
    this.told = silent;
  }

  /** The microphone ended: another one is taken, or it is said why not. @param {string} otherwise */
  async #reopen(otherwise) {
    const state = await navigator.permissions
      ?.query({ name: /** @type {PermissionName} */ ("microphone") })
      .catch(() => null);
    if (state?.state === "denied") return this.call.report(new Problem("microphone_denied"));
    if (await this.use("", otherwise)) await this.#noteDefault();
  }

  /**
   * Take another microphone in the call.
   * @param {string} deviceId
   * @param {string} [otherwise] code of the problem that is told where it cannot be had
   * @returns {Promise<boolean>} whether it is in use now
   */
  async use(deviceId, otherwise) {
    const { audio, transport } = this.call;
    try {
      await audio?.microphone.open(deviceId);
      await transport?.microphoneChanged();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.call.report(otherwise ? new Problem(otherwise) : error);
      return false;
    }
    this.deviceId = deviceId;
    transport?.send({ type: "onebreath.device.changed" });
    this.note({ type: "page.device", kind: "microphone" });
    return true;
  }

  async #devicesChanged() {
    const before = this.defaultName;
    await this.#noteDefault();
    // Headphones came or left: who chose nothing follows the system's choice.
    const other = before && this.defaultName && before !== this.defaultName;
    if (other && !this.deviceId) await this.use("");
  }

  async #noteDefault() {
    const found = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const inputs = found.filter(({ kind }) => kind === "audioinput");
    this.defaultName = (inputs.find(({ deviceId }) => deviceId === "default") ?? inputs[0])?.label ?? "";
  }

  #appear() {
    if (document.visibilityState !== "visible") return;
    void this.sound.keepRunning();
    void this.#keepAwake(); // a lock is lost with the page's visibility
  }

  async #keepAwake() {
    const lock = await /** @type {any} */ (navigator).wakeLock?.request("screen").catch(() => null);
    if (lock) this.undo.push(() => void lock.release());
  }

  /** Mute and hang-up on lock screens, headphones and keyboards. */
  #controls() {
    const session = /** @type {any} */ (navigator.mediaSession);
    if (!session) return;
    const { call } = this;
    const acts = [() => void call.hangUp(), () => call.mute(!call.session.muted)];
    ACTIONS.forEach((action, n) => {
      try {
        session.setActionHandler(action, acts[n]);
        this.undo.push(() => session.setActionHandler(action, null));
      } catch {
        // a browser that does not know the action
      }
    });
    session.playbackState = "playing";
    this.undo.push(() => (session.playbackState = "none"));
  }

  /**
   * @param {EventTarget} target
   * @param {string} kind
   * @param {() => void} listener
   */
  #on(target, kind, listener) {
    target.addEventListener(kind, listener);
    this.undo.push(() => target.removeEventListener(kind, listener));
  }
}
