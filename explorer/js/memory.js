// Neurons with leak and reset: firing rates of a deep layer at infinite width, from a table made by explorer/tables.py.

import memory from "../memory.json";

export const DECAYS = memory.decays;
export const GAINS = memory.gains; // in units of θ
export const MEMORY_DEPTH = memory.depth;
export const STEPS = memory.steps;
export const RESETS = { none: "none", subtract: "subtract", delayed_subtract: "delayed subtract", zero: "to zero" };

/** Rates of every step at each tabulated gain. */
export const ratesOf = (reset, decay) => memory.rates[reset][String(decay)];

/** Mean over the late half of the steps. */
export const lateRate = (steps) => steps.slice(STEPS / 2).reduce((sum, rate) => sum + rate, 0) / (STEPS / 2);

/** The place of the tabulated gain nearest to a gain in units of θ; null outside the table. */
export function nearest(unit) {
  if (unit < GAINS[0] || unit > GAINS.at(-1)) return null;
  return GAINS.reduce((best, gain, i) => (Math.abs(gain - unit) < Math.abs(GAINS[best] - unit) ? i : best), 0);
}

/** The smallest tabulated gain, in units of θ, with which deep layers spike at late steps. */
export const onset = (reset, decay) => GAINS[ratesOf(reset, decay).findIndex((steps) => lateRate(steps) > 0)];

/** The gain in units of θ for a late rate, interpolated in the table; the smallest whose deep layers spike if all of these spike more. */
export function gainForRate(reset, decay, rate) {
  const near = [DECAYS.findLast((beta) => beta <= decay), DECAYS.find((beta) => beta >= decay)];
  const [low, high] = near.map((beta) => gainOnCurve(ratesOf(reset, beta).map(lateRate), rate));
  return low + (high - low) * (near[1] > near[0] ? (decay - near[0]) / (near[1] - near[0]) : 0);
}

function gainOnCurve(rates, rate) {
  const above = rates.findIndex((value) => value >= rate);
  if (above < 1 || rates[above - 1] === 0) return GAINS[Math.max(above, 0)];
  const part = (rate - rates[above - 1]) / (rates[above] - rates[above - 1]);
  return GAINS[above - 1] + part * (GAINS[above] - GAINS[above - 1]);
}
