"""The exact chain against dense simulation at equal precision, and against the full matrix of binomials of 1000 neurons.

Times are CPU seconds in one process.
"""

import statistics
import tracemalloc

import numpy as np
import pytest
from setting import bar, best, cpu_seconds, size

import varflow as vf

ROUNDS = size(5, 1)
DENSE = size(600, 60)  # the width that is simulated
PRECISION = 1e-6  # of E[Var u_100]; the measured error of the chain is far smaller
COARSE = 1e-3


def network(width, threshold, gain=None):
    gain = vf.gain(threshold=threshold) if gain is None else gain
    return vf.Network(width=width, depth=100, gain=gain, neuron=vf.Neuron(threshold))


def from_the_definition(described):
    """``E[Var u_L]`` from the full matrix of binomials."""
    from scipy.stats import binom, norm

    n, theta = int(described.widths[0]), described.neuron.threshold
    counts = np.arange(n + 1)
    chance = np.append(0.0, norm.sf(theta / (float(described.gains[-1]) * np.sqrt(counts[1:] / n))))
    step, mass = binom.pmf(counts, n, chance[:, None]), binom.pmf(counts, n, norm.sf(theta))
    for _ in range(described.depth - 2):
        mass = mass @ step
    return float(described.gains[-1]) ** 2 * float(mass @ counts) / n


def test_against_dense_simulation_at_equal_precision(benchmark):
    """E[Var u_100] at n = 600, θ = 1 (0.7 at small size); a simulation of N networks has the standard error std/√N."""
    pytest.importorskip("torch")
    described, dense, chain = network(DENSE, size(1.0, 0.7)), [], []

    def run():
        seed = len(dense)
        dense.append(cpu_seconds(lambda: vf.simulate(described, repeats=4, seed=seed, threads=1))[0] / 4)
        chain.append(cpu_seconds(lambda: vf.finite_width(described))[0])

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    profile = vf.finite_width(described)
    std = float(profile.variance_std[-1])
    error = abs(float(profile.variance[-1]) - from_the_definition(described))
    per_network, per_chain = statistics.median(dense), statistics.median(chain)
    found = {
        "dense seconds per network": per_network,
        "standard deviation over networks": std,
        "chain seconds": per_chain,
        "chain error against the full matrix": error,
        f"cheaper at precision {COARSE:g}": (std / COARSE) ** 2 * per_network / per_chain,
        f"cheaper at precision {PRECISION:g}": (std / PRECISION) ** 2 * per_network / per_chain,
    }
    benchmark.extra_info.update(found)
    assert error < PRECISION / 1000
    bar(found[f"cheaper at precision {COARSE:g}"] >= 1e5)


@pytest.fixture(scope="module")
def full_matrix():
    """Seconds of 100 layers of 1000 neurons by the full matrix, the simplest exact answer; it grows with n²."""
    return best(lambda: from_the_definition(network(size(1000, 100), 1.0)), ROUNDS)[0]


@pytest.mark.parametrize(("width", "limit"), size([(1000, 0.25), (10_000, 1)], [(100, 0)]))
def test_a_profile(benchmark, full_matrix, width, limit):
    """99 transitions at the preserving gain, θ = 1, and the peak of memory."""
    described = network(width, 1.0)
    seconds, profile = best(lambda: vf.finite_width(described), 5)
    benchmark.pedantic(vf.finite_width, (described,), rounds=3)
    tracemalloc.start()
    vf.finite_width(described)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    result = {"seconds": seconds, "times the full matrix of 1000": seconds / full_matrix, "MB": peak}
    benchmark.extra_info |= result | {"survival": profile.survival[-1]}
    bar(seconds <= limit * full_matrix)
    assert peak <= 250


@pytest.mark.parametrize("gain_squared", [2.0, 5.5])
def test_a_profile_that_keeps_its_whole_tails(benchmark, full_matrix, gain_squared):
    """A dying network of width 10⁴: rare survival needs all entries of every row."""
    described = network(size(10_000, 100), 1.0, gain_squared**0.5)
    seconds, _ = best(lambda: vf.finite_width(described), 2)
    benchmark.pedantic(vf.finite_width, (described,), rounds=1)
    benchmark.extra_info |= {"seconds": seconds, "times the full matrix of 1000": seconds / full_matrix}
    bar(seconds <= 10 * full_matrix)


@pytest.mark.parametrize("width", size([10**5, 10**6, 10**8], [10**5]))
@pytest.mark.parametrize("gain", [None, 2**0.5], ids=["living", "dying"])
def test_very_wide(benchmark, full_matrix, width, gain):
    """Survival over 100 layers at θ = 1, and the stated ``Profile.error``."""
    described = network(width, 1.0, gain)
    seconds = []
    benchmark.pedantic(lambda: seconds.append(cpu_seconds(lambda: vf.SpikeChain(described).survival())[0]), rounds=ROUNDS)
    largest = float(vf.finite_width(described).error["variance"].max())
    found = {"CPU seconds": seconds, "times the full matrix of 1000": [second / full_matrix for second in seconds]}
    benchmark.extra_info.update(found | {"largest error of the variance": largest})
    assert largest < 1e-9
    bar(min(seconds) <= full_matrix)


@pytest.mark.parametrize("width", size([100, 300, 600, 1000], [100]))
@pytest.mark.parametrize("threshold", [0.7, 1.0])
def test_corrected_gain(benchmark, width, threshold):
    """Time to solve for the gain, in units of one evaluation of the chain."""
    shape = {"threshold": threshold, "width": width, "depth": 100}
    described, seconds, ratios = network(width, threshold, vf.corrected_gain(**shape)), [], []

    def run():
        seconds.append(cpu_seconds(lambda: vf.corrected_gain(**shape))[0])
        ratios.append(seconds[-1] / cpu_seconds(lambda: vf.SpikeChain(described).survival())[0])

    benchmark.pedantic(run, rounds=ROUNDS)
    benchmark.extra_info.update({"CPU seconds": seconds, "times one chain": ratios})
    bar(statistics.median(ratios) < 30)
