// @ts-check
/**
 * Sound for pages without audio worklets: those that came by plain http from another host. They
 * have no microphone either; typed questions are answered aloud, and timed to about 10 ms.
 */

const POLL_MS = 10;
const WIRE_RATE = 24_000;
const START_SECONDS = 0.03; // so that a piece that comes a little late makes no gap

/**
 * Peaks of blocks, as the worklet `loudness` reports them.
 * @param {BaseAudioContext} context
 * @param {number} block seconds
 * @param {(report: {at: number, block: number, peaks: Float32Array}) => void} report
 */
export function plainTap(context, block, report) {
  const node = context.createAnalyser();
  node.fftSize = 8192;
  const samples = new Float32Array(node.fftSize);
  const size = Math.round(block * context.sampleRate);
  let done = context.currentTime;
  const timer = setInterval(() => {
    if (context.state === "closed") return clearInterval(timer);
    const fresh = Math.round((context.currentTime - done) * context.sampleRate);
    const count = Math.min(Math.floor(fresh / size), Math.floor(samples.length / size));
    if (!count) return;
    node.getFloatTimeDomainData(samples);
    const first = Math.max(0, samples.length - fresh);
    const peaks = Float32Array.from({ length: count }, (_, n) =>
      samples.subarray(first + n * size, first + (n + 1) * size).reduce((most, value) => Math.max(most, Math.abs(value)), 0),
    );
    report({ at: done, block, peaks });
    done += fresh / context.sampleRate - (fresh % size) / context.sampleRate;
  }, POLL_MS);
  return node;
}

/** Plays the pieces of a reply one after another. */
export class PlainPlayer {
  /** @param {AudioContext} context @param {AudioNode} output */
  constructor(context, output) {
    this.context = context;
    this.output = output;
    this.reply = "";
    this.end = 0;
    this.played = 0;
    /** @type {Set<AudioBufferSourceNode>} */
    this.playing = new Set();
  }

  /** @param {string} reply @param {ArrayBuffer} pcm */
  play(reply, pcm) {
    if (reply !== this.reply) Object.assign(this, { reply, played: 0 });
    const sound = Float32Array.from(new Int16Array(pcm), (value) => value / 32_768);
    if (!sound.length) return;
    const buffer = this.context.createBuffer(1, sound.length, WIRE_RATE);
    buffer.copyToChannel(sound, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.output);
    const start = Math.max(this.end, this.context.currentTime + START_SECONDS);
    this.end = start + buffer.duration;
    this.played += buffer.duration;
    this.playing.add(source);
    source.onended = () => this.playing.delete(source);
    source.start(start);
  }

  /** @returns {{reply: string, playedMs: number}} */
  stop() {
    const waiting = Math.max(0, this.end - this.context.currentTime);
    for (const source of this.playing) source.stop();
    this.playing.clear();
    this.end = 0;
    return { reply: this.reply, playedMs: Math.max(0, this.played - waiting) * 1000 };
  }
}
