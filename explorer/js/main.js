// The page: controls change the setting, the setting is computed, the figures are drawn.

import { EXACT_WIDTH } from "./chain.js";
import { code, printed } from "./code.js";
import { compute } from "./compute.js";
import { hint, listenToControls, listenToPhases, showControls } from "./controls.js";
import { DARES, listenToDares, showReached } from "./dares.js";
import { $ } from "./dom.js";
import { flowFigure, mapFigure, phaseFigure, rateFigure, silentFrom, spikesFigure, stepsFigure, survivalFigure } from "./figures.js";
import { gainByRule } from "./gains.js";
import { ALIVE, PRESETS, gainKeptAlive, tabulated } from "./kept.js";
import { depthScale } from "./map.js";
import { GAINS, lateRate, nearest, onset, ratesOf } from "./memory.js";
import { sampledNetworks } from "./networks.js";
import { percent, shown } from "./numbers.js";
import { listenToPage } from "./page.js";
import { paintPhases } from "./painting.js";
import { networkRead, reading, readingInTime } from "./reading.js";
import { fromSlider, moved, toSlider } from "./sliders.js";
import { SIMULATED, inTime, oneStep } from "./spikes.js";
import { DOMAIN, fromHash, toHash } from "./state.js";
import { listenToTerms } from "./terms.js";
import { gainFor, parsed } from "./yours.js";

const HIGHEST = DOMAIN.gain[1];
const CAPPED = `The gain for width ${EXACT_WIDTH}, a little more than this width needs.`;
const SLICE = 12; // milliseconds of work between two events
const corrected = {}; // the last gain that keeps 99 % alive
const plots = {};
let state = fromHash(location.hash);
let numbers = null, networks = [], layers = [], pinned = null, phases = { image: null, contours: [] };
let computed = "", sampled = "", compared = null, settling = null, sampling = null, naming = null, waiting = false;

/** Change the setting; everything is computed once before the next frame. */
function set(changes) {
  state = { ...state, ...changes };
  if (!waiting) requestAnimationFrame(update);
  waiting = true;
}

function update() {
  waiting = false;
  document.body.dataset.neuron = state.neuron;
  followRule();
  computeNumbers();
  sampleNetwork();
  if (compared !== state.pinned) pinned = withNumbers((compared = state.pinned));
  showControls(state);
  showNumbers();
  if (state.neuron === "memory") showKept();
  showYours();
  showReached(state, numbers);
  draw();
  showCode();
  clearTimeout(naming);
  naming = setTimeout(nameSetting, 250); // browsers limit how often the address may change
  if (state.neuron === "memoryless") paintPhases(state, (painted) => {
      phases = painted;
      draw(["phase"]);
    });
}

/** The gain of the rule, if there is one. */
function followRule() {
  if (state.neuron === "memory" && state.rule === "alive") state.rule = "own";
  if (state.rule === "own") return hint("");
  const gain = gainByRule(state.rule, state.theta, state.width, state.depth, corrected);
  const reached = gain !== null && gain <= HIGHEST;
  if (reached) state.gain = gain;
  else state.rule = "own";
  hint(!reached ? `No gain up to ${HIGHEST} keeps 99\u00a0% of such networks alive.` : state.rule === "alive" && state.width > EXACT_WIDTH ? CAPPED : "");
}

function computeNumbers() {
  const { neuron, theta, gain, width, depth } = state;
  if (computed === (computed = [neuron, theta, gain, width, depth].join())) return;
  clearTimeout(settling);
  numbers = neuron === "memoryless" ? compute(state, false) : null;
  networks = numbers?.exact ? sampledNetworks(numbers.finite.rows, theta, gain, width, depth) : [];
  if (numbers?.finite.rough) settling = setTimeout(settle, 150);
}

/** Rare survivors are computed once the setting stays. */
function settle() {
  numbers = compute(state);
  showNumbers();
  draw();
  showCode();
}

const ofNetwork = ({ neuron, theta, gain, width, depth, seed, decay, reset }) => [neuron, theta, gain, width, depth, seed, decay, reset].join();

/** One network, spike by spike; with leak and reset a slice of work at a time. */
function sampleNetwork() {
  const { neuron, depth } = state;
  if (sampled === (sampled = ofNetwork(state))) return;
  clearTimeout(sampling);
  if (neuron === "memoryless") return void (layers = [...oneStep(state)]);
  const work = inTime(state);
  const grown = [];
  let drawn = performance.now();
  const slice = () => {
    const end = performance.now() + SLICE;
    while (grown.length < depth && performance.now() < end) grown.push(work.next().value);
    layers = grown;
    if (grown.length === depth) return draw(["spikes", "steps"]);
    sampling = setTimeout(slice);
    if (performance.now() - drawn < 5 * SLICE) return; // drawing costs as much as a slice
    drawn = performance.now();
    draw(["spikes"]);
  };
  sampling = setTimeout(slice);
}

