// @ts-check
/** The heat strip: a row for each step, a cell for each position of the reply. */

import { strip } from "../denoising.js";

const GAP = 2;
const TALLEST = 14;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("../turn.js").Step[]} steps
 * @param {number} shown steps that are on show; later ones are faint
 */
export function drawStrip(canvas, steps, shown) {
  const rows = strip(steps);
  const positions = rows[0]?.length ?? 1;
  const { devicePixelRatio: ratio } = window;
  const width = canvas.clientWidth;
  const cell = width / positions;
  const height = Math.min(TALLEST, Math.max(5, 220 / Math.max(1, rows.length)));
  canvas.style.height = `${Math.max(1, rows.length) * height}px`;
  canvas.width = width * ratio;
  canvas.height = Math.max(1, rows.length) * height * ratio;
  const paint = canvas.getContext("2d");
  if (!paint) return;
  paint.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const lightness = style.getPropertyValue("--ramp-lightness");
  const open = style.getPropertyValue("--mask");
  const span = Math.max(1, steps.length - 1);
  rows.forEach((row, n) => {
    row.forEach((found, position) => {
      if (!found) return;
      const age = found.finalStep === null ? null : (found.finalStep - 1) / span;
      const sure = found.masked ? 0.35 + 0.4 * found.confidence : 0.4 + 0.6 * found.confidence;
      paint.globalAlpha = (n < shown ? 1 : 0.25) * sure;
      paint.fillStyle = age === null ? open : `oklch(${lightness} 0.13 ${hue(age)})`;
      paint.beginPath();
      paint.roundRect(position * cell, n * height, cell - GAP, height - GAP, 2);
      paint.fill();
      if (found.finalStep === n + 1 && found.origin) {
        mark(paint, found.origin, (position + 0.5) * cell - GAP / 2, (n + 0.5) * height - GAP / 2);
      }
    });
  });
}

/**
 * A dot: the model agreed with the draft. A ring: its own token in the place of a drafted one. A
 * bar: drafted and not checked.
 * @param {CanvasRenderingContext2D} paint
 * @param {string} origin
 * @param {number} x
 * @param {number} y
 */
function mark(paint, origin, x, y) {
  paint.globalAlpha = 0.9;
  paint.fillStyle = paint.strokeStyle = "white";
  paint.beginPath();
  if (origin === "unverified") paint.rect(x - 3, y - 0.75, 6, 1.5);
  else paint.arc(x, y, 1.75, 0, 2 * Math.PI);
  if (origin === "corrected") paint.stroke();
  else paint.fill();
}

/** From blue, early, over green to orange, late; as `--age` in denoise.css. @param {number} age */
function hue(age) {
  return 265 - 215 * Math.min(1, age);
}
