// Layers wider than the exact chain is computed for: moments to leading order in 1/n. Survival is not known to this order.

import { empty } from "./chain.js";
import { flow } from "./map.js";
import { density, tail } from "./normal.js";

/** Var[K_{l+1}/n] = p (1-p)/n + (dp_{l+1}/dp_l)² Var[K_l/n] around the flow at infinite width. */
export function linearNoise(theta, gain, width, depth) {
  const profile = empty(depth);
  const variance = flow(theta, gain, depth);
  for (let l = 0, spread = 0; l < depth; l++) {
    const V = variance[l];
    const z = theta / Math.sqrt(V);
    const rate = V > 0 ? tail(z) : 0;
    profile.variance[l] = V;
    profile.varianceStd[l] = Math.sqrt(gain ** 4 * spread + (2 * V * V) / (width - 1));
    const slope = V > 0 ? (gain * gain * z * density(z)) / (2 * V) : 0;
    spread = (rate * (1 - rate)) / width + (l > 0 ? slope * slope * spread : 0);
    profile.firingRate[l] = rate;
    profile.firingRateStd[l] = Math.sqrt(spread);
  }
  return { ...profile, survival: null, rows: null, rough: false };
}
