// @ts-check
/**
 * A lost connection: other ones are tried until the session goes on over one of them, or does not
 * wait any longer.
 */

import { now } from "./clock.js";
import { Problem } from "./problems.js";
import { WebrtcTransport } from "./transports/webrtc.js";
import { WebsocketTransport } from "./transports/websocket.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const SAME_WAY = 2; // tries over one transport before the other has its turn
const LOST = new Set(["connection_lost", "server_gone"]);
/** For so long a server may take a token for used whose connection was given up here. */
const IN_DOUBT_MS = 6000;
const BURST_MS = 500; // between two tries at least, however often the browser says that it is online
/** Refusals that stay the same however often one asks. */
const FINAL = new Set(["session_gone", "key_refused", "host_refused"]);

/** Whether a session may be gone on with after its connection ended so. @param {string} code */
export function isLoss(code) {
  return LOST.has(code);
}

/**
 * Whether a refusal ends all tries. A server does not know a token that it gave for a connection which
 * was given up here, until it has noticed that; then it takes the token once more.
 * @param {string} code
 * @param {number} ms since a try was given up
 */
export function isFinal(code, ms) {
  return FINAL.has(code) && !(code === "session_gone" && ms < IN_DOUBT_MS);
}

/**
 * Milliseconds before a try: at once at first, then longer and longer, never all clients at the
 * same moment.
 * @param {number} tries made so far
 * @param {() => number} [random] from 0 to 1
 */
export function pauseBefore(tries, random = Math.random) {
  if (tries === 0) return 250 * random();
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1)) * (0.5 + random() / 2);
}

/**
 * The transport of a try: the one that was lost, then the other, in turn.
 * @param {"webrtc" | "websocket"} lost
 * @param {"auto" | "webrtc" | "websocket"} wanted by the visitor
 * @param {number} tries made so far
 * @returns {"webrtc" | "websocket"}
 */
export function wayOf(lost, wanted, tries) {
  if (wanted !== "auto") return wanted;
  const other = lost === "webrtc" ? "websocket" : "webrtc";
  return Math.floor(tries / SAME_WAY) % 2 ? other : lost;
}

/** Takes the place of a transport while there is none. @implements {Transport} */
export class NoTransport {
  /** @param {Transport} lost */
  constructor(lost) {
    this.name = lost.name;
    this.lost = lost;
  }

  async open() {}

  send() {}

  async microphoneChanged() {}

  use() {}

  drop() {}

  /** The session is told not to wait, where it can be. */
  hangUp() {
    this.lost.hangUp();
  }
}

export class Reconnection {
  constructor() {
    /** The secret by which the session can be gone on with. @type {string | null} */
    this.token = null;
    /** How long it waits. */
    this.patienceMs = 0;
    this.running = false;
    this.wake = () => {};
    /** Words that were typed while there was no connection. @type {string[]} */
    this.typed = [];
  }

  /** @param {WireEvent} event `onebreath.session.resumable` */
  take({ token, resume_seconds }) {
    this.token = token;
    this.patienceMs = resume_seconds * 1000;
  }

  forget() {
    this.token = null;
    this.wake();
  }

  /**
   * @param {import("./sound/audio_engine.js").AudioEngine} audio
   * @param {Listener} listener
   * @param {{lost: Transport, wanted: "auto" | "webrtc" | "websocket", server: string, played: string}} about
   * @param {() => boolean} unwanted
   * @returns {Promise<Transport | Problem>} connected; or why the session is not gone on with
   */
  async run(audio, listener, { lost, wanted, server, played }, unwanted) {
    const until = now() + this.patienceMs;
    let why = new Problem("connection_lost");
    let unanswered = -Infinity; // when a try was last given up, of which the server may know
    this.running = true;
    let failed = 0; // since the network came, or the page was looked at
    let tried = -Infinity;
    const online = () => {
      failed = 0; // a network that has just come may need a second try
      if (now() - tried > BURST_MS) this.wake();
    };
    const seen = () => document.visibilityState === "visible" && online();
    addEventListener("online", online);
    document.addEventListener("visibilitychange", seen);
    try {
      for (let tries = 0; this.token && !unwanted(); tries++) {
        const pause = Math.max(pauseBefore(failed++), tried + BURST_MS - now());
        await this.#pause(Math.min(pause, Math.max(0, until - now())));
        if (now() >= until || !this.token || unwanted()) break;
        if (!navigator.onLine) {
          tries--; // the way was not to blame
          continue;
        }
        tried = now();
        const Way = wayOf(lost.name, wanted, tries) === "webrtc" ? WebrtcTransport : WebsocketTransport;
        const transport = new Way(audio, listener, server, `resume=${this.token}${played}`);
        try {
          await transport.open();
          await transport.microphoneChanged(); // another may have been taken meanwhile
          return transport;
        } catch (error) {
          transport.drop();
          const problem = error instanceof Problem ? error : new Problem("connection_lost");
          if (isFinal(problem.code, now() - unanswered)) return problem;
          if (!FINAL.has(problem.code)) unanswered = now();
          // Of the rest only a server that is full tells something about the end.
          why = problem.code === "server_full" ? problem : new Problem("connection_lost");
        }
      }
      return why;
    } finally {
      removeEventListener("online", online);
      document.removeEventListener("visibilitychange", seen);
      this.running = false;
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve(null);
      };
    });
  }
}
