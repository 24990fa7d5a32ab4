// The page: controls change the setting, the setting is computed, the figures are drawn.

import { EXACT_WIDTH } from "./chain.js";
import { code, printed } from "./code.js";
import { viridis } from "./colours.js";
import { compute } from "./compute.js";
import { flowFigure, mapFigure, phaseFigure, rateFigure, stepsFigure, survivalFigure } from "./figures.js";
import { gainByRule } from "./gains.js";
import { ALIVE, PRESETS, gainKeptAlive, tabulated } from "./kept.js";
import { depthScale } from "./map.js";
import { DECAYS, GAINS, lateRate, nearest, ratesOf } from "./memory.js";
import { sampledNetworks } from "./networks.js";
import { percent, shown } from "./numbers.js";
import { COLUMNS, GAIN, contour, survivalAt, survivalMap } from "./phases.js";
import { reading } from "./reading.js";
import { FINE, SLIDERS, fromSlider, moved, toSlider } from "./sliders.js";
import { DOMAIN, fromHash, toHash, within } from "./state.js";

const $ = (id) => document.getElementById(id);
const corrected = {}; // the last corrected gain
const phases = { image: null, contours: [], key: "" };
const plots = {};
let state = fromHash(location.hash);
let numbers, networks, computed = "", settling = null, naming = null, waiting = false;

/** Change the setting; everything is computed once before the next frame. */
function set(changes) {
  state = { ...state, ...changes };
  if (!waiting) requestAnimationFrame(update);
  waiting = true;
}

function update() {
  waiting = false;
  if (state.rule !== "own") {
    const gain = gainByRule(state.rule, state.theta, state.width, state.depth, corrected);
    const found = gain !== null && gain <= HIGHEST;
    if (found) state.gain = gain;
    else state.rule = "own";
    hint(!found ? `No gain up to ${HIGHEST} keeps 99 % of such networks alive.` : state.rule === "corrected" && state.width > EXACT_WIDTH ? CAPPED : "");
  } else hint("");
  const { theta, gain, width, depth } = state;
  if (computed !== (computed = [theta, gain, width, depth].join())) {
    numbers = compute(state, false);
    networks = numbers.exact ? sampledNetworks(numbers.finite.rows, theta, gain, width, depth) : [];
    clearTimeout(settling);
    if (numbers.finite.rough) settling = setTimeout(settle, 150);
  }
  showControls();
  showNumbers();
  showKept();
  draw();
  showCode();
  clearTimeout(naming);
  naming = setTimeout(nameSetting, 250); // browsers limit how often the address may change
  paintPhases();
}

