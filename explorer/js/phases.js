// Survival to layer L over threshold and gain. Given the spikes of layer 1 it depends on u = θ/g alone.

import { EXACT_WIDTH, Rows } from "./chain.js";
import { GAMMA_C, Z_C, preservingGain } from "./map.js";
import { tail } from "./normal.js";

export const THETA = { from: 0.02, to: 3 };
export const GAIN = { from: 0.5, to: 30, log: true };
export const COLUMNS = 97;
const CUT = 16; // rows keep probabilities above e^-16: enough for colours
const CLIP = 9; // of the logit
const JUMP = 1.5; // of the logit between neighbouring u
const FINEST = 4e-4;

export const thetaOf = (column) => THETA.from + ((THETA.to - THETA.from) * column) / (COLUMNS - 1);

/** Logit of the survival at each threshold, one u at a time; yields between them, so that the page stays responsive. */
export function* survivalMap(width, depth) {
  if (width > EXACT_WIDTH) return wideMap();
  const starts = Array.from({ length: COLUMNS }, (_, column) => startOf(width, thetaOf(column)));
  const known = new Map();
  const at = (u) => known.get(u) ?? known.set(u, logits(u, width, depth, starts)).get(u);
  const intervals = [[0.002, 0.05], [0.05, 0.1], [0.1, 0.2], [0.2, 0.4], [0.4, 0.8], [0.8, 4]];
  while (intervals.length) {
    const [lo, hi] = intervals.pop();
    const apart = largestDifference(at(lo), at(hi));
    if (apart > JUMP && hi - lo > FINEST) intervals.push([lo, (lo + hi) / 2], [(lo + hi) / 2, hi]);
    yield;
  }
  return [...known].sort(([a], [b]) => a - b);
}

function startOf(width, theta) {
  const rows = new Rows(1, 1, width, CUT);
  return { row: rows.binomial(tail(theta), 0), first: rows.first[0] };
}

/** P(K_L > 0 | K_1) pulled back through L - 1 layers, averaged over K_1. */
function logits(u, width, depth, starts) {
  const rows = new Rows(u, 1, width, CUT);
  const last = Math.min(width, Math.ceil(width / 2 + 3 * Math.sqrt(width)));
  let alive = new Float64Array(last + 1).fill(1);
  alive[0] = 0;
  for (let l = 1; l < depth && alive[last] > 1e-5; l++) alive = rows.pull(alive, last);
  return Float64Array.from(starts, ({ row, first }) => {
    let sum = 0;
    for (let j = 0; j < row.length; j++) sum += row[j] * alive[Math.min(first + j, last)];
    return logit(sum);
  });
}

const logit = (p) => Math.max(-CLIP, Math.min(CLIP, Math.log(p / (1 - Math.min(p, 1 - 1e-12)))));

function largestDifference(a, b) {
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
}

/** At infinite width: alive if a stable state exists and the drive, V = 1, is in its basin. */
function wideMap() {
  const edge = Float64Array.from({ length: COLUMNS }, (_, column) => {
    const theta = thetaOf(column);
    return theta < Z_C ? 1 / Math.sqrt(GAMMA_C) : theta / preservingGain(theta);
  });
  const grid = [0.002, ...Array.from({ length: 240 }, (_, i) => 0.18 + 0.001 * i), 4];
  return grid.map((u) => [u, edge.map((e) => Math.max(-CLIP, Math.min(CLIP, 5000 * (e - u))))]); // steep, so that its edge is smooth
}

/** Survival by interpolation of the logit in u. */
export function survivalAt(map, column, gain) {
  const u = thetaOf(column) / gain;
  let lo = 0, hi = map.length - 1;
  if (u <= map[0][0]) return 1 / (1 + Math.exp(-map[0][1][column]));
  while (hi - lo > 1) map[(lo + hi) >> 1][0] <= u ? (lo = (lo + hi) >> 1) : (hi = (lo + hi) >> 1);
  const part = Math.min((u - map[lo][0]) / (map[hi][0] - map[lo][0]), 1);
  return 1 / (1 + Math.exp(-(map[lo][1][column] * (1 - part) + map[hi][1][column] * part)));
}

/** The line of equal survival in the plane of threshold and gain; where no gain reaches it any more, it leaves the plane upwards. */
export function contour(map, level) {
  const wanted = logit(level);
  const line = [];
  const highest = map[0][1];
  for (let column = 0; column < COLUMNS; column++) {
    if (column > 0 && highest[column] < wanted && highest[column - 1] >= wanted) {
      line.push(...upwards(map, column, wanted, line.at(-1)?.[1] ?? GAIN.from));
      break;
    }
    for (let i = map.length - 1; i > 0; i--) {
      const [[u, below], [v, above]] = [map[i - 1], map[i]].map(([x, values]) => [x, values[column]]);
      if (above < wanted && below >= wanted) {
        line.push([thetaOf(column), thetaOf(column) / (u + ((v - u) * (below - wanted)) / (below - above))]);
        break;
      }
    }
  }
  return line;
}

/** Its last part, between two columns: where the survival at each of some rising gains has the wanted logit. */
function upwards(map, column, wanted, from) {
  const points = [];
  for (let i = 1; i <= 20; i++) {
    const gain = from * (GAIN.to / from) ** (i / 20);
    const [left, right] = [column - 1, column].map((each) => logit(survivalAt(map, each, gain)));
    if (left >= wanted && right < wanted) points.push([thetaOf(column - 1 + (left - wanted) / (left - right)), gain]);
  }
  return points;
}
