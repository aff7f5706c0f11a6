// @ts-check
/** The protocol over WebRTC: sound on tracks, events on the data channel `oai-events`. */

import { Problem } from "../problems.js";
import { bearer, clientSecret, refusalOf } from "./access.js";
import { isGreeting } from "./greeting.js";
import { Trickle } from "./trickle.js";

const GATHER_MS = 200; // what is found later follows the offer
const CONNECT_MS = 4000;
const LOST_MS = 2000; // how long a broken path may take to come back

/** @implements {Transport} */
export class WebrtcTransport {
  /** @type {"webrtc"} */
  name = "webrtc";

  /**
   * @param {import("../sound/audio_engine.js").AudioEngine} audio
   * @param {Listener} listener
   * @param {string} server its origin; empty: the page's
   * @param {string} [query] of the address, besides what every call asks for
   */
  constructor(audio, listener, server, query = "resumable=true") {
    this.server = server;
    this.query = query;
    this.audio = audio;
    this.listener = listener;
    /** @type {RTCPeerConnection | null} */
    this.peer = null;
    /** @type {RTCDataChannel | null} */
    this.channel = null;
    /** The agent's voice. @type {MediaStream | null} */
    this.voice = null;
    /** Where the call can be hung up. @type {string | null} */
    this.call = null;
    this.hungUp = false;
    /** Admits the call where the server needs a key. @type {string | null} */
    this.secret = null;
  }

  /** Connect and wait for the server's greeting. */
  async open() {
    // A person may have to type the key, which no deadline of the network is for.
    this.secret = await clientSecret(this.server).catch(() => null);
    const deadline = new Promise((_, reject) =>
      setTimeout(() => reject(new Problem("no_path", "no media path within 4 s")), CONNECT_MS),
    );
    try {
      await Promise.race([this.#connect(), deadline]);
    } catch (error) {
      // A session that waits goes on waiting.
      if (this.query.startsWith("resume=")) this.drop();
      else this.hangUp();
      throw error;
    }
  }

  /** @param {WireEvent} event */
  send(event) {
    if (this.channel?.readyState === "open") this.channel.send(JSON.stringify(event));
  }

  /** Another microphone was chosen. */
  async microphoneChanged() {
    const sender = this.peer?.getSenders()[0];
    await sender?.replaceTrack(this.audio.microphone.track);
  }

  /** @param {import("../sound/audio_engine.js").AudioEngine} audio */
  use(audio) {
    this.audio = audio;
    this.microphoneChanged().catch(() => {}); // the connection may be gone; another takes it then
    if (this.voice) audio.speaker.playStream(this.voice);
  }

  drop() {
    this.hungUp = true;
    this.peer?.close();
  }

  hangUp() {
    this.hungUp = true;
    // A beacon is sent even while the page is being left.
    if (this.call) navigator.sendBeacon(`${this.call}/hangup`);
    this.call = null;
    this.peer?.close();
  }

  async #connect() {
    const peer = new RTCPeerConnection(await iceSettings(this.server, this.secret));
    this.peer = peer;
    this.channel = peer.createDataChannel("oai-events");
    const greeted = this.#greeting(this.channel);
    const { stream, track } = this.audio.microphone;
    if (track && stream) peer.addTrack(track, stream);
    else peer.addTransceiver("audio", { direction: "recvonly" });
    peer.ontrack = ({ track: remote }) => {
      this.voice = new MediaStream([remote]);
      this.audio.speaker.playStream(this.voice);
    };
    const trickle = new Trickle(peer);
    await peer.setLocalDescription();
    await gathered(peer);
    const sdp = await this.#offer(trickle.offer());
    if (this.call) trickle.follow(this.call, this.secret);
    await peer.setRemoteDescription({ type: "answer", sdp });
    await greeted;
    peer.onconnectionstatechange = () => this.#watch(peer);
  }

  /** @param {string} offer */
  async #offer(offer) {
    let response;
    try {
      response = await fetch(`${this.server}/v1/realtime/calls?onebreath=1&${this.query}`, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", ...bearer(this.secret) },
        body: offer,
      });
    } catch (error) {
      throw new Problem("server_gone", String(error));
    }
    if (!response.ok) throw refusalOf(response, "no_path");
    const place = response.headers.get("Location");
    this.call = place && this.server + place;
    if (this.hungUp && !this.query.startsWith("resume=")) this.hangUp(); // the deadline passed meanwhile
    return response.text();
  }

  /** @param {RTCDataChannel} channel */
  #greeting(channel) {
    return new Promise((resolve) => {
      channel.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        this.listener.event(event);
        if (isGreeting(event, this.query)) resolve(event);
      };
      channel.onclose = () => this.#lost("call_ended");
    });
  }

  /** @param {RTCPeerConnection} peer */
  #watch(peer) {
    if (peer.connectionState === "failed") this.#lost("connection_lost");
    if (peer.connectionState !== "disconnected") return;
    setTimeout(() => {
      if (peer.connectionState === "disconnected") this.#lost("connection_lost");
    }, LOST_MS);
  }

  /** @param {string} code */
  #lost(code) {
    if (this.hungUp) return;
    this.listener.closed(code, "");
  }
}

/**
 * @param {string} server
 * @param {string | null} secret
 * @returns {Promise<RTCConfiguration>} what the server wants used: no STUN unless it says so
 */
async function iceSettings(server, secret) {
  const url = `${server}/v1/realtime/ice`;
  const response = await fetch(url, { headers: bearer(secret) }).catch((error) => {
    throw new Problem("server_gone", String(error));
  });
  if (!response.ok) throw refusalOf(response, "no_path");
  return response.json();
}

/** All candidates are known, or as many as came in time. @param {RTCPeerConnection} peer */
function gathered(peer) {
  return new Promise((resolve) => {
    const check = () => peer.iceGatheringState === "complete" && resolve(null);
    peer.addEventListener("icegatheringstatechange", check);
    setTimeout(resolve, GATHER_MS, null);
    check();
  });
}
