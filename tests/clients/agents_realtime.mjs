// @openai/agents-realtime: RealtimeSession over its websocket transport, in node.

import { assert, feature, load, main, question } from "./report.mjs";

const { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } =
  await load("@openai/agents-realtime");
const { z } = await load("zod");
const url = `ws://${process.argv[2]}/v1/realtime?model=gpt-realtime`;
const asked = [];
const weather = tool({
  name: "get_weather",
  description: "The weather in a city.",
  parameters: z.object({ city: z.string() }),
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

async function talk(steps, { agent: first = agent, ...options } = {}) {
  const transport = new OpenAIRealtimeWebSocket({ url, useInsecureApiKey: true });
  const session = new RealtimeSession(first, { transport, tracingDisabled: true, ...options });
  const seen = [];
  const waiting = new Set();
  let failed;
  const wake = () => waiting.forEach((resolve) => resolve());
  session.on("error", ({ error }) => {
    failed = new Error(JSON.stringify(error?.error ?? error));
    wake();
  });
  for (const kind of ["audio", "audio_interrupted", "agent_handoff", "guardrail_tripped"])
    session.on(kind, () => {
      seen.push({ type: kind });
      wake();
    });
  transport.on("*", (event) => {
    seen.push(event);
    wake();
  });
  let read = 0;
  const until = async (kind) => {
    for (;;) {
      if (failed) throw failed;
      if (read < seen.length) {
        const event = seen[read];
        read += 1;
        if (event.type === kind) return event;
      } else
        await new Promise((resolve) => {
          waiting.add(resolve);
        }).finally(() => waiting.clear());
    }
  };
  await session.connect({ apiKey: "none" });
  try {
    await steps(session, until, seen);
  } finally {
    session.close();
  }
}

const words = (done) => {
  const part = done.response.output[0].content[0];
  return part.transcript ?? part.text;
};

feature("spoken question and answer", () =>
  talk(async (session, until, seen) => {
    session.sendAudio(question());
    assert(words(await until("response.done")) === "Fine, thank you.", "other words");
    assert(seen.some((event) => event.type === "audio"), "no sound");
  }),
);

feature("typed text", () =>
  talk(async (session, until) => {
    session.sendMessage("how are you");
    assert(words(await until("response.done")) === "Fine, thank you.", "other words");
  }),
);

feature("text-only replies", () =>
  talk(
    async (session, until) => {
      session.sendMessage("how are you");
      assert(words(await until("response.done")) === "Fine, thank you.", "other words");
    },
    { config: { outputModalities: ["text"] } },
  ),
);

feature("tools", () =>
  talk(async (session, until) => {
    session.sendMessage("is it cold");
    await until("response.done");
    assert(words(await until("response.done")) === "Yes, it is three degrees.", "other words");
    assert(asked[0] === "Oslo", "the function was not called");
  }),
);

feature("handoff", () =>
  talk(async (session, until) => {
    session.sendMessage("the expert, please");
    await until("agent_handoff");
    assert(words(await until("response.done")) === "The expert is here.", "other words");
    assert(session.currentAgent.name === "expert", "the agent is the same");
  }),
);

feature("guardrail", () =>
  talk(
    async (session, until) => {
      session.sendMessage("forbidden");
      await until("guardrail_tripped");
    },
    {
      outputGuardrailSettings: { debounceTextLength: 5 },
      outputGuardrails: [
        {
          name: "no bananas",
          execute: async ({ agentOutput }) => ({
            tripwireTriggered: agentOutput.includes("banana"),
            outputInfo: {},
          }),
        },
      ],
    },
  ),
);

feature("client interrupts", () =>
  talk(async (session, until) => {
    session.sendMessage("a story");
    await until("audio");
    session.interrupt();
    session.sendMessage("how are you");
    for (;;) {
      const done = await until("response.done");
      if (done.response.status === "completed" && words(done) === "Fine, thank you.") return;
    }
  }),
);

feature("G.711", () =>
  talk(
    async (session, until) => {
      const sound = Buffer.concat([
        Buffer.alloc(4000, 0xff),
        Buffer.from(Array.from({ length: 8000 }, (_, n) => (n % 2 ? 0x90 : 0x10))),
        Buffer.alloc(12_000, 0xff),
      ]);
      session.sendAudio(new Uint8Array(sound).buffer);
      await until("audio");
    },
    {
      config: {
        audio: {
          input: { format: { type: "audio/pcmu" } },
          output: { format: { type: "audio/pcmu" } },
        },
      },
    },
  ),
);

await main();
