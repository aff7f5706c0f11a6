// @ts-check
/** One call from the page: what the buttons do, what is measured, what is written down. */

import { ServerClock, now } from "./clock.js";
import { DeviceWatch } from "./device_watch.js";
import { HoldToTalk } from "./hold.js";
import { asked, remembered } from "./opening.js";
import { Measurements } from "./measurements.js";
import { Pulse } from "./pulse.js";
import { Problem } from "./problems.js";
import { NoTransport, Reconnection, isLoss } from "./reconnection.js";
import { Recording, withoutSound } from "./recording.js";
import { Session } from "./session.js";
import { AudioEngine } from "./sound/audio_engine.js";
import { cue } from "./sound/cue.js";
import { dial } from "./transports/dial.js";

/**
 * @typedef {object} CallOptions
 * @property {"auto" | "webrtc" | "websocket"} transport
 * @property {string} deviceId microphone
 * @property {string} [speakerId]
 * @property {number} [volume] from 0 to 1
 * @property {import("./opening.js").Wishes} [agent]
 */

export class Call {
  /**
   * @param {() => void} changed called after every entry
   * @param {string} [server] origin of the server; the page's where none is given
   */
  constructor(changed, server = "") {
    this.changed = changed;
    this.server = server;
    this.session = new Session();
    this.recording = new Recording();
    this.began = now();
    this.clock = new ServerClock();
    /** @type {AudioEngine | null} */
    this.audio = null;
    /** @type {Transport | null} */
    this.transport = null;
    this.pulse = new Pulse(server, (ping) => this.transport?.send(ping), () => this.time);
    this.hold = new HoldToTalk(this, (event) => this.#send(event), (event) => this.#note(event));
    this.measured = new Measurements(this, (event) => this.#send(event), (event) => this.#note(event));
    this.reconnection = new Reconnection();
    this.devices = new DeviceWatch(this, (event) => this.#note(event));
    this.wanted = /** @type {CallOptions["transport"]} */ ("auto");
    /** @type {{speakerId?: string, volume?: number}} */
    this.output = {};
    /** Grows with every beginning and end: what an earlier one still waits for is not wanted. */
    this.attempt = 0;
  }

  /** Page time on the session's clock. */
  get time() {
    return now() - this.began;
  }

  /**
   * Connect; must be called while a click is being handled. A call that had ended goes on with its
   * conversation.
   * @param {CallOptions} options
   * @param {{microphone: boolean}} [needs] without a microphone the caller types
   */
  async start(options, { microphone } = { microphone: true }) {
    if (!this.#isIdle()) return;
    const attempt = ++this.attempt;
    const unwanted = () => this.attempt !== attempt;
    const began = now();
    this.wanted = options.transport;
    this.#note({ type: "page.connecting" });
    /** @type {AudioEngine | null} */
    let audio = null;
    try {
      audio = await AudioEngine.open();
      if (unwanted()) return await audio.close(); // hung up before anybody had answered
      this.audio = audio;
      this.useSpeaker(options);
      if (microphone) await audio.microphone.open(options.deviceId);
      this.devices.start(audio, options.deviceId);
      const transport = await dial(audio, this.#listener(unwanted), options.transport, this.server);
      if (unwanted()) {
        transport.hangUp();
        return await audio.close();
      }
      this.transport = transport;
    } catch (error) {
      await audio?.close();
      if (unwanted()) return;
      await this.#end("failed");
      this.report(error instanceof Problem ? error : new Problem("no_sound", String(error)));
      return;
    }
    const ms = Math.round(now() - began);
    this.#note({ type: "page.connected", transport: this.transport.name, ms, microphone });
    audio.onAudible = (at) => this.measured.audible(at - this.began);
    this.#begin(options.agent);
  }

  /** @param {import("./opening.js").Wishes} [wishes] */
  #begin(wishes) {
    if (wishes) this.ask(wishes);
    for (const event of remembered(this.session.items)) this.#send(event);
    this.#goOn();
  }

  /** A connection is there. */
  #goOn() {
    this.clock = new ServerClock();
    // A server may be gone without a word, which WebRTC notices late.
    this.pulse.start(() => this.#lose("server_gone", ""));
    for (const text of this.reconnection.typed.splice(0)) this.say(text);
  }

  /** The connection is gone: another one is tried, where the session waits for one.
   * @param {string} code @param {string} reason */
  #lose(code, reason) {
    const { transport, audio, reconnection, attempt } = this;
    if (transport && audio && reconnection.token && isLoss(code)) {
      void this.#reconnect(transport, audio, () => this.attempt !== attempt);
      return;
    }
    transport?.hangUp();
    this.#fail(code, reason);
  }

  /** @param {string} code @param {string} reason */
  #fail(code, reason) {
    void this.#end(reason || code);
    this.#note({ type: "page.problem", code, details: reason });
  }

  /** @param {Transport} lost @param {AudioEngine} audio @param {() => boolean} unwanted */
  async #reconnect(lost, audio, unwanted) {
    const began = now();
    this.pulse.stop();
    lost.drop();
    this.transport = new NoTransport(lost);
    this.#note({ type: "page.reconnecting" });
    cue(audio.context, "lost");
    const about = { lost, wanted: this.wanted, server: this.server, played: await this.measured.played() };
    const found = await this.reconnection.run(audio, this.#listener(unwanted), about, unwanted);
    if (found instanceof Problem) return unwanted() || this.#fail(found.code, "");
    if (unwanted()) return found.hangUp();
    this.transport = found;
    if (this.audio && this.audio !== audio) found.use(this.audio); // rebuilt meanwhile
    this.#note({ type: "page.reconnected", transport: found.name, ms: Math.round(now() - began) });
    cue((this.audio ?? audio).context, "back");
    this.#goOn();
  }

  /** Tell the server what is wanted of the agent. @param {import("./opening.js").Wishes} wishes */
  ask(wishes) {
    const event = asked(wishes);
    if (event) this.#send(event);
  }

  /** Volume, and the speaker; the system's where none is named.
   * @param {{speakerId?: string, volume?: number}} options */
  useSpeaker(options) {
    this.output = options;
    const { speakerId = "", volume = 1 } = options;
    this.audio?.speaker.setVolume(volume);
    void this.audio?.speaker.useDevice(speakerId);
  }

  /** Ends the call at once, what is left of it a little later. */
  async hangUp() {
    await this.#end("hung up");
  }

  /** @param {string} text */
  say(text) {
    if (this.reconnection.running) {
      this.reconnection.typed.push(text);
      return;
    }
    if (this.session.running) this.interrupt();
    const content = [{ type: "input_text", text }];
    this.#send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    this.#send({ type: "response.create" });
  }

  /** Silence at once; the server keeps only what was heard. */
  interrupt() {
    const turn = this.session.running;
    if (!turn) return;
    this.#send({ type: "response.cancel", response_id: turn.id });
    this.measured.silence(turn.id);
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.audio?.microphone.mute(muted);
    this.#note({ type: "page.muted", muted });
  }

  /** @param {string} deviceId */
  async useMicrophone(deviceId) {
    await this.devices.use(deviceId);
  }

  /** @param {Problem} problem */
  report({ code, details }) {
    this.#note({ type: "page.problem", code, details });
  }

  dismissProblem() {
    this.#note({ type: "page.problem.dismissed" });
  }

  #isIdle() {
    return this.session.phase === "idle";
  }

  /** @param {() => boolean} unwanted @returns {Listener} */
  #listener(unwanted) {
    return {
      event: (event) => unwanted() || this.#receive(event),
      problem: (code) => unwanted() || this.#note({ type: "page.problem", code, details: "" }),
      fellBack: (why) => unwanted() || this.#note({ type: "page.fell_back", to: "websocket", why }),
      closed: (code, reason) => {
        if (!unwanted()) this.#lose(code, reason);
      },
    };
  }

