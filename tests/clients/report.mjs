// What a client's script in node needs: a tone, and lines of results.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const STEP_MS = 20_000;
const features = [];

/** A module of the clients' own environment. */
export async function load(name) {
  const modules = process.env.CLIENTS_NODE_MODULES;
  const found = createRequire(path.join(modules, "index.js")).resolve(name);
  return import(pathToFileURL(found).href);
}

/** Add a function that shows one feature; it throws where it does not work. */
export function feature(name, show) {
  features.push([name, show]);
}

/** Show all features, one after another, each with its result on a line of its own. */
export async function main() {
  for (const [feature, show] of features) {
    let problem = null;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("it took too long")), STEP_MS);
    });
    try {
      await Promise.race([show(), late]);
    } catch (error) {
      problem = String(error?.message ?? error);
      console.log(error);
    }
    clearTimeout(timer);
    console.log(`RESULT ${JSON.stringify({ feature, problem })}`);
  }
  process.exit(0);
}

/** A spoken turn as 16-bit PCM: half a second of silence, a loud second, a pause. */
export function question(rate = 24_000) {
  const samples = new Int16Array((rate * 5) / 2);
  for (let n = rate / 2; n < (rate * 3) / 2; n += 1)
    samples[n] = 16_000 * Math.sin((2 * Math.PI * 220 * n) / rate);
  return samples.buffer;
}

export function assert(holds, message) {
  if (!holds) throw new Error(message);
}
