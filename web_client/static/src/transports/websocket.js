// @ts-check
/** The protocol over a websocket: events and sound as JSON. */

import { fromBase64, toBase64 } from "../base64.js";
import { now } from "../clock.js";
import { Problem } from "../problems.js";
import { Decoder, Encoder } from "../sound/g711.js";
import { bearer, clientSecret, refusalOf } from "./access.js";
import { isGreeting } from "./greeting.js";
import { LIGHT, LinkWatch } from "./link_watch.js";

const OPEN_MS = 5000;
const REFUSED = 1006; // all that a browser tells of a handshake that failed, whatever the reason
const CLOSED = new Map([
  [1013, "server_full"],
  [1000, "call_ended"],
  [1008, "call_ended"],
  [1012, "server_gone"],
]);

/** @implements {Transport} */
export class WebsocketTransport {
  /** @type {"websocket"} */
  name = "websocket";

  /**
   * @param {import("../sound/audio_engine.js").AudioEngine} audio
   * @param {Listener} listener
   * @param {string} server its origin; empty: the page's
   * @param {string} [query] of the address, besides what every call asks for
   */
  constructor(audio, listener, server, query = "resumable=true") {
    this.server = server;
    this.query = query;
    this.audio = audio;
    this.listener = listener;
    this.link = new LinkWatch(now());
    this.encoder = new Encoder();
    this.decoder = new Decoder();
    /** The format of the agent's sound. */
    this.hears = "";
    /** Whether sound is left out. */
    this.behind = false;
    this.hungUp = false;
    /** @type {WebSocket | null} */
    this.socket = null;
  }

  /** Connect and wait for the server's greeting. */
  async open() {
    const url = new URL(`/v1/realtime?onebreath=1&${this.query}`, this.server || location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const secret = await clientSecret(this.server).catch(() => null);
    const protocols = secret ? ["realtime", `openai-insecure-api-key.${secret}`] : ["realtime"];
    const socket = new WebSocket(url, protocols);
    this.socket = socket;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem("server_gone")), OPEN_MS);
      socket.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        if (event.type === "error") reject(new Problem(event.error.code, event.error.message));
        else this.#take(event);
        if (isGreeting(event, this.query)) resolve(clearTimeout(timer));
      };
      socket.onclose = ({ code }) => {
        clearTimeout(timer);
        if (code === REFUSED) resolve(refusal(url, secret).then((problem) => Promise.reject(problem)));
        else reject(new Problem(CLOSED.get(code) ?? "server_gone"));
      };
    }).catch((problem) => {
      if (this.query.startsWith("resume=")) this.drop();
      else this.hangUp();
      throw problem;
    });
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.use(this.audio);
  }

  /** @param {import("../sound/audio_engine.js").AudioEngine} audio */
  use(audio) {
    this.audio = audio;
    audio.microphone.frames((frame) => this.#speak(frame));
  }

  /** @param {WireEvent} event */
  send(event) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (event.type === "onebreath.ping") {
      this.link.pinged(now());
      // It confirms all that was sent before that pong; a server whose sound is late holds it back.
      if (this.link.newest !== null) event = { ...event, server_time_ms: this.link.newest };
    }
    this.socket.send(JSON.stringify(event));
  }

  /** The frames go on with the new one by themselves. */
  async microphoneChanged() {}

  /** Any other code than 1000 leaves the session waiting. */
  drop() {
    this.hungUp = true;
    this.socket?.close(4000);
  }

  hangUp() {
    this.hungUp = true;
    this.socket?.close(1000);
  }

  /** @param {WireEvent} event */
  #take(event) {
    switch (event.type) {
      case "response.output_audio.delta": {
        const sound = fromBase64(event.delta);
        const id = event.response_id;
        this.audio.speaker.play(id, this.hears === LIGHT ? this.decoder.push(id, sound) : sound);
        break;
      }
      case "session.created":
        this.link.follow(event.session?.audio?.input?.format?.type);
        this.hears = event.session?.audio?.output?.format?.type;
        break;
      case "session.updated": // of the sound that follows, in a running response too
        this.hears = event.session?.audio?.output?.format?.type;
        break;
      case "response.created":
        this.hears = event.response?.audio?.output?.format?.type;
        break;
      case "onebreath.pong":
        this.link.ponged(event.server_time_ms, now());
        this.#change(this.link.look(this.socket?.bufferedAmount ?? 0, now())); // without a microphone, too
        break;
      case "onebreath.notice":
        if (event.code === "network_slow") this.#change(this.link.late(now()));
    }
    this.listener.event(event);
  }

  /** @param {ArrayBuffer} frame */
  #speak(frame) {
    const { socket, link } = this;
    if (socket?.readyState !== WebSocket.OPEN) return;
    this.#change(link.look(socket.bufferedAmount, now()));
    const behind = link.isBehind(socket.bufferedAmount, now());
    if (behind && !this.behind) this.listener.problem("network_slow");
    this.behind = behind;
    if (behind) return;
    const sound = link.format === LIGHT ? this.encoder.push(frame) : frame;
    if (sound) this.send({ type: "input_audio_buffer.append", audio: toBase64(sound) });
  }

  /** Both directions in another format; what follows the event is in it. @param {string | null} format */
  #change(format) {
    if (!format) return;
    const rest = this.encoder.flush();
    if (rest) this.send({ type: "input_audio_buffer.append", audio: toBase64(rest) });
    const sound = { format: format === LIGHT ? { type: format } : { type: format, rate: 24_000 } };
    this.send({ type: "session.update", session: { type: "realtime", audio: { input: sound, output: sound } } });
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #closed(code, reason) {
    if (!this.hungUp) this.listener.closed(CLOSED.get(code) ?? "connection_lost", reason);
  }
}

/**
 * Why a handshake was refused: the server tells it at the same address without a websocket.
 * @param {URL} url of the websocket
 * @param {string | null} secret
 * @returns {Promise<Problem>}
 */
async function refusal(url, secret) {
  const address = new URL(url);
  address.protocol = url.protocol.replace("ws", "http");
  try {
    const signal = AbortSignal.timeout(OPEN_MS);
    const response = await fetch(address, { headers: bearer(secret), cache: "no-store", signal });
    // It would be taken: what stood in the way lies between here and there, or is over.
    return response.ok ? new Problem("connection_lost") : refusalOf(response, "server_gone");
  } catch (error) {
    return new Problem("server_gone", String(error));
  }
}
