// The figures: each turns a setting and its numbers into a drawing, with those of a pinned setting behind it, if there is one.

import { cobweb, criticalGain, preservingGain, varianceMap } from "./map.js";
import { DECAYS, GAINS, MEMORY_DEPTH, STEPS, lateRate, nearest, ratesOf } from "./memory.js";
import { shown } from "./numbers.js";
import { GAIN, THETA } from "./phases.js";
import { Plot } from "./plot.js";
import { LEVELS, SHOWN } from "./spikes.js";

const range = (from, to, number) => Array.from({ length: number }, (_, i) => from + ((to - from) * i) / (number - 1));
const overLayers = (values, scale = 1) => Array.from(values, (value, l) => [l + 1, value * scale]);
const it = (letter) => `<tspan class="it">${letter}</tspan>`;
const withIndex = (letter, index) => `${it(letter)}<tspan class="it sub" dy="4">${index}</tspan><tspan dy="-4">\u200b</tspan>`;
const fraction = (value) => `${shown(100 * value, 3)} %`;

/** The neurons of one network, layer by layer, dark where they spike; layers that are not simulated yet are left out. */
export function spikesFigure(size, { width, depth, neuron }, layers) {
  const rows = Math.min(width, SHOWN);
  const plot = new Plot({
    ...size,
    x: { id: size.id, from: 0.5, to: depth + 0.5, label: `layer ${it("l")}` },
    y: { from: 0, to: rows, label: rows < width ? `${rows} of ${width} neurons` : `${width} neurons`, bare: true },
    beyond: 0,
    left: 26,
  });
  const [across, up] = [(plot.right - plot.left) / depth, (plot.bottom - plot.top) / rows];
  const dot = Math.min(across > 5 ? across - 1.5 : Math.max(across - 0.4, 0.8), 3 * up);
  for (let level = 1; level <= LEVELS; level++) {
    let path = "";
    layers.forEach(({ shades }, l) => {
      const X = (plot.left + l * across + (across - dot) / 2).toFixed(1);
      shades.forEach((shade, i) => shade === level && (path += `M${X} ${(plot.top + (i + 0.5) * up).toFixed(1)}h${dot.toFixed(1)}`));
    });
    if (path) plot.add(`<path class="spikes" style="stroke-width:${(up - 1).toFixed(1)}px;opacity:${level / LEVELS}" d="${path}"/>`);
  }
  const silent = silentFrom(layers);
  if (silent !== null && silent < 0.8 * depth) {
    plot.text(silent + 0.5, rows / 2, neuron === "memory" ? `silent at late steps from layer ${silent} on` : `silent from layer ${silent} on`, "label", 8, 4);
  }
  return plot;
}

/** The first layer of those that are silent to the end; null if the last one spikes. */
export function silentFrom(layers) {
  const last = layers.findLastIndex(({ rate }) => rate > 0);
  return last + 1 < layers.length ? last + 2 : null;
}

/** The variance map with its fixed points and the cobweb from V = 1. */
export function mapFigure(size, { theta, gain }, { fixedPoints }, pinned) {
  const top = Math.max(1.6, 1.3 * fixedPoints.at(-1).variance);
  const curve = (theta, gain) => range(0, 1, 240).map((s) => [top * s * s, varianceMap(top * s * s, theta, gain)]);
  const plot = new Plot({
    ...size,
    x: { id: "map", from: 0, to: top, label: `variance ${it("V")} of a layer` },
    y: { from: 0, to: top, label: `${it("F")}(${it("V")}), of the next layer` },
  });
  plot.line([[0, 0], [top, top]], "diagonal");
  plot.line(cobweb(theta, gain, 60), "cobweb");
  if (pinned) plot.line(curve(pinned.theta, pinned.gain), "pinned");
  plot.line(curve(theta, gain), "map");
  fixedPoints.forEach(({ variance, multiplier, stable }, i) => {
    plot.dot(variance, variance, stable ? "stable" : "unstable");
    if (i === 0 && fixedPoints.length > 1 && plot.X(fixedPoints[1].variance) - plot.X(0) < 70) return; // no room for words
    const words = variance > 0 ? `${it("V")} = ${shown(variance)}, ${it("m")} = ${shown(multiplier, 3)}` : "silence";
    const room = plot.bottom - plot.Y(variance);
    const side = variance > 0.62 * top ? ["label end", -11, -7] : ["label", 11, variance > 0 ? Math.min(15, room - 5) : -9];
    plot.text(variance, variance, words, ...side);
  });
  return plot;
}

/** Variance over layers: sampled networks, exact mean and spread, and the flow at infinite width. */
export function flowFigure(size, { depth }, { flow, finite }, networks, pinned) {
  const upper = finite.variance.map((mean, l) => mean + finite.varianceStd[l]);
  const lower = finite.variance.map((mean, l) => Math.max(mean - finite.varianceStd[l], 0));
  const top = 1.04 * Math.max(1.25, ...flow, ...(pinned?.finite.variance.slice(0, depth) ?? []), ...upper, ...networks.map((variance) => Math.max(...variance)));
  const plot = new Plot({
    ...size,
    x: { id: "flow", from: 1, to: Math.max(depth, 2), label: `layer ${it("l")}` },
    y: { from: 0, to: top, label: `Var[${withIndex("u", "l")}]` },
  });
  plot.area(overLayers(upper), overLayers(lower), "exact");
  plot.lines(networks.map((variance) => overLayers(variance)), "network");
  plot.line(overLayers(flow), "infinite");
  if (pinned) plot.line(overLayers(pinned.finite.variance), "pinned");
  plot.line(overLayers(finite.variance), "exact");
  return plot;
}

