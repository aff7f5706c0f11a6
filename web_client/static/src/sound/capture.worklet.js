// @ts-check
/** The microphone's side of the websocket: 20 ms frames of 16-bit samples at the wire's rate. */

import { Resampler } from "./resampler.js";

const WIRE_RATE = 24_000;
const FRAME = WIRE_RATE / 50;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = sampleRate === WIRE_RATE ? null : new Resampler(sampleRate, WIRE_RATE);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const input = inputs[0][0];
    if (!input) return true; // nothing is connected yet
    for (const value of this.resampler ? this.resampler.push(input) : input) {
      this.frame[this.filled++] = Math.round(Math.max(-1, Math.min(1, value)) * 32_767);
      if (this.filled === FRAME) this.#send();
    }
    return true;
  }

  #send() {
    this.port.postMessage(this.frame.buffer, [this.frame.buffer]);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
