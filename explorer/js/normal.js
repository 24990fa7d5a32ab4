// The standard normal distribution: density, upper tail, and a generator of normal numbers for drawings.

const SQRT_2PI = Math.sqrt(2 * Math.PI);
const SERIES_END = 3; // the series loses digits in the tail, the continued fraction converges slowly near 0

/** φ(z) */
export function density(z) {
  return Math.exp(-0.5 * z * z) / SQRT_2PI;
}

/** Q(z) = P(Z > z), to about 1e-13 relative. */
export function tail(z) {
  if (z < 0) return 1 - tail(-z);
  return z < SERIES_END ? 0.5 - density(z) * oddSeries(z) : density(z) * millsRatio(z);
}

/** z + z³/3 + z⁵/(3·5) + … = (1/2 − Q)/φ */
function oddSeries(z) {
  let term = z, sum = z;
  for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= (z * z) / k;
  return sum;
}

/** Q/φ = 1/(z + 1/(z + 2/(z + 3/(z + …)))) */
function millsRatio(z) {
  let below = z;
  for (let k = Math.ceil(25 + 400 / (z * z)); k > 0; k--) below = z + k / below;
  return 1 / below;
}

/** φ(z)/Q(z) */
export function hazard(z) {
  return z < SERIES_END ? density(z) / tail(z) : 1 / millsRatio(z);
}
