"""The arguments that the fuzz run draws, as source: good ones by the parameter's name, extreme ones, and ones of another kind.

The most particular entry counts: ``room.callable.parameter``, ``callable.parameter``, then ``parameter``. Good values are kept
small: what is under test is the door, not the machine.
"""

# ruff: noqa: F401 (the sources name these modules)
import decimal
import fractions
import pathlib

import mpmath
import nir
import numpy as np
import sympy
import torch
from scipy.stats import norm

import varflow as vf

__all__ = ["EXCEPTIONS", "GOOD", "INSTANCES", "NEEDED", "ODD"]

nan, inf = float("nan"), float("inf")

SMALL = "vf.Network(width=9, depth=3, gain=2.5)"
BIAS = "vf.Network(width=12, depth=3, gain=2.2, bias_std=0.3)"
LEAKY = "vf.Neuron(1.0, decay=0.5, reset='subtract')"
IN_TIME = f"vf.Network(width=9, depth=2, gain=2.5, steps=3, neuron={LEAKY})"
ROWS = "vf.drives.inputs([[1.0, 2.0], [0.5, -1.0]])"
DISTRIBUTIONS = ["'normal'", "'uniform'", "'laplace'", "'logistic'", "'student_t:5'", "vf.distributions.student_t(3)"]
NETWORKS = [
    SMALL,
    BIAS,
    IN_TIME,
    "vf.Network(width=1, depth=1, gain=1.0)",
    "vf.Network(width=[5, 7], depth=2, gain=[2.0, 3.0], mean_gain=-1.0)",
    "vf.Network(width=6, depth=2, gain=1e-100)",
    "vf.Network(width=6, depth=3, gain=1e100)",
    "vf.Network(width=8, depth=2, gain=2.0, neuron=vf.Neuron(0.0))",
    "vf.Network(width=8, depth=2, gain=2.0, neuron=vf.Neuron(-1.0, strict=False))",
    "vf.Network(width=8, depth=2, gain=2.0, neuron=vf.Neuron(1e100))",
    "vf.Network(width=8, depth=2, gain=2.0, weights='sign')",
    "vf.Network(width=8, depth=2, gain=2.0, weights=vf.weights.lognormal(0.5))",
    "vf.Network(width=8, depth=2, gain=2.0, weights=vf.weights.ternary(0.3))",
    f"vf.Network(width=8, depth=2, gain=2.0, drive={ROWS})",
    f"vf.Network(width=8, depth=2, gain=2.0, drive={ROWS}, steps=2, neuron={LEAKY})",
    "vf.Network(width=8, depth=2, gain=2.0, drive=vf.drives.currents(0.0))",
    "vf.Network(width=8, depth=2, gain=2.0, drive=vf.drives.currents(1e140))",
    "vf.Network(width=8, depth=2, gain=2.0, drive=vf.drives.white(), steps=3, neuron=vf.Neuron(decay=0.9, reset='zero'))",
    "vf.Network(width=8, depth=2, gain=2.0, drive=vf.drives.spikes([0.5, 0.2]), steps=2, neuron=vf.Neuron(decay=0.9))",
    "vf.Network(width=8, depth=2, gain=2.0, drive=vf.drives.given([1.0, 2.0]), steps=2, neuron=vf.Neuron(reset='multi_spike'))",
]
NEURONS = [
    "vf.Neuron()",
    LEAKY,
    "vf.Neuron(0.5, decay=0.9, reset='zero')",
    "vf.Neuron(2.0, reset='gate', delay=1)",
    "vf.Neuron(decay=0.7, synaptic_decay=0.5, input_scale=0.3)",
    "vf.Neuron(0.0)",
    "vf.Neuron(-1.0, decay=0.5)",
    "vf.Neuron(1e100, decay=0.5)",
    "vf.Neuron(reset='multi_spike', decay=1.0)",
    "vf.neurons.snntorch_leaky(0.8)",
    "vf.neurons.sinabs_alif(5.0, 10.0)",
    "vf.neurons.spikingjelly_psn([0.25, 0.5, 1.0])",
    "vf.neurons.spikingjelly_ilif()",
]
LAYERS = ["torch.nn.Linear(6, 5)", "torch.nn.Conv2d(2, 3, 3)", "torch.nn.ConvTranspose1d(2, 4, 3, stride=2)", "(5, 6)"]
SPIKE, LINEAR = "vf.layers.Spike(vf.Neuron())", "vf.layers.Linear(gain=2.5)"
BLOCKS = [f"[{SPIKE}, {LINEAR}]", f"[{LINEAR}, {SPIKE}]", f"[vf.layers.Residual({SPIKE}, {LINEAR}, keep=0.9)]"]
TENSORS = [
    "torch.empty(5, 6)",
    "torch.empty(3, 2, 3, 3, dtype=torch.float64)",
    "torch.empty(4, 4, dtype=torch.bfloat16)",
    "torch.empty(0, 3)",
    "torch.empty(5)",
    "torch.nn.Linear(3, 4).weight",
]
PROFILES = [f"vf.finite_width({SMALL})", f"vf.mean_field({SMALL})", f"vf.mean_field({IN_TIME})", f"vf.finite_width({BIAS})"]
ENSEMBLES = [f"vf.simulate({SMALL}, repeats=3)", f"vf.simulate({IN_TIME}, repeats=2)", f"vf.simulate({BIAS}, repeats=4)"]
FLOW = f"vf.gradient_flow({IN_TIME}, points=64, scrambles=2)"
EXPERIMENT = "vf.validate(threshold=[0.5, 1.0], gain=[2.0, 'kaiming'], width=8, depth=2, repeats=2)"
EXPERIMENT_IN_TIME = f"vf.validate(gain=2.0, width=8, depth=2, repeats=2, steps=3, neuron={LEAKY})"
COMPARISON = f"vf.compare({PROFILES[0]}, {ENSEMBLES[0]})"
CATALOGUE = (
    "vf.catalogue(threshold=1.0, decay=0.5, fan_in=20, depth=3, width=10, steps=2, methods=vf.init.published.METHODS[:4])"
)
KERNEL = f"vf.kernel({SMALL}, [[1.0, 2.0], [0.5, -1.0]], repeats=2)"
READABLE = f"vf.readable_depth({SMALL}, [[1.0, 2.0], [0.5, -1.0], [2.0, 1.0], [1.0, -1.0]], [0, 1, 0, 1])"
DIAGRAM = "vf.phase_diagram(threshold=[0.5, 1.0, 1.2], width=[5, 10, 20], depth=4)"
CRITICAL = f"vf.temporal_critical_gain({LEAKY}, steps=2, depth=4, points=256)"
PATTERNS = "[[1.0, 2.0], [0.5, -1.0], [1.0, 2.0], [-0.3, 0.9]]"
FILTER = ["vf.init.published.step_filter(vf.Neuron(decay=0.5))", "vf.init.published.exponential_filter(0.02, 0.01)"]

