// Sliders, fields and buttons: what they show of the setting, and what they change.

import { $ } from "./dom.js";
import { DECAYS, RESETS } from "./memory.js";
import { shown } from "./numbers.js";
import { FINE, SLIDERS, fromSlider, moved, toSlider } from "./sliders.js";
import { DOMAIN, within } from "./state.js";

const YOURS = { "yours-width": "width", "yours-depth": "depth" }; // fields of the same numbers
const FIELDS = { ...Object.fromEntries(Object.keys(SLIDERS).map((name) => [`${name}-field`, name])), ...YOURS };

export function showControls(state) {
  for (const name of Object.keys(SLIDERS)) {
    const slider = $(name);
    slider.value = toSlider(name, state[name]);
    slider.setAttribute("aria-valuetext", shown(state[name]));
    slider.style.setProperty("--part", `${Math.min(Math.max(slider.value / FINE, 0), 1) * 100}%`);
  }
  for (const [id, name] of Object.entries(FIELDS)) if (document.activeElement !== $(id)) $(id).value = Number(state[name].toPrecision(5));
  $("decay").value = DECAYS.indexOf(state.decay);
  $("decay").style.setProperty("--part", `${(100 * DECAYS.indexOf(state.decay)) / (DECAYS.length - 1)}%`);
  $("decay").setAttribute("aria-valuetext", String(state.decay));
  $("decay-shown").textContent = state.decay;
  for (const button of document.querySelectorAll("button[data-choice]")) {
    const [name, value] = button.dataset.choice.split("=");
    button.setAttribute("aria-pressed", String(state[name] === value));
  }
  $("pin").setAttribute("aria-pressed", String(state.pinned !== null));
  $("pin").textContent = state.pinned ? "unpin" : "pin to compare";
}

export function hint(words) {
  $("gain-hint").textContent = words;
  $("gain-hint").hidden = words === "";
}

export function listenToControls(current, set, showYours) {
  const own = (name) => (name === "gain" ? { rule: "own" } : {});
  for (const name of Object.keys(SLIDERS)) {
    $(name).addEventListener("input", (event) => set({ ...own(name), [name]: moved(name, event.target.valueAsNumber, current()[name]) }));
  }
  for (const [id, name] of Object.entries(FIELDS)) {
    const [lo, hi] = DOMAIN[name];
    Object.assign($(id), { min: lo, max: hi });
    $(id).addEventListener("input", (event) => {
      const value = event.target.valueAsNumber;
      if (value >= lo && value <= hi) set({ ...own(name), [name]: within(name, value, current()[name]) });
    });
    $(id).addEventListener("change", (event) => {
      const value = within(name, event.target.valueAsNumber, current()[name]);
      event.target.value = value;
      set({ ...own(name), [name]: value });
    });
    $(id).addEventListener("blur", () => set({}));
  }
  $("decay").addEventListener("input", (event) => set({ decay: DECAYS[event.target.value] }));
  $("yours").addEventListener("input", showYours);
  $("another").addEventListener("click", () => {
    set({ seed: (current().seed % DOMAIN.seed[1]) + 1 });
    reveal();
  });
  $("surprise").addEventListener("click", () => set(surprise(current())));
  $("pin").addEventListener("click", () => set({ pinned: current().pinned ? null : { ...current(), rule: "own", pinned: null } }));
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("button[data-choice]");
    if (!chosen) return;
    const [name, value] = chosen.dataset.choice.split("=");
    set({ [name]: value });
  });
}

/** The network grows layer by layer before the eye, unless the reader wants no motion. */
function reveal() {
  const [animation] = $("spikes-plot").getAnimations();
  animation?.cancel();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  $("spikes-plot").animate([{ clipPath: "inset(0 100% 0 0)" }, { clipPath: "inset(0 0 0 0)" }], { duration: 900, easing: "linear" });
}

/** A random setting near the edge between activity and silence. */
function surprise({ neuron }) {
  const random = (name, from = 0, to = 1) => fromSlider(name, Math.round(FINE * (from + (to - from) * Math.random())));
  const theta = random("theta", 0.1, 0.6);
  const gain = Number((theta * (2.2 + 1.2 * Math.random())).toFixed(2));
  const any = (choices) => choices[Math.floor(choices.length * Math.random())];
  const memory = neuron === "memory" ? { decay: any(DECAYS), reset: any(Object.keys(RESETS)) } : {};
  return { theta, gain, rule: "own", width: random("width", 0.2, 0.65), depth: random("depth", 0.4, 0.9), ...memory };
}

/** The phase diagram is a control too: clicks, drags and arrow keys set threshold and gain. */
export function listenToPhases(current, set, at) {
  const svg = $("phase-plot");
  const move = (event) => {
    const [theta, gain] = at(event);
    set({ theta: within("theta", Number(theta.toFixed(2)), current().theta), gain: Number(gain.toFixed(2)), rule: "own" });
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    move(event);
  });
  svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && move(event));
  svg.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const step = event.shiftKey ? 0.1 : 0.01;
    const { theta, gain } = current();
    const rule = dy ? { rule: "own", gain: within("gain", Number((gain + dy * step).toFixed(2)), gain) } : {};
    set({ theta: within("theta", Number((theta + dx * step).toFixed(2)), theta), ...rule });
  });
}
