// @ts-check
/** The agent's voice in the page: sound from the websocket or a WebRTC track, ducked, silenced. */

import { PlainPlayer } from "./plain.js";

const SILENCE_SECONDS = 0.005;
const DUCK_SECONDS = 0.02;
const COUNT_MS = 300; // how long the player may take to tell what it has played

export class Speaker {
  /**
   * @param {AudioContext} context
   * @param {AudioNode} tap hears what leaves the page
   */
  constructor(context, tap) {
    this.context = context;
    this.gate = context.createGain();
    this.master = context.createGain();
    this.gate.connect(this.master);
    this.master.connect(context.destination);
    this.gate.connect(tap); // before the volume: a quiet reply is timed as a loud one
    /** @type {AudioWorkletNode | null} */
    this.player = null;
    this.plain = context.audioWorklet ? null : new PlainPlayer(context, this.gate);
    /** @type {HTMLAudioElement | null} */
    this.element = null;
    /** @type {AudioNode | null} */
    this.source = null;
    this.device = "";
    /** The reply whose sound came last over the websocket. */
    this.newest = "";
    /** A reply whose beginning another speaker has played. */
    this.begun = "";
    /** Replies whose sound is not wanted any more. @type {Set<string>} */
    this.silenced = new Set();
  }

  /** @param {number} volume from 0 to 1 */
  setVolume(volume) {
    this.master.gain.value = volume ** 2; // loudness as it is felt
  }

  /** Whether the browser lets a page choose its speaker. */
  static get canChoose() {
    return "setSinkId" in AudioContext.prototype;
  }

  /** @param {string} deviceId empty for the system's choice */
  async useDevice(deviceId) {
    if (!Speaker.canChoose || deviceId === this.device) return;
    this.device = deviceId;
    try {
      await /** @type {any} */ (this.context).setSinkId(deviceId);
    } catch {
      // it was unplugged: the system's choice goes on
    }
  }

  /**
   * Sound of the websocket.
   * @param {string} reply
   * @param {ArrayBuffer} pcm
   */
  play(reply, pcm) {
    if (this.silenced.has(reply)) return;
    this.newest = reply;
    if (this.plain) return this.plain.play(reply, pcm);
    if (!this.player) {
      this.player = new AudioWorkletNode(this.context, "playback", {
        numberOfInputs: 0,
        outputChannelCount: [1],
      });
      this.player.connect(this.gate);
    }
    this.player.port.postMessage({ kind: "sound", reply, pcm }, [pcm]);
  }

  /** @param {MediaStream} stream */
  playStream(stream) {
    this.close(); // the stream of a connection that was lost
    // Chromium gives WebAudio nothing of a remote stream that no media element plays.
    this.element = new Audio();
    this.element.muted = true;
    this.element.srcObject = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.gate);
  }

  /** Let go of the stream. */
  close() {
    this.source?.disconnect();
    if (this.element) this.element.srcObject = null;
    this.source = this.element = null;
  }

  /** Go on in the place of another one. @param {Speaker} other */
  adopt(other) {
    this.silenced = other.silenced;
    this.begun = other.newest;
  }

  /**
   * Silence at once, for the rest of this reply.
   * @param {string} reply
   * @returns {Promise<number | null>} milliseconds of it that were played, where they can be counted
   */
  async silence(reply) {
    if (this.silenced.has(reply)) return null;
    this.silenced.add(reply);
    if (this.plain?.playing.size) {
      const told = this.plain.stop();
      return told.reply === reply ? told.playedMs : 0;
    }
    if (!this.player) {
      this.#fade(0, SILENCE_SECONDS); // what the browser's jitter buffer holds still comes
      return null;
    }
    const { port } = this.player;
    const told = new Promise((resolve) => {
      port.onmessage = ({ data }) => resolve(data.reply === reply ? data.playedMs : 0);
      setTimeout(resolve, COUNT_MS, null); // that of a context which was closed never tells
    });
    port.postMessage({ kind: "stop" });
    if (reply === this.begun) return null; // only a part of it was counted here
    return /** @type {Promise<number | null>} */ (told);
  }

  /** Quieter, until it is known whether the caller interrupts. @param {number} gainDb */
  duck(gainDb) {
    this.#fade(10 ** (Math.min(0, gainDb) / 20), DUCK_SECONDS);
  }

  /** Full volume: sound that is wanted begins or goes on. */
  restore() {
    this.#fade(1, DUCK_SECONDS);
  }

  /**
   * @param {number} gain
   * @param {number} seconds
   */
  #fade(gain, seconds) {
    const { currentTime } = this.context;
    const { gain: parameter } = this.gate;
    parameter.cancelScheduledValues(currentTime);
    parameter.setValueAtTime(parameter.value, currentTime);
    parameter.linearRampToValueAtTime(gain, currentTime + seconds);
  }
}
