// @ts-check
/** Turns that end by a key or a button that is let go, not by a pause. */

const RELEASE_MS = 200; // people let go of a key a little before their last sound

export class HoldToTalk {
  /**
   * @param {import("./call.js").Call} call
   * @param {(event: WireEvent) => void} send to the server
   * @param {(event: WireEvent) => void} note in the session
   */
  constructor(call, send, note) {
    this.call = call;
    this.send = send;
    this.note = note;
    /** The detection that held before. @type {WireEvent | undefined} */
    this.detection = undefined;
  }

  /** @param {boolean} mode whether turns end by a key */
  use(mode) {
    const { session, audio } = this.call;
    if (!mode) this.send({ type: "input_audio_buffer.clear" });
    const turn_detection = mode ? null : (this.detection ?? { type: "server_vad" });
    if (mode) this.detection = session.facts?.audio?.input?.turn_detection;
    const changed = { type: "realtime", audio: { input: { turn_detection } } };
    this.send({ type: "session.update", session: changed });
    audio?.microphone.mute(mode || session.muted);
    this.note({ type: "page.hold", mode, holding: false });
  }

  /** The key goes down: listen, and to nothing that came before. */
  press() {
    const { session, transport, audio } = this.call;
    if (session.phase === "connecting" || session.holding || !transport || !session.microphone) return;
    if (!session.holdToTalk) this.use(true);
    this.call.interrupt();
    this.send({ type: "input_audio_buffer.clear" });
    audio?.microphone.mute(false);
    this.note({ type: "page.hold", mode: true, holding: true });
  }

  /** The key goes up: the turn is over, unless it was touched in passing only.
   * @param {boolean} meant */
  release(meant) {
    const { session } = this.call;
    if (!session.holding) return;
    this.note({ type: "page.hold", mode: true, holding: false });
    setTimeout(() => {
      const { transport, audio } = this.call;
      if (!transport || session.holding) return;
      audio?.microphone.mute(true);
      if (!meant) return;
      this.send({ type: "input_audio_buffer.commit" });
      this.send({ type: "response.create" });
    }, RELEASE_MS);
  }
}
