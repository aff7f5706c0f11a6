/** What the page shows follows from the entries alone. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ServerClock, SoundClock } from "../../web_client/static/src/clock.js";
import { cellsAfter, lettersSpoken, strip } from "../../web_client/static/src/denoising.js";
import { matcher } from "../../web_client/static/src/filter.js";
import { STAGES, bars, percentile, voiceToVoices, work } from "../../web_client/static/src/latency.js";
import { Problem, advice } from "../../web_client/static/src/problems.js";
import { Recording, parseRecording, withoutSound } from "../../web_client/static/src/recording.js";
import { Session } from "../../web_client/static/src/session.js";

/** The session of tests/support/recorded_session.py, handed over by the Python side. */
const entries = parseRecording(readFileSync(process.env.RECORDED_SESSION, "utf8"));

const sessionUntil = (t) => {
  const session = new Session();
  for (const entry of entries) if (entry.t <= t) session.take(entry);
  return session;
};
const close = (a, b) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

test("the phase follows the conversation", () => {
  const phases = [0, 300, 1000, 2310, 2740, 2800, 7000, 8004, 8400, 16000];
  assert.deepEqual(phases.map((t) => sessionUntil(t).phase), [
    "connecting", "listening", "listening", "thinking", "thinking",
    "speaking", "listening", "thinking", "speaking", "idle",
  ]);
});

test("partial words are shown while the caller speaks and go with the final ones", () => {
  assert.deepEqual(sessionUntil(1500).partial, { text: "why is the", stable: "why is" });
  assert.equal(sessionUntil(1500).callerSpeaks, true);
  assert.equal(sessionUntil(2310).partial.text, "");
});

test("the conversation keeps what was heard", () => {
  const { items } = sessionUntil(Infinity);
  assert.deepEqual(items.map(({ role, text, cut }) => [role, text, cut]), [
    ["user", "Why is the sky blue?", false],
    ["assistant", "Sunlight is scattered by the air, and blue light is scattered the most of all.", false],
    ["user", "And at dusk?", false],
    ["assistant", "Then it is red.", false],
    ["user", "Tell me more about it.", false],
    ["assistant", "There is a great", true],
  ]);
});

test("bars sum to what was measured in the page, for spoken and typed turns", () => {
  const { turns, roundTrip } = sessionUntil(Infinity);
  for (const [turn, total] of [[turns[0], 780], [turns[1], 360], [turns[2], 770]]) {
    const found = bars(turn, roundTrip);
    assert.deepEqual(found.map(({ stage }) => stage), [...STAGES]);
    close(turn.voiceToVoice, total);
    close(found.at(-1).end, total);
    found.slice(1).forEach((bar, n) => close(bar.start, found[n].end));
  }
});

test("the wait is the page's own, less the round trip", () => {
  const { turns } = sessionUntil(Infinity);
  close(bars(turns[0], 4)[0].end, 300); // 2304 - 2000 - 4
  close(bars(turns[1], 4)[0].end, 0);
});

test("work that ended before the wait was over is speculative, and lies where the page saw it", () => {
  const { turns } = sessionUntil(Infinity);
  const found = work(turns[0], bars(turns[0], 4));
  assert.deepEqual(found.map(({ stage, speculative }) => [stage, speculative]), [
    ["asr", true], ["prefill", true], ["denoise", false], ["tts", false],
  ]);
  close(found[0].start, 60 + (300 - 280));
  assert.deepEqual(work(turns[1], bars(turns[1], 4)), []);
});

test("typed turns are no voice to voice", () => {
  assert.deepEqual(voiceToVoices(sessionUntil(Infinity).turns).map(Math.round), [780, 770]);
});

test("a reply that was begun ahead of the end is timed by it all the same", () => {
  const session = new Session();
  const server = (t, event) => session.take({ t, from: "server", event });
  server(0, { type: "input_audio_buffer.speech_started", item_id: "a" });
  server(900, { type: "response.created", response: { id: "r" } });
  server(1000, { type: "input_audio_buffer.speech_stopped", item_id: "a" });
  session.take({ t: 1000, from: "page", event: { type: "page.speech.ended", item_id: "a", at: 700 } });
  assert.equal(session.turn.question.stoppedAt, 1000);
  assert.equal(session.turn.zero, 700);
});

