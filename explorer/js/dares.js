// Three dares: a setting to begin with, what is to be reached, and the answer, computed here.

import { compute } from "./compute.js";
import { $ } from "./dom.js";
import { TARGET, gainByRule } from "./gains.js";
import { Z_C, preservingGain, varianceMap } from "./map.js";
import { percent, shown } from "./numbers.js";

const WITH_KAIMING = { theta: 1, rule: "kaiming", gain: Math.SQRT2, width: 600, depth: 12 };
const NARROW = { theta: 1, rule: "preserving", width: 50, depth: 100 };

export const DARES = [
  {
    title: "The last spike",
    question: "Kaiming’s gain, √2, is the usual one of deep networks. Guess: which of these layers of 600 neurons has the last spike?",
    setting: { ...WITH_KAIMING, seed: 2, neuron: "memoryless" },
    reached: () => false,
    answer() {
      const { survival, variance } = compute(WITH_KAIMING).finite;
      const last = survival.findLastIndex((alive) => alive >= 0.5) + 1;
      return `Layer ${last}, in most networks: layer ${last + 1} is alive in ${percent(survival[last])} of them, layer ${last + 2} in
        ${survival[last + 1] < 1e-6 ? "none" : percent(survival[last + 1])}. Each layer has fewer spikes than the one below, so the variance falls from 1 to ${shown(variance[1], 2)} and
        ${shown(variance[2], 2)}.`;
    },
  },
  {
    title: "Narrow and deep",
    question: "With the preserving gain, networks of width 50 rarely live for 100 layers. With what gain do 99 % of them?",
    setting: { ...NARROW, neuron: "memoryless" },
    reached: ({ theta, width, depth }, { finite }) => theta === 1 && width === 50 && depth === 100 && finite.survival[99] > TARGET - 1e-6,
    answer() {
      const gain = gainByRule("alive", NARROW.theta, NARROW.width, NARROW.depth, {});
      const before = compute({ ...NARROW, gain: preservingGain(NARROW.theta) }).finite.survival.at(-1);
      return `From <i>g</i> = ${shown(gain)} on. The preserving gain, ${shown(preservingGain(1))}, leaves ${percent(before)} alive: by chance the spikes of
        a narrow layer fall below the basin edge, and do not return.`;
    },
  },
  {
    title: "The end of V = 1",
    question: "The preserving gain makes V = 1 a fixed point at every threshold. From which threshold on is it unstable?",
    setting: { theta: 0.9, rule: "preserving", width: 600, depth: 100, neuron: "memoryless" },
    reached: ({ theta, rule }) => rule === "preserving" && Math.abs(theta - Z_C) < 0.015,
    answer() {
      const image = varianceMap(0.9, Z_C, preservingGain(Z_C));
      return `At <i>θ</i> = ${shown(Z_C, 5)}, where the curve touches the diagonal at <i>V</i> = 1: the multiplier is 1, and the filled dot and the ring of
        the variance map meet. From 0.9 the variance falls, to ${shown(image)}, and on.`;
    },
  },
];

export function listenToDares(set) {
  $("dares").innerHTML = DARES.map(
    ({ title, question }, i) => `<article><h3>${title} <span class="reached" id="reached-${i}"></span></h3><p>${question}</p>
      <button type="button" id="try-${i}">try it</button><details id="answer-${i}"><summary>answer</summary><p></p></details></article>`,
  ).join("");
  DARES.forEach(({ setting, answer }, i) => {
    $(`try-${i}`).addEventListener("click", () => set(setting));
    $(`answer-${i}`).addEventListener("toggle", () => ($(`answer-${i}`).lastElementChild.innerHTML = answer()), { once: true });
  });
}

/** A tick at the dares whose aim the setting has reached. */
export function showReached(state, numbers) {
  DARES.forEach(({ reached }, i) => {
    if (numbers?.finite.survival && reached(state, numbers)) $(`reached-${i}`).textContent = "✓ done";
  });
}
