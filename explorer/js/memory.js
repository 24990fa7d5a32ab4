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
