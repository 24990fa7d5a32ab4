// A few networks drawn from the exact distribution. Their random numbers stay the same, so that curves move smoothly.

import { Random } from "./random.js";

const NETWORKS = 20;
const DEEPEST = 300;

const RANDOM = Array.from({ length: NETWORKS }, (_, network) => {
  const random = new Random(network + 1);
  return Float64Array.from({ length: 3 * DEEPEST }, () => random.uniform());
});

/** Sample variances of layers 1 … L of each network: spike counts from the chain, times χ²/(n-1). */
export function sampledNetworks(rows, theta, gain, width, depth) {
  const start = rows.start(theta);
  return RANDOM.map((random) => {
    const variance = new Float64Array(depth);
    variance[0] = chiSquare(random, 0, width - 1);
    for (let l = 1, count = 0; l < depth; l++) {
      count = l === 1 ? quantile(start, random[0]) : rows.first[count] + quantile(rows.at(count), random[3 * (l - 1)]);
      if (count === 0) break;
      variance[l] = ((gain * gain * count) / width) * chiSquare(random, l, width - 1);
    }
    return variance;
  });
}

function quantile(mass, level) {
  let place = 0;
  for (let sum = mass[0]; sum < level && place < mass.length - 1; ) sum += mass[++place];
  return place;
}

/** χ²/k with k degrees of freedom, by Wilson and Hilferty's cube of a normal number. */
function chiSquare(random, l, k) {
  const normal = Math.sqrt(-2 * Math.log(1 - random[3 * l + 1])) * Math.cos(2 * Math.PI * random[3 * l + 2]);
  return (1 - 2 / (9 * k) + normal * Math.sqrt(2 / (9 * k))) ** 3;
}
