// @ts-check
/**
 * The whole session as a function of its entries: what the page shows follows from what was
 * sent, received and measured, so a recorded session shows the same.
 */

import { addDecisions } from "./decided.js";
import { addItem, resumed } from "./items.js";
import { Question, Turn } from "./turn.js";

export { KEPT } from "./items.js";

/** @typedef {"idle" | "connecting" | "listening" | "thinking" | "speaking"} Phase */

/**
 * @typedef {object} Item a message of the conversation
 * @property {string} id
 * @property {"user" | "assistant"} role
 * @property {string} text
 * @property {boolean} finished
 * @property {boolean} cut the caller interrupted it
 */

const MAX_TURNS = 200;

/** Id of the event that tells the server what the visitor wants of the agent. */
export const WISHES = "page_wishes";

export class Session {
  constructor() {
    /** @type {Phase} */
    this.phase = "idle";
    /** @type {"webrtc" | "websocket" | "replay" | null} */
    this.transport = null;
    /** The server's `session` object. @type {WireEvent | null} */
    this.facts = null;
    /** Round trip of the fastest ping. @type {number | null} */
    this.roundTrip = null;
    this.callerSpeaks = false;
    this.muted = false;
    this.holdToTalk = false;
    this.holding = false;
    this.ducked = false;
    /** What is understood while the caller speaks. */
    this.partial = { text: "", stable: "" };
    /** @type {Item[]} */
    this.items = [];
    /** @type {Turn[]} */
    this.turns = [];
    /** @type {{code: string, details: string} | null} */
    this.problem = null;
    /** The decisions on the last turn.
     * @type {import("./decided.js").Decisions} */
    this.decisions = { itemId: null, answers: [], tags: [], effects: [] };
    this.question = new Question();
    this.turnCount = 0;
    /** Calls that the conversation went over. */
    this.calls = 0;
    /** Whether the call has a microphone; without one it is typed only. */
    this.microphone = true;
    /** Whether the connection was lost, and another one is tried. */
    this.reconnecting = false;
  }

  /** Another call begins, whose server counts its ids anew. */
  begin() {
    const mark = `call${this.calls++}.`;
    for (const item of this.items) Object.assign(item, { id: mark + item.id, finished: true });
    for (const turn of this.turns) {
      turn.id = mark + turn.id;
      if (turn.itemId) turn.itemId = mark + turn.itemId;
      if (turn.question.itemId) turn.question.itemId = mark + turn.question.itemId;
    }
    this.items = this.items.filter(({ text }) => text);
    this.question = new Question();
    Object.assign(this, { phase: "connecting", problem: null, transport: null, facts: null, roundTrip: null });
    Object.assign(this, { muted: false, holdToTalk: false, holding: false, ducked: false, callerSpeaks: false });
  }

  get turn() {
    return this.turns.at(-1) ?? null;
  }

  /** The reply that is being made or heard. */
  get running() {
    return this.turn?.status === "in_progress" ? this.turn : null;
  }

  /** @param {Entry} entry */
  take({ t, from, event }) {
    const handlers = from === "server" ? SERVER : from === "client" ? CLIENT : PAGE;
    handlers[event.type]?.(this, event, t);
  }

  /** @param {string} id */
  turnOf(id) {
    return this.turns.find((turn) => turn.id === id) ?? null;
  }

  /** What a turn's timing hangs on; its reply may have been begun ahead of its end.
   * @param {string} itemId */
  questionOf(itemId) {
    const question = this.turn?.question.itemId === itemId ? this.turn.question : this.question;
    question.itemId = itemId;
    return question;
  }

  /** @param {string | null} id */
  item(id) {
    return this.items.find((item) => item.id === id) ?? null;
  }
}

/** @typedef {(session: Session, event: WireEvent, t: number) => void} Handler */

const TRANSCRIPTION = "conversation.item.input_audio_transcription";