/** Probability that a layer has at least one spike. */
export function survivalFigure(size, { depth }, { finite }, pinned) {
  const plot = new Plot({
    ...size,
    x: { id: "survival", from: 1, to: Math.max(depth, 2), label: `layer ${it("l")}` },
    y: { from: 0, to: 1.05, label: `P(${withIndex("K", "l")} &gt; 0)`, format: fraction },
  });
  if (finite.survival === null) return plot.text((1 + depth) / 2, 0.5, "not known to leading order in 1/n", "label middle");
  const line = overLayers(finite.survival);
  plot.area(line, line.map(([l]) => [l, 0]), "alive");
  if (pinned?.finite.survival) plot.line(overLayers(pinned.finite.survival), "pinned");
  plot.line(line, "alive");
  return plot;
}

/** Survival over threshold and gain: colours drawn elsewhere, lines, and the present setting. */
export function phaseFigure(size, { theta, gain }, image, contours, pinned) {
  const plot = new Plot({
    ...size,
    x: { id: "phase", ...THETA, label: `threshold ${it("θ")}` },
    y: { ...GAIN, label: `gain ${it("g")}` },
    beyond: 0,
  });
  const box = `x="${plot.left}" y="${plot.top}" width="${plot.right - plot.left}" height="${plot.bottom - plot.top}"`;
  if (image) plot.add(`<image href="${image}" ${box} preserveAspectRatio="none"/>`);
  const thetas = range(THETA.from, THETA.to, 80);
  contours.forEach(([level, line]) => line.length > 1 && plot.line(line, level > 0.9 ? "contour high" : "contour"));
  plot.line(thetas.map((t) => [t, criticalGain(t)]), "critical");
  plot.line(thetas.map((t) => [t, preservingGain(t)]), "preserving");
  plot.line([[THETA.from, Math.SQRT2], [THETA.to, Math.SQRT2]], "kaiming");
  plot.text(THETA.from, preservingGain(THETA.from), "preserving", "on-yellow", 6, -9);
  plot.text(THETA.to, Math.SQRT2, "Kaiming’s √2", "on-map end", -6, -7);
  plot.text(2.75, criticalGain(2.75), withIndex("g", "c"), "on-map", 0, 20);
  const [x, y] = [Math.min(theta, THETA.to), Math.min(Math.max(gain, GAIN.from), GAIN.to)];
  plot.add(`<path class="cross" d="M${plot.X(x)} ${plot.top}V${plot.bottom}M${plot.left} ${plot.Y(y)}H${plot.right}"/>`);
  const hollow = pinned ? plot.circle(pinned.theta, Math.max(pinned.gain, GAIN.from), "pinned", 6) : "";
  plot.cursor = hollow + plot.circle(x, y, "here", 7);
  return plot;
}

const LABELLED = [0, 0.95]; // decays whose curves are named

/** Late firing rate of a deep layer over the gain, for every tabulated decay. */
export function rateFigure(size, { theta, gain, decay, reset }, pinned) {
  const unit = gain / theta;
  const plot = new Plot({
    ...size,
    x: { id: "rate", from: GAINS[0], to: GAINS.at(-1), label: `gain in thresholds, ${it("g")}/${it("θ")}` },
    y: { from: 0, to: 0.55, label: `rate, steps ${STEPS / 2 + 1}–${STEPS}`, format: fraction },
  });
  const curve = (beta, how = reset) => ratesOf(how, beta).map((steps, i) => [GAINS[i], lateRate(steps)]);
  DECAYS.forEach((beta) => plot.line(curve(beta), beta === decay ? "chosen" : "other"));
  if (pinned) plot.line(curve(pinned.decay, pinned.reset), "pinned");
  for (const beta of new Set([...LABELLED, decay])) {
    const side = beta === LABELLED[1] ? -6 : 14;
    plot.text(...curve(beta)[beta === decay ? GAINS.length - 2 : GAINS.length - 1], `${it("β")} = ${beta}`, "label end", beta === decay ? 12 : 0, side);
  }
  curve(decay).forEach(([g, rate]) => plot.dot(g, rate, "table", 2.6));
  const place = nearest(unit);
  if (place !== null) {
    plot.add(`<path class="cross" d="M${plot.X(unit)} ${plot.top}V${plot.bottom}"/>`);
    plot.dot(...curve(decay)[place], "here", 6);
  }
  return plot;
}

/** Firing rate of that layer at each step, at the nearest tabulated gain, and in the network drawn. */
export function stepsFigure(size, { theta, gain, decay, reset }, layers) {
  const place = nearest(gain / theta);
  const steps = place === null ? null : ratesOf(reset, decay)[place];
  const sampled = layers[MEMORY_DEPTH - 1]?.rates ?? [];
  const plot = new Plot({
    ...size,
    x: { id: "steps", from: 0.4, to: STEPS + 0.6, label: `time step ${it("t")}` },
    y: { from: 0, to: Math.max(0.3, 1.15 * Math.max(...(steps ?? []), ...sampled)), label: "firing rate", format: fraction },
  });
  const half = 0.34;
  steps?.forEach((rate, t) =>
    plot.area([[t + 1 - half, rate], [t + 1 + half, rate]], [[t + 1 - half, 0], [t + 1 + half, 0]], "step"),
  );
  sampled.forEach((rate, t) => plot.dot(t + 1, rate, "sampled", 3));
  return steps ? plot : plot.text(STEPS / 2, 0.15, `tabulated for g/θ from ${GAINS[0]} to ${GAINS.at(-1)}`, "label middle");
}
