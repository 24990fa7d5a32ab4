"""The theory's speed: stable fixed points against scipy's elementwise finder, the exact chain, fifty digits, and start-up.

Ratios are of the best of several rounds in one process on the same problems, in CPU time so that other load does not change
them.
"""

import math
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import elementwise
from scipy.special import ndtr
from setting import bar, best, size

import varflow as vf

NUMBER = size(10**6, 1000)


def problems(bias):
    """A million networks above the critical gain, in both columns of the table."""
    rng = np.random.default_rng(1)
    theta = 10 ** rng.uniform(-1, 1, NUMBER)
    gain = theta * np.sqrt(6.04 * 10 ** rng.uniform(0, 2, NUMBER))
    return theta, gain, bias * theta * rng.uniform(0.05, 0.3, NUMBER)


def scipy_finder(theta, gain, bias):
    """The same roots with scipy's vectorised bracketing, from the steepest point, where ``F > V``, to ``σ_b² + g²/2``."""

    def excess(V, theta, gain, bias):
        return bias**2 + gain**2 * ndtr(-theta / np.sqrt(V)) - V

    lowest = (theta / 1.190601248342770) ** 2  # z_c: the stable root is beyond it, and F ≥ V there
    found = elementwise.find_root(excess, (lowest, bias**2 + gain**2 / 2), args=(theta, gain, bias))
    assert found.success.all()
    return found.x


@pytest.mark.parametrize(("bias", "least"), [(0.0, 100), (1.0, 8)], ids=["no bias", "bias"])
def test_stable_variance_against_scipys_elementwise_finder(benchmark, bias, least):
    theta, gain, bias_std = problems(bias)
    given = {"threshold": theta, "gain": gain} | ({"bias_std": bias_std} if bias else {})
    vf.stable_variance(threshold=1.0, gain=3.0, bias_std=0.1)  # builds the table
    theirs = ours = math.inf
    for _ in range(4):  # interleaved, so that other load affects both
        seconds, wanted = best(lambda: scipy_finder(theta, gain, bias_std), 1)
        theirs = min(theirs, seconds)
        seconds, got = best(lambda: vf.stable_variance(**given), 5)
        ours = min(ours, seconds)
    benchmark.pedantic(vf.stable_variance, kwargs=given, rounds=5)
    slope = gain**2 * theta / wanted**1.5 * np.exp(-(theta**2) / wanted / 2) / math.sqrt(8 * math.pi)
    # scipy stops at 4 eps V; rounding of F moves the root by eps/(1 - m)
    assert np.all(np.abs(got / wanted - 1) <= 1e-14 * (1 + 1 / (1 - slope)))
    result = {"ns an element": 1e9 * ours / NUMBER, "scipy": 1e9 * theirs / NUMBER, "ratio": theirs / ours}
    benchmark.extra_info |= result
    bar(result["ratio"] >= least)


@pytest.mark.parametrize(("width", "limit"), size([(1000, 0.05), (10_000, 0.6)], [(100, 0)]))
def test_chain(benchmark, width, limit):
    """Seconds for 99 transitions at the paper's gain, θ = 1, and the peak of memory."""
    network = vf.Network(width=width, depth=100, gain=vf.gain(threshold=1.0))
    seconds, profile = best(lambda: vf.finite_width(network), 5)
    benchmark.pedantic(vf.finite_width, (network,), rounds=3)
    tracemalloc.start()
    vf.finite_width(network)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    result = {"seconds": seconds, "MB": peak, "survival": profile.survival[-1]}
    benchmark.extra_info |= result
    bar(seconds <= limit)
    assert peak <= 250


@pytest.mark.parametrize("gain_squared", [2.0, 5.5])
def test_chain_that_keeps_its_whole_tails(benchmark, gain_squared):
    """A dying network of width 10⁴: rare survival needs all entries of every row."""
    network = vf.Network(width=size(10_000, 100), depth=100, gain=math.sqrt(gain_squared))
    living = replace(network, gain=vf.gain(threshold=1.0))
    seconds, few = (best(lambda described=described: vf.finite_width(described), 2)[0] for described in (network, living))
    benchmark.pedantic(vf.finite_width, (network,), rounds=1)
    benchmark.extra_info |= {"seconds": seconds, "times a living chain": seconds / few}
    bar(seconds <= 3)


DISTRIBUTIONS = ["normal", *size(["uniform", "laplace", "logistic", vf.distributions.student_t(5)], [])]


def fifty_digit_problems(distribution, *, bias, mean):
    """Both signs of the threshold, gains from half the critical one to ten times it."""
    rng = np.random.default_rng(4)
    critical = vf.critical_gain(threshold=1.0, distribution=distribution)
    for _ in range(size(40, 1)):
        theta = float(10 ** rng.uniform(-1, 1) * (1 if rng.random() < 0.8 else -1))
        gain = float(abs(theta) * critical * 10 ** rng.uniform(-0.3, 1))
        bias_std = float(abs(theta) * 10 ** rng.uniform(-2, 0)) if bias else 0.0
        mean_gain = float(rng.choice([-1, 1]) * 10 ** rng.uniform(-1, 0.7)) if mean else 0.0
        yield {"threshold": theta, "gain": gain, "bias_std": bias_std, "mean_gain": mean_gain, "distribution": distribution}


@pytest.mark.parametrize("mean", [False, True], ids=["no mean", "weight mean"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_all_fixed_points_to_fifty_digits(benchmark, distribution, bias, mean):
    settings = list(fifty_digit_problems(distribution, bias=bias, mean=mean))
    vf.reference.fixed_points(**settings[0])
    times = 1e3 * np.array([best(lambda s=s: vf.reference.fixed_points(**s), size(2, 1))[0] for s in settings])
    double = 1e3 * np.array([best(lambda s=s: vf.fixed_points(**s), size(2, 1))[0] for s in settings])
    benchmark.pedantic(vf.reference.fixed_points, kwargs=settings[0], rounds=size(3, 1))
    ratio = float(np.median(times / double))
    result = {"median ms": float(np.median(times)), "largest ms": float(times.max()), "times vf.fixed_points": ratio}
    benchmark.extra_info |= result
    bar(result["largest ms"] < (150 if mean else 50))  # with a weight mean two-cycles are searched too


STARTS = {
    "import varflow": ([sys.executable, "-c", "import varflow"], 0.3),
    "varflow --help": ([sys.executable, "-m", "varflow", "--help"], 0.2),
    "varflow lookup": ([sys.executable, "-m", "varflow", "lookup", "--threshold", "1", "--fan-in", "512"], 0.45),
}


TICK = 0.01  # seconds; the resolution of a child's CPU time


def child_seconds(command):
    """CPU seconds of a fresh process, in ticks."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


@pytest.mark.parametrize("name", STARTS)
def test_start_up(benchmark, name):
    command, limit = STARTS[name]
    starts = [child_seconds([sys.executable, "-c", "pass"]) for _ in range(size(8, 2))]
    python = max(float(np.mean(starts)), TICK)  # a start of bare Python may be shorter than a tick
    spent = []
    benchmark.pedantic(lambda: spent.append(child_seconds(command)), rounds=size(5, 1))
    seconds = min(spent)
    benchmark.extra_info |= {"CPU seconds": seconds, "times bare Python": seconds / python}
    bar(seconds <= limit)
