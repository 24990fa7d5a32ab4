// Rules for the gain.

import { EXACT_WIDTH, alive, lastDistribution } from "./chain.js";
import { preservingGain } from "./map.js";
import { risingRoot } from "./roots.js";

export const TARGET = 0.99; // survival at the last layer that the corrected gain is made for
const KAIMING = Math.SQRT2;

/** ln of the odds of being alive in layer L, less those wanted. */
function excessOdds(theta, gain, width, depth) {
  const last = lastDistribution(theta, gain, width, depth);
  const odds = (life, death) => Math.log(Math.max(life, 1e-300)) - Math.log(Math.max(death, 1e-300));
  return odds(alive(last), last[0]) - odds(TARGET, 1 - TARGET);
}

/** The smallest gain with survival 0.99 at layer L; null if no gain reaches it. */
export function correctedGain(theta, width, depth, guess = 2.6 * theta) {
  const search = { guess: Math.log(guess), step: 0.02, highest: Math.log(1e6 * theta), tolerance: 1e-9, accuracy: 1e-7 };
  const root = risingRoot((x) => excessOdds(theta, Math.exp(x), width, depth), search);
  return root === null ? null : Math.exp(root);
}

/** The gain of a rule; `known` remembers the last corrected one, a good first guess for the next. */
export function gainByRule(rule, theta, anyWidth, depth, known) {
  if (rule === "preserving") return preservingGain(theta);
  if (rule === "kaiming") return KAIMING;
  const width = Math.min(anyWidth, EXACT_WIDTH); // wider networks need a little less
  const key = [theta, width, depth].join();
  if (known.key !== key) {
    const found = correctedGain(theta, width, depth, known.gain ? (known.gain / known.theta) * theta : undefined);
    Object.assign(known, { key, found }, found ? { gain: found, theta } : {});
  }
  return known.found === null ? null : Math.max(known.found, preservingGain(theta));
}
