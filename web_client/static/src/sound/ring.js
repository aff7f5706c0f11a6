// @ts-check
/** Sound that waits to be played, and a count of what was played of which reply. */

export class PlaybackRing {
  /** @param {number} capacity samples; more is dropped and counted */
  constructor(capacity) {
    this.samples = new Float32Array(capacity);
    this.readAt = 0;
    this.writeAt = 0;
    this.dropped = 0;
    /** @type {{at: number, reply: string}[]} where the sound of a reply begins */
    this.marks = [];
    /** The reply being played. @type {string | null} */
    this.reply = null;
    /** Samples of it that were played. */
    this.played = 0;
    /** Samples over which the end is faded; 0: it ends by itself. */
    this.fade = 0;
  }

  get waiting() {
    return this.writeAt - this.readAt;
  }

  /**
   * @param {string} reply
   * @param {Float32Array} sound
   */
  write(reply, sound) {
    if (this.fade) this.#clear(); // what is being faded out makes room
    const newest = this.marks.at(-1)?.reply ?? this.reply;
    if (newest !== reply) this.marks.push({ at: this.writeAt, reply });
    const room = this.samples.length - this.waiting;
    const taken = sound.length > room ? sound.subarray(0, room) : sound;
    this.dropped += sound.length - taken.length;
    for (const value of taken) this.samples[this.writeAt++ % this.samples.length] = value;
  }

  /**
   * Fill `out`; silence where nothing waits.
   * @param {Float32Array} out
   * @returns {number} samples that were sound
   */
  read(out) {
    const count = Math.min(out.length, this.waiting);
    for (let k = 0; k < count; k++) {
      if (this.marks.length && this.marks[0].at <= this.readAt) this.#nextReply();
      const gain = this.fade ? this.waiting / this.fade : 1;
      out[k] = this.samples[this.readAt++ % this.samples.length] * gain;
      this.played++;
    }
    out.fill(0, count);
    if (!this.waiting) this.fade = 0;
    return count;
  }

  /**
   * Drop all but the next `fade` samples, which fall to silence.
   * @param {number} fade
   */
  flush(fade) {
    this.fade = Math.min(fade, this.waiting);
    this.writeAt = this.readAt + this.fade;
    this.marks = this.marks.filter((mark) => mark.at < this.writeAt);
  }

  #clear() {
    this.writeAt = this.readAt;
    this.fade = 0;
    this.marks = [];
  }

  #nextReply() {
    this.reply = /** @type {{reply: string}} */ (this.marks.shift()).reply;
    this.played = 0;
  }
}
