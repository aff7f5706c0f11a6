/** Sound without a sound card: resampling, the ring of the voice, levels. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBase64, toBase64, decodedLength } from "../../web_client/static/src/base64.js";
import { Loudness, firstAudible } from "../../web_client/static/src/sound/loudness.js";
import { Resampler } from "../../web_client/static/src/sound/resampler.js";
import { PlaybackRing } from "../../web_client/static/src/sound/ring.js";

const sine = (hertz, rate, seconds) =>
  Float32Array.from({ length: rate * seconds }, (_, n) => Math.sin((2 * Math.PI * hertz * n) / rate));
const rms = (sound) => Math.sqrt(sound.reduce((sum, x) => sum + x * x, 0) / sound.length);
const inBlocks = (resampler, sound, size) => {
  const pieces = [];
  for (let n = 0; n < sound.length; n += size) pieces.push(...resampler.push(sound.subarray(n, n + size)));
  return Float32Array.from(pieces);
};

for (const [from, to] of [[44_100, 24_000], [48_000, 24_000], [24_000, 48_000], [24_000, 44_100]]) {
  test(`${from} to ${to} Hz keeps a tone and its length`, () => {
    const output = inBlocks(new Resampler(from, to), sine(1000, from, 0.5), 128);
    assert.ok(Math.abs(output.length - to / 2) < 60, `${output.length} samples`);
    const middle = output.subarray(1000, output.length - 1000);
    assert.ok(Math.abs(rms(middle) - Math.SQRT1_2) < 0.01);
    const wanted = sine(1000, to, 0.5);
    const delay = 0; // the first output lies at the first input
    const error = middle.map((x, n) => x - wanted[n + 1000 + delay]);
    assert.ok(rms(error) < 0.02, `error ${rms(error)}`);
  });
}

test("what the lower rate cannot carry is taken out, not folded", () => {
  const output = inBlocks(new Resampler(48_000, 24_000), sine(15_000, 48_000, 0.3), 128);
  assert.ok(rms(output.subarray(500)) < 0.01);
});

test("block sizes do not change the sound", () => {
  const sound = sine(700, 44_100, 0.2);
  const a = inBlocks(new Resampler(44_100, 24_000), sound, 128);
  const b = inBlocks(new Resampler(44_100, 24_000), sound, 1000);
  const shared = Math.min(a.length, b.length);
  assert.deepEqual(a.subarray(0, shared), b.subarray(0, shared));
});

const ones = (count) => new Float32Array(count).fill(1);
const readAll = (ring, count) => {
  const out = new Float32Array(count);
  ring.read(out);
  return [...out];
};

test("a ring gives back what was written, then silence", () => {
  const ring = new PlaybackRing(8);
  for (let turn = 0; turn < 5; turn++) {
    ring.write("a", Float32Array.of(1, 2, 3));
    assert.deepEqual(readAll(ring, 5), [1, 2, 3, 0, 0]);
  }
});

test("played samples are counted for each reply", () => {
  const ring = new PlaybackRing(100);
  ring.write("a", ones(10));
  ring.write("b", ones(10));
  readAll(ring, 7);
  assert.deepEqual([ring.reply, ring.played], ["a", 7]);
  readAll(ring, 5);
  assert.deepEqual([ring.reply, ring.played], ["b", 2]);
});

test("a flush fades what is heard and drops the rest", () => {
  const ring = new PlaybackRing(100);
  ring.write("a", ones(50));
  readAll(ring, 10);
  ring.flush(4);
  assert.deepEqual(readAll(ring, 6), [1, 0.75, 0.5, 0.25, 0, 0]);
  assert.equal(ring.played, 14);
  ring.write("b", ones(2));
  assert.deepEqual(readAll(ring, 3), [1, 1, 0]);
});

test("sound after a flush begins at once", () => {
  const ring = new PlaybackRing(100);
  ring.write("a", ones(50));
  ring.flush(20);
  ring.write("b", Float32Array.of(5));
  assert.deepEqual(readAll(ring, 2), [5, 0]);
  assert.equal(ring.reply, "b");
});

test("a full ring drops the newest and counts it", () => {
  const ring = new PlaybackRing(4);
  ring.write("a", Float32Array.of(1, 2, 3, 4, 5, 6));
  assert.deepEqual([ring.dropped, readAll(ring, 5)], [2, [1, 2, 3, 4, 0]]);
});

const BLOCK = 0.005;
const heard = (...levels) => {
  const loudness = new Loudness(BLOCK);
  levels.forEach((level, n) => loudness.push({ at: 1 + n * BLOCK, peaks: Float32Array.of(level) }));
  return loudness;
};

test("speech ends with its last loud block", () => {
  const loudness = heard(...Array(50).fill(0.0005), ...Array(20).fill(0.3), ...Array(60).fill(0.0005));
  const end = loudness.lastLoudBefore(1 + 130 * BLOCK, 5);
  assert.ok(Math.abs(end - (1 + 70 * BLOCK)) < 1e-9);
});

test("steady noise is no speech", () => {
  const loudness = heard(...Array(50).fill(0.01), ...Array(20).fill(0.3), ...Array(60).fill(0.012));
  const end = loudness.lastLoudBefore(1 + 130 * BLOCK, 5);
  assert.ok(Math.abs(end - (1 + 70 * BLOCK)) < 1e-9);
});

test("silence has no end of speech", () => {
  assert.equal(heard(...Array(50).fill(0)).lastLoudBefore(2, 5), null);
});

test("the first audible block is told by its place", () => {
  const at = firstAudible({ at: 3, peaks: Float32Array.of(0.001, 0.009, 0.02, 0.5) }, BLOCK);
  assert.ok(Math.abs(at - 3.01) < 1e-9);
  assert.equal(firstAudible({ at: 3, peaks: Float32Array.of(0.001) }, BLOCK), null);
});

test("base64 keeps samples, and its length is known without decoding", () => {
  for (const count of [0, 1, 2, 3, 480]) {
    const samples = Int16Array.from({ length: count }, (_, n) => n * 321 - 7000);
    const text = toBase64(samples.buffer);
    assert.deepEqual(new Int16Array(fromBase64(text)), samples);
    assert.equal(decodedLength(text), 2 * count);
  }
});
