// @ts-check
/** Finds a way to the server: WebRTC, or the websocket where media cannot pass. */

import { Problem } from "../problems.js";
import { WebrtcTransport } from "./webrtc.js";
import { WebsocketTransport } from "./websocket.js";

/**
 * @param {import("../sound/audio_engine.js").AudioEngine} audio
 * @param {Listener} listener
 * @param {"auto" | "webrtc" | "websocket"} wanted
 * @param {string} [server] its origin; the page's where none is given
 * @returns {Promise<Transport>} connected
 */
export async function dial(audio, listener, wanted, server = "") {
  if (wanted !== "websocket") {
    const webrtc = new WebrtcTransport(audio, listener, server);
    try {
      await webrtc.open();
      await webrtc.microphoneChanged(); // another may have been taken meanwhile
      return webrtc;
    } catch (error) {
      webrtc.hangUp();
      if (wanted === "webrtc" || !isWorthAnother(error)) throw error;
      listener.fellBack(error instanceof Error ? error.message : String(error));
    }
  }
  const websocket = new WebsocketTransport(audio, listener, server);
  try {
    await websocket.open();
  } catch (error) {
    websocket.hangUp(); // the call may have been ended meanwhile, and its sound closed
    throw error;
  }
  return websocket;
}

/** A busy or absent server is so on every way. @param {unknown} error */
function isWorthAnother(error) {
  return !(error instanceof Problem) || error.code === "no_path";
}
