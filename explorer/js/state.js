// The setting: its domains, and how it is kept in the address of the page.

import { DECAYS, RESETS } from "./memory.js";

export const DEFAULT = {
  theta: 1, rule: "preserving", gain: 2.5, width: 600, depth: 100, seed: 1, decay: 0.5, reset: "delayed_subtract", steps: "8", code: "varflow",
  neuron: "memoryless", pinned: null, // another setting to compare with
};
export const DOMAIN = { theta: [0.05, 3], gain: [0.1, 40], width: [10, 20000], depth: [2, 300], seed: [1, 1e6] };
const INTEGERS = ["width", "depth", "seed"];
const RULES = ["preserving", "kaiming", "alive", "own"];
const CHOICES = { rule: RULES, reset: Object.keys(RESETS), steps: ["4", "8", "16"], code: ["varflow", "snntorch", "spikingjelly"], neuron: ["memoryless", "memory"] };

/** A number moved into the domain of its name; the known value if it is not a number. */
export function within(name, value, known) {
  const [lo, hi] = DOMAIN[name];
  if (!Number.isFinite(value)) return known;
  return Math.min(Math.max(INTEGERS.includes(name) ? Math.round(value) : value, lo), hi);
}

/** Only what differs from the default is written; a gain that follows a rule by the rule's name. */
export function toHash(state) {
  const gain = state.rule === "own" ? String(Number(state.gain.toPrecision(7))) : state.rule;
  const pinned = state.pinned && encodeURIComponent(toHash({ ...state.pinned, pinned: null }));
  const told = { ...state, gain, pinned, rule: undefined };
  const parts = Object.entries(told).filter(([name, value]) => value !== undefined && String(value) !== String({ ...DEFAULT, gain: DEFAULT.rule }[name]));
  return parts.map(([name, value]) => `${name}=${value}`).join("&");
}

/** The setting that an address names; a pinned one has none pinned itself. */
export function fromHash(hash, nested = false) {
  const state = { ...DEFAULT };
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name === "pinned" && !nested) state.pinned = fromHash(text, true);
    else if (name === "gain" && RULES.includes(text)) state.rule = text;
    else if (Object.hasOwn(DOMAIN, name) && text !== "") {
      state[name] = within(name, Number(text), state[name]);
      if (name === "gain") state.rule = "own";
    } else if (name === "decay" && DECAYS.includes(Number(text))) state.decay = Number(text);
    else if (Object.hasOwn(CHOICES, name) && CHOICES[name].includes(text)) state[name] = text;
  }
  return state;
}
