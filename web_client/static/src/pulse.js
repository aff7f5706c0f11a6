// @ts-check
/** Whether the server still lives: pings, and a look at it when nothing comes back. */

import { now } from "./clock.js";

const PING_MS = 500;
const QUIET_MS = 1000; // without any event, although pings are answered
const LOOK_MS = 700;
const PATIENCE_MS = 5000; // of a server that neither answers nor refuses

export class Pulse {
  /**
   * @param {string} server its origin; empty: the page's
   * @param {(event: WireEvent) => void} send
   * @param {() => number} time of the session
   */
  constructor(server, send, time) {
    this.server = server;
    this.send = send;
    this.time = time;
    this.heardAt = 0;
    this.looking = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  /** @param {() => void} lost */
  start(lost) {
    this.stop();
    this.heardAt = now();
    this.timer = setInterval(() => this.#beat(lost), PING_MS);
    this.#ping();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Something came. */
  heard() {
    this.heardAt = now();
  }

  #ping() {
    this.send({ type: "onebreath.ping", client_time_ms: this.time() });
  }

  /** @param {() => void} lost */
  #beat(lost) {
    if (now() - this.heardAt > QUIET_MS) void this.#look(lost);
    this.#ping();
  }

  /** A server that is gone refuses connections; one that is busy is waited for.
   * @param {() => void} lost */
  async #look(lost) {
    if (this.looking) return;
    this.looking = true;
    const { timer, heardAt } = this;
    try {
      await fetch(`${this.server}/healthz`, { cache: "no-store", signal: AbortSignal.timeout(LOOK_MS) });
    } catch (error) {
      const refused = !(error instanceof DOMException && error.name === "TimeoutError");
      const silent = this.heardAt === heardAt && this.timer === timer && timer !== undefined;
      if (silent && (refused || now() - heardAt > PATIENCE_MS)) lost();
    } finally {
      this.looking = false;
    }
  }
}
