// Every number the page shows for one setting; what `window.varflow.compute` gives.

import { EXACT_WIDTH, finiteWidth } from "./chain.js";
import { criticalGain, fixedPoints, flow, preservingGain } from "./map.js";
import { linearNoise } from "./wide.js";

/** Settings: theta > 0, gain > 0, width ≥ 2, depth ≥ 1. Without `rare`, survival below about 1e-6 is rough, but quick. */
export function compute({ theta, gain, width, depth }, rare = true) {
  const points = fixedPoints(theta, gain);
  const exact = width <= EXACT_WIDTH;
  return {
    fixedPoints: points,
    basinEdge: points.length > 1 ? points[1].variance : Infinity,
    preservingGain: preservingGain(theta),
    criticalGain: criticalGain(theta),
    flow: flow(theta, gain, depth),
    finite: (exact ? finiteWidth : linearNoise)(theta, gain, width, depth, rare),
    exact,
  };
}
