// One network of random weights, spike by spike. Given the spikes of the layer below, the currents of a layer's neurons are independent
// normal numbers (vectors, over several steps), so that no matrix of weights is needed.

import { STEPS } from "./memory.js";
import { tail } from "./normal.js";
import { Random } from "./random.js";

export const SHOWN = 40; // neurons of a layer that the picture has
export const LEVELS = 4; // shades of a neuron that spikes at every late step
export const SIMULATED = 2000; // neurons of a layer, at most
const LATE = STEPS / 2;

/** Layers without memory: K spikes give the next currents the variance g² K/n. The neurons beyond those simulated are one number. */
export function* oneStep({ theta, gain, width, depth, seed }) {
  const number = Math.min(width, SIMULATED);
  for (let l = 0, variance = 1; l < depth; l++) {
    const random = new Random(seed, l);
    const rate = variance > 0 ? tail(theta / Math.sqrt(variance)) : 0;
    const shades = new Uint8Array(Math.min(width, SHOWN));
    let count = 0;
    for (let i = 0; rate > 0 && i < number; i++) {
      if (random.uniform() >= rate) continue;
      count++;
      if (i < shades.length) shades[i] = LEVELS;
    }
    const others = (width - number) * rate;
    if (others > 0) count += Math.max(0, Math.round(others + Math.sqrt(others * (1 - rate)) * random.normal()));
    yield { shades, rate: count / width };
    variance = (gain * gain * count) / width;
  }
}

/** Layers with leak and reset over all steps, under a drive constant in time with standard deviation θ. */
export function* inTime({ theta, gain, width, depth, decay, reset, seed }) {
  const number = Math.min(width, SIMULATED);
  let factor = Array.from({ length: STEPS }, () => Float64Array.of(theta));
  for (let l = 0; l < depth; l++) {
    const trains = factor === null ? null : spikeTrains(factor, number, { theta, decay, reset }, new Random(seed, l));
    const shades = new Uint8Array(Math.min(number, SHOWN));
    if (trains === null) {
      yield { shades, rate: 0, rates: new Float64Array(STEPS) };
      continue;
    }
    const together = spikesTogether(trains);
    const rates = Float64Array.from(together, (row, t) => row[t] / number);
    const late = rates.slice(LATE).reduce((sum, rate) => sum + rate, 0) / (STEPS - LATE);
    for (let i = 0; i < shades.length; i++) shades[i] = Math.ceil((LEVELS * bits(trains[i] >>> LATE)) / (STEPS - LATE));
    yield { shades, rate: late, rates };
    factor = root(together, (gain * gain) / number);
  }
}

/** The steps at which each neuron spikes, as bits: currents are the factor of their covariance times normal numbers. */
function spikeTrains(factor, number, { theta, decay, reset }, random) {
  const trains = new Uint32Array(number);
  const columns = factor[STEPS - 1].length;
  const normal = new Float64Array(columns);
  for (let i = 0; i < number; i++) {
    for (let k = 0; k < columns; k++) normal[k] = random.normal();
    let membrane = 0, train = 0, held = 0; // held: what a delayed reset still takes off
    for (let t = 0; t < STEPS; t++) {
      const row = factor[t];
      let current = 0;
      for (let k = 0; k < row.length; k++) current += row[k] * normal[k];
      membrane = decay * membrane + current - held;
      held = 0;
      if (membrane <= theta) continue;
      train |= 1 << t;
      if (reset === "subtract") membrane -= theta;
      else if (reset === "zero") membrane = 0;
      else if (reset === "delayed_subtract") held = theta;
    }
    trains[i] = train;
  }
  return trains;
}

/** Numbers of neurons that spike at both of two steps. */
function spikesTogether(trains) {
  const together = Array.from({ length: STEPS }, () => new Float64Array(STEPS));
  const steps = new Uint8Array(STEPS);
  for (const train of trains) {
    let number = 0;
    for (let t = 0; t < STEPS; t++) if (train & (1 << t)) steps[number++] = t;
    for (let a = 0; a < number; a++) for (let b = 0; b <= a; b++) together[steps[a]][steps[b]]++;
  }
  return together;
}

/** Cholesky's factor of a multiple of a matrix that may be singular; null if it is 0. */
function root(matrix, scale) {
  const rows = Array.from({ length: STEPS }, (_, t) => new Float64Array(t + 1));
  let silent = true;
  for (let t = 0; t < STEPS; t++) {
    for (let s = 0; s <= t; s++) {
      let rest = scale * matrix[t][s];
      for (let k = 0; k < s; k++) rest -= rows[t][k] * rows[s][k];
      if (s < t) rows[t][s] = rows[s][s] > 0 ? rest / rows[s][s] : 0;
      else rows[t][t] = rest > 1e-9 * scale * matrix[t][t] ? Math.sqrt(rest) : 0; // else a sum of the steps before
    }
    if (matrix[t][t] > 0) silent = false;
  }
  return silent ? null : rows;
}

function bits(train) {
  let number = 0;
  for (; train; train &= train - 1) number++;
  return number;
}
