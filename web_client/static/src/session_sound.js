// @ts-check
/** The sound of calls, both ends in one: recorded beside the events, and played beside them. */

import { fromBase64 } from "./base64.js";

const TYPE = "page.sound.recorded";
const FORMATS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const BITS_PER_SECOND = 24_000;
const SLICE_MS = 1000;
const MAX_BYTES = 12_000_000; // more than an hour

/**
 * The sound of one call.
 * @typedef {object} Take
 * @property {number} t milliseconds of the session at which it begins
 * @property {string} format media type
 * @property {Blob[]} data
 */

export class SoundRecorder {
  constructor() {
    /** @type {Take[]} */
    this.takes = [];
    /** @type {import("./sound/audio_engine.js").AudioEngine | null} */
    this.audio = null;
    /** @type {MediaRecorder | null} */
    this.recorder = null;
    /** @type {AudioNode | null} */
    this.source = null;
    this.bytes = 0;
  }

  /**
   * Record the call that is up, stop with it; called whenever something about it changed.
   * @param {import("./call.js").Call} call
   * @param {boolean} wanted
   */
  follow(call, wanted) {
    const audio = wanted && call.transport ? call.audio : null;
    if (audio !== this.audio) {
      this.#stop();
      if (audio) this.#begin(audio, call);
    }
    const source = this.audio?.microphone.source ?? null;
    if (source && this.mix && source !== this.source) source.connect(this.mix); // another microphone
    this.source = source;
  }

  /**
   * @param {import("./sound/audio_engine.js").AudioEngine} audio
   * @param {import("./call.js").Call} call
   */
  #begin(audio, call) {
    const format = globalThis.MediaRecorder && FORMATS.find((each) => MediaRecorder.isTypeSupported(each));
    if (!format || this.bytes > MAX_BYTES) return;
    this.audio = audio;
    this.mix = audio.context.createMediaStreamDestination();
    audio.speaker.gate.connect(this.mix);
    const take = { t: call.time, format, data: /** @type {Blob[]} */ ([]) };
    this.takes.push(take);
    const recorder = new MediaRecorder(this.mix.stream, { mimeType: format, audioBitsPerSecond: BITS_PER_SECOND });
    recorder.onstart = () => (take.t = Math.round(call.time));
    recorder.ondataavailable = ({ data }) => {
      take.data.push(data);
      this.bytes += data.size;
      if (this.bytes > MAX_BYTES && recorder.state !== "inactive") recorder.stop();
    };
    recorder.start(SLICE_MS);
    this.recorder = recorder;
  }

  #stop() {
    if (this.recorder && this.recorder.state !== "inactive") this.recorder.stop();
    Object.assign(this, { audio: null, recorder: null, mix: null, source: null });
  }

  /** What was recorded, as entries of the session. @returns {Promise<Entry[]>} */
  async entries() {
    const { recorder } = this;
    if (recorder?.state === "recording") {
      const told = new Promise((resolve) => recorder.addEventListener("dataavailable", resolve, { once: true }));
      recorder.requestData();
      await told;
    }
    const takes = this.takes.filter(({ data }) => data.some(({ size }) => size));
    return Promise.all(takes.map(asEntry));
  }
}

/** @param {Take} take @returns {Promise<Entry>} */
async function asEntry({ t, format, data }) {
  const reader = new FileReader();
  const read = new Promise((resolve) => (reader.onload = resolve));
  reader.readAsDataURL(new Blob(data));
  await read;
  const base64 = String(reader.result).split(",")[1];
  return { t, from: "page", event: { type: TYPE, format, data: base64 } };
}

/** Whether an entry is the sound of a call. @param {Entry} entry */
export const isSound = ({ from, event }) => from === "page" && event.type === TYPE;

export class SessionSound {
  /**
   * @param {Entry[]} entries that are sound
   * @param {() => void} changed
   */
  constructor(entries, changed) {
    this.changed = changed;
    this.parts = entries.map(({ t, event }) => {
      const url = URL.createObjectURL(new Blob([fromBase64(event.data)], { type: event.format }));
      return { t, url, element: new Audio(url) };
    });
    this.on = true;
    this.speed = 1;
    /** @type {{t: number, url: string, element: HTMLAudioElement} | null} */
    this.current = null;
  }

  /** Time of the session by what sounds now; null: nothing does. */
  get time() {
    const { current } = this;
    if (!current || current.element.paused || current.element.ended || current.element.readyState < 3) return null;
    return current.t + current.element.currentTime * 1000;
  }

  /** Sound at this time of the session; what sounds already goes on. @param {number} t */
  play(t) {
    const part = this.parts.findLast((each) => each.t <= t) ?? null;
    if (part !== this.current) {
      this.current?.element.pause();
      this.current = part;
      if (part) part.element.currentTime = (t - part.t) / 1000;
    }
    if (!part || part.element.ended || !part.element.paused) return;
    Object.assign(part.element, { muted: !this.on, playbackRate: this.speed });
    // Before the first click on a page browsers allow silent playing only.
    part.element.play().catch((error) => {
      if (error.name !== "NotAllowedError" || part.element.muted) return;
      this.turn(false);
      void part.element.play().catch(() => {});
    });
  }

  pause() {
    this.current?.element.pause();
  }

  /** The next `play` begins anew. */
  rewind() {
    this.pause();
    this.current = null;
  }

  /** @param {boolean} on */
  turn(on) {
    this.on = on;
    for (const { element } of this.parts) element.muted = !on;
    this.changed();
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    if (this.current) this.current.element.playbackRate = speed;
  }

  close() {
    this.rewind();
    for (const { url } of this.parts) URL.revokeObjectURL(url);
  }
}
