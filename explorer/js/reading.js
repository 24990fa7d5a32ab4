// What a setting means, in words.

import { EXACT_WIDTH } from "./chain.js";
import { Z_C, depthScale } from "./map.js";
import { GAINS, MEMORY_DEPTH, lateRate, nearest, onset, ratesOf } from "./memory.js";
import { percent, shown } from "./numbers.js";

/** Sentences on wide networks, and on networks of this width. */
export function reading({ theta, gain, width, depth }, { fixedPoints, basinEdge, criticalGain, finite, exact }) {
  return `${wide(theta, gain, fixedPoints, basinEdge, criticalGain)} ${narrow(width, depth, finite, exact)}`;
}

function wide(theta, gain, fixedPoints, basinEdge, criticalGain) {
  if (fixedPoints.length === 1) {
    return `The gain is below the critical gain, ${shown(criticalGain)}: only silence is stable, and activity dies at any width.`;
  }
  const top = fixedPoints[2];
  if (basinEdge > 1 + 1e-9) {
    return `Activity could hold at <i>V</i> = ${shown(top.variance)}, but the drive, <i>V</i> = 1, is below the basin edge, ${shown(basinEdge)}: wide networks fall silent.`;
  }
  if (basinEdge > 1 - 1e-9) {
    return `<i>V</i> = 1 is a fixed point, but an unstable one, since <i>θ</i> &gt; ${shown(Z_C)}: by chance a network rises to <i>V</i> = ${shown(top.variance)} or falls silent.`;
  }
  const scale = shown(depthScale(top.multiplier), 2);
  return `Wide networks settle at <i>V</i> = ${shown(top.variance)}, where ${percent(top.firingRate, 3)} of the neurons fire; deviations fall to 1/e in ${scale} layer${scale === "1" ? "" : "s"}.`;
}

function narrow(width, depth, finite, exact) {
  if (!exact) return `Above width ${EXACT_WIDTH} the exact chain is not computed here; spreads are leading order in 1/n.`;
  const alive = finite.survival[depth - 1];
  const words = alive >= 1 - 1e-12 ? "practically all networks are" : alive < 1e-12 ? "practically no network is" : `${percent(alive)} of networks are`;
  return `At width ${width}, ${words} alive in layer ${depth}.`;
}

/** Sentences on wide networks of neurons with leak and reset. */
export function readingInTime({ theta, gain, decay, reset, rule }) {
  const unit = gain / theta;
  const place = nearest(unit);
  if (place === null) return `The table of neurons with leak and reset has gains from ${GAINS[0]} <i>θ</i> to ${GAINS.at(-1)} <i>θ</i>; this one is ${shown(unit, 3)} <i>θ</i>.`;
  const steps = ratesOf(reset, decay)[place];
  const late = lateRate(steps);
  const layer = `layer ${MEMORY_DEPTH} of wide networks`;
  if (late === 0) {
    const first = steps[0] > 0 ? `In ${layer} the first step still has spikes, all later ones are silent` : `In ${layer} all steps are silent`;
    const why = rule === "preserving" ? "; the preserving gain is made for neurons without memory" : "";
    return `${first}: with this leak and reset activity needs a gain of ${shown(onset(reset, decay))} <i>θ</i>, and this one is ${shown(unit, 3)} <i>θ</i>${why}.`;
  }
  const without = lateRate(ratesOf("none", 0)[place]);
  const than = without > 0 ? `against ${percent(without, 3)} without leak and reset` : "where neurons without leak and reset are silent";
  return `In ${layer} ${percent(late, 3)} of the neurons spike in a late step, ${than}; ${uneven(steps.slice(steps.length / 2))}.`;
}

function uneven(late) {
  const [low, high] = [Math.min(...late), Math.max(...late)];
  if (high < 1.05 * low) return "all late steps are alike";
  return low === 0 ? `some late steps are silent, the liveliest has ${percent(high, 3)}` : `late steps differ, from ${percent(low, 3)} to ${percent(high, 3)}`;
}

/** What the network in the picture does, up to a layer. */
export function networkRead({ width, neuron }, layers, silent, layer = layers.length) {
  if (!layers.length) return "";
  if (silent !== null && layer >= silent) return silent === 1 ? "silent" : `silent from layer ${silent} on`;
  const rate = layers[layer - 1]?.rate;
  if (rate === undefined) return "";
  return neuron === "memory" ? `layer ${layer}: ${percent(rate, 3)} spike in a late step` : `layer ${layer}: ${Math.round(rate * width)} of ${width} spike`;
}
