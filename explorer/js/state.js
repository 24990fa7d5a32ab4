// The setting: its domains, and how it is kept in the address of the page.

import { DECAYS, RESETS } from "./memory.js";

export const DEFAULT = {
  theta: 1, rule: "paper", gain: 2.5, width: 600, depth: 100, decay: 0.5, reset: "delayed_subtract", steps: "8", code: "varflow", neuron: "memoryless",
};
export const DOMAIN = { theta: [0.05, 2], gain: [0.1, 20], width: [10, 20000], depth: [2, 300] };
const RULES = ["paper", "kaiming", "corrected", "own"];
const CHOICES = { rule: RULES, reset: Object.keys(RESETS), steps: ["4", "8", "16"], code: ["varflow", "snntorch", "spikingjelly"], neuron: ["memoryless", "memory"] };

/** A number moved into the domain of its name; the known value if it is not a number. */
export function within(name, value, known) {
  const [lo, hi] = DOMAIN[name];
  if (!Number.isFinite(value)) return known;
  const whole = name === "width" || name === "depth";
  return Math.min(Math.max(whole ? Math.round(value) : value, lo), hi);
}

/** Only what differs from the default is written; a gain that follows a rule by the rule's name. */
export function toHash(state) {
  const gain = state.rule === "own" ? String(Number(state.gain.toPrecision(7))) : state.rule;
  const told = { ...state, gain, rule: undefined };
  const parts = Object.entries(told).filter(([name, value]) => value !== undefined && String(value) !== String({ ...DEFAULT, gain: "paper" }[name]));
  return parts.map(([name, value]) => `${name}=${value}`).join("&");
}

export function fromHash(hash) {
  const state = { ...DEFAULT };
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name === "gain" && RULES.includes(text)) state.rule = text;
    else if (Object.hasOwn(DOMAIN, name) && text !== "") {
      state[name] = within(name, Number(text), state[name]);
      if (name === "gain") state.rule = "own";
    } else if (name === "decay" && DECAYS.includes(Number(text))) state.decay = Number(text);
    else if (Object.hasOwn(CHOICES, name) && CHOICES[name].includes(text)) state[name] = text;
  }
  return state;
}
