// @ts-check
/** What can go wrong, in words a caller understands, each with the next step. */

/**
 * @typedef {object} Advice
 * @property {string} title what happened
 * @property {string} next what to do about it
 * @property {boolean} [typing] whether the call can go on by typing
 */

/** @type {Record<string, Advice>} */
const ADVICE = {
  microphone_denied: {
    title: "The browser does not let this page use the microphone.",
    next: "Allow it in the address bar and start again, or go on by typing.",
    typing: true,
  },
  microphone_missing: {
    title: "No microphone was found.",
    next: "Plug one in and start again, or go on by typing.",
    typing: true,
  },
  microphone_busy: {
    title: "The microphone could not be opened.",
    next: "Close the program that uses it and start again, or go on by typing.",
    typing: true,
  },
  microphone_lost: {
    title: "The microphone was unplugged.",
    next: "Choose another one in the settings, or go on by typing.",
  },
  microphone_silent: {
    title: "The microphone gives no sound.",
    next: "Another app may use your microphone, or a switch on it is off. Close that app or choose another microphone; the call goes on.",
  },
  sound_stopped: {
    title: "The browser has stopped the sound.",
    next: "Another call or app may have taken it. Touch this page to go on; the call is kept.",
  },
  insecure_origin: {
    title: "This page cannot use the microphone, because it did not come by https.",
    next:
      "Type below: the agent answers aloud. To talk, start the server with “onebreath serve --self-signed” and open this " +
      "page by https, put an https proxy before it (docs/web_client.md has a recipe), or open http://localhost on the " +
      "server’s own machine.",
  },
  key_refused: {
    title: "The server did not admit this call.",
    next: "Its key is missing, wrong or has run out. Reload the page and give it again, or ask whoever runs the server.",
  },
  host_refused: {
    title: "The server does not take calls for this host name.",
    next: "Open the page by the server’s address, or name this host in server.allowed_hosts and start the server again.",
  },
  settings_refused: {
    title: "The server did not take the settings of the agent.",
    next: "Change them in the settings; the call goes on with the old ones.",
  },
  server_full: {
    title: "All lines are busy.",
    next: "Somebody has to hang up first. Try again in a minute.",
  },
  server_gone: {
    title: "The server does not answer.",
    next: "Check that “onebreath serve” is running, then call again. The conversation is kept.",
  },
  session_gone: {
    title: "The server has ended this session.",
    next: "Call again: the conversation is kept, and the new call goes on with it.",
  },
  connection_lost: {
    title: "The connection was lost.",
    next: "Check the network, then call again. The conversation goes on where it was.",
  },
  call_ended: {
    title: "The server ended the call.",
    next: "Start again when you are ready.",
  },
  network_slow: {
    title: "The network is slower than your voice.",
    next: "Some of what you said was left out. Say it again, or type it.",
  },
  asr_failed: {
    title: "The agent could not understand the sound.",
    next: "Say it again, or type it. The server’s log tells more.",
  },
  responder_failed: {
    title: "The agent could not answer.",
    next: "Say it again. The server’s log tells more.",
  },
  tts_failed: {
    title: "The agent lost its voice.",
    next: "Read its answer, or say it again. The server’s log tells more.",
  },
  bad_recording: {
    title: "This file is no recorded session.",
    next: "Choose a .jsonl file that was downloaded from this page.",
  },
  no_sound: {
    title: "The browser could not start its sound.",
    next: "Check that a speaker or headphones are connected, and use a current Chrome, Edge, Firefox or Safari.",
  },
};

export class Problem extends Error {
  /**
   * @param {string} code key of the advice
   * @param {string} [details] for those who look closer
   */
  constructor(code, details = "") {
    super(details || code);
    this.code = code;
    this.details = details;
  }
}

/**
 * @param {string} code
 * @param {string} [details]
 * @returns {Advice & {code: string, details: string}}
 */
export function advice(code, details = "") {
  const known = ADVICE[code] ?? { title: "Something went wrong.", next: "Start again." };
  return { ...known, code, details };
}
