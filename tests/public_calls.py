"""A small call of every public function that computes, with its result as text to the last bit; and the state of the process.

Each call makes its own arguments, so that any number of threads and processes can make it at once.
"""

import dataclasses
import os
import random
import sys
import threading
import warnings
from collections.abc import Mapping
from types import FunctionType

import matplotlib
import mpmath
import nir
import numpy as np
import scipy.stats
import snntorch
import torch
from threadpoolctl import threadpool_info
from torch.utils.checkpoint import CheckpointFunction

import varflow as vf

__all__ = ["CALLS", "DIGITS", "state_of_the_process", "told"]

NET = {"width": 12, "depth": 3, "gain": 2.2}
LEAKY = vf.Neuron(0.8, decay=0.5, reset="subtract")
PATCHES = np.linspace(0.1, 1.0, 12).reshape(3, 4)
ROWS, LABELS = np.random.default_rng(0).normal(size=(24, 10)), np.arange(24) % 2
FEW = {"depth": 4, "points": 64, "scrambles": 2}


def file():
    ones = np.ones(5)
    lif = nir.LIF(tau=1e-3 * ones, r=10 * ones, v_leak=0 * ones, v_threshold=ones)
    return nir.NIRGraph.from_list(nir.Linear(np.ones((5, 3))), lif)


def net(**options):
    return vf.Network(**NET | options)


def in_time():
    return net(neuron=LEAKY, steps=3, drive=vf.drives.white(1.0))


def drawn(number=1):
    return torch.Generator().manual_seed(number)


def made(kind, *sizes, **options):
    """A layer of ones, without a draw from torch's own generator, as its constructor would make."""
    layer = torch.nn.utils.skip_init(kind, *sizes, **options)
    for parameter in layer.parameters():
        torch.nn.init.ones_(parameter)
    return layer


def model(depth=2, random=False):
    generator, layers = drawn(depth), [torch.nn.Dropout1d(0.0)]
    for _ in range(depth):
        layers += [made(torch.nn.Linear, 16, 16), snntorch.Leaky(0.5, init_hidden=True)]
        layers[-2].weight.data = torch.randn(16, 16, generator=generator) * 0.7
        layers[-2].bias.data.zero_()
    return torch.nn.Sequential(*([Bernoulli()] if random else []), *layers)


def dense():
    return torch.nn.Sequential(made(torch.nn.Linear, 16, 20), torch.nn.Tanh(), made(torch.nn.Linear, 20, 12))


class Bernoulli(torch.nn.Module):
    """Draws from torch's own generator."""

    def forward(self, x):
        return torch.bernoulli(x)


class Spike(torch.nn.Module):
    """A neuron of one's own, for ``vf.init.reads``."""

    def forward(self, x):
        return (x > 1).float()


class Found:
    """A result of one's own, for ``vf.register``."""


X = torch.linspace(0.05, 0.95, 64).reshape(4, 16)


def audited(**options):
    return vf.audit(model(**options), X, steps=3)


def stepped(net):
    optimizer = torch.optim.Adam(net.parameters())
    return vf.audit(net, X, lambda y: y.square().sum(), optimizer=optimizer, steps=3)


def with_a_generator(fill, *given, **options):
    return lambda: fill(torch.empty(6, 8), *given, generator=drawn(), **options)


def filled(make):
    linear = made(torch.nn.Linear, 8, 6)
    make(linear)
    return linear.weight, linear.bias


def monitored():
    monitor = vf.Monitor(model(), X, steps=3, gradients=True)
    return monitor(0), monitor.rows


def validated():
    found = vf.validate(threshold=[0.7], width=12, depth=3, repeats=6)
    return found.to_dict()


def simulated():
    return vf.simulate(net(), repeats=6, seed=2)


