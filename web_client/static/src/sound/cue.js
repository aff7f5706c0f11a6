// @ts-check
/** Short quiet tones that say what happened to the connection, for those who do not look. */

const TONES = { lost: [440, 330], back: [330, 440] };
const TONE_SECONDS = 0.12;
const LEVEL = 0.05;

/**
 * @param {AudioContext} context
 * @param {"lost" | "back"} what
 */
export function cue(context, what) {
  const gain = context.createGain();
  gain.connect(context.destination);
  TONES[what].forEach((frequency, n) => {
    const begin = context.currentTime + n * TONE_SECONDS;
    const tone = context.createOscillator();
    tone.frequency.value = frequency;
    tone.connect(gain);
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(LEVEL, begin + 0.01);
    gain.gain.linearRampToValueAtTime(0, begin + TONE_SECONDS);
    tone.start(begin);
    tone.stop(begin + TONE_SECONDS);
  });
}
