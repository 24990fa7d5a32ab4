// The picture of the phase diagram follows width and depth, a slice of work at a time.

import { EXACT_WIDTH } from "./chain.js";
import { viridis } from "./colours.js";
import { COLUMNS, GAIN, contour, survivalAt, survivalMap } from "./phases.js";
import { along } from "./plot.js";

const LINES = [0.01, 0.5, 0.99]; // of the lines
let job = null, painting = "";

/** Calls back with the picture and lines of equal survival, unless they are those painted last. */
export function paintPhases({ width, depth }, done) {
  if (painting === (painting = `${Math.min(width, EXACT_WIDTH + 1)},${depth}`)) return;
  const work = survivalMap(width, depth);
  clearTimeout(job);
  const slice = () => {
    const end = performance.now() + 12;
    let step;
    do step = work.next();
    while (!step.done && performance.now() < end);
    if (!step.done) job = setTimeout(slice);
    else done({ image: painted(step.value), contours: width > EXACT_WIDTH ? [] : LINES.map((level) => [level, contour(step.value, level)]) });
  };
  job = setTimeout(slice, 30);
}

function painted(map) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [COLUMNS, 2 * COLUMNS];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let row = 0, at = 0; row < canvas.height; row++) {
    const gain = along(GAIN, 1 - (row + 0.5) / canvas.height);
    for (let column = 0; column < COLUMNS; column++, at += 4) {
      pixels.data.set([...viridis(survivalAt(map, column, gain)), 255], at);
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}
