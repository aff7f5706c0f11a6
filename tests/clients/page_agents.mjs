// @openai/agents-realtime over its WebRTC transport, in a page: the package's own bundle.

import { assert, Events, heard, muted, secret, untilSaid } from "./page.mjs";

const bundle = "/@openai/agents-realtime/dist/bundle/openai-realtime-agents.mjs";
const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } = await import(bundle);
const asked = [];
const weather = tool({
  name: "get_weather",
  description: "The weather in a city.",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  execute: async ({ city }) => {
    asked.push(city);
    return "3 C";
  },
});
const expert = new RealtimeAgent({ name: "expert", instructions: "You are the expert." });
const agent = new RealtimeAgent({
  name: "assistant",
  instructions: "You are the first to speak. ".repeat(200),
  tools: [weather],
  handoffs: [expert],
});

async function talk(address, steps, { speaks = false, ...options } = {}) {
  const baseUrl = `http://${address}/v1/realtime/calls`;
  const own = speaks ? {} : { mediaStream: await muted() };
  const transport = new OpenAIRealtimeWebRTC({ baseUrl, ...own });
  const session = new RealtimeSession(agent, { transport, tracingDisabled: true, ...options });
  const events = new Events();
  transport.on("*", (event) => events.push(event));
  session.on("agent_handoff", () => events.push({ type: "agent_handoff" }));
  session.on("error", ({ error }) => events.push({ type: "error", error: String(error) }));
  await session.connect({ apiKey: await secret() });
  try {
    await steps(session, events);
  } finally {
    session.close();
  }
}

export const features = {
  "spoken question and answer": (address) =>
    talk(
      address,
      async (session, events) => {
        await untilSaid(events, "Fine, thank you.");
        await heard(session.transport.connectionState.peerConnection);
      },
      { speaks: true },
    ),

  "typed text": (address) =>
    talk(address, async (session, events) => {
      session.sendMessage("how are you");
      await untilSaid(events, "Fine, thank you.");
    }),

  "text-only replies": (address) =>
    talk(
      address,
      async (session, events) => {
        session.sendMessage("how are you");
        await untilSaid(events, "Fine, thank you.");
      },
      { config: { outputModalities: ["text"] } },
    ),

  tools: (address) =>
    talk(address, async (session, events) => {
      session.sendMessage("is it cold");
      await untilSaid(events, "Yes, it is three degrees.");
      assert(asked[0] === "Oslo", "the function was not called");
    }),

  handoff: (address) =>
    talk(address, async (session, events) => {
      session.sendMessage("the expert, please");
      await events.until("agent_handoff");
      await untilSaid(events, "The expert is here.");
      assert(session.currentAgent.name === "expert", "the agent is the same");
    }),

  "client interrupts": (address) =>
    talk(address, async (session, events) => {
      session.sendMessage("a story");
      await events.until("output_audio_buffer.started");
      session.interrupt();
      await events.until("output_audio_buffer.cleared");
      session.sendMessage("how are you");
      await untilSaid(events, "Fine, thank you.");
    }),
};
