// A page without a package: RTCPeerConnection and the data channel, as the API's guide has them.

import { assert, Events, heard, muted, secret, untilSaid } from "./page.mjs";

const WEATHER = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function call(signal, steps, speaks = false) {
  const peer = new RTCPeerConnection();
  const audio = document.createElement("audio");
  audio.autoplay = true;
  peer.ontrack = (event) => {
    [audio.srcObject] = event.streams;
  };
  const media = { audio: true };
  const microphone = speaks ? await navigator.mediaDevices.getUserMedia(media) : await muted();
  peer.addTrack(microphone.getTracks()[0]);
  const channel = peer.createDataChannel("oai-events");
  const events = new Events();
  channel.onmessage = (message) => events.push(JSON.parse(message.data));
  channel.onclose = () => events.push({ type: "closed" });
  const offer = await peer.createOffer();
  await peer.setLocalDescription(offer);
  const answer = await signal(offer.sdp);
  assert(answer.status === 201, `status ${answer.status}`);
  const id = answer.headers.get("Location").split("/").pop();
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const created = await events.until("session.created");
  const send = (event) => channel.send(JSON.stringify(event));
  try {
    await steps({ send, events, peer, id, created });
  } finally {
    peer.close();
  }
}

/** Posts the offer to the server itself, with a client secret. */
function direct(address, session) {
  return async (sdp) => {
    const headers = {
      Authorization: `Bearer ${await secret(session)}`,
      "Content-Type": "application/sdp",
    };
    return fetch(`http://${address}/v1/realtime/calls`, { method: "POST", body: sdp, headers });
  };
}

/** Posts the offer to the app's own server, which posts a form with the session. */
const throughApp = (sdp) => fetch("/session", { method: "POST", body: sdp });

function type({ send }, text) {
  const content = [{ type: "input_text", text }];
  send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  send({ type: "response.create" });
}

export const features = {
  "spoken question and answer": (address) =>
    call(
      direct(address),
      async ({ events, peer }) => {
        await untilSaid(events, "Fine, thank you.");
        await heard(peer);
      },
      true,
    ),

  "typed text": () =>
    call(throughApp, async (it) => {
      assert(it.created.session.instructions === "Be brief.", "the form's session is lost");
      type(it, "how are you");
      await untilSaid(it.events, "Fine, thank you.");
    }),

  "text-only replies": (address) =>
    call(direct(address, { type: "realtime", output_modalities: ["text"] }), async (it) => {
      type(it, "how are you");
      await untilSaid(it.events, "Fine, thank you.");
    }),

  tools: (address) =>
    call(direct(address), async (it) => {
      it.send({ type: "session.update", session: { type: "realtime", tools: [WEATHER] } });
      await it.events.until("session.updated");
      type(it, "is it cold");
      const [item] = (await it.events.until("response.done")).response.output;
      assert(JSON.parse(item.arguments).city === "Oslo", "other arguments");
      const output = { type: "function_call_output", call_id: item.call_id, output: "3 C" };
      it.send({ type: "conversation.item.create", item: output });
      it.send({ type: "response.create" });
      await untilSaid(it.events, "Yes, it is three degrees.");
    }),

  "client interrupts": (address) =>
    call(direct(address), async (it) => {
      type(it, "a story");
      await it.events.until("output_audio_buffer.started");
      it.send({ type: "response.cancel" });
      it.send({ type: "output_audio_buffer.clear" });
      await it.events.until("output_audio_buffer.cleared");
      type(it, "how are you");
      await untilSaid(it.events, "Fine, thank you.");
    }),

  "client secrets": (address) =>
    call(direct(address, { type: "realtime", instructions: "Be kind." }), async ({ created }) => {
      assert(created.session.instructions === "Be kind.", "the secret's session is lost");
    }),

  "hang-up": (address) =>
    call(direct(address), async ({ events, id }) => {
      const answer = await fetch(`/hangup/${id}`, { method: "POST", body: "" });
      assert(answer.ok, `status ${answer.status}`);
      for (;;) {
        const last = events.seen.at(-1);
        if (last.type === "closed" || last.error?.code === "call_ended") return;
        await new Promise((resolve) => {
          setTimeout(resolve, 20);
        });
      }
    }),
};
