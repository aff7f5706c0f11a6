// Compiled only: what a program in TypeScript writes against the package's types.
import { OnebreathClient, type Client, type Message, type Phase } from "../../web_client/index.js";

const client: Client = new OnebreathClient({
  server: "https://voice.example.org",
  transport: "webrtc",
  secret: async () => (await fetch("/secret")).text(),
  agent: { eagerness: "high" },
  onChange: ({ phase, messages }) => show(phase, messages),
});

function show(phase: Phase, messages: Message[]): string {
  return `${phase}: ${messages.map(({ role, text }) => `${role} ${text}`).join("; ")}`;
}

await client.start({ microphone: false });
await client.say("Hello");
// @ts-expect-error there is no such transport
new OnebreathClient({ transport: "pigeon" });
// @ts-expect-error it is a promise's method and takes a string
await client.say(3);
await client.hangUp();
