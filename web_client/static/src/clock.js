// @ts-check
/** Three clocks made one: the page's, the sound hardware's, the server's. Milliseconds. */

/** The page's clock: milliseconds since it was opened. */
export const now = () => performance.now();

const RECENT = 200;

/** Turns places on the sound's clock into the page's. */
export class SoundClock {
  constructor() {
    /** @type {number[]} */
    this.offsets = [];
  }

  /**
   * A report about sound that ended at `soundSeconds` arrived at `pageMs`. Reports can be late,
   * never early, so the smallest difference is the true one.
   * @param {number} soundSeconds
   * @param {number} pageMs
   */
  observe(soundSeconds, pageMs) {
    this.offsets.push(pageMs - soundSeconds * 1000);
    if (this.offsets.length > RECENT) this.offsets.shift();
  }

  /** The sound stood still, while the page's time went on. */
  restart() {
    this.offsets = [];
  }

  /** @param {number} soundSeconds */
  toPage(soundSeconds) {
    return soundSeconds * 1000 + Math.min(...this.offsets);
  }

  /** @param {number} pageMs */
  toSound(pageMs) {
    return (pageMs - Math.min(...this.offsets)) / 1000;
  }
}

/** Offset and round trip to the server's clock, from pings; the fastest one counts. */
export class ServerClock {
  constructor() {
    /** @type {{roundTrip: number, offset: number}[]} */
    this.samples = [];
  }

  /**
   * @param {number} sent page time at which the ping left
   * @param {number} server time on the server's clock when it answered
   * @param {number} received page time at which the pong came
   */
  observe(sent, server, received) {
    const roundTrip = received - sent;
    this.samples.push({ roundTrip, offset: server - (sent + received) / 2 });
    if (this.samples.length > RECENT) this.samples.shift();
  }

  get best() {
    if (!this.samples.length) return null;
    return this.samples.reduce((a, b) => (b.roundTrip < a.roundTrip ? b : a));
  }
}
