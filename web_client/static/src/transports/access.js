// @ts-check
/** The key that the server may need: from the page's link or the person, kept for this tab only. */

import { Problem } from "../problems.js";

const STORED = "onebreath.key";

/** Where the secrets for a server come from, by its origin. @type {Map<string, () => string | Promise<string>>} */
const sources = new Map();

/**
 * Calls of this server are admitted by secrets of a source, and no key is asked for.
 * @param {string} server its origin; empty: the page's
 * @param {string | (() => string | Promise<string>)} secret one, or what makes a fresh one for a call
 */
export function admitBy(server, secret) {
  sources.set(server, typeof secret === "function" ? secret : () => secret);
}

/** The key in the link (`#key=...`) is taken out of the address bar and kept for this tab. */
function storedKey() {
  const linked = new URLSearchParams(location.hash.slice(1)).get("key");
  if (linked) {
    sessionStorage.setItem(STORED, linked);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(STORED);
}

/**
 * Ask the server for a secret of one minute, so that the key itself goes into no call.
 * @param {string} server its origin; empty: the page's
 * @returns {Promise<string | null>} the secret; null where the server needs no key
 */
export async function clientSecret(server) {
  const source = sources.get(server);
  if (source) return source();
  let key = storedKey();
  if (!key && (await fetch(`${server}/v1/realtime/ice`)).status !== 401) return null;
  for (;;) {
    key ||= prompt("This server needs an API key:")?.trim() ?? "";
    if (!key) return null; // the call itself says what is wrong
    const answer = await fetch(`${server}/v1/realtime/client_secrets`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: "{}",
    });
    if (answer.ok) {
      sessionStorage.setItem(STORED, key);
      return (await answer.json()).value;
    }
    if (answer.status !== 401) return null;
    sessionStorage.removeItem(STORED);
    key = "";
  }
}

/** What the server's refusals mean, by status. */
const REFUSALS = new Map([
  [401, "key_refused"],
  [403, "host_refused"],
  [404, "session_gone"],
  [429, "server_full"],
  [503, "server_full"],
]);

/**
 * The problem that an answer of the server tells of.
 * @param {Response} response
 * @param {string} otherwise code of the problem where the answer is no refusal that is known
 */
export function refusalOf({ status }, otherwise) {
  const code = REFUSALS.get(status);
  return code ? new Problem(code, code === "host_refused" ? location.host : "") : new Problem(otherwise, `HTTP ${status}`);
}

/**
 * The headers that carry a secret.
 * @param {string | null} secret
 * @returns {Record<string, string>}
 */
export function bearer(secret) {
  return secret ? { Authorization: `Bearer ${secret}` } : {};
}