test("percentiles are of values that were measured", () => {
  assert.equal(percentile([], 0.5), null);
  assert.equal(percentile([3, 1, 2], 0.5), 2);
  assert.equal(percentile([1, 2, 3, 4], 0.5), 2);
  assert.equal(percentile([1, 2, 3, 4], 0.95), 4);
});

test("positions become final once and say at which step", () => {
  const [turn] = sessionUntil(Infinity).turns;
  const last = cellsAfter(turn.steps, 8);
  assert.ok(last.every(({ masked, finalStep }) => !masked && finalStep >= 1 && finalStep <= 8));
  assert.equal(last.map(({ text }) => text).join(""), turn.words);
  const first = cellsAfter(turn.steps, 1);
  first.forEach(({ masked }, n) => assert.equal(!masked, last[n].finalStep === 1));
  assert.deepEqual(cellsAfter(turn.steps, 0), []);
});

test("the strip has a row a step and as many columns as the longest", () => {
  const step = (tokens, masked) => ({ tokens, masked, confidence: masked.map(() => 1) });
  const rows = strip([step(["a"], [false]), step(["a", ""], [false, true]), step(["a", " b"], [false, false])]);
  assert.deepEqual(rows.map((row) => row.map((cell) => cell && cell.finalStep)), [
    [1, null], [1, null], [1, 3],
  ]);
  assert.equal(rows[0][1], null);
  assert.equal(rows[1][1].masked, true);
});

test("end marks are no words", () => {
  const steps = [{ tokens: ["Hi", "<|im_end|>", "<eos>"], masked: [false, false, false], confidence: [1, 1, 1] }];
  assert.deepEqual(cellsAfter(steps, 1).map(({ text }) => text), ["Hi", "", ""]);
});

test("a step with a draft tells which words the model agreed with", () => {
  const step = (count, open, draft) => ({
    tokens: Array(count).fill("a"),
    masked: [...Array(count - open).fill(false), ...Array(open).fill(true)],
    confidence: Array(count).fill(1),
    draft,
  });
  const steps = [
    step(3, 0, { drafted: 5, accepted: 2, corrected: true, unverified: 0 }),
    step(4, 0, { drafted: 0, accepted: 0, corrected: false, unverified: 0 }),
    step(8, 1, { drafted: 3, accepted: 1, corrected: false, unverified: 1 }),
  ];
  assert.deepEqual(cellsAfter(steps, 3).map(({ origin }) => origin), [
    "accepted", "accepted", "corrected", null, "accepted", null, "unverified", null,
  ]);
  const plain = { tokens: ["a"], masked: [false], confidence: [1] };
  assert.deepEqual(cellsAfter([plain], 1).map(({ origin }) => origin), [null]);
});

test("the caret begins with the sound and ends with the words", () => {
  const session = sessionUntil(Infinity);
  const [turn] = session.turns;
  assert.equal(lettersSpoken(turn, 2700), 0);
  assert.equal(lettersSpoken(turn, 7000), turn.words.length);
  const cut = session.turns[2];
  assert.equal(lettersSpoken(cut, 99_000), lettersSpoken(cut, 14_800)); // silenced: it stops
});

test("the caret follows the words where the server tells their places", () => {
  const session = sessionUntil(2760);
  const [turn] = session.turns;
  const words = [{ end_ms: 200, characters: 4 }, { end_ms: 1000, characters: 8 }];
  const event = { type: "onebreath.playback.words", response_id: turn.id, words };
  session.take({ t: 2760, from: "server", event });
  const caret = (played) => lettersSpoken(turn, turn.firstSoundAt + played);
  assert.deepEqual([-50, 0, 100, 200, 600, 1000, 5000].map(caret), [0, 0, 2, 4, 6, 8, 8]);
});

test("the caller ducks the agent, and then silences it", () => {
  assert.equal(sessionUntil(14_700).ducked, true);
  const session = sessionUntil(14_800);
  assert.equal(session.ducked, false);
  assert.equal(session.turns[2].silencedAt, 14_800);
  assert.equal(session.turns[2].status, "cancelled");
});

