// npm openai: the websocket client, which speaks wss only.

import { assert, feature, load, main, question } from "./report.mjs";

const { default: OpenAI } = await load("openai");
const { OpenAIRealtimeWS } = await load("openai/realtime/ws");
const { OpenAIRealtimeWS: BetaWS } = await load("openai/beta/realtime/ws");
const client = new OpenAI({ apiKey: "none", baseURL: `https://${process.argv[2]}/v1` });
const WEATHER = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function talk(steps, Socket = OpenAIRealtimeWS) {
  const line = new Socket({ model: "gpt-realtime" }, client);
  const waiting = [];
  const seen = [];
  let failed;
  line.on("event", (event) => {
    seen.push(event);
    waiting.shift()?.();
  });
  line.on("error", (error) => {
    failed = error;
    waiting.shift()?.();
  });
  let read = 0;
  const until = async (kind) => {
    for (;;) {
      if (failed) throw failed;
      if (read < seen.length) {
        const event = seen[read];
        read += 1;
        if (event.type === kind) return event;
      } else await new Promise((resolve) => waiting.push(resolve));
    }
  };
  try {
    await until("session.created");
    await steps(line, until, seen);
  } finally {
    line.close();
  }
}

function type(line, text) {
  const content = [{ type: "input_text", text }];
  line.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  line.send({ type: "response.create" });
}

const words = (done) => {
  const part = done.response.output[0].content[0];
  return part.transcript ?? part.text;
};

feature("spoken question and answer", () =>
  talk(async (line, until, seen) => {
    const audio = Buffer.from(question()).toString("base64");
    line.send({ type: "input_audio_buffer.append", audio });
    assert(words(await until("response.done")) === "Fine, thank you.", "other words");
    assert(seen.some((event) => event.type === "response.output_audio.delta"), "no sound");
  }),
);

feature("typed text", () =>
  talk(async (line, until) => {
    type(line, "how are you");
    assert(words(await until("response.done")) === "Fine, thank you.", "other words");
  }),
);

feature("text-only replies", () =>
  talk(async (line, until) => {
    const session = { type: "realtime", output_modalities: ["text"] };
    line.send({ type: "session.update", session });
    type(line, "how are you");
    assert(words(await until("response.done")) === "Fine, thank you.", "other words");
  }),
);

feature("tools", () =>
  talk(async (line, until) => {
    line.send({ type: "session.update", session: { type: "realtime", tools: [WEATHER] } });
    type(line, "is it cold");
    const [call] = (await until("response.done")).response.output;
    assert(call.name === "get_weather", "another function");
    const output = { type: "function_call_output", call_id: call.call_id, output: "3 C" };
    line.send({ type: "conversation.item.create", item: output });
    line.send({ type: "response.create" });
    assert(words(await until("response.done")) === "Yes, it is three degrees.", "other words");
  }),
);

feature("client secrets", async () => {
  const made = await client.realtime.clientSecrets.create({ session: { type: "realtime" } });
  assert(made.value.startsWith("ek_"), "no secret");
});

feature("the API's beta", () =>
  talk(async (line, until, seen) => {
    const session = { modalities: ["text", "audio"], input_audio_format: "pcm16", voice: "alloy" };
    line.send({ type: "session.update", session });
    type(line, "how are you");
    const said = await until("response.audio_transcript.done");
    assert(said.transcript === "Fine, thank you.", "other words");
    assert(seen.some((event) => event.type === "response.audio.delta"), "no sound");
    await until("response.done");
  }, BetaWS),
);

await main();
