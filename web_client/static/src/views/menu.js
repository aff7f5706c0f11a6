// @ts-check
/** Light or dark, and the settings: devices, volume, what is wanted of the agent, the session. */

import { h, icon } from "../dom.js";
import { ICONS } from "../icons.js";
import { areTools } from "../opening.js";
import { isDark, prefer, preferences } from "../preferences.js";
import { devices } from "../sound/microphone.js";
import { Speaker } from "../sound/speaker.js";

const LONGEST_INSTRUCTIONS = 4000; // characters that the server takes

export class Menu extends HTMLElement {
  connectedCallback() {
    this.theme = h("button", { class: "quiet", click: () => this.#switchTheme() });
    const open = h(
      "button",
      { class: "quiet", "aria-label": "Settings", click: () => void this.#open() },
      icon(ICONS.settings),
    );
    this.dialog = this.#dialog();
    this.append(this.theme, open, this.dialog);
    this.#renderTheme();
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.#listDevices());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#renderTheme());
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
    if (this.dialog?.open) this.#renderFacts();
  }

  #dialog() {
    this.microphone = h("select", {
      id: "device",
      change: () => {
        prefer({ deviceId: this.microphone?.value ?? "" });
        void this.controller?.call.useMicrophone(preferences.deviceId);
      },
    });
    this.speaker = h("select", { id: "speaker", change: () => this.#useSpeaker() });
    this.speakerLabel = h("label", { for: "speaker" }, "Speaker");
    this.facts = h("dl", { class: "facts" });
    const close = h("button", { class: "button", value: "close" }, "Done");
    return h(
      "dialog",
      { "aria-labelledby": "settings-title", close: () => this.#closed() },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "settings-title" }, "Settings"),
        h("label", { for: "device" }, "Microphone"),
        this.microphone,
        this.speakerLabel,
        this.speaker,
        ...this.#volume(),
        ...this.#agent(),
        h("label", { for: "transport" }, "Connection, from the next call on"),
        choice("transport", preferences.transport, [
          ["auto", "Automatic"],
          ["webrtc", "WebRTC only"],
          ["websocket", "Websocket only"],
        ], (transport) => prefer({ transport })),
        h("label", { for: "theme" }, "Colours"),
        this.#themes(),
        this.#check("announce", "Let screen readers read the agent’s words, too"),
        this.#check("keepSound", "Record the sound of calls in this page, for Download in the Events view"),
        h("h3", {}, "This session"),
        this.facts,
        close,
      ),
    );
  }

  #volume() {
    const slider = h("input", {
      id: "volume",
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      value: preferences.volume,
      input: () => {
        prefer({ volume: Number(slider.value) });
        this.#useSpeaker();
      },
    });
    return [h("label", { for: "volume" }, "Volume"), slider];
  }

  #agent() {
    const { agent } = preferences;
    this.instructions = h("textarea", { id: "instructions", rows: 3, maxlength: LONGEST_INSTRUCTIONS });
    this.instructions.value = agent.instructions;
    this.tools = h("textarea", { id: "tools", rows: 2, spellcheck: "false", class: "code", placeholder: "[]" });
    this.tools.value = agent.tools;
    this.tools.addEventListener("input", () =>
      this.tools?.setCustomValidity(areTools(this.tools.value) ? "" : "Write a JSON list of functions, or nothing."),
    );
    this.eagerness = choice("eagerness", agent.eagerness, [
      ["", "As the server has it"],
      ["low", "Low: leaves time to think"],
      ["medium", "Medium"],
      ["high", "High: answers soon"],
    ], () => {});
    return [
      h("label", { for: "instructions" }, "Instructions for the agent"),
      this.instructions,
      h("label", { for: "eagerness" }, "Eagerness to answer"),
      this.eagerness,
      h("label", { for: "tools" }, "Tools (JSON list of functions)"),
      this.tools,
    ];
  }

  #themes() {
    this.themes = choice("theme", preferences.theme, [
      ["system", "As the system has them"],
      ["light", "Light"],
      ["dark", "Dark"],
    ], (theme) => {
      prefer({ theme });
      this.#renderTheme();
      this.controller?.changed();
    });
    return this.themes;
  }

  /** @param {"announce" | "keepSound"} name @param {string} words */
  #check(name, words) {
    const box = h("input", {
      type: "checkbox",
      checked: preferences[name],
      change: () => {
        prefer({ [name]: box.checked });
        this.controller?.call.changed();
      },
    });
    return h("label", { class: "check" }, box, words);
  }

