// @ts-check
/** One call from the page: what the buttons do, what is measured, what is written down. */

import { ServerClock, now } from "./clock.js";
import { HoldToTalk } from "./hold.js";
import { asked, remembered } from "./opening.js";
import { Pulse } from "./pulse.js";
import { Problem } from "./problems.js";
import { Recording, withoutSound } from "./recording.js";
import { Session } from "./session.js";
import { AudioEngine } from "./sound/audio_engine.js";
import { dial } from "./transports/dial.js";

const SPEECH_WITHIN_MS = 5000; // how long before its endpoint a turn's last sound may lie

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
    this.#note({ type: "page.connecting" });
    /** @type {AudioEngine | null} */
    let audio = null;
    try {
      audio = await AudioEngine.open();
      if (unwanted()) return await audio.close(); // hung up before anybody had answered
      this.audio = audio;
      this.useSpeaker(options);
      if (microphone) await audio.microphone.open(options.deviceId);
      audio.microphone.onLost = () => this.report(new Problem("microphone_lost"));
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
    audio.onAudible = (at) => this.#audible(at - this.began);
    this.#begin(options.agent);
  }

  /** @param {import("./opening.js").Wishes} [wishes] */
  #begin(wishes) {
    if (wishes) this.ask(wishes);
    for (const event of remembered(this.session.items)) this.#send(event);
    this.clock = new ServerClock();
    this.pulse.start(() => this.#lose());
  }

  /** The server is gone without a word, which WebRTC notices late. */
  #lose() {
    const { transport } = this;
    transport?.hangUp();
    void this.#end("server_gone");
    this.#note({ type: "page.problem", code: "server_gone", details: "" });
  }

  /** Tell the server what is wanted of the agent. @param {import("./opening.js").Wishes} wishes */
  ask(wishes) {
    const event = asked(wishes);
    if (event) this.#send(event);
  }

  /** Volume, and the speaker; the system's where none is named.
   * @param {{speakerId?: string, volume?: number}} options */
  useSpeaker({ speakerId = "", volume = 1 }) {
    this.audio?.speaker.setVolume(volume);
    void this.audio?.speaker.useDevice(speakerId);
  }

  /** Ends the call at once, what is left of it a little later. */
  async hangUp() {
    await this.#end("hung up");
  }

  /** @param {string} text */
  say(text) {
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
    this.#silence(turn.id);
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.audio?.microphone.mute(muted);
    this.#note({ type: "page.muted", muted });
  }

  /** @param {string} deviceId */
  async useMicrophone(deviceId) {
    try {
      await this.audio?.microphone.open(deviceId);
      await this.transport?.microphoneChanged();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.report(error);
    }
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
        if (unwanted()) return;
        void this.#end(reason || code);
        this.#note({ type: "page.problem", code, details: reason });
      },
    };
  }

  /** @param {WireEvent} event */
  #receive(event) {
    this.pulse.heard();
    if (event.type === "onebreath.pong") {
      this.#pong(event);
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
        this.#measureSpeechEnd(event.item_id);
        break;
      case "onebreath.playback.stop":
        this.#silence(event.response_id);
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

  /** @param {string} itemId */
  #measureSpeechEnd(itemId) {
    const question = this.session.questionOf(itemId);
    if (question.speechEndAt !== null || question.stoppedAt === null) return;
    const end = this.audio?.speechEndBefore(question.stoppedAt + this.began, SPEECH_WITHIN_MS);
    if (typeof end === "number") {
      this.#note({ type: "page.speech.ended", item_id: itemId, at: end - this.began });
    }
  }

  /** @param {number} at */
  #audible(at) {
    const turn = this.session.running;
    if (!turn || turn.firstSoundAt !== null || at < turn.createdAt) return;
    this.#note({ type: "page.sound.first", response_id: turn.id, at });
  }

  /** @param {string} id */
  #silence(id) {
    const turn = this.session.turnOf(id);
    const speaker = this.audio?.speaker;
    if (!turn || !speaker || speaker.silenced.has(id)) return;
    const estimate = turn.playedBy(this.time);
    this.#note({ type: "page.silenced", response_id: id });
    void speaker.silence(id).then((counted) => {
      const played = Math.round(counted ?? estimate);
      if (!turn.itemId || played <= 0) return;
      this.#send({
        type: "conversation.item.truncate",
        item_id: turn.itemId,
        content_index: 0,
        audio_end_ms: played,
      });
    });
  }

  /** @param {WireEvent} pong */
  #pong({ client_time_ms, server_time_ms }) {
    this.clock.observe(client_time_ms, server_time_ms, this.time);
    const best = this.clock.best;
    if (!best || best.roundTrip === this.session.roundTrip) return;
    this.#note({
      type: "page.clock",
      round_trip_ms: best.roundTrip,
      server_offset_ms: best.offset,
    });
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
    const { transport, audio } = this;
    this.transport = null;
    this.audio = null;
    transport?.hangUp();
    if (!this.#isIdle()) this.#note({ type: "page.ended", reason });
    await audio?.close();
  }
}
