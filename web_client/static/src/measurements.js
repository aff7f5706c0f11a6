// @ts-check
/** What a call measures in the page: where speech ended, what was heard, how far the clocks are apart. */

const HEARD_LATE_MS = 2000; // how long after a reply's end its sound may come: buffers, a slow device
const SPEECH_WITHIN_MS = 5000; // how long before its endpoint a turn's last sound may lie

export class Measurements {
  /**
   * @param {import("./call.js").Call} call
   * @param {(event: WireEvent) => void} send
   * @param {(event: WireEvent) => void} note
   */
  constructor(call, send, note) {
    this.call = call;
    this.send = send;
    this.note = note;
  }

  /** @param {string} itemId */
  speechEnd(itemId) {
    const { session, audio, began } = this.call;
    const question = session.questionOf(itemId);
    if (question.speechEndAt !== null || question.stoppedAt === null) return;
    const end = audio?.speechEndBefore(question.stoppedAt + began, SPEECH_WITHIN_MS);
    if (typeof end === "number") this.note({ type: "page.speech.ended", item_id: itemId, at: end - began });
  }

  /** @param {number} at */
  audible(at) {
    const { turn } = this.call.session;
    if (!turn || turn.firstSoundAt !== null || at < turn.createdAt || !mayStillSound(turn, at)) return;
    this.note({ type: "page.sound.first", response_id: turn.id, at });
  }

  /** Silence, and the server told how much was heard. @param {string} id */
  silence(id) {
    const { session, audio, time } = this.call;
    const turn = session.turnOf(id);
    const speaker = audio?.speaker;
    if (!turn || !speaker || speaker.silenced.has(id)) return;
    const estimate = turn.playedBy(time);
    this.note({ type: "page.silenced", response_id: id });
    void speaker.silence(id).then((counted) => {
      const played = Math.round(counted ?? estimate);
      if (!turn.itemId || played <= 0) return;
      const heard = { item_id: turn.itemId, content_index: 0, audio_end_ms: played };
      this.send({ type: "conversation.item.truncate", ...heard });
    });
  }

  /**
   * How much of the running reply was heard, where that can be counted; it falls silent.
   * @returns {Promise<string>} for the address by which the session goes on
   */
  async played() {
    const turn = this.call.session.running;
    const counted = turn && (await this.call.audio?.speaker.silence(turn.id));
    return counted && turn.itemId ? `&item_id=${turn.itemId}&audio_end_ms=${Math.round(counted)}` : "";
  }

  /** @param {WireEvent} pong */
  pong({ client_time_ms, server_time_ms }) {
    const { clock, time, session } = this.call;
    clock.observe(client_time_ms, server_time_ms, time);
    const best = clock.best;
    if (!best || best.roundTrip === session.roundTrip) return;
    this.note({ type: "page.clock", round_trip_ms: best.roundTrip, server_offset_ms: best.offset });
  }
}

/**
 * Whether sound that is heard at `at` may be this reply's: that of a word or two comes after the event of its end.
 * @param {import("./turn.js").Turn} turn
 * @param {number} at
 */
function mayStillSound(turn, at) {
  if (turn.status === "in_progress") return true;
  return turn.status === "completed" && turn.silencedAt === null && turn.doneAt !== null && at < turn.doneAt + HEARD_LATE_MS;
}
