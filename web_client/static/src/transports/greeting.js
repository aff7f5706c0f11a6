// @ts-check
/** The events by which a server greets a connection. */

/**
 * Whether a connection is greeted with this event. One that goes on with a session has used up its
 * token: until the next has come, a loss of it is a try in vain and no new loss.
 * @param {WireEvent} event
 * @param {string} query of the connection's address
 */
export function isGreeting(event, query) {
  return !query.startsWith("resume=") || event.type === "onebreath.session.resumable";
}
