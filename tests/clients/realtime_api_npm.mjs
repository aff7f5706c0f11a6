// npm openai-realtime-api: the typed successor of OpenAI's reference client, in the API's beta.

import { assert, feature, load, main, question } from "./report.mjs";

const { RealtimeClient } = await load("openai-realtime-api");
const url = `ws://${process.argv[2]}/v1/realtime`;

async function talk(steps, sessionConfig = {}) {
  const session = { instructions: "You are kind.", ...sessionConfig };
  const client = new RealtimeClient({ url, apiKey: "none", sessionConfig: session });
  const errors = [];
  client.on("error", (event) => errors.push(event));
  client.realtime.on("server.error", (event) => errors.push(event.error ?? event));
  await client.connect();
  await client.waitForSessionCreated();
  try {
    await steps(client);
  } finally {
    client.disconnect();
  }
  assert(errors.length === 0, JSON.stringify(errors));
}

/** The next item of the agent that is complete, with words. */
const answer = (client) =>
  new Promise((resolve) => {
    client.on("conversation.item.completed", ({ item }) => {
      if (item.type === "message" && item.role === "assistant") resolve(item.formatted);
    });
  });

const ask = (client, text) => client.sendUserMessageContent([{ type: "input_text", text }]);

feature("spoken question and answer", () =>
  talk(
    async (client) => {
      const answered = answer(client);
      client.appendInputAudio(new Int16Array(question()));
      const { transcript, audio } = await answered;
      assert(transcript === "Fine, thank you.", transcript);
      assert(audio.length > 0, "no sound");
      const [asked] = client.conversation.getItems();
      assert(asked.formatted.transcript === "how are you", JSON.stringify(asked.formatted));
    },
    { turn_detection: { type: "server_vad" }, input_audio_transcription: { model: "whisper-1" } },
  ),
);

feature("typed text", () =>
  talk(async (client) => {
    const answered = answer(client);
    ask(client, "how are you");
    assert((await answered).transcript === "Fine, thank you.", "other words");
  }),
);

feature("text-only replies", () =>
  talk(
    async (client) => {
      const answered = answer(client);
      ask(client, "how are you");
      assert((await answered).text === "Fine, thank you.", "other words");
    },
    { modalities: ["text"] },
  ),
);

feature("tools", () =>
  talk(async (client) => {
    const parameters = { type: "object", properties: { city: { type: "string" } } };
    const asked = [];
    client.addTool({ name: "get_weather", description: "The weather.", parameters }, (given) => {
      asked.push(given.city);
      return "3 C";
    });
    const answered = answer(client);
    ask(client, "is it cold");
    assert((await answered).transcript === "Yes, it is three degrees.", "other words");
    assert(asked.join() === "Oslo", asked.join());
  }),
);

feature("client interrupts", () =>
  talk(async (client) => {
    const began = new Promise((resolve) => {
      client.on("conversation.updated", ({ item, delta }) => {
        if (delta?.audio) resolve(item);
      });
    });
    ask(client, "a story");
    const { id } = await began;
    const cut = new Promise((resolve) => {
      client.realtime.on("server.conversation.item.truncated", resolve);
    });
    client.cancelResponse(id, 2400);
    assert((await cut).audio_end_ms === 100, "another place");
    const answered = answer(client);
    ask(client, "how are you");
    assert((await answered).transcript === "Fine, thank you.", "other words");
  }),
);

await main();
