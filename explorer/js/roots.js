// Roots of continuous functions.

/** The root of f between lo and hi, where f changes sign, by bisection to neighbouring numbers. */
export function bisect(f, lo, hi) {
  const rising = f(lo) < 0;
  for (;;) {
    const middle = 0.5 * (lo + hi);
    if (middle <= lo || middle >= hi) return middle;
    if (f(middle) < 0 === rising) lo = middle;
    else hi = middle;
  }
}

/** The root of a rising f near a guess, null if it is above `highest`: a bracket, narrowed by the Illinois method. */
export function risingRoot(f, { guess, step, highest, tolerance, accuracy }) {
  let lo = guess, hi = guess, below = f(guess), above = below;
  for (; above < 0; above = f(hi)) {
    if (hi >= highest) return null;
    [lo, below, hi, step] = [hi, above, Math.min(hi + step, highest), 3 * step];
  }
  for (; below >= 0; below = f(lo)) [hi, above, lo, step] = [lo, below, lo - step, 3 * step];
  let kept = 0;
  while (hi - lo > tolerance) {
    const x = lo + ((hi - lo) * below) / (below - above);
    const value = f(x);
    if (Math.abs(value) < accuracy) return x;
    if (value < 0) {
      [lo, below] = [x, value];
      if (kept < 0) above /= 2;
      kept = -1;
    } else {
      [hi, above] = [x, value];
      if (kept > 0) below /= 2;
      kept = 1;
    }
    if (x - lo < tolerance && hi - x < tolerance) break;
  }
  return lo + ((hi - lo) * below) / (below - above);
}
