// Python for the present setting, and what its varflow version prints.

import { EXACT_WIDTH } from "./chain.js";
import { preservingGain } from "./map.js";
import { general } from "./numbers.js";
import { STEPS } from "./memory.js";

/** As a Python float, to nine digits. */
function exact(x) {
  const text = String(Number(x.toPrecision(9)));
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** The gain as an expression; varflow knows the rules by name. */
function gainLine({ rule, gain, theta, width, depth }, named) {
  if (rule === "kaiming") return "gain = 2**0.5  # Kaiming";
  if (named && rule === "preserving") return "gain = vf.gain(threshold=theta)  # preserving, 1/√P(u > θ)";
  if (named && rule === "alive" && width <= EXACT_WIDTH) {
    const corrected = "vf.corrected_gain(threshold=theta, width=width, depth=depth)";
    const raised = gain > preservingGain(theta) * (1 + 1e-12);
    return raised ? `gain = ${corrected}  # 99 % alive` : "gain = vf.gain(threshold=theta)  # keeps 99 % alive without correction";
  }
  return `gain = ${exact(gain)}`;
}

const settings = (state, named) =>
  [`theta, width, depth = ${exact(state.theta)}, ${state.width}, ${state.depth}`, gainLine(state, named)].join("\n");

export function code(state) {
  const memoryless = state.neuron === "memoryless";
  return { varflow: memoryless ? varflow : varflowInTime, snntorch, spikingjelly }[state.code](state);
}

function varflow(state) {
  return `import varflow as vf

${settings(state, true)}

for point in vf.fixed_points(threshold=theta, gain=gain):
    print(f"V = {point.variance:.6g}, rate {point.firing_rate:.6g}, multiplier {point.multiplier:.6g}")

network = vf.Network(width=width, depth=depth, gain=gain, neuron=vf.Neuron(theta))
profile = vf.finite_width(network)
print(f"variance {profile.variance[-1]:.6g} ± {profile.variance_std[-1]:.6g}, alive {profile.survival[-1]:.6g}")
`;
}

/** What the memoryless varflow code prints; null above the widths computed here. */
export function printed(state, { fixedPoints, finite, exact }) {
  if (state.code !== "varflow" || state.neuron !== "memoryless" || !exact) return null;
  const points = fixedPoints.map(
    ({ variance, firingRate, multiplier }) => `V = ${general(variance)}, rate ${general(firingRate)}, multiplier ${general(multiplier)}`,
  );
  const [variance, std, alive] = ["variance", "varianceStd", "survival"].map((name) => general(finite[name].at(-1)));
  return [...points, `variance ${variance} ± ${std}, alive ${alive}`].join("\n");
}

function varflowInTime(state) {
  return `import varflow as vf

${settings(state, true)}

neuron = vf.Neuron(theta, decay=${state.decay}, reset="${state.reset}")
network = vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, steps=${STEPS})
profile = vf.mean_field(network, points=2**12, scrambles=4)  # infinite width; seconds
for step, rate in enumerate(profile.firing_rate[-1], start=1):
    print(f"step {step}: rate {rate:.4f}")
`;
}

const SNNTORCH_RESETS = {
  none: 'reset_mechanism="none"',
  zero: 'reset_mechanism="zero"',
  delayed_subtract: 'reset_mechanism="subtract"',
  subtract: 'reset_mechanism="subtract", reset_delay=False',
};

function snntorch(state) {
  const memoryless = state.neuron === "memoryless";
  const [beta, reset] = memoryless ? [0, "none"] : [state.decay, state.reset];
  return network(state, "import snntorch\nimport torch", `snntorch.Leaky(beta=${beta}, threshold=theta, ${SNNTORCH_RESETS[reset]}, init_hidden=True)`, "");
}

function spikingjelly(state) {
  const memoryless = state.neuron === "memoryless";
  const tau = exact(1 / (1 - state.decay));
  const leaky = (reset) => (state.decay > 0 ? `neuron.LIFNode(tau=${tau}, decay_input=False, v_threshold=theta, v_reset=${reset})` : "");
  const note = {
    none: "# SpikingJelly has no neuron without reset; this one is reset to zero.\n",
    delayed_subtract: "# SpikingJelly subtracts at once, not one step later.\n",
  }[state.reset];
  const made = memoryless || state.decay === 0 ? "neuron.IFNode(v_threshold=theta)" : leaky(state.reset === "none" || state.reset === "zero" ? "0.0" : "None");
  const single = memoryless || state.decay === 0;
  const comment = single ? "# One step after a reset, an IFNode has no memory: it spikes at u ≥ θ.\n" : (note ?? "");
  const started = "import torch\nfrom spikingjelly.activation_based import functional, neuron";
  return network(single ? { ...state, neuron: "memoryless" } : state, started, made, comment, "functional.reset_net(model)\n");
}

/** A network of real weights, run once. */
function network(state, imports, neuron, comment, reset = "") {
  const steps = state.neuron === "memoryless" ? 1 : STEPS;
  const run = steps === 1 ? "u = model(drive)" : `for step in range(${STEPS}):  # the drive is constant in time\n        u = model(drive)`;
  return `${imports}

${settings(state, false)}

${comment}layers = []
for _ in range(depth - 1):
    linear = torch.nn.Linear(width, width, bias=False)
    torch.nn.init.normal_(linear.weight, std=gain / width**0.5)
    layers += [${neuron}, linear]
model = torch.nn.Sequential(*layers)

drive = torch.randn(width)  # layer 1 has variance 1
${reset}with torch.no_grad():
    ${run}
print(f"currents into layer {depth}: variance {u.var():.4f}, above θ {(u > theta).float().mean():.4f}")
`;
}
