// @mastra/voice-openai-realtime: Mastra's voice provider.

import { assert, feature, load, main, question } from "./report.mjs";

const { OpenAIRealtimeVoice } = await load("@mastra/voice-openai-realtime");
const url = `ws://${process.argv[2]}/v1/realtime`;
const WEATHER = {
  id: "get_weather",
  description: "The weather in a city.",
  inputSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  execute: async () => "3 C",
};

async function talk(steps, options = {}, tools = null) {
  const voice = new OpenAIRealtimeVoice({ url, apiKey: "none", ...options });
  const heard = { user: "", assistant: "" };
  const errors = [];
  let bytes = 0;
  voice.on("writing", ({ text, role }) => {
    heard[role] += text;
  });
  voice.on("speaking", ({ audio }) => {
    bytes += audio.length;
  });
  voice.on("error", (error) => errors.push(error));
  voice.addInstructions("You are kind.");
  if (tools) voice.addTools(tools);
  await (voice.connect ?? voice.open).call(voice);
  const until = async (words) => {
    while (!heard.assistant.includes(words)) {
      assert(errors.length === 0, JSON.stringify(errors));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  try {
    await steps(voice, until, heard, () => bytes);
  } finally {
    voice.close();
  }
}

feature("spoken question and answer", () =>
  talk(async (voice, until, heard, size) => {
    voice.updateConfig({ turn_detection: { type: "server_vad", silence_duration_ms: 400 } });
    await voice.send(new Int16Array(question()));
    await until("Fine, thank you.");
    assert(size() > 0, "no sound");
    assert(heard.user.trim() === "how are you", `heard ${heard.user}`);
  }),
);

feature("speaks first", () =>
  talk(async (voice, until) => {
    await voice.speak("Hello from Mastra!", { speaker: "echo" });
    await until("Good day.");
  }),
);

feature("tools", () =>
  talk(
    async (voice, until) => {
      voice.sendEvent("conversation.item.create", {
        item: {
          type: "message",
          role: "user",
          content: [{ type: "input_text", text: "is it cold" }],
        },
      });
      await voice.answer({});
      await until("three degrees");
    },
    {},
    { get_weather: WEATHER },
  ),
);

await main();
