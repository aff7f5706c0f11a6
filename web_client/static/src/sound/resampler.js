// @ts-check
/** Streaming resampler between any two rates: windowed sinc, band-limited, one channel. */

const HALF_WIDTH = 16; // zero crossings of the filter on each side
const PHASES = 128; // positions between two input samples for which filters are kept
const PASSBAND = 0.92; // of the lower Nyquist frequency; the rest is the filter's slope

export class Resampler {
  /**
   * @param {number} from input samples per second
   * @param {number} to output samples per second
   */
  constructor(from, to) {
    this.step = from / to;
    const cutoff = Math.min(1, to / from) * PASSBAND;
    this.reach = Math.ceil(HALF_WIDTH / cutoff);
    this.filters = makeFilters(cutoff, this.reach);
    /** Input that later outputs still need. */
    this.kept = new Float32Array(this.reach);
    /** Place of the next output in `kept`, in input samples. */
    this.place = this.reach;
  }

  /**
   * @param {Float32Array} input
   * @returns {Float32Array} all output that `input` makes possible
   */
  push(input) {
    const { reach, step, filters } = this;
    const known = new Float32Array(this.kept.length + input.length);
    known.set(this.kept);
    known.set(input, this.kept.length);
    const last = known.length - reach;
    const count = Math.max(0, Math.ceil((last - this.place) / step));
    const output = new Float32Array(count);
    let place = this.place;
    for (let n = 0; n < count; n++, place += step) {
      const left = Math.floor(place);
      const filter = filters[Math.round((place - left) * PHASES)];
      const first = left - reach + 1;
      let sum = 0;
      for (let k = 0; k < filter.length; k++) sum += known[first + k] * filter[k];
      output[n] = sum;
    }
    const cut = Math.max(0, Math.floor(place) - reach);
    this.kept = known.slice(cut);
    this.place = place - cut;
    return output;
  }
}

/**
 * One filter for each phase, each with a sum of one.
 * @param {number} cutoff as a share of the input's Nyquist frequency
 * @param {number} reach taps on each side
 */
function makeFilters(cutoff, reach) {
  return Array.from({ length: PHASES + 1 }, (_, phase) => {
    const taps = Float32Array.from({ length: 2 * reach }, (_, k) => {
      const x = k - reach + 1 - phase / PHASES;
      return sinc(x * cutoff) * hann(x / reach);
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return taps.map((tap) => tap / sum);
  });
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** @param {number} x from -1 to 1 */
function hann(x) {
  return Math.abs(x) >= 1 ? 0 : 0.5 + 0.5 * Math.cos(Math.PI * x);
}
