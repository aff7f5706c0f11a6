// @ts-check
/** Candidates that are found after the offer was sent: they follow it (RFC 8840, RFC 9725). */

import { bearer } from "./access.js";

const TYPE = "application/trickle-ice-sdpfrag";

/**
 * @param {string} sdp of the offer, for its credentials
 * @param {{candidate: string, sdpMid: string | null}[]} found
 * @param {boolean} complete whether no more follow
 */
export function fragmentOf(sdp, found, complete) {
  const lines = ["ice-ufrag", "ice-pwd"].map((name) => `a=${name}:${sdp.match(new RegExp(`^a=${name}:(.*?)\r?$`, "m"))?.[1]}`);
  for (const mid of new Set(found.map(({ sdpMid }) => sdpMid))) {
    const own = found.filter(({ sdpMid }) => sdpMid === mid);
    lines.push("m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${mid}`, ...own.map(({ candidate }) => `a=${candidate}`));
  }
  if (complete) lines.push("a=end-of-candidates");
  return lines.map((line) => `${line}\r\n`).join("");
}

/** Collects what is found too late for the offer, and sends it once the call has an address. */
export class Trickle {
  /** @param {RTCPeerConnection} peer */
  constructor(peer) {
    this.peer = peer;
    this.offered = false;
    this.complete = false;
    /** @type {RTCIceCandidate[]} */
    this.found = [];
    /** @type {string | null} */
    this.call = null;
    /** @type {string | null} */
    this.secret = null;
    peer.onicecandidate = ({ candidate }) => this.#take(candidate);
  }

  /** The offer as it is now; what is found later follows it. */
  offer() {
    this.offered = true;
    return this.peer.localDescription?.sdp ?? "";
  }

  /** @param {string} call its address @param {string | null} secret */
  follow(call, secret) {
    Object.assign(this, { call, secret });
    void this.#send();
  }

  /** @param {RTCIceCandidate | null} candidate null: there are no more */
  #take(candidate) {
    if (!this.offered) return;
    if (candidate?.candidate) this.found.push(candidate);
    if (!candidate) this.complete = true;
    void this.#send();
  }

  async #send() {
    if (!this.call || !(this.found.length || this.complete)) return;
    const body = fragmentOf(this.peer.localDescription?.sdp ?? "", this.found.splice(0), this.complete);
    this.complete = false;
    const headers = { "Content-Type": TYPE, ...bearer(this.secret) };
    // Without it the server still learns of the way by which the page reaches it.
    await fetch(this.call, { method: "PATCH", headers, body }).catch(() => {});
  }
}
