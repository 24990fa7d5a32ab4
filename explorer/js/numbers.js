// Numbers as text, for people and as Python writes them.

/** With significant digits, for people: 0.5143, −1.2, 3.1 × 10⁻¹². */
export function shown(x, digits = 4) {
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "–";
  if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e6)) {
    const [front, power] = x.toExponential(Math.min(digits, 2) - 1).split("e");
    return `${front} × 10${superscript(power)}`.replace("-", "−");
  }
  return String(Number(x.toPrecision(digits))).replace("-", "−");
}

const superscript = (power) => [...power.replace("+", "")].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");

/** In per cent, with significant digits of it or of its complement, whichever is smaller. */
export function percent(fraction, digits = fraction > 0.9 ? 2 : 3) {
  if (fraction < 1 && fraction > 1 - 1e-6) return "> 99.9999\u00a0%";
  if (fraction > 0.9 && fraction < 1) return `${Number((100 - Number((100 * (1 - fraction)).toPrecision(digits))).toFixed(10))}\u00a0%`;
  return `${shown(100 * fraction, digits)}\u00a0%`;
}

/** Python's f"{x:.6g}". */
export function general(x, digits = 6) {
  if (x === 0) return "0";
  const power = Number(x.toExponential(digits - 1).split("e")[1]);
  if (power >= -4 && power < digits) return strip(x.toFixed(digits - 1 - power));
  const size = String(Math.abs(power)).padStart(2, "0");
  return `${strip(x.toExponential(digits - 1).split("e")[0])}e${power < 0 ? "-" : "+"}${size}`;
}

const strip = (text) => (text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text);
