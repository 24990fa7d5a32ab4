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

/** Rates of every step, linear between the tabulated gains; null outside them. */
export function ratesAt(reset, decay, gain) {
  const last = GAINS.length - 1;
  if (gain < GAINS[0] || gain > GAINS[last]) return null;
  const i = Math.min(GAINS.findLastIndex((known) => known <= gain), last - 1);
  const part = (gain - GAINS[i]) / (GAINS[i + 1] - GAINS[i]);
  const [below, above] = [ratesOf(reset, decay)[i], ratesOf(reset, decay)[i + 1]];
  return below.map((rate, t) => rate + part * (above[t] - rate));
}
