// Axes and lines as SVG text. Colours come from the style sheet.

import { shown } from "./numbers.js";

/** A plot with two axes: { from, to, label, log?, bare?, format? }, in a box of the given size. */
export class Plot {
  constructor({ width, height, x, y, beyond = 7, left = 58 }) {
    Object.assign(this, { width, height, x, y, beyond }); // beyond: what may stick out of the axes
    this.left = left;
    this.right = width - 14;
    this.top = 14;
    this.bottom = height - 42;
    this.parts = [];
    this.cursor = ""; // not cut off
  }

  X(value) {
    return this.left + (this.right - this.left) * partOf(this.x, value);
  }

  Y(value) {
    return this.bottom - (this.bottom - this.top) * partOf(this.y, value);
  }

  /** The values at a place of the drawing. */
  at(px, py) {
    const part = (value, lo, hi) => Math.min(Math.max((value - lo) / (hi - lo), 0), 1);
    return [along(this.x, part(px, this.left, this.right)), along(this.y, part(py, this.bottom, this.top))];
  }

  add(...parts) {
    this.parts.push(...parts);
    return this;
  }

  path(points) {
    const rounded = (value) => Math.round(10 * value) / 10;
    return points.map(([x, y], i) => `${i ? "L" : "M"}${rounded(this.X(x))} ${rounded(this.Y(y))}`).join("");
  }

  lines(each, kind) {
    return this.add(`<path class="line ${kind}" d="${each.map((points) => this.path(points)).join("")}"/>`);
  }

  line(points, kind) {
    return this.lines([points], kind);
  }

  area(upper, lower, kind) {
    return this.add(`<path class="area ${kind}" d="${this.path([...upper, ...[...lower].reverse()])}Z"/>`);
  }

  circle(x, y, kind, radius) {
    return `<circle class="dot ${kind}" cx="${this.X(x).toFixed(2)}" cy="${this.Y(y).toFixed(2)}" r="${radius}"/>`;
  }

  dot(x, y, kind, radius = 5) {
    return this.add(this.circle(x, y, kind, radius));
  }

  text(x, y, words, kind = "", dx = 0, dy = 0) {
    return this.add(`<text class="${kind}" x="${(this.X(x) + dx).toFixed(1)}" y="${(this.Y(y) + dy).toFixed(1)}">${words}</text>`);
  }

  /** Everything drawn, cut off at the axes, and the axes. */
  svg() {
    const { left, right, top, bottom, beyond } = this;
    const box = `x="${left - beyond}" y="${top - beyond}" width="${right - left + 2 * beyond}" height="${bottom - top + 2 * beyond}"`;
    const clip = `<clipPath id="${this.x.id}-clip"><rect ${box}/></clipPath>`;
    return `${clip}${this.grid()}<g clip-path="url(#${this.x.id}-clip)">${this.parts.join("")}</g>${this.labels()}${this.cursor}`;
  }

  grid() {
    const { left, right, bottom } = this;
    const across = ticks(this.y, (bottom - this.top) / 50).map((y) => `<path class="grid" d="M${left} ${this.Y(y)}H${right}"/>`);
    return `${across.join("")}<path class="axis" d="M${left} ${bottom}H${right}"/>`;
  }

  labels() {
    const { left, right, top, bottom } = this;
    const format = (axis) => axis.format ?? ((value) => shown(value, 3));
    const below = ticks(this.x, (right - left) / 75).map(
      (x) => `<path class="axis" d="M${this.X(x)} ${bottom}v5"/><text class="tick middle" x="${this.X(x)}" y="${bottom + 18}">${format(this.x)(x)}</text>`,
    );
    const beside = ticks(this.y, (bottom - top) / 50).map(
      (y) => `<text class="tick end" x="${left - 8}" y="${this.Y(y) + 4}">${format(this.y)(y)}</text>`,
    );
    const names =
      `<text class="name middle" x="${(left + right) / 2}" y="${bottom + 37}">${this.x.label}</text>` +
      `<text class="name middle" transform="translate(12 ${(top + bottom) / 2}) rotate(-90)">${this.y.label}</text>`;
    return below.join("") + beside.join("") + names;
  }
}

/** Where on an axis a value is, from 0 to 1, and the value there. */
const partOf = ({ from, to, log }, value) => (log ? Math.log(value / from) / Math.log(to / from) : (value - from) / (to - from));
export const along = ({ from, to, log }, part) => (log ? from * (to / from) ** part : from + (to - from) * part);

/** Round values inside an axis, about `number` of them: steps of 1, 2 or 5 times a power of ten. */
export function ticks({ from, to, log, bare }, number) {
  if (bare) return [];
  if (log) return [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].filter((value) => value >= from && value <= to);
  const rough = (to - from) / Math.max(number, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.floor(to / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