/** @type {Record<string, Handler>} */
const SERVER = {
  "session.created": (session, event) => {
    session.facts = event.session;
    if (event.resumed) resumed(session);
  },
  "session.updated": (session, event) => {
    session.facts = event.session;
  },
  "input_audio_buffer.speech_started": (session, event) => {
    session.callerSpeaks = true;
    session.partial = { text: "", stable: "" };
    session.question = new Question();
    session.question.itemId = event.item_id;
    if (!session.running) session.phase = "listening";
  },
  "input_audio_buffer.speech_stopped": (session, event, t) => {
    session.callerSpeaks = false;
    session.questionOf(event.item_id).stoppedAt = t;
    session.phase = "thinking";
  },
  "input_audio_buffer.committed": (session, event, t) => {
    session.callerSpeaks = false;
    session.questionOf(event.item_id).stoppedAt ??= t;
    session.phase = "thinking";
  },
  "input_audio_buffer.cleared": (session) => {
    session.callerSpeaks = false;
    session.partial = { text: "", stable: "" };
  },
  "onebreath.transcript.partial": (session, event) => {
    const stable = session.partial.stable + event.stable_delta;
    session.partial = { text: event.text, stable };
  },
  "conversation.item.added": (session, { item }) => addItem(session, item),
  [`${TRANSCRIPTION}.completed`]: (session, event) => {
    session.partial = { text: "", stable: "" };
    const item = session.item(event.item_id);
    if (item) Object.assign(item, { text: event.transcript, finished: true });
    if (!event.transcript && !session.running) session.phase = "listening";
  },
  "response.created": (session, { response }, t) => {
    session.turns.push(new Turn(response.id, ++session.turnCount, t, session.question));
    if (session.turns.length > MAX_TURNS) session.turns.shift();
    session.question = new Question();
    session.phase = "thinking";
  },
  "response.output_item.added": (session, event) => {
    const turn = session.turnOf(event.response_id);
    if (turn) turn.itemId = event.item.id;
  },
  "onebreath.denoise.step": (session, event, t) => {
    const { step, of, tokens, masked, confidence, ms, draft } = event;
    const told = { t, step, of, tokens, masked, confidence, ms };
    session.turnOf(event.response_id)?.steps.push(draft ? { ...told, draft } : told);
  },
  "response.output_audio_transcript.delta": (session, event) => {
    const turn = session.turnOf(event.response_id);
    if (!turn) return;
    turn.words += event.delta;
    const item = session.item(event.item_id);
    if (item) item.text = turn.words.trim();
  },
  "onebreath.playback.words": (session, event) => {
    session.turnOf(event.response_id)?.places.push(...event.words);
  },
  "onebreath.decision": (session, event) => addDecisions(session, event),
  "onebreath.turn.timings": (session, event, t) => {
    const turn = session.turnOf(event.response_id);
    if (turn) Object.assign(turn, { timings: event, timingsAt: t });
  },
  "onebreath.playback.stop": (session, event, t) => silenced(session, event.response_id, t),
  "onebreath.playback.duck": (session) => {
    session.ducked = true;
  },
  "onebreath.playback.resume": (session) => {
    session.ducked = false;
  },
  "response.done": (session, { response }, t) => {
    const turn = session.turnOf(response.id);
    if (!turn) return;
    const content = response.output[0]?.content[0];
    turn.status = response.status;
    turn.doneAt = t;
    turn.heard = content?.transcript ?? "";
    turn.stats = response.onebreath ?? {};
    session.ducked = false;
    session.phase = "listening";
    const item = session.item(turn.itemId);
    if (!item) return;
    Object.assign(item, { text: turn.heard, finished: true, cut: turn.status === "cancelled" });
  },
  "conversation.item.truncated": (session, event, t) => {
    const turn = session.turns.find(({ itemId }) => itemId === event.item_id);
    if (turn) silenced(session, turn.id, t);
  },
  error: (session, { error }) => {
    if (error.type === "server_error") session.problem = { code: error.code, details: error.message };
    else if (error.event_id === WISHES) session.problem = { code: "settings_refused", details: error.message };
  },
};

/** @type {Record<string, Handler>} */
const CLIENT = {
  "response.create": (session, _event, t) => {
    session.question.askedAt = t;
    if (!session.running) session.phase = "thinking";
  },
};

/** @type {Record<string, Handler>} */
const PAGE = {
  "page.connecting": (session) => session.begin(),
  "page.connected": (session, event) => {
    session.phase = "listening";
    session.transport = event.transport;
    session.microphone = event.microphone ?? true;
  },
  "page.reconnecting": (session) => {
    session.reconnecting = true;
    session.phase = "connecting";
  },
  "page.reconnected": (session, event) => {
    session.reconnecting = false;
    session.transport = event.transport;
    if (session.phase === "connecting") session.phase = "listening";
  },
  "page.ended": (session) => {
    session.phase = "idle";
    session.reconnecting = false;
    session.callerSpeaks = false;
    session.holding = false;
    session.partial = { text: "", stable: "" };
    session.muted = false;
    if (session.running) session.running.status = "cancelled";
  },
  "page.problem": (session, event) => {
    session.problem = { code: event.code, details: event.details };
  },
  "page.problem.dismissed": (session) => {
    session.problem = null;
  },
  "page.speech.ended": (session, event) => {
    session.questionOf(event.item_id).speechEndAt = event.at;
  },
  "page.sound.first": (session, event) => {
    const turn = session.turnOf(event.response_id);
    if (!turn) return;
    turn.firstSoundAt = event.at;
    if (turn === session.running) session.phase = "speaking";
  },
  "page.silenced": (session, event, t) => silenced(session, event.response_id, t),
  "page.clock": (session, event) => {
    session.roundTrip = event.round_trip_ms;
  },
  "page.muted": (session, event) => {
    session.muted = event.muted;
  },
  "page.hold": (session, event) => {
    session.holdToTalk = event.mode;
    session.holding = event.holding;
    session.callerSpeaks = event.holding;
  },
};

/**
 * @param {Session} session
 * @param {string} id
 * @param {number} t
 */
function silenced(session, id, t) {
  const turn = session.turnOf(id);
  if (turn) turn.silencedAt ??= t;
}
