/** A slow link of a websocket: when the page takes a lighter format, and that it is G.711. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Decoder, Encoder, encode } from "../../web_client/static/src/sound/g711.js";
import { FULL, LIGHT, LinkWatch } from "../../web_client/static/src/transports/link_watch.js";

/** Looks every 20 ms from one time to another; returns what it is to change to, and when. */
const looks = (link, from, to, waiting = 0) => {
  const changes = [];
  for (let now = from; now < to; now += 20) {
    const format = link.look(waiting, now);
    if (format) changes.push([format, now]);
  }
  return changes;
};

test("sound that waits for 0.7 s asks for the lighter format once", () => {
  const link = new LinkWatch(0);
  assert.deepEqual(looks(link, 0, 1000, 40_000), []);
  assert.deepEqual(looks(link, 1000, 2000, 50_000), [[LIGHT, 1000]]);
});

test("a ping without an answer counts, whatever the system keeps out of sight", () => {
  const link = new LinkWatch(0);
  link.pinged(0);
  link.ponged(9000, 20);
  link.pinged(500);
  assert.deepEqual(looks(link, 500, 1500), [[LIGHT, 1240]]);
  assert.equal(link.isBehind(0, 2000), false);
  assert.equal(link.isBehind(0, 2040), true);
  link.ponged(10_500, 2040);
  assert.equal(link.isBehind(0, 2040), false);
});

test("a way that takes long is not late once that is known", () => {
  const link = new LinkWatch(0);
  const changes = [];
  for (let now = 0; now < 60_000; now += 500) {
    link.pinged(now);
    if (now >= 1500) link.ponged(now, now); // each answer takes 1.5 s
    changes.push(...looks(link, now, now + 500));
    if (now >= 1500) assert.equal(link.isBehind(0, now), false);
  }
  assert.deepEqual(changes.map(([format]) => format), [LIGHT, FULL]);
});

test("what a pong waits for on its way back is not the microphone's lag", () => {
  const link = new LinkWatch(0);
  link.pinged(0);
  link.ponged(9000, 20);
  link.pinged(500);
  link.ponged(9510, 2030); // 1.5 s behind sound
  link.pinged(2000);
  assert.equal(link.newest, 9510);
  assert.equal(link.isBehind(0, 4000), false);
  assert.equal(link.isBehind(0, 5100), true);
});

test("the same bytes are more seconds of the lighter format, but for those from before the change", () => {
  const link = new LinkWatch(0);
  assert.equal(link.isBehind(50_000, 0), false);
  link.late(0);
  assert.equal(link.isBehind(50_000, 0), false);
  assert.equal(link.isBehind(2000, 300), false);
  assert.equal(link.isBehind(22_000, 2000), true);
});

test("the full format is tried again after a while, less and less often where that is in vain", () => {
  const link = new LinkWatch(0);
  assert.equal(link.late(0), LIGHT);
  assert.deepEqual(looks(link, 20, 31_000), [[FULL, 30_000]]);
  assert.equal(link.late(31_000), LIGHT);
  assert.deepEqual(looks(link, 31_000, 92_000), [[FULL, 91_000]]);
  looks(link, 92_000, 102_000); // it has proved itself
  assert.equal(link.late(110_000), LIGHT);
  assert.deepEqual(looks(link, 110_000, 141_000), [[FULL, 140_000]]);
});

test("a session that goes on keeps its format", () => {
  const link = new LinkWatch(0);
  link.follow(LIGHT);
  assert.equal(link.late(0), null);
  assert.deepEqual(looks(link, 0, 31_000), [[FULL, 30_000]]);
});

test("codes are those of ITU-T G.711", () => {
  for (const [sample, code] of [[0, 0xff], [-1, 0x7f], [32_767, 0x80], [-32_768, 0x00], [1000, 0xce], [-1000, 0x4e]]) {
    assert.equal(encode(sample), code, `${sample}`);
  }
});

test("speech goes through it and back at its level, in events of 60 ms", () => {
  const encoder = new Encoder();
  const decoder = new Decoder();
  const out = [];
  for (let n = 0; n < 30; n++) {
    const frame = Int16Array.from({ length: 480 }, (_, k) => 8000 * Math.sin((2 * Math.PI * 440 * (480 * n + k)) / 24_000));
    const codes = encoder.push(frame.buffer);
    if (!codes) continue;
    assert.ok(Math.abs(codes.byteLength - 480) < 30, `${codes.byteLength} bytes`);
    out.push(...new Int16Array(decoder.push("r", codes)));
  }
  const tail = out.slice(4800);
  const rms = Math.sqrt(tail.reduce((sum, x) => sum + x * x, 0) / tail.length);
  assert.ok(Math.abs(rms / (8000 / Math.SQRT2) - 1) < 0.02, `${rms}`);
  assert.ok(out.length > 14_000);
});