CALLS = {
    "audit": audited,
    "audit of a random model": lambda: audited(random=True),
    "audit of a step": lambda: stepped(model()),
    "audit with gradients": lambda: vf.audit(model(), X, steps=3, gradients=True),
    "Monitor": monitored,
    "catalogue": lambda: vf.catalogue(width=20, depth=4).to_dict(),
    "cheapest": lambda: vf.cheapest(width=30, depth=5).to_dict(),
    "citation": lambda: vf.citation("micheli2024"),
    "compare": lambda: vf.compare(vf.finite_width(net()), simulated()).to_dict(),
    "corrected_gain": lambda: vf.corrected_gain(threshold=0.9, width=30, depth=5),
    "corrected_gain_table": lambda: vf.corrected_gain_table(threshold=[0.9], width=[30], depth=[5]).to_dict(),
    "correlation_fixed_points": lambda: vf.correlation_fixed_points(threshold=0.7),
    "correlation_map": lambda: vf.correlation_map(np.array([0.1, 0.6]), threshold=0.7),
    "cost": lambda: vf.cost(in_time()).to_dict(),
    "critical_gain": lambda: vf.critical_gain(threshold=0.7, distribution="laplace"),
    "depth_scales": lambda: vf.depth_scales(threshold=[0.7, 0.9], gain=[2.0]).to_dict(),
    "distribution": lambda: vf.distribution("student_t:6").sf(np.array([0.3, 2.0])),
    "escape_asymptotics": lambda: vf.escape_asymptotics(threshold=1.0, gain=2.6),
    "expansion": lambda: vf.expansion(net(gain=2.9, width=400)),
    "finite_width": lambda: vf.finite_width(net()),
    "fixed_points": lambda: list(vf.fixed_points(threshold=0.7, gain=2.2, distribution="logistic")),
    "flips": lambda: vf.flips(in_time(), direct=0.05, points=64),
    "gain": lambda: vf.gain(threshold=np.array([0.5, 0.7])),
    "gain_by_rule": lambda: vf.gain_by_rule("preserving", 0.7),
    "gain_for_mean_variance": lambda: vf.gain_for_mean_variance(threshold=0.9, width=30, depth=4),
    "gain_for_rate": lambda: vf.gain_for_rate(LEAKY, rate=0.2, steps=2, **FEW),
    "gain_for_variance": lambda: vf.gain_for_variance(LEAKY, variance=1.0, steps=2, **FEW),
    "gradient_flow": lambda: vf.gradient_flow(in_time(), surrogate=vf.surrogates.atan()),
    "gradient_gain": lambda: vf.gradient_gain(threshold=0.7, gain=2.0, surrogate=vf.surrogates.atan()),
    "kernel": lambda: vf.kernel(net(), PATCHES, points=64),
    "largest_threshold": lambda: vf.largest_threshold(width=30, depth=5),
    "learning_rate": lambda: vf.learning_rate(net(depth=3), PATCHES, points=64),
    "lookup": lambda: vf.lookup(threshold=0.8, fan_in=30, rate=0.2, width=30, depth=4),
    "mean_field": lambda: vf.mean_field(in_time()),
    "neuron": lambda: vf.neuron(snntorch.Leaky(0.5)),
    "phase_diagram": lambda: vf.phase_diagram(threshold=[0.7, 0.9], width=[10, 20], depth=4),
    "readable_depth": lambda: vf.readable_depth(net(width=20), ROWS, LABELS, repeats=2),
    "simulate": simulated,
    "simulate in time": lambda: vf.simulate(in_time(), repeats=4, engine="conditional"),
    "integer_membrane": lambda: (
        vf.integer_membrane(
            vf.Neuron(decay=0.5, reset=vf.resets.Reset(register=vf.resets.Register(bits=6))), scipy.stats.norm(), steps=4
        ).firing_rate
    ),
    "escape_by_step": lambda: (
        vf.escape_by_step(vf.Network(width=30, depth=2, gain=3.0, neuron=LEAKY, steps=2), points=64).error
    ),
    "survival": lambda: vf.survival(
        vf.Network(width=30, depth=3, gain=2.5, neuron=LEAKY, steps=3), alive="a late step", networks=50
    ),
    "smallest_width": lambda: vf.smallest_width(threshold=0.9, depth=5),
    "quantise": lambda: vf.quantise(threshold=1.0, width=20, depth=5, bits=[2, 3]),
    "sparsest_rate": lambda: vf.sparsest_rate(width=40, depth=5),
    "stable_variance": lambda: vf.stable_variance(threshold=[0.7, 0.9], gain=2.2),
    "read": lambda: vf.read(model(), X, steps=3).unknown,
    "read_nir": lambda: vf.read_nir(file(), np.ones((2, 3)), steps=4).neurons,
    "register": lambda: vf.register(Found, figure=lambda result, **options: None),
    "surrogate_width": lambda: vf.surrogate_width(net(depth=2), "atan"),
    "temporal_critical_gain": lambda: vf.temporal_critical_gain(LEAKY, steps=2, depth=5, points=64, scrambles=2),
    "temporal_fixed_point": lambda: vf.temporal_fixed_point(in_time(), points=64, scrambles=2, max_depth=24),
    "trainability": lambda: vf.trainability(net(depth=2)),
    "validate": validated,
    "variance_map": lambda: vf.variance_map(np.array([0.5, 1.0]), threshold=0.7, gain=2.0),
    "SpikeChain": lambda: (chain := vf.SpikeChain(net())) and [chain.survival, chain.lifetime(), chain.quasi_stationary()],
    "calculate_gain": lambda: vf.init.calculate_gain(0.8, "corrected", width=30, depth=4),
    "effective_fan_in": lambda: vf.init.effective_fan_in(made(torch.nn.Conv2d, 2, 3, 3, padding=1), (5, 6)),
    "fan_in": lambda: vf.init.fan_in(made(torch.nn.Linear, 5, 3)),
    "fan_out": lambda: vf.init.fan_out(made(torch.nn.Linear, 5, 3)),
    "init_fn": lambda: filled(vf.init.init_fn(0.8, bias_std=0.1, generator=drawn())),
    "init_layer_": lambda: filled(lambda layer: vf.init.init_layer_(layer, 2.0, generator=drawn())),
    "quantise_": lambda: vf.init.quantise_(model(), X, bits=3, steps=3).firing_rate["set"],
    "init_model": lambda: vf.init.init_model(model(), X, steps=3, generator=drawn()),
    "init_model, scaled": lambda: vf.init.init_model(model(), X, steps=3, refine=True, rate=0.3, generator=drawn()),
    "lsuv_": lambda: list(vf.init.lsuv_(dense(), X, generator=drawn()).parameters()),
    "reads": lambda: vf.init.reads(Spike)(lambda module: vf.Neuron(1.0))(None),
    **{
        name: with_a_generator(getattr(vf.init, name), *given)
        for name, given in {
            **dict.fromkeys(("normal_", "uniform_", "truncated_normal_", "orthogonal_", "sign_"), (2.0,)),
            **dict.fromkeys(("micheli_normal_", "micheli_uniform_"), (0.8,)),
        }.items()
    },
    "corrected_normal_": with_a_generator(vf.init.corrected_normal_, 0.9, depth=2, survival_target=0.5),
    "corrected_uniform_": with_a_generator(vf.init.corrected_uniform_, 0.9, depth=2, survival_target=0.5),
}