/** A pinned setting with all that is drawn of it. */
function withNumbers(setting) {
  if (setting === null) return null;
  const memoryless = setting.neuron === "memoryless";
  const known = ofNetwork(setting) === sampled && layers.length === setting.depth; // it is the one that is shown
  return { ...setting, ...(memoryless ? compute(setting) : {}), layers: known ? layers : [...(memoryless ? oneStep : inTime)(setting)] };
}

/** The address of the page names the setting. */
function nameSetting() {
  const hash = toHash(state);
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function told({ gain, width, depth }, { fixedPoints, basinEdge, criticalGain, finite, exact }) {
  const top = fixedPoints.at(-1);
  return {
    variance: shown(top.variance),
    rate: percent(top.firingRate, 3),
    multiplier: shown(top.multiplier, 3),
    scale: fixedPoints.length > 1 ? `${shown(depthScale(top.multiplier), 3)} layers` : "–",
    edge: Number.isFinite(basinEdge) ? shown(basinEdge) : "–",
    critical: shown(criticalGain),
    margin: `${gain >= criticalGain ? "+" : "−"}${shown(Math.abs(100 * (gain / criticalGain - 1)), 3)}\u00a0%`,
    alive: exact ? percent(finite.survival[depth - 1]) : "–",
    std: shown(gain / Math.sqrt(width)),
  };
}

function toldInTime({ gain, theta, width, decay, reset }) {
  const place = nearest(gain / theta);
  return {
    late: place === null ? "–" : percent(lateRate(ratesOf(reset, decay)[place]), 3),
    unit: shown(gain / theta),
    onset: `${onset(reset, decay) === GAINS[0] ? "below " : ""}${onset(reset, decay)}`,
    "memory-std": shown(gain / Math.sqrt(width)),
  };
}

const inWords = (setting, found) => (setting.neuron === "memory" ? readingInTime(setting) : reading(setting, found));
const inNumbers = (setting, found) => (setting.neuron === "memory" ? toldInTime(setting) : told(setting, found));

function showNumbers() {
  const other = pinned?.neuron === state.neuron ? inNumbers(pinned, pinned) : {};
  for (const [name, text] of Object.entries(inNumbers(state, numbers))) {
    $(`n-${name}`).textContent = text;
    $(`p-${name}`).textContent = other[name] ?? "";
  }
  $("reading").innerHTML = inWords(state, numbers);
  $("pinned-part").hidden = pinned === null;
  if (pinned) {
    const { theta, gain, width, depth } = pinned;
    $("pinned-reading").innerHTML = `<b>Pinned</b> at <i>θ</i> = ${shown(theta)}, <i>g</i> = ${shown(gain)}, width ${width}, ${depth} layers. ${inWords(pinned, pinned)}`;
  }
  $("spikes-kind").textContent = state.neuron === "memory" && state.width > SIMULATED ? `Drawn with width ${SIMULATED}.` : "";
  $("flow-kind").textContent = numbers?.exact
    ? "Blue: exact mean ± standard deviation between networks; grey: 20 networks; dashed: infinite width."
    : `Above width ${EXACT_WIDTH}: mean at infinite width, and the spread to leading order in 1/n (within 0.1\u00a0% at θ = 0.7).`;
  $("phase-kind").textContent = numbers?.exact ? "at this width; thin lines: 1, 50 and 99\u00a0%" : "at infinite width";
  const place = nearest(state.gain / state.theta);
  $("memory-rate").innerHTML = place === null ? "outside the table" : `at <i>g</i>/<i>θ</i> = ${GAINS[place]}`;
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

/** The gain for the reader's own neuron. */
function showYours() {
  const text = $("yours").value.trim();
  const neuron = parsed(text);
  const found = neuron.fault ? { gain: NaN, words: "", code: "" } : gainFor(neuron, text, state);
  $("yours-reading").textContent = neuron.fault ?? (Number.isNaN(found.gain) ? found.words : `Gain ${shown(found.gain, 3)} ${found.words}.`);
  $("yours-code").textContent = found.code;
  $("yours-code").parentElement.hidden = found.code === "";
  $("yours-show").disabled = Number.isNaN(found.gain);
}

function draw(names = null) {
  const other = pinned?.neuron === state.neuron ? pinned : null;
  const common = {
    spikes: (size) => spikesFigure({ ...size, id: "spikes" }, state, layers),
    ...(pinned && { pinned: (size) => spikesFigure({ ...size, id: "pinned" }, pinned, pinned.layers) }),
  };
  const ofNeuron = {
    memoryless: {
      map: (size) => mapFigure(size, state, numbers, other),
      flow: (size) => flowFigure(size, state, numbers, networks, other),
      survival: (size) => survivalFigure(size, state, numbers, other),
      phase: (size) => phaseFigure(size, state, phases.image, phases.contours, other),
    },
    memory: {
      rate: (size) => rateFigure(size, state, other),
      steps: (size) => stepsFigure(size, state, layers),
    },
  }[state.neuron];
  const figures = Object.entries({ ...common, ...ofNeuron }).filter(([name]) => names === null || names.includes(name));
  const svgs = figures.map(([name]) => $(`${name}-plot`));
  const widths = svgs.map((svg) => Math.max(svg.clientWidth, 280)); // all before the first is drawn: one layout instead of six
  for (const [i, [name, make]] of figures.entries()) {
    const [svg, width] = [svgs[i], widths[i]];
    const height = name in common ? Math.min(Math.max(0.26 * width, 170), 250) : Math.min(Math.max(0.66 * width, 250), 340);
    plots[name] = make({ width, height: Math.round(height) });
    svg.setAttribute("viewBox", `0 0 ${width} ${Math.round(height)}`);
    svg.style.height = `${Math.round(height)}px`;
    svg.innerHTML = plots[name].svg();
  }
  if (names === null || names.includes("spikes")) pointAt(null);
}

function showCode() {
  $("code").textContent = code(state);
  const output = numbers && printed(state, numbers);
  $("printed-part").hidden = output === null;
  $("printed").textContent = output ?? "";
}

/** Pointing at a layer tells its numbers in all figures over layers. */
function pointAt(layer) {
  for (const name of state.neuron === "memory" ? ["spikes"] : ["spikes", "flow", "survival"]) {
    const [svg, plot] = [$(`${name}-plot`), plots[name]];
    svg.querySelector(".pointer")?.remove();
    if (layer === null) continue;
    const X = plot.X(layer);
    svg.insertAdjacentHTML("beforeend", `<g class="pointer"><path class="cross" d="M${X} ${plot.top}V${plot.bottom}"/></g>`);
  }
  const place = layer ?? state.depth;
  $("spikes-at").textContent = layers.length < state.depth ? "" : networkRead(state, layers, silentFrom(layers), place);
  $("spikes-plot").setAttribute("aria-label", `neurons of one network, a column for each layer; ${$("spikes-at").textContent}`);
  if (!numbers) return;
  const { finite, exact } = numbers;
  $("flow-at").textContent = `layer ${place}: Var = ${shown(finite.variance[place - 1], 3)} ± ${shown(finite.varianceStd[place - 1], 2)}`;
  $("survival-at").textContent = exact ? `layer ${place}: ${percent(finite.survival[place - 1])} alive` : "";
}

function place(name, event) {
  const box = $(`${name}-plot`).getBoundingClientRect();
  return plots[name].at(event.clientX - box.left, event.clientY - box.top);
}

function listen() {
  const current = () => state;
  listenToControls(current, set, showYours);
  listenToPhases(current, set, (event) => place("phase", event));
  listenToDares(set);
  listenToTerms();
  listenToPage();
  for (const name of ["spikes", "flow", "survival"]) {
    const layer = (event) => Math.min(Math.max(Math.round(place(name, event)[0]), 1), state.depth);
    $(`${name}-plot`).addEventListener("pointermove", (event) => pointAt(layer(event)));
    $(`${name}-plot`).addEventListener("pointerleave", () => pointAt(null));
  }
  $("yours-show").addEventListener("click", () => {
    const text = $("yours").value;
    const neuron = parsed(text);
    set({ ...neuron.shown, gain: gainFor(neuron, text, state).gain * neuron.input_scale, rule: "own" });
    document.querySelector("main").scrollIntoView();
  });
  window.addEventListener("hashchange", () => set(fromHash(location.hash)));
  new ResizeObserver(() => plots.spikes && draw()).observe($("figures"));
}

window.varflow = {
  compute, gainByRule, gainKeptAlive, presets: PRESETS, code, printed, fromHash, toHash, fromSlider, toSlider, moved,
  oneStep, inTime, parsed, gainFor, dares: DARES,
};
listen();
update();