test("a server's fault is a problem, a mistake of the page only an event", () => {
  const session = new Session();
  const error = (type) => ({ t: 0, from: "server", event: { type: "error", error: { type, code: "x", message: "m" } } });
  session.take(error("invalid_request_error"));
  assert.equal(session.problem, null);
  session.take(error("server_error"));
  assert.deepEqual(session.problem, { code: "x", details: "m" });
});

test("unknown events change nothing", () => {
  const session = sessionUntil(7000);
  const before = JSON.stringify(session);
  session.take({ t: 1, from: "server", event: { type: "something.new" } });
  session.take({ t: 1, from: "server", event: { type: "onebreath.denoise.step", response_id: "?" } });
  assert.equal(JSON.stringify(session), before);
});

test("a recording comes back as it was written, without sound", () => {
  const recording = new Recording();
  const event = { type: "response.output_audio.delta", response_id: "r", delta: "AAAA" };
  recording.add({ t: 1.5, from: "server", event: withoutSound(event) });
  assert.deepEqual(parseRecording(recording.toText()), [
    { t: 1.5, from: "server", event: { type: "response.output_audio.delta", response_id: "r", bytes: 3 } },
  ]);
});

for (const text of ["", "\n", "hello", '{"t": 1}', '{"t": "1", "from": "page", "event": {"type": "x"}}', "[1]", "null"]) {
  test(`${JSON.stringify(text)} is no recording`, () => {
    assert.throws(() => parseRecording(text), (error) => error instanceof Problem && error.code === "bad_recording");
  });
}

test("a long session forgets its oldest entries and says how many", () => {
  const recording = new Recording();
  for (let n = 0; n < 20_003; n++) recording.add({ t: n, from: "page", event: { type: "x" } });
  assert.deepEqual([recording.entries.length, recording.dropped, recording.entries[0].t], [20_000, 3, 3]);
});

test("words filter, a minus leaves out, sound only on request", () => {
  const types = ["response.created", "response.output_audio.delta", "onebreath.denoise.step"];
  const shown = (text) => types.filter((type) => matcher(text)({ event: { type } }));
  assert.deepEqual(shown(""), ["response.created", "onebreath.denoise.step"]);
  assert.deepEqual(shown("RESPONSE"), ["response.created"]);
  assert.deepEqual(shown("-denoise"), ["response.created"]);
  assert.deepEqual(shown("audio"), ["response.output_audio.delta"]);
  assert.deepEqual(shown("-"), ["response.created", "onebreath.denoise.step"]);
});

test("the fastest ping tells the offset", () => {
  const clock = new ServerClock();
  assert.equal(clock.best, null);
  clock.observe(0, 1050, 100); // 50 ms each way
  clock.observe(200, 1203, 206); // 3 ms each way
  assert.deepEqual(clock.best, { roundTrip: 6, offset: 1000 });
});

test("late reports do not move the sound's clock", () => {
  const clock = new SoundClock();
  clock.observe(1, 5000);
  clock.observe(1.02, 5090);
  close(clock.toPage(2), 6000);
  close(clock.toSound(6000), 2);
});

test("every problem has a title and a next step, known or not", () => {
  for (const code of ["microphone_denied", "server_full", "never heard of"]) {
    const { title, next } = advice(code);
    assert.ok(title.endsWith(".") && next.length > 5);
  }
});

test("the decisions are those on the last turn, each question once", () => {
  const session = new Session();
  const decide = (item_id, name, label) => {
    const decisions = [{ name, label, probability: 0.9, by: "head" }];
    session.take({ t: 0, from: "server", event: { type: "onebreath.decision", item_id, decisions, tags: [], effects: [] } });
  };
  decide("item_1", "human", "no");
  decide("item_1", "mood", "good");
  decide("item_1", "human", "yes");
  assert.deepEqual(session.decisions.answers.map(({ name, label }) => [name, label]), [["mood", "good"], ["human", "yes"]]);
  decide("item_2", "human", "no");
  assert.deepEqual(session.decisions.answers.map(({ name, label }) => [name, label]), [["human", "no"]]);
});