/** The address of the page names the setting. */
function nameSetting() {
  const hash = toHash(state);
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

const HIGHEST = DOMAIN.gain[1];
const CAPPED = `The gain for width ${EXACT_WIDTH}, a little more than this width needs.`;

function hint(words) {
  $("gain-hint").textContent = words;
  $("gain-hint").hidden = words === "";
}

/** Rare survivors are computed once the setting stays. */
function settle() {
  numbers = compute(state);
  showNumbers();
  draw();
  showCode();
}

function showControls() {
  for (const name of Object.keys(SLIDERS)) {
    const [slider, field] = [$(name), $(`${name}-field`)];
    slider.value = toSlider(name, state[name]);
    slider.setAttribute("aria-valuetext", shown(state[name]));
    slider.style.setProperty("--part", `${Math.min(Math.max(slider.value / FINE, 0), 1) * 100}%`);
    if (document.activeElement !== field) field.value = Number(state[name].toPrecision(5));
  }
  $("decay").value = DECAYS.indexOf(state.decay);
  $("decay").style.setProperty("--part", `${(100 * DECAYS.indexOf(state.decay)) / (DECAYS.length - 1)}%`);
  $("decay").setAttribute("aria-valuetext", String(state.decay));
  $("decay-shown").textContent = state.decay;
  for (const button of document.querySelectorAll("button[data-choice]")) {
    const [name, value] = button.dataset.choice.split("=");
    button.setAttribute("aria-pressed", String(state[name] === value));
  }
}

function showNumbers() {
  const { fixedPoints, basinEdge, criticalGain, finite, exact } = numbers;
  const top = fixedPoints.at(-1);
  const last = finite.survival?.[state.depth - 1];
  const told = {
    variance: shown(top.variance),
    rate: percent(top.firingRate, 3),
    multiplier: shown(top.multiplier, 3),
    scale: fixedPoints.length > 1 ? `${shown(depthScale(top.multiplier), 3)} layers` : "–",
    edge: Number.isFinite(basinEdge) ? shown(basinEdge) : "–",
    critical: shown(criticalGain),
    margin: `${state.gain >= criticalGain ? "+" : "−"}${shown(Math.abs(100 * (state.gain / criticalGain - 1)), 3)} %`,
    alive: exact ? percent(last, last > 0.9 ? 2 : 3) : "–",
    std: shown((state.gain / Math.sqrt(state.width)), 4),
  };
  for (const [name, text] of Object.entries(told)) $(`n-${name}`).textContent = text;
  $("reading").innerHTML = reading(state, numbers);
  $("flow-kind").textContent = exact
    ? "Blue: exact mean ± standard deviation between networks; grey: 20 networks; dashed: infinite width."
    : `Above width ${EXACT_WIDTH}: mean at infinite width, and the spread to leading order in 1/n (within 0.1 % at θ = 0.7).`;
  $("phase-kind").textContent = exact ? "at this width; thin lines: 1, 50 and 99 %" : "at infinite width";
  const place = nearest(state.gain / state.theta);
  const late = place === null ? null : lateRate(ratesOf(state.reset, state.decay)[place]);
  $("memory-rate").innerHTML = place === null ? "outside the table" : `late rate ${percent(late, 3)} at <i>g</i>/<i>θ</i> = ${GAINS[place]}`;
}

/** Gains that keep neurons with memory alive at this width and depth, or the nearest that are tabulated. */
function showKept() {
  const sizes = tabulated({ steps: Number(state.steps), depth: state.depth, width: state.width });
  const kept = (preset, alive) => {
    const gain = gainKeptAlive(preset, alive, sizes);
    return Number.isNaN(gain) ? "none" : gain.toFixed(2);
  };
  const row = (preset) => `<tr><th scope="row">${preset.name}</th>${ALIVE.map((alive) => `<td>${kept(preset, alive)}</td>`).join("")}</tr>`;
  $("kept-rows").innerHTML = PRESETS.map(row).join("");
  $("kept-at").innerHTML = `width ${sizes.width}, layer ${sizes.depth}, ${sizes.steps} steps`;
}

function draw() {
  const figure = {
    map: (size) => mapFigure(size, state, numbers),
    flow: (size) => flowFigure(size, state, numbers, networks),
    survival: (size) => survivalFigure(size, state, numbers),
    phase: (size) => phaseFigure(size, state, phases.image, phases.contours),
    rate: (size) => rateFigure(size, state),
    steps: (size) => stepsFigure(size, state),
  };
  const svgs = Object.keys(figure).map((name) => $(`${name}-plot`));
  const widths = svgs.map((svg) => Math.max(svg.clientWidth, 280)); // all before the first is drawn: one layout instead of six
  for (const [i, [name, make]] of Object.entries(figure).entries()) {
    const [svg, width] = [svgs[i], widths[i]];
    const height = Math.round(Math.min(Math.max(0.66 * width, 250), 340));
    plots[name] = make({ width, height });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    svg.innerHTML = plots[name].svg();
  }
  pointAt(null);
}

function showCode() {
  $("code").textContent = code(state);
  const output = printed(state, numbers);
  $("printed-part").hidden = output === null;
  $("printed").textContent = output ?? "";
}

// The phase diagram follows width and depth, a slice of work at a time.

let job = null;

function paintPhases() {
  const key = `${Math.min(state.width, EXACT_WIDTH + 1)},${state.depth}`;
  if (phases.key === key) return;
  phases.key = key;
  const work = survivalMap(state.width, state.depth);
  clearTimeout(job);
  const slice = () => {
    const end = performance.now() + 12;
    let step;
    do step = work.next();
    while (!step.done && performance.now() < end);
    if (!step.done) job = setTimeout(slice);
    else {
      phases.image = painted(step.value);
      phases.contours = state.width > EXACT_WIDTH ? [] : [0.01, 0.5, 0.99].map((level) => [level, contour(step.value, level)]);
      draw();
    }
  };
  job = setTimeout(slice, 30);
}

function painted(map) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [COLUMNS, 2 * COLUMNS];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let row = 0, at = 0; row < canvas.height; row++) {
    const gain = GAIN.to + ((GAIN.from - GAIN.to) * (row + 0.5)) / canvas.height;
    for (let column = 0; column < COLUMNS; column++, at += 4) {
      pixels.data.set([...viridis(survivalAt(map, column, gain)), 255], at);
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

// Pointing at a layer tells its numbers in both figures over layers.

function pointAt(layer) {
  for (const name of ["flow", "survival"]) {
    const [svg, plot] = [$(`${name}-plot`), plots[name]];
    svg.querySelector(".pointer")?.remove();
    if (layer === null) continue;
    const X = plot.X(layer);
    svg.insertAdjacentHTML("beforeend", `<g class="pointer"><path class="cross" d="M${X} ${plot.top}V${plot.bottom}"/></g>`);
  }
  const { finite, exact } = numbers;
  const l = (layer ?? state.depth) - 1;
  const spread = `${shown(finite.variance[l], 3)} ± ${shown(finite.varianceStd[l], 2)}`;
  $("flow-at").textContent = `layer ${l + 1}: Var = ${spread}`;
  $("survival-at").textContent = exact ? `layer ${l + 1}: ${percent(finite.survival[l], 3)} alive` : "";
}

function place(name, event) {
  const box = $(`${name}-plot`).getBoundingClientRect();
  return plots[name].at(event.clientX - box.left, event.clientY - box.top);
}

function listen() {
  for (const name of Object.keys(SLIDERS)) {
    const own = name === "gain" ? { rule: "own" } : {};
    $(name).addEventListener("input", (event) => {
      set({ ...own, [name]: moved(name, event.target.valueAsNumber, state[name]) });
    });
    const [lo, hi] = DOMAIN[name];
    Object.assign($(`${name}-field`), { min: lo, max: hi });
    $(`${name}-field`).addEventListener("input", (event) => {
      const value = event.target.valueAsNumber;
      if (value >= lo && value <= hi) set({ ...own, [name]: within(name, value, state[name]) });
    });
    $(`${name}-field`).addEventListener("change", (event) => {
      const value = within(name, event.target.valueAsNumber, state[name]);
      event.target.value = value;
      set({ ...own, [name]: value });
    });
    $(`${name}-field`).addEventListener("blur", () => set({}));
  }
  $("decay").addEventListener("input", (event) => set({ decay: DECAYS[event.target.value] }));
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("button[data-choice]");
    if (!chosen) return;
    const [name, value] = chosen.dataset.choice.split("=");
    set({ [name]: value });
  });
  for (const name of ["flow", "survival"]) {
    $(`${name}-plot`).addEventListener("pointermove", (event) => pointAt(Math.round(place(name, event)[0])));
    $(`${name}-plot`).addEventListener("pointerleave", () => pointAt(null));
  }
  listenToPhases();
  $("copy").addEventListener("click", copyCode);
  $("open-code").addEventListener("click", () => $("code-card").scrollIntoView());
  $("theme").addEventListener("click", nextTheme);
  window.addEventListener("hashchange", () => {
    state = fromHash(location.hash);
    set({});
  });
  new ResizeObserver(() => numbers && draw()).observe($("figures"));
}

