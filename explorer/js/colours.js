// The colour map viridis, as in varflow's figures.

const STOPS = ("440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 " +
  "d8e219 fde725").split(" ").map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

/** Red, green and blue of a fraction from 0 to 1. */
export function viridis(fraction) {
  const place = Math.min(Math.max(fraction, 0), 1) * (STOPS.length - 1);
  const i = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[i].map((from, channel) => from + (place - i) * (STOPS[i + 1][channel] - from));
}
