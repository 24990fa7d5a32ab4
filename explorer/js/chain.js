// Finite width, exactly: the spike count of a layer is a Markov chain, K' | K ~ Binomial(n, Q(θ √n/(g √K))).

import { tail } from "./normal.js";

export const EXACT_WIDTH = 2000; // wider layers: see wide.js
const ROUNDING = 40; // e^-40 is below the rounding of 1
const WHOLE = 690; // e^-690 is the smallest probability kept

/** Rows of the transition matrix, each made when first reached: probabilities above e^-cut between two counts. */
export class Rows {
  constructor(theta, gain, width, cut = ROUNDING) {
    Object.assign(this, { ratio: theta / gain, width, floor: Math.exp(-cut) });
    this.first = new Int32Array(width + 1);
    this.rows = new Array(width + 1);
    this.up = Float64Array.from({ length: width + 1 }, (_, j) => (width - j) / (j + 1));
    this.scratch = new Float64Array(width + 1);
  }

  /** Probability that a neuron fires if K neurons of the layer below do. */
  fires(count) {
    return count > 0 ? tail(this.ratio * Math.sqrt(this.width / count)) : 0;
  }

  at(count) {
    return (this.rows[count] ??= this.binomial(this.fires(count), count));
  }

  /** Binomial(n, p) from its mode outwards by ratios of neighbours, then normalised; the first count goes to `first[place]`. */
  binomial(p, place) {
    const { width, up, scratch, floor } = this;
    const odds = p / (1 - p);
    const mode = Math.floor((width + 1) * p);
    let low = mode, high = mode, sum = (scratch[mode] = 1);
    for (let mass = 1; high < width && (mass *= up[high] * odds) > floor; ) sum += scratch[++high] = mass;
    for (let mass = 1; low > 0 && (mass /= up[low - 1] * odds) > floor; ) sum += scratch[--low] = mass;
    const row = scratch.slice(low, high + 1);
    for (let j = 0; j < row.length; j++) row[j] /= sum;
    this.first[place] = low;
    return row;
  }

  /** Distribution of the count of the driven layer, Binomial(n, Q(θ)). */
  start(theta) {
    const mass = new Float64Array(this.width + 1);
    const row = this.binomial(tail(theta), 0);
    mass.set(row, this.first[0]);
    return mass;
  }

  /** The distribution one layer on. */
  push(mass) {
    const out = new Float64Array(this.width + 1);
    for (let count = 0; count <= this.width; count++) {
      const weight = mass[count];
      if (weight <= this.floor) continue;
      const row = this.at(count);
      for (let j = 0, k = this.first[count]; j < row.length; j++, k++) out[k] += weight * row[j];
    }
    return out;
  }

  /** The expectation of a function of the next count, given each count up to `last`; the last value stands for larger counts. */
  pull(values, last) {
    const out = new Float64Array(last + 1);
    for (let count = 0; count <= last; count++) {
      const row = this.at(count);
      let sum = 0;
      for (let j = 0, k = this.first[count]; j < row.length; j++, k++) sum += row[j] * values[k < last ? k : last];
      out[count] = sum;
    }
    return out;
  }
}

/**
 * Distributions of the counts K_1 … K_L. What is cut off, at most e^-cut in each layer, is small against the survival, also
 * against a tiny one if `rare`; else it may be `rough`.
 */
export function distributions(theta, gain, width, depth, rare = true) {
  for (let cut = ROUNDING; ; ) {
    const rows = new Rows(theta, gain, width, cut);
    const masses = [rows.start(theta)];
    while (masses.length < depth) masses.push(rows.push(masses[masses.length - 1]));
    const needed = Math.min(WHOLE, ROUNDING - Math.log(alive(masses[depth - 1])));
    const rough = needed > cut + 14 && cut < WHOLE;
    if (!rough || !rare) return { rows, masses, rough };
    cut = needed;
  }
}

/** That of K_L alone, without rare survivors. */
export function lastDistribution(theta, gain, width, depth) {
  const rows = new Rows(theta, gain, width);
  let mass = rows.start(theta);
  for (let l = 1; l < depth; l++) mass = rows.push(mass);
  return mass;
}

/** P(K > 0) */
export function alive(mass) {
  let sum = 0;
  for (let count = mass.length - 1; count > 0; count--) sum += mass[count];
  return Math.min(sum, 1);
}

/** Mean and spread of variance and rate, and survival, of every layer. */
export function finiteWidth(theta, gain, width, depth, rare = true) {
  const { rows, masses, rough } = distributions(theta, gain, width, depth, rare);
  const profile = empty(depth);
  masses.forEach((mass, l) => {
    const [mean, square, spread] = moments(mass);
    profile.firingRate[l] = mean / width;
    profile.firingRateStd[l] = Math.sqrt(spread) / width;
    profile.survival[l] = alive(mass);
    const unit = (gain * gain) / width; // C = σ_w² K
    if (l === 0) [profile.variance[0], profile.varianceStd[0]] = [1, Math.sqrt(2 / (width - 1))];
    if (l + 1 === depth) return;
    profile.variance[l + 1] = unit * mean;
    profile.varianceStd[l + 1] = unit * Math.sqrt(spread + (2 * square) / (width - 1)); // of the sample variance
  });
  return { ...profile, rows, rough };
}

export function empty(depth) {
  const names = ["variance", "varianceStd", "firingRate", "firingRateStd", "survival"];
  return Object.fromEntries(names.map((name) => [name, new Float64Array(depth)]));
}

/** E[K], E[K²] and Var[K] */
function moments(mass) {
  let mean = 0, square = 0, spread = 0;
  for (let count = 1; count < mass.length; count++) mean += mass[count] * count;
  for (let count = 0; count < mass.length; count++) {
    if (mass[count] === 0) continue;
    square += mass[count] * count * count;
    spread += mass[count] * (count - mean) ** 2;
  }
  return [mean, square, spread];
}
