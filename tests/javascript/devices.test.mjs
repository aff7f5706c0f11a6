/** When a microphone counts as silent. */

import assert from "node:assert/strict";
import test from "node:test";
import { SilenceWatch } from "../../web_client/static/src/device_watch.js";

const looks = (...levels) => {
  const watch = new SilenceWatch();
  return levels.map((level) => watch.look(level, 500));
};
const times = (count, level) => Array(count).fill(level);

test("zeros for three seconds are told, and taken back with the first sound", () => {
  assert.deepEqual(looks(...times(5, 0)), times(5, false));
  assert.deepEqual(looks(...times(6, 0), 0.001).slice(-2), [true, false]);
  assert.deepEqual(looks(0.01, 0.02, ...times(6, 0)).slice(-1), [true]);
});

test("a microphone that gates its noise to zeros between words is no silent one", () => {
  assert.ok(!looks(0.2, 0, 0, 0.3, 0, 0.1, ...times(20, 0)).includes(true));
});
