/** State of a call. */
export type Phase = "idle" | "connecting" | "listening" | "thinking" | "speaking";

export interface ClientOptions {
  /** Origin of the server, such as `https://voice.example.org`; the page's own where none is given. */
  server?: string;
  /**
   * Admits calls where the server needs a key: a client secret that your own server has asked for
   * (`POST /v1/realtime/client_secrets`), or a function that fetches a fresh one for each call.
   */
  secret?: string | (() => string | Promise<string>);
  transport?: "auto" | "webrtc" | "websocket";
  /** Id of a microphone, as `navigator.mediaDevices.enumerateDevices()` tells it. */
  microphoneId?: string;
  /** From 0 to 1. */
  volume?: number;
  /** What is wanted of the agent; what is left out is the server's choice. */
  agent?: {
    instructions?: string;
    eagerness?: "low" | "medium" | "high" | "auto";
    /** JSON list of functions, as in the Realtime API. */
    tools?: string;
  };
  /** Called after everything that changes what the client shows. */
  onChange?: (client: Client) => void;
}

export interface Message {
  role: "user" | "assistant";
  text: string;
  /** The caller interrupted it: the text is what was heard. */
  interrupted: boolean;
}

export interface Client {
  readonly phase: Phase;
  readonly messages: Message[];
  /** What went wrong, in words for a visitor. */
  readonly problem: { code: string; title: string; next: string } | null;
  /** Milliseconds from the end of the caller's speech to the newest reply's first sound. */
  readonly latency: number | null;
  /** Call; while a click is being handled, so that the browser allows sound. */
  start(needs?: { microphone?: boolean }): Promise<void>;
  /** Type; begins a call without a microphone where none is up. */
  say(text: string): Promise<void>;
  interrupt(): void;
  mute(muted: boolean): void;
  hangUp(): Promise<void>;
}

export class OnebreathClient implements Client {
  constructor(options?: ClientOptions);
  readonly phase: Phase;
  readonly messages: Message[];
  readonly problem: { code: string; title: string; next: string } | null;
  readonly latency: number | null;
  start(needs?: { microphone?: boolean }): Promise<void>;
  say(text: string): Promise<void>;
  interrupt(): void;
  mute(muted: boolean): void;
  hangUp(): Promise<void>;
}