  /** @param {WireEvent} event */
  #receive(event) {
    this.pulse.heard();
    if (event.type === "onebreath.pong") {
      this.measured.pong(event);
      return;
    }
    if (event.type === "onebreath.session.resumable") {
      this.reconnection.take(event); // a secret: it is neither shown nor recorded
      return;
    }
    this.#take("server", event);
    this.#act(event);
  }

  /** What an event asks of the page besides being shown. @param {WireEvent} event */
  #act(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_stopped":
      case "input_audio_buffer.committed":
        this.measured.speechEnd(event.item_id);
        break;
      case "onebreath.playback.stop":
        this.measured.silence(event.response_id);
        break;
      case "onebreath.playback.duck":
        this.audio?.speaker.duck(event.gain_db);
        break;
      case "onebreath.playback.resume":
      case "output_audio_buffer.started":
        this.audio?.speaker.restore();
        break;
      case "response.created":
        if (this.transport?.name === "websocket") this.audio?.speaker.restore();
        break;
    }
  }

  /** @param {WireEvent} event */
  #send(event) {
    this.#take("client", event);
    this.transport?.send(event);
  }

  /** @param {WireEvent} event */
  #note(event) {
    this.#take("page", event);
  }

  /** @param {Entry["from"]} from @param {WireEvent} event */
  #take(from, event) {
    const entry = { t: Math.round(this.time * 10) / 10, from, event: withoutSound(event) };
    this.session.take(entry);
    this.recording.add(entry);
    this.changed();
  }

  /** @param {string} reason */
  async #end(reason) {
    this.attempt++;
    this.pulse.stop();
    this.reconnection.forget();
    this.devices.stop();
    const { transport, audio } = this;
    this.transport = null;
    this.audio = null;
    transport?.hangUp();
    if (!this.#isIdle()) this.#note({ type: "page.ended", reason });
    await audio?.close();
  }
}
