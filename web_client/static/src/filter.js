// @ts-check
/** Which events the list shows. */

/** Sound comes many times a second and says nothing to a reader. */
const SOUND = "audio.delta";

/**
 * Words that must be in the type, or with a minus must not. Sound is left out until asked for.
 * @param {string} text
 * @returns {(entry: Entry) => boolean}
 */
export function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = words.filter((word) => !word.startsWith("-"));
  const unwanted = words.flatMap((word) => (word.length > 1 && word.startsWith("-") ? word.slice(1) : []));
  if (!wanted.some((word) => SOUND.includes(word))) unwanted.push(SOUND);
  return ({ event: { type } }) =>
    wanted.every((word) => type.includes(word)) && !unwanted.some((word) => type.includes(word));
}