NUMBERS = ["1.0", "0.5", "0.05", "3", "2.5", "0.9", "1e-3"]
SIGNED = [*NUMBERS, "0.0", "-1.0", "-0.3"]
SHARES = ["0.5", "0.1", "0.9", "0.01", "0.999"]
COUNTS = ["1", "2", "3", "10", "40"]
FEW = ["1", "2", "3", "5"]
BOOLEANS = ["True", "False", "np.True_"]
SEEDS = ["0", "1", "7", "2**32"]
ARRAYS = ["[1.0, 2.0]", "np.array([[0.5], [2.0]])", "np.float32(1.5)", "np.array([])", "torch.tensor(1.5)"]

EXTREME = [
    *["0.0", "-0.0", "5e-324", "-5e-324", "1e-300", "1e-140", "1e-17", "1 - 1e-16", "1 + 1e-15", "40.0", "-40.0"],
    *["1e15", "1e140", "-1e140", "1e300", "1.7976931348623157e308", "nan", "inf", "-inf"],
    *["0", "-1", "2**31", "2**53", "2**63", "2**64", "10**30", "10**400", "-(10**400)", "True", "False"],
    *["np.int8(3)", "np.float16(0.5)", "np.uint64(2**63)", "fractions.Fraction(1, 3)", "decimal.Decimal('0.1')"],
    *["mpmath.mpf('0.3')", "sympy.Rational(1, 3)", "sympy.sqrt(2)", "np.longdouble(0.5)", "torch.tensor(0.5)"],
]
WRONG = [
    *[
        "None",
        "''",
        "'x'",
        "'nan'",
        "'1.0'",
        "b'1'",
        "1j",
        "complex(nan, 0)",
        "...",
        "NotImplemented",
        "object()",
        "int",
        "vf",
    ],
    *["[]", "()", "{}", "{1: 2}", "set()", "[None]", "['x']", "[1.0, nan]", "[[1.0], [1.0, 2.0]]", "range(3)", "slice(3)"],
    *["np.array([])", "np.array(nan)", "np.array('x')", "np.array([1.0, inf])", "np.zeros((2, 2, 2, 2))", "np.array([None])"],
    *["np.datetime64('2020-01-01')", "np.ma.masked", "np.ma.array([1.0, 2.0], mask=[True, False])", "np.random.default_rng(1)"],
    *["torch.tensor([1.0, nan], requires_grad=True)", "torch.tensor([1.0, 2.0])", "torch.empty(2, 2, device='meta')"],
    *[
        "sympy.Symbol('x')",
        "sympy.nan",
        "sympy.oo",
        "mpmath.mpc(1, 2)",
        "iter([1.0])",
        "(lambda *_: nan)",
        "(lambda *_: 1 / 0)",
    ],
    *["Unwilling()", "type('T', (), {})", "'\\x00'", "'x' * 10**5", "list(range(1000))", SMALL, "vf.Neuron()", "'normal'"],
]
ODD = (EXTREME, WRONG)


