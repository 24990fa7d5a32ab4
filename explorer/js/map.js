// Infinite width: the variance map F(V) = g² Q(θ/√V), its fixed points, and the flow from layer to layer.

import { hazard, tail } from "./normal.js";
import { bisect } from "./roots.js";

export const Z_C = 1.19060124834277; // of the saddle-node: z φ(z) = 2 Q(z)
export const GAMMA_C = 6.034397946968073; // 1/(z_c² Q(z_c))

export const preservingGain = (theta) => 1 / Math.sqrt(tail(theta));
export const criticalGain = (theta) => Math.sqrt(GAMMA_C) * theta;

/** F(V) */
export function varianceMap(variance, theta, gain) {
  return variance > 0 ? gain * gain * tail(theta / Math.sqrt(variance)) : 0;
}

/** m = F'(V) at a fixed point, z φ(z)/(2 Q(z)) with z = θ/√V */
const multiplierAt = (z) => 0.5 * z * hazard(z);

/** All fixed points for θ > 0, ascending in variance: silence and, above the critical gain, the two roots of z² Q(z) = θ²/g². */
export function fixedPoints(theta, gain) {
  const silence = { variance: 0, firingRate: 0, multiplier: 0, stable: true };
  const wanted = (theta / gain) ** 2;
  const excess = (z) => z * z * tail(z) - wanted;
  if (excess(Z_C) < 0) return [silence];
  const far = Z_C + 1 / Z_C + Math.sqrt(2 * Math.log1p(1 / wanted)) + 2; // z² Q(z) < θ²/g² there
  return [silence, described(theta, bisect(excess, Z_C, far)), described(theta, bisect(excess, 0, Z_C))];
}

function described(theta, z) {
  const multiplier = multiplierAt(z);
  return { variance: (theta / z) ** 2, firingRate: tail(z), multiplier, stable: multiplier < 1 };
}

/** Layers over which a deviation from a fixed point falls to 1/e. */
export const depthScale = (multiplier) => (multiplier > 0 ? -1 / Math.log(multiplier) : 0);

/** V_1 = 1 and its images: the variance of every layer at infinite width. */
export function flow(theta, gain, depth) {
  const variance = new Float64Array(depth).fill(1);
  for (let l = 1; l < depth; l++) variance[l] = varianceMap(variance[l - 1], theta, gain);
  return variance;
}

/** Polyline of the cobweb from V = 1: up to the map, across to the diagonal. */
export function cobweb(theta, gain, layers) {
  const points = [[1, 0]];
  for (let l = 0, V = 1; l < layers && V > 1e-4; l++) {
    const next = varianceMap(V, theta, gain);
    points.push([V, next], [next, next]);
    V = next;
  }
  return points;
}
