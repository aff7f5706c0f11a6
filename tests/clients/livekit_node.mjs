// @livekit/agents-plugin-openai: the Realtime model of LiveKit's agents for node, without a room.

import { assert, feature, load, main, question } from "./report.mjs";

const { initializeLogger, llm } = await load("@livekit/agents");
const { AudioFrame } = await load("@livekit/rtc-node");
const { realtime } = await load("@livekit/agents-plugin-openai");
initializeLogger({ pretty: false, level: "warn" });
const RATE = 24_000;
const baseURL = `http://${process.argv[2]}/v1`;

async function talk(steps, options = {}) {
  const model = new realtime.RealtimeModel({ baseURL, apiKey: "none", ...options });
  const session = model.session();
  const errors = [];
  session.on("error", (event) => errors.push(event.error ?? event));
  await session.updateInstructions("You are kind. ".repeat(400));
  const replies = [];
  const waiting = [];
  session.on("generation_created", (event) => {
    replies.push(read(event));
    waiting.shift()?.();
  });
  const next = async () => {
    if (!replies.length) await new Promise((resolve) => waiting.push(resolve));
    return replies.shift();
  };
  try {
    await steps(session, next);
  } finally {
    await session.close();
  }
  assert(errors.length === 0, String(errors[0]?.stack ?? errors[0]));
}

async function all(stream) {
  const found = [];
  for await (const each of stream) found.push(each);
  return found;
}

/** The words, the seconds of sound and the calls of one reply. */
async function read(generation) {
  const [messages, calls] = await Promise.all([
    all(generation.messageStream),
    all(generation.functionStream),
  ]);
  let words = "";
  let seconds = 0;
  for (const message of messages) {
    const [text, sound] = await Promise.all([
      all(message.textStream),
      message.audioStream ? all(message.audioStream) : [],
    ]);
    words += text.map((each) => each.text ?? each).join("");
    seconds += sound.reduce((sum, frame) => sum + frame.samplesPerChannel / RATE, 0);
  }
  return { words, seconds, calls };
}

async function ask(session, text) {
  const context = session.chatCtx.copy();
  context.addMessage({ role: "user", content: text });
  await session.updateChatCtx(context);
  const asked = session.generateReply();
  asked.catch(() => null);
}

feature("spoken question and answer", () =>
  talk(async (session, next) => {
    const sound = new Int16Array(question());
    for (let at = 0; at < sound.length; at += RATE / 50) {
      const piece = sound.slice(at, at + RATE / 50);
      session.pushAudio(new AudioFrame(piece, RATE, 1, piece.length));
    }
    const { words, seconds } = await next();
    assert(words === "Fine, thank you.", words);
    assert(seconds > 0.1, `${seconds} s`);
  }),
);

feature("typed text", () =>
  talk(async (session, next) => {
    await ask(session, "how are you");
    const { words } = await next();
    assert(words === "Fine, thank you.", words);
  }),
);

feature("speaks first", () =>
  talk(async (session, next) => {
    session.generateReply("Say hello to the caller.").catch(() => null);
    const { words } = await next();
    assert(words === "Good day.", words);
  }),
);

feature("text-only replies", () =>
  talk(
    async (session, next) => {
      await ask(session, "how are you");
      const { words, seconds } = await next();
      assert(words === "Fine, thank you." && !seconds, `${words}, ${seconds} s`);
    },
    { modalities: ["text"] },
  ),
);

feature("tools", () =>
  talk(async (session, next) => {
    const get_weather = llm.tool({
      name: "get_weather",
      description: "The weather in a city.",
      parameters: {
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
      },
      execute: async () => "3 C",
    });
    await session.updateTools(new llm.ToolContext([get_weather]));
    await ask(session, "is it cold");
    const [call] = (await next()).calls;
    assert(call.name === "get_weather", JSON.stringify(call));
    const context = session.chatCtx.copy();
    context.insert(
      new llm.FunctionCallOutput({
        callId: call.callId,
        name: call.name,
        output: "3 C",
        isError: false,
      }),
    );
    await session.updateChatCtx(context);
    session.generateReply().catch(() => null);
    const { words } = await next();
    assert(words === "Yes, it is three degrees.", words);
  }),
);

await main();