class Unwilling:
    """An object that does nothing it is asked to."""

    def _refuse(self, *_):
        raise RuntimeError("unwilling")

    __float__ = __int__ = __index__ = __len__ = __iter__ = __bool__ = __eq__ = __array__ = _refuse
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]


def written():
    """A graph of the neuromorphic intermediate representation."""
    ones = np.ones(5)
    lif = nir.LIF(tau=1e-3 * ones, r=10 * ones, v_leak=0 * ones, v_threshold=ones)
    return nir.NIRGraph.from_list(nir.Linear(np.linspace(-2.0, 3.0, 20).reshape(5, 4)), lif)


class Half(torch.nn.Module):
    """A neuron that varflow knows by the reader below."""

    def __init__(self):
        super().__init__()
        self.v = 0.0

    def forward(self, current):
        h = 0.5 * self.v + current
        spikes = (h > 1).to(h.dtype)
        self.v = h - spikes
        return spikes


@vf.init.reads(Half)
def half(_):
    return vf.Neuron(1.0, decay=0.5, reset="subtract")


class Net(torch.nn.Module):
    """Two layers, over ``steps``."""

    def __init__(self, steps=2):
        super().__init__()
        self.steps, self.first, self.second = steps, torch.nn.Linear(6, 8), torch.nn.Linear(8, 4)
        self.neurons = torch.nn.ModuleList([Half(), Half()])

    def forward(self, x):
        for neuron in self.neurons:
            neuron.v = 0.0
        return sum(self.neurons[1](self.second(self.neurons[0](self.first(x)))) for _ in range(self.steps))


def each(names, values):
    """The same good values for several names."""
    return dict.fromkeys(names.split(), tuple(values))


STEP = "vf.OptimizerStep(('a', 'b'), 'Adam', 1e-3, 0.1, 1e-3, None, None, *np.full((4, 2), 0.5))"
COORDINATES = "vf.CoordinateCheck('direct', ('a',), np.array([8, 16]), np.full((2, 2, 1), 0.1), np.zeros(1), np.ones(1))"

