// @ts-check
/** Reports the peaks of 5 ms blocks with their place on the sound's own clock. */

const BLOCK_SECONDS = 0.005;
const BLOCKS_PER_REPORT = 4;

class LoudnessTap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = Math.round(BLOCK_SECONDS * sampleRate);
    this.peaks = new Float32Array(BLOCKS_PER_REPORT);
    this.began = currentFrame;
    this.seen = 0;
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const input = inputs[0][0];
    for (let k = 0; k < 128; k++) {
      if (this.seen === 0) this.began = currentFrame + k;
      const block = Math.floor(this.seen / this.block);
      const value = input ? Math.abs(input[k]) : 0;
      if (value > this.peaks[block]) this.peaks[block] = value;
      if (++this.seen === this.block * BLOCKS_PER_REPORT) this.#report();
    }
    return true;
  }

  #report() {
    const report = { at: this.began / sampleRate, peaks: this.peaks, block: this.block / sampleRate };
    this.port.postMessage(report);
    this.peaks = new Float32Array(BLOCKS_PER_REPORT);
    this.seen = 0;
  }
}

registerProcessor("loudness", LoudnessTap);
