/** When and over what a lost connection is tried again. */

import assert from "node:assert/strict";
import test from "node:test";
import { isFinal, isLoss, pauseBefore, wayOf } from "../../web_client/static/src/reconnection.js";
import { admitBy } from "../../web_client/static/src/transports/access.js";
import { WebsocketTransport } from "../../web_client/static/src/transports/websocket.js";

const most = (tries) => pauseBefore(tries, () => 1);
const least = (tries) => pauseBefore(tries, () => 0);

test("the first try comes at once, later ones later and later, up to 30 s", () => {
  assert.ok(most(0) <= 250);
  assert.deepEqual([1, 2, 3, 4].map(most), [500, 1000, 2000, 4000]);
  assert.equal(most(40), 30_000);
});

test("not all clients come at the same moment", () => {
  for (const tries of [1, 5, 40]) assert.equal(least(tries), most(tries) / 2);
});

test("after two failures the other transport has its turn", () => {
  const ways = (lost, wanted) => [0, 1, 2, 3, 4].map((tries) => wayOf(lost, wanted, tries));
  assert.deepEqual(ways("webrtc", "auto"), ["webrtc", "webrtc", "websocket", "websocket", "webrtc"]);
  assert.deepEqual(ways("websocket", "auto").slice(1, 3), ["websocket", "webrtc"]);
  assert.deepEqual(new Set(ways("webrtc", "websocket")), new Set(["websocket"]));
});

test("a call that was ended is not a connection that was lost", () => {
  assert.ok(isLoss("connection_lost") && isLoss("server_gone"));
  assert.ok(!isLoss("call_ended") && !isLoss("server_full"));
});

test("a session that is gone ends all tries, unless one was given up a moment ago", () => {
  assert.ok(isFinal("session_gone", Infinity) && isFinal("session_gone", 10_000));
  assert.ok(!isFinal("session_gone", 1000));
  assert.ok(isFinal("key_refused", 1000));
  assert.ok(!isFinal("server_gone", Infinity) && !isFinal("server_full", Infinity));
});

/** A websocket whose server sends what a test says. */
class ScriptedSocket {
  static OPEN = 1;
  static last = /** @type {ScriptedSocket | null} */ (null);

  constructor() {
    ScriptedSocket.last = this;
  }

  say(event) {
    this.onmessage({ data: JSON.stringify(event) });
  }

  close() {}
}

async function opening(query) {
  globalThis.WebSocket = ScriptedSocket;
  admitBy("http://server.test", "ek_secret");
  const told = [];
  const transport = new WebsocketTransport(
    { microphone: { frames() {} } },
    { event: ({ type }) => told.push(type) },
    "http://server.test",
    query,
  );
  const opened = transport.open();
  await new Promise(setImmediate);
  return { opened, told, socket: ScriptedSocket.last };
}

test("a connection that goes on with a session is open once the next token has come", async () => {
  const { opened, told, socket } = await opening("resume=rs_used");
  socket.say({ type: "session.created", resumed: true });
  const early = await Promise.race([opened.then(() => "open"), new Promise(setImmediate).then(() => "waits")]);
  assert.equal(early, "waits");
  socket.say({ type: "onebreath.session.resumable", token: "rs_next", resume_seconds: 30 });
  await opened;
  assert.deepEqual(told, ["session.created", "onebreath.session.resumable"]);
});

test("one that is lost before that is a try in vain: the used token is tried again", async () => {
  const { opened, socket } = await opening("resume=rs_used");
  socket.say({ type: "session.created", resumed: true });
  socket.onclose({ code: 1011 });
  const problem = await opened.catch((error) => error);
  assert.ok(!isFinal(problem.code, Infinity), problem.code);
});

test("a first connection is open with the first event", async () => {
  const { opened, socket } = await opening("resumable=true");
  socket.say({ type: "session.created" });
  await opened;
});
