// @ts-check
/** What the visitor chose, kept in the browser where it may be. */

const KEY = "onebreath";

/**
 * @typedef {object} Preferences
 * @property {"system" | "light" | "dark"} theme
 * @property {"auto" | "webrtc" | "websocket"} transport
 * @property {string} deviceId microphone; empty: the system's choice
 * @property {string} speakerId
 * @property {number} volume from 0 to 1
 * @property {boolean} announce whether screen readers read the agent's words
 * @property {boolean} keepSound whether the sound of calls is recorded in the page, for its file
 * @property {import("./opening.js").Wishes} agent
 */

/** @type {Preferences} */
export const preferences = {
  theme: "system",
  transport: "auto",
  deviceId: "",
  speakerId: "",
  volume: 1,
  announce: false,
  keepSound: false,
  agent: { instructions: "", eagerness: "", tools: "" },
};

/** @param {Partial<typeof preferences>} changes */
export function prefer(changes) {
  Object.assign(preferences, changes);
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // a private window may not keep anything; the choice then lasts as long as the page
  }
  applyTheme();
}

function load() {
  try {
    Object.assign(preferences, JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    // the same: nothing is kept, or not by us
  }
  const wanted = new URLSearchParams(location.search).get("transport");
  if (wanted === "webrtc" || wanted === "websocket") preferences.transport = wanted;
  applyTheme();
}

/** Whether the page is dark now. */
export function isDark() {
  if (preferences.theme !== "system") return preferences.theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
load(); // before any view is made
