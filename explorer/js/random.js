// Random numbers that are the same at every visit, so that pictures move smoothly with the sliders.

/** The generator mulberry32, of one seed for each network and layer. */
export class Random {
  constructor(seed, layer = 0) {
    this.state = (seed + Math.imul(layer, 0x9e3779b1)) | 0;
    this.other = null; // normal numbers come in pairs
  }

  uniform() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** By Box and Muller. */
  normal() {
    if (this.other !== null) {
      const kept = this.other;
      this.other = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.other = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}
