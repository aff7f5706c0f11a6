/** Shapes that many modules share; only the type checker reads this file. */

/** An event of docs/protocol.md; what each type carries is told there. */
interface WireEvent {
  type: string;
  [field: string]: any;
}

/** One line of a recorded session. */
interface Entry {
  /** Milliseconds since the session began. */
  t: number;
  /** From the server, to the server, or noticed by the page itself. */
  from: "server" | "client" | "page";
  event: WireEvent;
}

/** What a transport tells. */
interface Listener {
  event(event: WireEvent): void;
  problem(code: string): void;
  /** WebRTC was given up for the websocket. */
  fellBack(why: string): void;
  closed(code: string, reason: string): void;
}

/** A way to the server. */
interface Transport {
  readonly name: "webrtc" | "websocket";
  open(): Promise<void>;
  send(event: WireEvent): void;
  microphoneChanged(): Promise<void>;
  /** Go on with the microphone and the speaker of other sound. */
  use(audio: import("./sound/audio_engine.js").AudioEngine): void;
  hangUp(): void;
  /** Let go of a connection without ending the session. */
  drop(): void;
}
