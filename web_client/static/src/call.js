// @ts-check
/** One call from the page: what the buttons do, what is measured, what is written down. */

import { ServerClock, now } from "./clock.js";
import { Problem } from "./problems.js";
import { Recording, withoutSound } from "./recording.js";
import { Session } from "./session.js";
import { AudioEngine } from "./sound/audio_engine.js";
import { dial } from "./transports/dial.js";

const PING_MS = 1000;
const SPEECH_WITHIN_MS = 5000; // how long before its endpoint a turn's last sound may lie
const RELEASE_MS = 200; // people let go of a key a little before their last sound

/** @typedef {{transport: "auto" | "webrtc" | "websocket", deviceId: string}} CallOptions */

export class Call {
  /** @param {() => void} changed called after every entry */
  constructor(changed) {
    this.changed = changed;
    this.session = new Session();
    this.recording = new Recording();
    this.began = now();
    this.clock = new ServerClock();
    /** @type {AudioEngine | null} */
    this.audio = null;
    /** @type {Transport | null} */
    this.transport = null;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.pinging = undefined;
    this.pings = 0;
  }

  /** Page time on the session's clock. */
  get time() {
    return now() - this.began;
  }

  /**
   * Connect; must be called while a click is being handled.
   * @param {CallOptions} options
   * @param {{microphone: boolean}} [needs] without a microphone the caller types
   */
  async start({ transport, deviceId }, { microphone } = { microphone: true }) {
    if (!this.#isIdle()) return;
    const asked = now();
    this.#note({ type: "page.connecting" });
    try {
      this.audio = await AudioEngine.open();
      if (microphone) await this.audio.microphone.open(deviceId);
      this.audio.microphone.onLost = () => this.report(new Problem("microphone_lost"));
      this.transport = await dial(this.audio, this.#listener(), transport);
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem("no_sound", String(error));
      const ended = this.#isIdle();
      await this.#end("failed");
      if (!ended) this.report(problem);
      return;
    }
    if (this.#isIdle()) {
      await this.#end("hung up"); // before anybody had answered
      return;
    }
    const ms = Math.round(now() - asked);
    this.#note({ type: "page.connected", transport: this.transport.name, ms });
    this.audio.onAudible = (at) => this.#audible(at - this.began);
    this.pinging = setInterval(() => this.#ping(), PING_MS);
    this.#ping();
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

  /**
   * Whether turns end by a key instead of by a pause.
   * @param {boolean} mode
   */
  holdToTalk(mode) {
    if (!mode) this.#send({ type: "input_audio_buffer.clear" });
    const turn_detection = mode ? null : (this.detection ?? { type: "server_vad" });
    if (mode) this.detection = this.session.facts?.audio?.input?.turn_detection;
    const session = { type: "realtime", audio: { input: { turn_detection } } };
    this.#send({ type: "session.update", session });
    this.audio?.microphone.mute(mode || this.session.muted);
    this.#note({ type: "page.hold", mode, holding: false });
  }

  /** @type {WireEvent | undefined} the detection that held before hold-to-talk */
  detection = undefined;

  /** The key goes down: listen, and to nothing that came before. */
  press() {
    if (this.session.phase === "connecting" || this.session.holding || !this.transport) return;
    if (!this.session.holdToTalk) this.holdToTalk(true);
    this.interrupt();
    this.#send({ type: "input_audio_buffer.clear" });
    this.audio?.microphone.mute(false);
    this.#note({ type: "page.hold", mode: true, holding: true });
  }

  /** The key goes up: the turn is over, unless it was touched in passing only.
   * @param {boolean} meant */
  release(meant) {
    if (!this.session.holding) return;
    this.#note({ type: "page.hold", mode: true, holding: false });
    setTimeout(() => {
      if (!this.transport || this.session.holding) return;
      this.audio?.microphone.mute(true);
      if (!meant) return;
      this.#send({ type: "input_audio_buffer.commit" });
      this.#send({ type: "response.create" });
    }, RELEASE_MS);
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

  /** @returns {Listener} */
  #listener() {
    return {
      event: (event) => this.#receive(event),
      problem: (code) => this.#note({ type: "page.problem", code, details: "" }),
      fellBack: (why) => this.#note({ type: "page.fell_back", to: "websocket", why }),
      closed: (code, reason) => {
        void this.#end(reason || code);
        this.#note({ type: "page.problem", code, details: reason });
      },
    };
  }

  /** @param {WireEvent} event */
  #receive(event) {
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

  #ping() {
    this.transport?.send({ type: "onebreath.ping", client_time_ms: this.time });
    this.pings++;
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
    clearInterval(this.pinging);
    const { transport, audio } = this;
    this.transport = null;
    this.audio = null;
    transport?.hangUp();
    if (!this.#isIdle()) this.#note({ type: "page.ended", reason });
    await audio?.close();
  }
}
