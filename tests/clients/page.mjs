// What the pages share.

/** Fail unless something holds. */
export function assert(holds, message) {
  if (!holds) throw new Error(message);
}

/** A client secret from the app's own server. */
export async function secret(session = { type: "realtime" }) {
  const answer = await fetch("/token", { method: "POST", body: JSON.stringify(session) });
  return (await answer.json()).value;
}

/** A microphone that is muted, for what is typed. */
export async function muted() {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  microphone.getTracks()[0].enabled = false;
  return microphone;
}

/** Events as they come, and a wait for the next of a type. */
export class Events {
  seen = [];
  #read = 0;
  #wake = () => {};

  push(event) {
    this.seen.push(event);
    this.#wake();
  }

  async until(type) {
    for (;;) {
      while (this.#read < this.seen.length) {
        const event = this.seen[this.#read];
        this.#read += 1;
        if (event.type === "error") throw new Error(JSON.stringify(event.error));
        if (event.type === type) return event;
      }
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The words of a response; nothing where it only calls functions, or was cut. */
export function words({ response }) {
  const part = response.output[0]?.content?.[0];
  return response.status === "completed" ? (part?.transcript ?? part?.text) : undefined;
}

/** Wait for a response of these words; others may come before it. */
export async function untilSaid(events, expected) {
  while (words(await events.until("response.done")) !== expected);
}

/** Wait until something is heard on the track that the agent speaks on. */
export async function heard(peer) {
  for (;;) {
    const reports = [...(await peer.getStats()).values()];
    const incoming = reports.find((report) => report.type === "inbound-rtp");
    if (incoming?.totalAudioEnergy > 1e-4) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}
