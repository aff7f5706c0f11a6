// @ts-check
/** Keys: Space to talk, Esc to interrupt, M to mute, / to type. Not while typing. */

/**
 * @param {import("./controller.js").Controller} controller
 * @param {() => void} focusComposer
 */
export function listenToKeys(controller, focusComposer) {
  /** @type {Record<string, () => void>} */
  const keys = {
    Escape: () => controller.interrupt(),
    m: () => isUp(controller) && controller.mute(!controller.session.muted),
    "/": focusComposer,
  };
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return; // its keys are its own
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) && event.key !== "Escape") return;
    if (event.key === " " && isUp(controller) && !isControl(event.target)) {
      event.preventDefault();
      if (!event.repeat) controller.press();
      return;
    }
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.repeat) return;
    if (event.key === "/") event.preventDefault();
    act();
  });
  addEventListener("keyup", ({ key }) => key === " " && controller.release());
  addEventListener("blur", () => controller.release()); // the key's end would go elsewhere
}

/** @param {import("./controller.js").Controller} controller */
function isUp({ call }) {
  return call.transport !== null;
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.matches("input:not([type=range], [type=checkbox]), textarea, select");
}

/** Space works a control that has the focus, as everywhere. @param {EventTarget | null} target */
function isControl(target) {
  return target instanceof HTMLElement && target.closest("button, summary, a, [role=tab], input") !== null;
}