  async #open() {
    if (this.themes) this.themes.value = preferences.theme;
    this.#renderFacts();
    this.dialog?.showModal(); // before the first wait: the next key is the dialog's already
    await this.#listDevices();
  }

  /** What was written is asked for at once in a call that is up. */
  #closed() {
    const { instructions, eagerness, tools, controller } = this;
    if (!instructions || !eagerness || !tools) return;
    const written = areTools(tools.value) ? tools.value.trim() : preferences.agent.tools;
    const agent = { instructions: instructions.value.trim(), eagerness: eagerness.value, tools: written };
    const changed = JSON.stringify(agent) !== JSON.stringify(preferences.agent);
    prefer({ agent });
    if (changed && controller?.call.transport) controller.call.ask(agent);
    controller?.changed();
  }

  #useSpeaker() {
    if (this.speaker?.value !== undefined) prefer({ speakerId: this.speaker.value });
    this.controller?.call.useSpeaker(preferences);
  }

  #renderFacts() {
    const { session } = this.controller ?? {};
    const { facts, roundTrip, transport } = session ?? {};
    const rows = [
      ["Session", facts?.id],
      ["Answers with", facts?.model],
      ["Decodes by", facts && decoding(facts.onebreath?.decoding)],
      ["Hears with", facts?.audio?.input?.transcription?.model],
      ["Speaks with the voice", facts?.audio?.output?.voice],
      ["Instructions", facts?.instructions],
      ["Tools", facts && (facts.tools ?? []).map((/** @type {{name: string}} */ tool) => tool.name).join(", ")],
      ["Connection", transport ?? undefined],
      ["Round trip", typeof roundTrip === "number" ? `${roundTrip.toFixed(0)} ms` : undefined],
    ].filter(([, value]) => value !== undefined);
    if (this.instructions && facts) this.instructions.placeholder = facts.instructions;
    const shown = rows.length ? rows : [["Session", "none yet: start a call"]];
    this.facts?.replaceChildren(
      ...shown.flatMap(([name, value]) => [h("dt", {}, String(name)), h("dd", {}, String(value || "none"))]),
    );
  }

  async #listDevices() {
    const { microphone, speaker, speakerLabel } = this;
    if (!microphone || !speaker || !speakerLabel) return;
    fill(microphone, await devices("audioinput"), preferences.deviceId, "Microphone");
    speaker.hidden = speakerLabel.hidden = !Speaker.canChoose;
    fill(speaker, await devices("audiooutput"), preferences.speakerId, "Speaker");
  }

  #switchTheme() {
    prefer({ theme: isDark() ? "light" : "dark" });
    this.#renderTheme();
    this.controller?.changed();
  }

  #renderTheme() {
    const dark = isDark();
    this.theme?.setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
    this.theme?.replaceChildren(icon(dark ? ICONS.light : ICONS.dark));
  }
}

/**
 * @template {string} T
 * @param {string} id
 * @param {T} chosen
 * @param {[T, string][]} options
 * @param {(value: T) => void} take
 */
function choice(id, chosen, options, take) {
  const select = h("select", { id, change: () => take(/** @type {T} */ (select.value)) });
  for (const [value, label] of options) select.append(h("option", { value, selected: value === chosen }, label));
  return select;
}

/**
 * The options that the responder decodes by, in words; undefined where it tells none.
 * @param {Record<string, unknown>} [options]
 */
function decoding(options = {}) {
  const said = Object.entries(options).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  return said.length ? said.join(", ") : undefined;
}

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} found
 * @param {string} chosen
 * @param {string} name
 */
function fill(select, found, chosen, name) {
  const options = found.map(({ deviceId, label }, n) =>
    h("option", { value: deviceId, selected: deviceId === chosen }, label || `${name} ${n + 1}`),
  );
  if (!found.some(({ deviceId }) => deviceId === "default")) {
    options.unshift(h("option", { value: "", selected: !chosen }, "As the system has it"));
  }
  select.replaceChildren(...options);
}

customElements.define("ob-menu", Menu);
