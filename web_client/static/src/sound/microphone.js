// @ts-check
/** The caller's microphone: choosing one, muting it, and its frames for the websocket. */

import { Problem } from "../problems.js";

/** Chromium and Firefox name the reasons so; see MediaDevices.getUserMedia. */
const REASONS = new Map([
  ["NotAllowedError", "microphone_denied"],
  ["SecurityError", "microphone_denied"],
  ["NotFoundError", "microphone_missing"],
  ["OverconstrainedError", "microphone_missing"],
  ["NotReadableError", "microphone_busy"],
  ["AbortError", "microphone_busy"],
]);

export class Microphone {
  /**
   * @param {AudioContext} context
   * @param {AudioNode} tap hears what the microphone hears
   */
  constructor(context, tap) {
    this.context = context;
    this.tap = tap;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    this.source = null;
    /** @type {AudioWorkletNode | null} */
    this.capture = null;
    this.muted = false;
    /** Told when the microphone in use was unplugged. */
    this.onLost = () => {};
  }

  /** @returns {MediaStreamTrack | null} */
  get track() {
    return this.stream?.getAudioTracks()[0] ?? null;
  }

  /**
   * Ask for a microphone; replaces the one in use.
   * @param {string} [deviceId]
   */
  async open(deviceId) {
    if (!navigator.mediaDevices) throw new Problem("insecure_origin");
    const audio = {
      channelCount: 1,
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      ...(deviceId && { deviceId: { exact: deviceId } }),
    };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      throw new Problem(REASONS.get(name) ?? "microphone_busy", String(error));
    }
    this.close();
    this.#take(stream);
  }

  /** Go on with the stream of another one, which lets go of it. @param {Microphone} other */
  adopt(other) {
    const { stream } = other;
    this.muted = other.muted;
    Object.assign(other, { stream: null, onLost: () => {} });
    if (stream) this.#take(stream);
  }

  /** @param {MediaStream} stream */
  #take(stream) {
    this.stream = stream;
    this.track?.addEventListener("ended", () => this.onLost()); // not at our own stop()
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.tap);
    if (this.capture) this.source.connect(this.capture);
    this.mute(this.muted);
  }

  /** A muted microphone goes on sending, silence: the server's clock is received sound.
   * @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    if (this.track) this.track.enabled = !muted;
  }

  /**
   * Frames of 20 ms, 16 bit at 24 kHz, until the microphone is closed.
   * @param {(frame: ArrayBuffer) => void} take
   */
  frames(take) {
    if (!this.context.audioWorklet) return; // then there is no microphone either
    this.capture ??= new AudioWorkletNode(this.context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit",
      numberOfOutputs: 0,
    });
    this.capture.port.onmessage = ({ data }) => take(data);
    this.source?.connect(this.capture);
  }

  close() {
    this.source?.disconnect();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
  }
}

/**
 * Devices that can be chosen. Their names are known once a microphone was allowed.
 * @param {"audioinput" | "audiooutput"} kind
 */
export async function devices(kind) {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return found.filter((device) => device.kind === kind && device.deviceId);
}
