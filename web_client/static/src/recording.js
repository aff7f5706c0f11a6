// @ts-check
/** A session as a file: one entry a line, without its sound. */

import { decodedLength } from "./base64.js";
import { Problem } from "./problems.js";

const MAX_ENTRIES = 20_000; // sound of a reply makes 17 a second: twenty minutes of it
const SOUND = new Map([
  ["response.output_audio.delta", "delta"],
  ["input_audio_buffer.append", "audio"],
]);

export class Recording {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    /** Oldest entries that were let go. */
    this.dropped = 0;
  }

  /** @param {Entry} entry */
  add(entry) {
    this.entries.push(entry);
    if (this.entries.length <= MAX_ENTRIES) return;
    this.entries.shift();
    this.dropped++;
  }

  toText() {
    return this.entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
  }
}

/**
 * An event as it is kept: sound becomes the number of its bytes.
 * @param {WireEvent} event
 * @returns {WireEvent}
 */
export function withoutSound(event) {
  const field = SOUND.get(event.type);
  if (!field || typeof event[field] !== "string") return event;
  const { [field]: sound, ...rest } = event;
  return { ...rest, type: event.type, bytes: decodedLength(sound) };
}

/**
 * @param {string} text of a file
 * @returns {Entry[]}
 */
export function parseRecording(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  if (!lines.length) throw new Problem("bad_recording", "the file is empty");
  return lines.map((line, n) => {
    try {
      const entry = JSON.parse(line);
      if (typeof entry.t === "number" && entry.from && entry.event?.type) return entry;
    } catch {
      // told below, with the line's number
    }
    throw new Problem("bad_recording", `line ${n + 1} is no entry`);
  });
}