function listenToPhases() {
  const svg = $("phase-plot");
  const move = (event) => {
    const [theta, gain] = place("phase", event);
    set({ theta: within("theta", Number(theta.toFixed(2)), state.theta), gain: Number(gain.toFixed(2)), rule: "own" });
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
    const rule = dy ? { rule: "own", gain: within("gain", Number((state.gain + dy * step).toFixed(2)), state.gain) } : {};
    set({ theta: within("theta", Number((state.theta + dx * step).toFixed(2)), state.theta), ...rule });
  });
}

async function copyCode() {
  const button = $("copy");
  try {
    await navigator.clipboard.writeText($("code").textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren($("code"));
    button.textContent = "selected: press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "copy"), 1600);
}

const THEMES = ["auto", "light", "dark"];

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = { auto: "◐ auto", light: "○ light", dark: "● dark" }[theme];
  $("theme").setAttribute("aria-label", `colours: ${theme}; press to change`);
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  showTheme(theme);
  try {
    localStorage.setItem("varflow-theme", theme);
  } catch {} // files opened from a disk may have no storage
}

function storedTheme() {
  try {
    return localStorage.getItem("varflow-theme") ?? "auto";
  } catch {
    return "auto";
  }
}

window.varflow = { compute, gainByRule, gainKeptAlive, presets: PRESETS, code, printed, fromHash, toHash, fromSlider, toSlider, moved };
showTheme(storedTheme());
listen();
update();
