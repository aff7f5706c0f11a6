// @ts-check
/** G.711 mu-law: a sixth of the bytes of 16-bit sound at 24 kHz, for links that are slow. */

import { Resampler } from "./resampler.js";

const WIRE_RATE = 24_000;
const RATE = 8000;
const BIAS = 0x84;
const LOUDEST = 32_635;
const FRAMES = 3; // of 20 ms in one event, whose names take as many bytes as two of them

/** Value of each code, as a 16-bit sample. */
const VALUES = Int16Array.from({ length: 256 }, (_, code) => {
  const bits = ~code & 0xff;
  const magnitude = ((((bits & 15) << 3) + BIAS) << ((bits >> 4) & 7)) - BIAS;
  return bits & 0x80 ? -magnitude : magnitude;
});

/** @param {number} sample of 16 bits */
export function encode(sample) {
  const magnitude = Math.min(LOUDEST, Math.abs(sample)) + BIAS;
  const exponent = 24 - Math.clz32(magnitude);
  const code = (exponent << 4) | ((magnitude >> (exponent + 3)) & 15);
  return ~(sample < 0 ? code | 0x80 : code) & 0xff;
}

/** Makes the microphone's frames smaller. */
export class Encoder {
  constructor() {
    this.resampler = new Resampler(WIRE_RATE, RATE);
    /** @type {number[]} */
    this.codes = [];
    this.frames = 0;
  }

  /**
   * @param {ArrayBuffer} frame of 20 ms, 16 bit at 24 kHz
   * @returns {ArrayBuffer | null} mu-law at 8 kHz, once there is enough for an event
   */
  push(frame) {
    for (const value of this.resampler.push(Float32Array.from(new Int16Array(frame)))) {
      this.codes.push(encode(Math.round(value)));
    }
    if (++this.frames < FRAMES) return null;
    return this.flush();
  }

  /** What waits for more, and nothing after it. @returns {ArrayBuffer | null} */
  flush() {
    this.frames = 0;
    return this.codes.length ? Uint8Array.from(this.codes.splice(0)).buffer : null;
  }
}

/** Makes 16-bit sound at 24 kHz of a reply's mu-law. */
export class Decoder {
  constructor() {
    this.reply = "";
    this.resampler = new Resampler(RATE, WIRE_RATE);
  }

  /** @param {string} reply @param {ArrayBuffer} codes @returns {ArrayBuffer} */
  push(reply, codes) {
    if (reply !== this.reply) Object.assign(this, { reply, resampler: new Resampler(RATE, WIRE_RATE) });
    const sound = this.resampler.push(Float32Array.from(new Uint8Array(codes), (code) => VALUES[code]));
    return Int16Array.from(sound, (value) => Math.max(-32_768, Math.min(32_767, Math.round(value)))).buffer;
  }
}