# By callable or parameter.
GOOD = {
    # numbers
    **each("threshold thresholds v_threshold spike_threshold v_th", [*NUMBERS, "0.0", "-1.0"]),
    **each("gain variance input_scale scale std xi sigma tau_mem_inv tau_syn_inv tau_adapt_inv R C rho_reset spacing", NUMBERS),
    **each("input_gain input_variance weight_variance drive_std bandwidth cut tolerance", NUMBERS),
    **each("tau time_step dt step", ["2.0", "5.0", "0.5", "1e-3"]),
    **each("tau_mem tau_syn tau_adapt tau_u tau_w", ["2.0", "20.0", "0.02", "0.01"]),
    **each("mean_gain mean mean_potential input_mean z h k slope membrane input jump coupling adapt_scale a b q", SIGNED),
    **each("bias_std max_bias_std bias", ["0.0", "0.3", "1.5"]),
    "rho": ["0.0", "0.5", "-0.9", "1.0", "[0.1, 0.9]"],
    **each("held_out ridge", SHARES),
    **each("rate decay alpha beta c_decay v_decay density share survival survival_target rare", SHARES),
    **each("synaptic_decay overlap false_alarm", ["0.0", *SHARES]),
    "correlation": ["0.0", "0.5", "-0.9", "1.0"],
    "df": ["3", "5.5", "2.01", "100.0"],
    "v_leak": ["0.0"],
    "v_reset": ["0.0", "None", "-0.5"],
    "lowest": ["None", "-1.0", "0.5"],
    "every": ["1", "100"],
    "number": ["None", "0", "7"],
    "quantity": ["'firing_rate'", "'dead_fraction'", "'variance'"],
    "alive": ["'every step'", "'every late step'", "'a late step'", "'any step'"],
    "networks": ["20", "100"],
    "writer": ["type('Writer', (), {'log': lambda self, numbers, step=0: None})()"],
    "history": ["vf.Monitor(Net(), torch.ones(4, 6))"],
    "min_v_mem": ["None", "-1.0"],
    "register": ["None", "vf.resets.Register(bits=8)"],
    "resets.Register.bits": ["8", "16"],
    "rounding": ["'shift'", "'nearest'", "'zero'"],
    "integer_membrane.neuron": ["vf.Neuron(reset=vf.resets.Reset(register=vf.resets.Register(bits=6)))"],
    "integer_membrane.currents": ["norm(0, 1)"],
    "adaptation": ["None", "vf.resets.Adaptation(decay=0.9, jump=0.5)"],
    "neurons.spikingjelly_psn.weight": ["[1.0]", "[0.25, 0.5, 1.0]", "[[1.0, 0.5], [-0.3, 1.0]]"],
    "Neuron.kernel": ["None", "[1.0, 0.5]", "[[1.0, 0.5], [-0.3, 1.0]]"],
    "variances": ["None", "[0.5, 1.0]"],
    # whole numbers
    **each("width widths fan_in fan_out all_inputs", COUNTS),
    **each(
        "depth steps repeats iterations max_depth order scrambles threads delay synaptic_delay refractory max_spike_count most",
        FEW,
    ),
    **each("min_width min_depth min_steps max_fan_in max_batch max_delay max_width", FEW),
    "max_steps": FEW,
    "in_degree": COUNTS,
    "digits": ["15", "20", "30"],
    "points": ["64", "128", "256"],
    "max_precision": ["96", "512"],
    "seed": ["0", "1", "7", "2**32"],
    "time_axis": ["None", "0", "1"],
    "shape": ["(5, 6)", "(3, 2, 2)"],
    "size": ["(8, 8)", "(5,)"],
    # switches and words
    **each("strict delayed detached counts as_published decay_input reset_delay norm_input", BOOLEANS),
    **each("moves_threshold reset_moves rectified scale_reset", BOOLEANS),
    **each("approximate dry_run positive living memoryless any_drive equal_layers", BOOLEANS),
    **each("heavy_tails given second_moments gradients infinite_width", BOOLEANS),
    **each("init.init_model.learning_rate", BOOLEANS),
    **each("init.quantise_.bits audit.bits", ["2", "4"]),
    "init.quantise_.keep": ["'rate'", "'survival'"],
    "init.quantise_.per": ["'layer'", "'channel'"],
    "init.quantise_.clip": ["'mse'", "'minmax'"],
    **each("refine detach_reset", ["None", *BOOLEANS]),
    **each(" ".join(f"neurons.spikingjelly_{name}.detach_reset" for name in ("if", "lif", "klif", "ilif")), BOOLEANS),
    "gradient_flow.readout": ["'shared'", "'independent'"],
    "flow": [FLOW],
    "campaign": ["None", "vf.Campaign()"],
    "progress": ["False", "(lambda done, total: None)"],
    "per_layer": ["False", "True"],
    "device": ["'cpu'"],
    "dtype": ["'float32'", "'float64'"],
    "engine": ["'dense'", "'conditional'"],
    "method": ["'auto'", "'orthants'", "'quasi_monte_carlo'"],
    "rule": ["'preserving'", "'kaiming'", "2.0", "'1.5'"],
    "calculate_gain.rule": ["'preserving'", "'kaiming'", "'corrected'"],
    "fill": ["'normal'", "'uniform'", "'sign'", "'orthogonal'", "'truncated_normal'"],
    **each("init.init_fn.bias init.init_layer_.bias", ["'zero'", "'keep'", "0.1"]),
    "reset": [
        "'none'",
        "'subtract'",
        "'zero'",
        "'delayed_subtract'",
        "'gate'",
        "'multi_spike'",
        "vf.resets.Reset(threshold=0.5)",
    ],
    "reset_mechanism": ["'subtract'", "'zero'", "'none'"],
    "reset_method": ["'reset_value'", "'reset_subtract'"],
    "reset_fn": ["'MembraneSubtract'", "'MembraneReset'"],
    "spike_fn": ["'MultiSpike'", "'SingleSpike'"],
    "kind": ["'bernoulli'", "'poisson'"],
    "init.reads.kind": ["type('Own', (), {})", "'no_package.Own'"],
    "name": ["'micheli2024'", "'weights'"],
    "label": ["'mine'"],
    # varflow's own
    "network": NETWORKS,
    # layers
    **each("critical_gain.block fixed_points.block gain_for_rate.block", ["None", *BLOCKS]),
    **each("Network.layers Network.nodes layers.Unknown.sends layers.Unknown.of", ["None"]),
    "layers.Sum.factors": ["(1.0, 0.5)", "[2.0]"],
    "layers.ScaleSteps.factors": ["(1.0, 0.5)", "[2.0, 1.0]"],
    "layers.ScaleSteps.constants": ["()", "(0.0, 0.5)"],
    **each("layers.Upsample.factor layers.Upsample.extra", ["1", "2", "(2, 3)"]),
    "layers.Upsample.zeros": ["True", "False"],
    **each("layers.Upsample.with_zeros.height layers.Upsample.with_zeros.width", ["4", "7"]),
    "layers.Filter.decays": ["()", "(0.9,)", "(1.0, 0.5)"],
    "layers.BatchNorm.over": ["'all steps'", "'each step'", "'past steps'"],
    **each("layers.Attention.heads layers.Chunk.chunks", ["1", "2"]),
    "constant": SIGNED,
    "words": ["'is an attention head'"],
    "layers.Measured.kind": ["'input'", "'currents'"],
    **each("gamma eps keep", ["0.0", "0.5", "1.0"]),
    **each("factor recurrent_mean_gain", SIGNED),
    "read_nir.graph": ["written()"],
    "read_nir.inputs": ["None", "np.ones((2, 4))", "np.eye(4)[None]", "vf.drives.spikes([0.5] * 4)"],
    "read_nir.library": ["'nir'", "'snntorch'", "'norse'"],
    "read_nir.dt": ["None", "1e-4"],
    "recurrent_gain": ["0.0", "1.5"],
    "statistics": ["None", "(0.0, 1.0)"],
    **each("channels groups", ["1", "2"]),
    **each("kernel stride dilation layers.Pool.size", ["1", "2", "3"]),
    "padding": ["0", "1"],
    "merge": ["'add'", "'and'", "'iand'"],
    "layers.Pool.kind": ["'average'", "'max'"],
    "layers.Attention.kind": ["'dot'", "'token'", "'channel'"],
    **each("layers.Linear.rows layers.Conv.rows", ["'free'", "'centred'", "'standardised'"]),
    **each("layers.Linear.biases layers.Conv.biases", ["'normal'", "'uniform'"]),
    **each("currents.shape white.shape Currents.shape White.shape Inputs.shape", ["None", "(2, 3, 2)"]),
    "neuron": NEURONS,
    "neuron.neuron": [*NEURONS, "'snntorch_leaky:beta=0.9'", "Half()"],
    "neurons": ["None", "vf.testing.neurons()"],
    "weights": ["'normal'", "'uniform'", "'sign'", "vf.weights.exponential()", "vf.weights.sparse(0.5)", "vf.weights.cauchy()"],
    "testing.networks.weights": ["None"],
    "testing.neurons.thresholds": ["None", "vf.testing.thresholds()"],
    "law": ["'normal'", "'uniform'", "vf.weights.ternary(0.5)", "vf.weights.stable(1.5)"],
    "base": ["'normal'", "'uniform'", "'sign'"],
    "bits": ["2", "4", "[2, 3]"],
    "clip": ["None", "2.0"],
    "core": ["vf.weights.ternary(0.5).core"],
    "offset": SIGNED,
    "distribution": DISTRIBUTIONS,
    "distribution.distribution": [*DISTRIBUTIONS, "np.linspace(-3, 4, 30) ** 3", "np.linspace(-2, 3, 50)"],
    "weights.weight_law.weights": ["'normal'", "'uniform'", "vf.weights.lognormal()"],
    "drive": [
        "None",
        "vf.drives.currents(2.0)",
        "vf.drives.white()",
        ROWS,
        "vf.drives.given([1.0, 2.0])",
        "vf.drives.spikes([0.5])",
    ],
    "x": ["[[1.0, 2.0], [0.5, -1.0]]", "np.ones((2, 3, 4))"],
    "distributions.sample.x": ["np.linspace(-3, 4, 30) ** 3", "np.linspace(-2, 3, 50)"],
    "rates": ["[0.5, 0.2]", "[[0.5], [0.1]]"],
    "currents": ["[1.0, 2.0]", "[[1.0, 2.0]]"],
    "rows": ["[0]", "np.array([0, 0])"],
    "path": ["'no such file.npy'", "pathlib.Path('no such file.csv')", "'/dev/null'", "'.'"],
    "profile": PROFILES,
    "ensemble": ENSEMBLES,
    "ensembles": ["()", "[]"],
    "experiment": [EXPERIMENT, EXPERIMENT_IN_TIME],
    "comparison": [COMPARISON],
    "catalogue": [CATALOGUE],
    "diagram": [DIAGRAM],
    "plot_depth_scales.scales": ["vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 3.0])"],
    "result": [DIAGRAM, COMPARISON, PROFILES[0], EXPERIMENT, CRITICAL],
    "results": [f"[{CRITICAL}]"],
    "report": ["vf.audit(Net(), torch.ones(4, 6))"],
    "plan": ["vf.init.init_model(Net(), torch.ones(4, 6), dry_run=True)"],
    "plot_counts.found": [f"vf.SpikeChain({SMALL})", f"(vf.SpikeChain({SMALL}).propagate())[0]"],
    "plot_escape.found": ["vf.escape_asymptotics(threshold=1.0, gain=2.6)"],
    "plot_overlap_map.points": ["vf.correlation_fixed_points(threshold=1.0)"],
    "plot_surrogate.surrogate": ["vf.surrogates.atan()", "vf.surrogates.own(np.ones_like)"],
    "methods": ["vf.init.published.METHODS[:3]", "()"],
    "compare.bias": ["None", "0.01"],
    "validate.bias": ["None"],
    "ax": ["None"],
    "start": ["1.0", "0.3", "1e-8", "1e30"],
    **each("filter_sums", FILTER),
    # torch
    "tensor": TENSORS,
    "layer": LAYERS,
    "fan": ["None", "6", "torch.nn.Linear(6, 5)"],
    "generator": ["None", "torch.Generator().manual_seed(0)"],
    "model": ["Net()", "Net(steps=1)", "torch.nn.Linear(6, 5)"],
    "batch": ["torch.ones(4, 6)", "torch.randn(3, 6)"],
    "inputs": ["torch.ones(4, 6)", "torch.randn(3, 6)", "[torch.ones(2, 6)]"],
    **each("kernel.inputs readable_depth.inputs", [PATTERNS, ROWS, "np.ones((2, 3, 4))", "[[0.0, 0.0], [1.0, 1.0]]"]),
    "labels": ["[0, 1, 0, 1]", "['a', 'a', 'b', 'b']", "np.array([1.5, 1.5, 2.0, 2.0])"],
    "readout": ["'counts'", "'raster'", "'last'"],
    **each("Kernel.overlap.layer Kernel.raster_overlap.layer Kernel.to_gram.layer Kernel.between.layer", ["1", "2"]),
    "sample": ["None", "0", "1"],
    "kernel.repeats": ["None", *FEW],
    "flips.direct": ["None", "0.1", "0.0", "[0.1, 0.0, 0.2]"],
    "flips.relative": ["None", "None", "0.01", "[0.1, 0.2]"],
    "flips.repeats": ["None", "2", "5"],
    "trainability.direct": ["0.015", "0.3", "1e-3"],
    "learning_rate.inputs": ["None", PATTERNS, "np.ones((2, 4)).cumsum(0)"],
    "learning_rate.optimizer": ["'adam'", "'Adam'", "'sgd'", "'lion'"],
    "learning_rate.batch": ["None", "1", "50"],
    **each("audit.optimizer audit.targets Monitor.optimizer Monitor.targets", ["None"]),
    "plot_step.step": [STEP],
    "OptimizerStep.of.layer": ["'a'", "'c'"],
    "check": [COORDINATES],
    "coordinate_check.make": ["(lambda width: {})"],
    "coordinate_check.widths": ["(8, 16)", "[4]"],
    "coordinate_check.quantity": ["'currents'", "'direct'"],
    "kernel": [KERNEL],
    "cost": [f"vf.cost({SMALL})"],
    "energy": ["'float32'", "'int8'", "(2.0, 0.5)"],
    "operations": ["None", "1e5", "2e4"],
    "flips": [f"vf.flips({IN_TIME}, direct=0.1, points=64)", f"vf.flips({SMALL}, relative=0.1, repeats=2)"],
    "found": [READABLE],
    "loss": ["None", "(lambda y: y.sum())"],
    "run": ["None"],
    "lsuv_.mean": ["None", "0.0"],
    # functions
    "testing.assert_gain.fill": ["(lambda w: torch.nn.init.normal_(w, 0, w[0].numel() ** -0.5))"],
    "testing.assert_agrees_with_theory.fill": ["(lambda w: torch.nn.init.normal_(w, 0, 2.5 * w[0].numel() ** -0.5))"],
    "testing.assert_preserves_variance.fill": ["(lambda w: vf.init.micheli_normal_(w))"],
    "testing.assert_survives.fill": ["(lambda w: vf.init.normal_(w, 3.0))"],
    "function": ["(lambda v: vf.variance_map(v, threshold=1.0, gain=2.0))"],
    "activation": ["None"],
    "sampler": ["None"],
    **each("min_value max_value", ["None", "0.5", "2.0"]),
    "surrogate": ["'triangular'", "'box'", "'fast_sigmoid'"],
    "gradient_gain.surrogate": ["'atan'", "'SFS'", "'norse_super'", "vf.surrogates.box(0.3)", "np.ones_like"],
    "trainability.surrogate": ["'atan'", "vf.surrogates.box(0.3)"],
    "trainability.inputs": ["None", "np.eye(3)", "np.ones((3, 2, 3)).cumsum(0) * [1, 2, -1]", "np.eye(2)"],
    "surrogate_width.surrogate": ["'atan'", "'norse_super'", "vf.surrogates.box(0.3)", "np.ones_like"],
    "objective": ["'range'", "'growth'"],
    "lookup.surrogate": ["None", "'atan'", "vf.surrogates.box(0.3)"],
    "gradient_flow.surrogate": ["'atan'", "'norse_super'", "vf.surrogates.box(0.3)", "np.ones_like"],
    "gradient_gain.variance": ["None", *NUMBERS],
    "reference.gradient_gain.surrogate": ["'triangular'", "'box'", "vf.surrogates.norse_super()"],
    **each("grad_width grad_scale s w c B T_period peak area leak window mu", SIGNED),
    **each(
        "surrogates.box.area surrogates.triangular.area surrogates.gaussian.area surrogates.exponential.area", ["None", "1.0"]
    ),
    "family": ["'box'", "'atan'", "'own'"],
    "surrogates.surrogate_of.surrogate": ["'atan'", "'SSO'", "np.ones_like", "vf.surrogates.atan()"],
    "surrogates.own.function": ["np.ones_like", "(lambda v: 1 / v)"],
    "Surrogate.function": ["None", "np.ones_like"],
    "Surrogate.formula": ["None"],
    "n": FEW,
    "v": ["[0.1, -2.0]", "np.float32(0.3)", "np.zeros((2, 3))"],
    "kinks": ["()", "[1.0]"],
    "reference.gradient_gain.width": ["None", "1.0"],
    "covariance": ["[[1.0, 0.5], [0.5, 1.0]]", "np.eye(2)"],
    "reference.two_steps.mean": ["(0, 0)", "(0.5, -1)"],
    # one of several ways to say it
    "lookup.layer": ["None"],
    "lookup.neuron": ["None", "vf.Neuron(0.7)"],
    "lookup.rate": ["None", "0.1"],
    "lookup.threshold": ["0.7", "1.0", "0.3"],
    "lookup.steps": ["1"],
    "validate.steps": ["1"],
    "validate.neuron": ["None"],
    "catalogue.neuron": ["None"],
    "phase_diagram.gain": ["'preserving'", "2.0"],
    "validate.gain": ["'preserving'", "2.0", "['kaiming', 3.0]"],
    "largest_threshold.gain": ["'preserving'", "'best'"],
    # symbolic
    "limit": ["'threshold_to_zero'", "'threshold_to_infinity'", "'saddle_node'", "'gain_to_infinity'"],
    "parameters": ["None"],
    "response": ["'step'", "'identity'", "'relu'"],
    "solve": ["None", "'peak'", "'width'"],
    "symbolic.membrane_moments.input": ["'white'", "'correlated'"],
    "argument": ["None"],
}

