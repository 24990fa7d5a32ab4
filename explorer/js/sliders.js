// Places of the sliders and the numbers they stand for; width and depth are spaced by their logarithms, as is the gain.

export const FINE = 1000; // places of a slider
export const SLIDERS = {
  theta: { from: 0.05, to: 3 },
  gain: { from: 0.5, to: 30, log: true },
  width: { from: 10, to: 20000, log: true, whole: true },
  depth: { from: 2, to: 300, log: true, whole: true },
};

export function toSlider(name, value) {
  const { from, to, log } = SLIDERS[name];
  const f = log ? Math.log : (x) => x;
  return Math.round((FINE * (f(value) - f(from))) / (f(to) - f(from)));
}

/** Two decimals, or, of widths and depths, two digits and no fraction. */
export function fromSlider(name, place) {
  const { from, to, log, whole } = SLIDERS[name];
  const value = log ? from * (to / from) ** (place / FINE) : from + ((to - from) * place) / FINE;
  return whole ? Math.round(Number(value.toPrecision(2))) : Number(value.toFixed(2));
}

/** The number where a slider was moved to. Rounding may keep the old one: then the next number in that direction, for arrow keys. */
export function moved(name, place, value) {
  const way = Math.sign(place - toSlider(name, value));
  let found = fromSlider(name, place);
  while (found === value && way && place > 0 && place < FINE) found = fromSlider(name, (place += way));
  return found;
}
