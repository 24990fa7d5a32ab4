// What a setting means, in words.

import { EXACT_WIDTH } from "./chain.js";
import { Z_C, depthScale } from "./map.js";
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
  const scale = depthScale(top.multiplier);
  return `Wide networks settle at <i>V</i> = ${shown(top.variance)}, where ${percent(top.firingRate, 3)} of the neurons fire; deviations fall to 1/e in ${shown(scale, 2)} layer${scale === 1 ? "" : "s"}.`;
}

function narrow(width, depth, finite, exact) {
  if (!exact) return `Above width ${EXACT_WIDTH} the exact chain is not computed here; spreads are leading order in 1/n.`;
  const alive = finite.survival[depth - 1];
  const words = alive >= 1 - 1e-12 ? "practically all networks are" : alive < 1e-12 ? "practically no network is" : `${percent(alive, 3)} of networks are`;
  return `At width ${width}, ${words} alive in layer ${depth}.`;
}