# An instance of each class whose methods are called too.
LAYER_OF_EACH_KIND = {
    "Attention": "Attention(2, 0.5)",
    "BatchNorm": "BatchNorm()",
    "Chunk": "Chunk(0, 2)",
    "Concat": "Concat()",
    "Conv": "Conv(2, gain=1.0)",
    "Filter": "Filter((0.5,))",
    "LayerNorm": "LayerNorm()",
    "Linear": "Linear(gain=1.0)",
    "Measured": "Measured(np.ones((2, 1, 3)))",
    "Pool": "Pool('max', 2)",
    "Product": "Product()",
    "RMSNorm": "RMSNorm()",
    "Residual": f"Residual({SPIKE}, {LINEAR})",
    "Scale": "Scale(2.0)",
    "ScaleSteps": "ScaleSteps((1.0,))",
    "Spike": "Spike(vf.Neuron())",
    "Sum": "Sum((1.0, 2.0))",
    "Unknown": "Unknown('is odd')",
    "Upsample": "Upsample(2)",
}
INSTANCES = {
    "AuditReport": ["vf.audit(Net(), torch.ones(4, 6))"],
    "Catalogue": [CATALOGUE],
    "Comparison": [COMPARISON],
    "CorrelationFixedPoints": ["vf.correlation_fixed_points(threshold=1.0)"],
    "CorrectedGainTable": ["vf.corrected_gain_table(threshold=1.0, width=[10, 20], depth=5)"],
    "Cost": [f"vf.cost({SMALL})", f"vf.cost({IN_TIME}, points=64)"],
    "Ensemble": ENSEMBLES,
    "Estimate": [f"vf.survival({SMALL}, alive='any step')"],
    "EscapeByStep": [
        "vf.escape_by_step(vf.Network(width=9, depth=2, gain=3.0, neuron=vf.Neuron(decay=0.5), steps=2), points=64)"
    ],
    "EscapeAsymptotics": ["vf.escape_asymptotics(threshold=1.0, gain=2.6)"],
    "Experiment": [EXPERIMENT, EXPERIMENT_IN_TIME],
    "FixedPoints": ["vf.fixed_points(threshold=1.0, gain=2.6)"],
    "GradientFlow": [FLOW, f"vf.gradient_flow({SMALL})"],
    "Initialization": ["vf.lookup(threshold=1.0, fan_in=20)"],
    "DepthScales": ["vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 3.0])"],
    "Kernel": [KERNEL, KERNEL.replace(", repeats=2", "")],
    "Monitor": ["vf.Monitor(Net(), torch.ones(4, 6))"],
    "Neuron": NEURONS,
    "PhaseDiagram": [DIAGRAM],
    "Profile": PROFILES,
    "Quantisation": ["vf.quantise(threshold=1.0, width=20, depth=5, bits=3, survival_target=0.9)"],
    "ReadableDepth": [READABLE],
    "SpikeChain": [f"vf.SpikeChain({SMALL})", f"vf.SpikeChain({BIAS})"],
    "TemporalCriticalGain": [CRITICAL],
    "RoundedModel": ["vf.init.quantise_(Net(), torch.ones(4, 6), bits=3)"],
    "IntegerMembrane": [
        "vf.integer_membrane(vf.Neuron(reset=vf.resets.Reset(register=vf.resets.Register(bits=6))), norm(), steps=3)"
    ],
    "Flips": [f"vf.flips({IN_TIME}, direct=0.1, points=64)", f"vf.flips({SMALL}, relative=0.1, repeats=2)"],
    "CoordinateCheck": [COORDINATES],
    "OptimizerStep": [STEP],
    "LearningRate": [f"vf.learning_rate({SMALL}, np.eye(3) + 1, points=64)"],
    "Trainability": [f"vf.trainability({IN_TIME}, points=64, scrambles=2)"],
    "TemporalFixedPoint": [f"vf.temporal_fixed_point({IN_TIME}, points=256)"],
    "certified.CertifiedFixedPoints": ["vf.certified.fixed_points(threshold=1.0, gain=2.6)"],
    "distributions.Distribution": [
        f"vf.distribution({distribution})" for distribution in [*DISTRIBUTIONS, "np.linspace(-3, 4, 30) ** 3"]
    ],
    "drives.ConstantCurrents": ["vf.drives.currents()"],
    "drives.Given": ["vf.drives.given([1.0, 2.0])", "vf.drives.given([[1.0, 2.0]])"],
    "drives.Inputs": [ROWS, "vf.drives.inputs(np.ones((2, 3, 4)))"],
    "drives.SpikeTrains": ["vf.drives.spikes([0.5, 0.2])"],
    "drives.White": ["vf.drives.white()"],
    "layers.Signal": ["vf.layers.Signal('spikes', (4,))"],
    **{f"layers.{kind}": [f"vf.layers.{source}"] for kind, source in LAYER_OF_EACH_KIND.items()},
    "reference.ExactFixedPoints": ["vf.reference.fixed_points(threshold=1.0, gain=2.6, digits=15)"],
    "surrogates.Surrogate": ["vf.surrogates.atan()", "vf.surrogates.box(0.5)", "vf.surrogates.SFS()"],
    "weights.WeightLaw": ["vf.weights.ternary(0.5)", "vf.weights.lognormal()"],
}

