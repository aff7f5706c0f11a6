// @ts-check
/** The package `onebreath-client`: a call from any page, without the views of this one. */

import { Call } from "./call.js";
import { advice } from "./problems.js";
import { admitBy } from "./transports/access.js";

/** @typedef {import("../../index.d.ts").Client} Client */

/** @implements {Client} */
export class OnebreathClient {
  /** @param {import("../../index.d.ts").ClientOptions} [options] */
  constructor({ server = "", secret, onChange = () => {}, ...options } = {}) {
    const origin = server.replace(/\/$/, "");
    this.options = options;
    this.call = new Call(() => onChange(this), origin);
    if (secret) admitBy(origin, secret);
  }

  /** @returns {import("../../index.d.ts").Phase} */
  get phase() {
    return this.call.session.phase;
  }

  get messages() {
    return this.call.session.items.map(({ role, text, cut }) => ({ role, text, interrupted: cut }));
  }

  get problem() {
    const { problem } = this.call.session;
    if (!problem) return null;
    const { code, title, next } = advice(problem.code, problem.details);
    return { code, title, next };
  }

  /** Voice to voice of the newest reply, in milliseconds. */
  get latency() {
    return this.call.session.turn?.voiceToVoice ?? null;
  }

  /** @param {{microphone?: boolean}} [needs] */
  async start({ microphone = true } = {}) {
    const { transport = "auto", microphoneId = "", volume = 1, agent } = this.options;
    const wishes = { instructions: "", eagerness: "", tools: "", ...agent };
    await this.call.start({ transport, deviceId: microphoneId, volume, agent: wishes }, { microphone });
  }

  /** @param {string} text */
  async say(text) {
    if (this.phase === "idle") await this.start({ microphone: false });
    if (this.call.transport) this.call.say(text);
  }

  interrupt() {
    this.call.interrupt();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.call.mute(muted);
  }

  async hangUp() {
    await this.call.hangUp();
  }
}
