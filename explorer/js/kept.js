// Gains that keep 99 % of networks of common neurons with memory alive, interpolated in varflow's table as vf.lookup does.

import drawn from "../../varflow/data/corrected_gains_in_time.csv";

export const PRESETS = [
  { name: "snnTorch, β = 0.5", decay: 0.5, reset: "delayed_subtract", input_scale: 1 },
  { name: "snnTorch, β = 0.9", decay: 0.9, reset: "delayed_subtract", input_scale: 1 },
  { name: "SpikingJelly, τ = 2", decay: 0.5, reset: "zero", input_scale: 0.5 },
];
export const ALIVE = ["a late step", "every late step"];
const SCALES = { steps: Math.log, depth: Math.log, width: (n) => n ** (-2 / 3) }; // linear in these; the last as at a saddle-node

const distinct = (values) => [...new Set(values)].sort((a, b) => a - b);
const AXES = Object.fromEntries(Object.keys(SCALES).map((name) => [name, distinct(drawn.map((row) => row[name]))]));

/** Sizes moved into the table. */
export const tabulated = (sizes) =>
  Object.fromEntries(Object.entries(AXES).map(([name, axis]) => [name, Math.min(Math.max(sizes[name], axis[0]), axis.at(-1))]));

/** The gain in units of θ, for a drive of standard deviation θ; NaN where no gain is enough. */
export function gainKeptAlive(preset, alive, sizes) {
  const same = { alive, decay: preset.decay, reset: preset.reset, input_scale: preset.input_scale };
  const rows = drawn.filter((row) => Object.entries(same).every(([name, value]) => row[name] === value));
  return between(rows, Object.keys(AXES), sizes);
}

/** Linear along the first axis, of values that are interpolated along the others. */
function between(rows, [name, ...others], sizes) {
  if (name === undefined) return rows[0].gain;
  const axis = AXES[name];
  const at = (value) => between(rows.filter((row) => row[name] === value), others, sizes);
  const above = Math.min(Math.max(axis.findIndex((value) => value >= sizes[name]), 1), axis.length - 1);
  const [low, high, x] = [axis[above - 1], axis[above], sizes[name]].map(SCALES[name]);
  const part = (x - low) / (high - low);
  return part === 1 ? at(axis[above]) : (1 - part) * at(axis[above - 1]) + part * at(axis[above]);
}
