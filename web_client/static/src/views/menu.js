// @ts-check
/** Light or dark, and the settings that are seldom needed. */

import { h, icon } from "../dom.js";
import { ICONS } from "../icons.js";
import { isDark, prefer, preferences } from "../preferences.js";
import { microphones } from "../sound/microphone.js";

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
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.#listMicrophones());
  }

  /** @param {import("../controller.js").Controller} controller */
  render(controller) {
    this.controller = controller;
  }

  #dialog() {
    this.devices = h("select", {
      id: "device",
      change: () => {
        prefer({ deviceId: this.devices?.value ?? "" });
        void this.controller?.call.useMicrophone(preferences.deviceId);
      },
    });
    const close = h("button", { class: "button", value: "close" }, "Done");
    return h(
      "dialog",
      { "aria-labelledby": "settings-title", close: () => this.controller?.changed() },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "settings-title" }, "Settings"),
        h("label", { for: "device" }, "Microphone"),
        this.devices,
        h("label", { for: "transport" }, "Connection"),
        this.#transports(),
        this.#announcing(),
        h("p", { class: "note" }, "The connection is chosen when a call starts."),
        close,
      ),
    );
  }

  #transports() {
    const select = h("select", {
      id: "transport",
      change: () => prefer({ transport: /** @type {any} */ (select.value) }),
    });
    for (const [value, label] of [
      ["auto", "Automatic"],
      ["webrtc", "WebRTC only"],
      ["websocket", "Websocket only"],
    ]) {
      select.append(h("option", { value, selected: value === preferences.transport }, label));
    }
    return select;
  }

  #announcing() {
    const box = h("input", {
      type: "checkbox",
      checked: preferences.announce,
      change: () => prefer({ announce: box.checked }),
    });
    return h("label", { class: "check" }, box, "Let screen readers read the agent’s words, too");
  }

  async #open() {
    await this.#listMicrophones();
    this.dialog?.showModal();
  }

  async #listMicrophones() {
    const found = await microphones();
    const options = found.map(({ deviceId, label }, n) =>
      h(
        "option",
        { value: deviceId, selected: deviceId === preferences.deviceId },
        label || `Microphone ${n + 1}`,
      ),
    );
    if (!found.length) options.push(h("option", { value: "" }, "Known once a call has started"));
    this.devices?.replaceChildren(...options);
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

customElements.define("ob-menu", Menu);
