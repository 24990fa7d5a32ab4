// What the words of the page mean, shown beside the word that is pointed at, tapped or reached by keyboard.

import { $ } from "./dom.js";

const TERMS = {
  memoryless: "Neurons without leak and reset: one time step, and a neuron spikes if its potential is above the threshold.",
  memory: "Neurons that keep a part of their potential from step to step, and that a spike resets: 20 time steps.",
  threshold: "A neuron spikes if its potential u is above θ.",
  gain: "The scale of the weights: they are normal numbers with standard deviation g/√n.",
  width: "The number of neurons in each layer.",
  depth: "The number of layers.",
  preserving: "1/√P(u > θ), the gain that keeps the variance at 1 in infinitely wide networks without leak and reset (Micheli et al. 2024).",
  kaiming: "√2, which keeps the variance of ReLU networks (He et al. 2015). Spikes are fewer than positive potentials.",
  alive99: "The smallest gain with which 99 % of networks of this width are alive in layer L, but at least the preserving gain.",
  alive: "A layer is alive if at least one of its neurons spikes. Once silent, all later layers are.",
  variance: "The variance of the potentials at which deep layers of wide networks settle.",
  rate: "The fraction of neurons that spike at this variance.",
  multiplier: "A small deviation from V* is multiplied by m in every layer: it shrinks if m is below 1.",
  scale: "The number of layers in which a deviation from V* shrinks to 1/e: −1/ln m.",
  edge: "Wide networks whose variance is below this edge fall silent.",
  critical: "With a smaller gain only silence is stable: deep layers are silent at any width.",
  margin: "How far the gain is above the critical gain.",
  std: "The standard deviation to draw the weights with.",
  fixed: "A variance that a layer passes on unchanged. It is stable if deviations from it shrink.",
  path: "From V = 1 up to the curve, the variance of the next layer, across to the diagonal, and on.",
  survival: "The probability that a layer of a random network still has a spike.",
  phase: "Each point is a threshold and a gain; its colour is the probability that layer L is alive.",
  leak: "β, the part of its potential that a neuron keeps from one step to the next.",
  reset: "What a spike does to the potential of its neuron.",
  none: "A spike leaves the potential as it is.",
  subtract: "A spike takes the threshold off the potential at once, before the leak (SpikingJelly, v_reset=None).",
  delayed: "A spike takes the threshold off one step later, after the leak (snnTorch’s subtract).",
  zero: "A spike sets the potential to zero (SpikingJelly’s default).",
  late: "The mean over the second half of the steps, when the beginning is forgotten.",
  onset: "The smallest tabulated gain with which layer 50 spikes at late steps.",
  infinite: "The limit of very wide layers, in which averages replace chance.",
};

export function listenToTerms() {
  const show = (event) => explain(event.target.closest("[data-term]"));
  document.addEventListener("pointerover", show);
  document.addEventListener("click", show);
  document.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && show(event));
  document.addEventListener("focusout", () => explain(null));
  document.addEventListener("keydown", (event) => event.key === "Escape" && explain(null));
  document.addEventListener("scroll", () => explain(null), { passive: true });
}

let explained = null; // the element whose term is shown

/** Beside an element, below it if there is room; none if null. The tip itself may be pointed at. */
function explain(element) {
  const tip = $("tip");
  tip.hidden = element === null;
  explained?.removeAttribute("aria-describedby");
  explained = element;
  if (element === null) return;
  element.setAttribute("aria-describedby", "tip");
  tip.textContent = TERMS[element.dataset.term];
  const box = element.getBoundingClientRect();
  const left = Math.min(Math.max(box.left, 8), innerWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  Object.assign(tip.style, { left: `${left}px`, top: `${below ? box.bottom + 6 : box.top - 6 - tip.offsetHeight}px` });
}