# Optional parameters without which a call is mostly refused.
NEEDED = {
    "lookup": ("threshold", "fan_in"),
    "corrected_gain_table": ("threshold", "width", "depth"),
    "catalogue": ("depth", "fan_in", "methods"),
    "validate": ("width", "depth", "repeats"),
}

# What is not called, and why.
RECORD = "a record that functions return or read; what reads it checks it"
BASE = "a base class; what derives from it is called"
ERROR = "an error, raised and not called"
STEP = "a step of making a network, which hands over what fits"
EXCEPTIONS = {
    "layers.Layer": BASE,
    "layers.Signal": RECORD,
    "register": "it changes what the process knows; its arguments are tested in test_extensions",
    **{f"theory.{name}": STEP for name in vf.theory.__all__},
    "simulation.Flow": RECORD,
    **{f"layers.{kind}.after": STEP for kind in LAYER_OF_EACH_KIND},
    **{f"layers.{kind}.{of}": STEP for kind in ("Conv", "Linear") for of in ("connection", "mean_gain_of")},
    "layers.Conv.fan_in": STEP,
    "Campaign": "its arguments are tested in test_campaign; extreme ones make files and processes",
    **dict.fromkeys(["init.published.FilterSums", "init.published.Method"], RECORD),
    **dict.fromkeys(["init.published.Setting", "init.published.WeightMoments", "init.published.Weights"], RECORD),
    **dict.fromkeys(["distributions.Distribution", "drives.Drive", "weights.WeightDistribution"], BASE),
    **dict.fromkeys(
        ["EscapeAsymptotics", "EscapeByStep", "IntegerMembrane", "Estimate", "Expansion", "TemporalExpansion"], RECORD
    ),
    **dict.fromkeys(["symbolic.Derivation", "symbolic.Step"], RECORD),
    "weights.WeightLaw": RECORD,
    **dict.fromkeys(["SpikeChain.driven_kernel", "SpikeChain.law"], "a step of the recursion"),
    "distributions.Distribution.sf_and_pdf": "an inner loop of theory, which takes arrays alone",
    **dict.fromkeys(["Interrupted", "symbolic.DerivationError"], ERROR),
}
