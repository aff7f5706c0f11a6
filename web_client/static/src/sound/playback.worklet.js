// @ts-check
/**
 * The ear's side of the websocket: plays 16-bit samples as they come, stops within 5 ms.
 *
 * There is no jitter buffer here: the server keeps its lead (`playback.lead`) waiting in the
 * ring, which is one, and the first piece of a reply is heard at once.
 */

import { Resampler } from "./resampler.js";
import { PlaybackRing } from "./ring.js";

const WIRE_RATE = 24_000;
const CAPACITY_SECONDS = 30;
const FADE_SECONDS = 0.005;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new PlaybackRing(Math.round(CAPACITY_SECONDS * sampleRate));
    this.resampler = new Resampler(WIRE_RATE, sampleRate);
    this.port.onmessage = ({ data }) => this.#obey(data);
  }

  /** @param {{kind: "sound", reply: string, pcm: ArrayBuffer} | {kind: "stop"}} message */
  #obey(message) {
    if (message.kind === "sound") {
      const sound = Float32Array.from(new Int16Array(message.pcm), (value) => value / 32_768);
      this.ring.write(message.reply, this.resampler.push(sound));
      return;
    }
    const playedMs = (this.ring.played / sampleRate) * 1000;
    this.port.postMessage({ reply: this.ring.reply, playedMs });
    this.ring.flush(Math.round(FADE_SECONDS * sampleRate));
    this.resampler = new Resampler(WIRE_RATE, sampleRate);
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, outputs) {
    this.ring.read(outputs[0][0]);
    return true;
  }
}

registerProcessor("playback", Playback);