# These compute with mpmath, whose precision belongs to all threads.
REFERENCE = {"threshold": 0.7, "gain": 2.2}
DIGITS = {
    "reference.gain": lambda: [vf.reference.gain(threshold=0.7, digits=digits) for digits in (20, 60)],
    "reference.critical_gain": lambda: vf.reference.critical_gain(threshold=0.7, digits=30),
    "reference.variance_map": lambda: vf.reference.variance_map(0.9, digits=40, **REFERENCE),
    "reference.mean_field": lambda: vf.reference.mean_field(depth=3, digits=25, **REFERENCE),
    "reference.fixed_points": lambda: vf.reference.fixed_points(digits=30, **REFERENCE),
    "reference.finite_width": lambda: vf.reference.finite_width(width=4, depth=2, digits=30, **REFERENCE),
    "reference.sf": lambda: vf.reference.sf("laplace", 1.3, digits=45),
    "symbolic.variance_map": lambda: vf.symbolic.variance_map().result,
}


def told(value):
    """A result in words, to the last bit."""
    match value:
        case torch.Tensor():
            return told(value.detach().numpy())
        case np.ndarray():
            return value.dtype.str, value.shape, value.tobytes().hex()
        case np.generic() | float():
            return float(value).hex() if isinstance(value, (float, np.floating)) else repr(value)
        case Mapping():
            return [(str(key), told(item)) for key, item in value.items()]
        case list() | tuple() | set() | frozenset():
            return [told(item) for item in value]
    if hasattr(value, "_mpf_"):  # a number of mpmath, whose words depend on its precision
        return value._mpf_
    if isinstance(value, FunctionType):
        return value.__qualname__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, [(field.name, told(getattr(value, field.name))) for field in dataclasses.fields(value)]
    return repr(value)


def state_of_the_process():
    """Settings and generators that all threads share, by name."""
    in_a_thread = []
    another = threading.Thread(target=lambda: in_a_thread.append(torch.get_num_threads()))
    another.start()
    another.join()
    return {
        "torch": [torch.get_default_dtype(), torch.get_num_threads(), in_a_thread, torch.get_float32_matmul_precision()],
        "torch's modes": [torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.are_deterministic_algorithms_enabled()],
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "torch's hooks": {name: told(value) for name, value in vars(torch.nn.modules.module).items() if "_global_" in name},
        "torch's checkpoints": [sorted(vars(torch.utils.checkpoint)), sorted(vars(CheckpointFunction)), CheckpointFunction],
        "numpy": [np.geterr(), told(np.random.get_state()), np.get_printoptions()],  # noqa: NPY002
        "mpmath": [mpmath.mp.prec, mpmath.mp.dps, mpmath.iv.prec],
        "matplotlib": [dict(matplotlib.rcParams), matplotlib.get_backend()],
        "Python": [random.getstate(), sys.getrecursionlimit(), sys.stdout, sys.stderr, threading.excepthook],
        "warnings": list(warnings.filters),
        "linear algebra": [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"],
        "paths": [list(sys.path), dict(os.environ), os.getcwd()],
    }
