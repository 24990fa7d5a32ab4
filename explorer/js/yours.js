// The reader's own neuron: a line of snnTorch, SpikingJelly or varflow, and the gain for it.

import { gainByRule } from "./gains.js";
import { ALIVE, PRESETS, gainKeptAlive, tabulated } from "./kept.js";
import { DECAYS, MEMORY_DEPTH, gainForRate, lateRate, nearest, ratesOf } from "./memory.js";
import { percent } from "./numbers.js";

const RATE = 0.3; // late rate that is asked for where no gain is tabulated that keeps networks alive
const OF = {
  Leaky: ["beta", "threshold"],
  LIFNode: ["tau", "decay_input", "v_threshold", "v_reset"],
  Neuron: ["threshold", "decay", "input_scale", "reset"],
};
const VALUES = { True: true, False: false, None: null };

/** Threshold, decay, reset and scale of the input of a neuron written in Python; a fault in words otherwise. */
export function parsed(text) {
  const call = text.trim().match(/^[\w.]*?(\w+)\s*\(([^()]*)\)$/);
  if (!call || !Object.hasOwn(OF, call[1])) return { fault: "Write one neuron, such as snntorch.Leaky(beta=0.9), neuron.LIFNode(tau=2.0) or vf.Neuron(1.0, decay=0.9)." };
  const given = {};
  for (const [place, part] of call[2].split(",").map((part) => part.trim()).filter(Boolean).entries()) {
    const [name, value] = part.includes("=") ? part.split("=").map((side) => side.trim()) : [OF[call[1]][place], part];
    given[name] = Object.hasOwn(VALUES, value) ? VALUES[value] : /^["']/.test(value) ? value.slice(1, -1) : Number(value);
  }
  if (Object.values(given).some(Number.isNaN)) return { fault: "Write its arguments as numbers, or as Python’s True, False, None and texts." };
  const neuron = { Leaky, LIFNode, Neuron }[call[1]](given);
  if (!(neuron.threshold > 0)) return { fault: "The threshold must be a positive number." };
  if (!(neuron.decay >= 0 && neuron.decay <= DECAYS.at(-1))) return { fault: `The table ends at a leak β of ${DECAYS.at(-1)}; vf.gain_for_rate has no such end.` };
  if (!neuron.reset) return { fault: "This page knows the resets none, subtract, delayed_subtract and zero; varflow knows more." };
  const decay = DECAYS.reduce((best, beta) => (Math.abs(beta - neuron.decay) < Math.abs(best - neuron.decay) ? beta : best));
  return { ...neuron, shown: { neuron: "memory", theta: neuron.threshold, decay, reset: neuron.reset } }; // of the sliders of the page
}

function Leaky({ beta, threshold = 1, reset_mechanism = "subtract", reset_delay = true }) {
  const resets = { none: "none", zero: "zero", subtract: reset_delay ? "delayed_subtract" : "subtract" };
  return { threshold, decay: beta, reset: resets[reset_mechanism], input_scale: 1 };
}

function LIFNode({ tau = 2, decay_input = true, v_threshold = 1, v_reset = 0 }) {
  const reset = v_reset === null ? "subtract" : v_reset === 0 ? "zero" : undefined;
  return { threshold: v_threshold, decay: 1 - 1 / tau, reset, input_scale: decay_input ? 1 / tau : 1 };
}

function Neuron({ threshold = 1, decay = 0, reset = "none", input_scale = 1 }) {
  return { threshold, decay, reset: { none: "none", subtract: "subtract", delayed_subtract: "delayed_subtract", zero: "zero" }[reset], input_scale };
}

/** The gain for a neuron in networks of a size, what it gives, and the line of Python that sets it. */
export function gainFor(neuron, text, { width, depth, steps }) {
  const { threshold, decay, reset, input_scale } = neuron;
  if (decay === 0 && reset === "none") return memoryless(neuron, { width, depth });
  const preset = PRESETS.find((each) => each.decay === decay && each.reset === reset && each.input_scale === input_scale);
  const sizes = tabulated({ width, depth, steps: Number(steps) });
  for (const alive of preset ? [...ALIVE].reverse() : []) {
    const gain = threshold * gainKeptAlive(preset, alive, sizes);
    if (Number.isNaN(gain)) continue;
    const setting = `vf.init.corrected_normal_(layer.weight, neuron=${text}, steps=${sizes.steps}, alive="${alive}", depth=${sizes.depth})`;
    return {
      gain,
      words: `keeps ${alive} alive in layer ${sizes.depth} of 99 % of networks of width ${sizes.width}, over ${sizes.steps} steps${sizes.width === width && sizes.depth === depth ? "" : " (the nearest in the table)"}, under a drive as strong as the threshold`,
      code: threshold === 1 ? setting : `vf.init.normal_(layer.weight, ${gain.toFixed(3)})`, // varflow’s table is for θ = 1; both scale with θ
    };
  }
  const unit = gainForRate(reset, decay, RATE);
  const rate = lateRate(ratesOf(reset, neuron.shown.decay)[nearest(unit)]);
  return {
    gain: (threshold * unit) / input_scale,
    words: `gives a late rate of about ${percent(rate, 2)} in layer ${MEMORY_DEPTH} of wide networks, over 20 steps`,
    code: `vf.init.normal_(layer.weight, vf.gain_for_rate(${text}, rate=${rate.toFixed(2)}, steps=20, depth=${MEMORY_DEPTH}).gain)`,
  };
}

function memoryless({ threshold, input_scale }, { width, depth }) {
  const gain = gainByRule("alive", threshold, width, depth, {});
  if (gain === null) return { gain: NaN, words: `none: no gain keeps 99\u00a0% of networks of width ${width} alive in layer ${depth}`, code: "" };
  return {
    gain: gain / input_scale,
    words: `keeps 99\u00a0% of networks of width ${width} alive in layer ${depth}, in one step`,
    code: `vf.init.corrected_normal_(layer.weight, threshold=${threshold}, depth=${depth})`,
  };
}
