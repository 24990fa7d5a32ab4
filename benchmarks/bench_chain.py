"""The exact chain against dense simulation at equal precision, and its cost at widths beyond any simulation.

Both are measured in one process, interleaved, in CPU seconds.
"""

import statistics
import time

import numpy as np
import pytest
from setting import bar, size

import varflow as vf

ROUNDS = size(5, 1)
DENSE = size(600, 60)  # the width that is simulated
PRECISION = 1e-6  # of E[Var u_100]; the measured error of the chain is far smaller
COARSE = 1e-3


def network(width, threshold, gain=None):
    gain = vf.gain(threshold=threshold) if gain is None else gain
    return vf.Network(width=width, depth=100, gain=gain, neuron=vf.Neuron(threshold))


def cpu_seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


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
        dense.append(cpu_seconds(lambda: vf.simulate(described, repeats=4, seed=seed, threads=1)) / 4)
        chain.append(cpu_seconds(lambda: vf.finite_width(described)))

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


@pytest.mark.parametrize(("width", "limit"), size([(10**5, 0.1), (10**6, 0.1), (10**8, 0.3)], [(10**5, 0)]))
@pytest.mark.parametrize("gain", [None, 2**0.5], ids=["living", "dying"])
def test_very_wide(benchmark, width, limit, gain):
    """100 layers at θ = 1, and the stated ``Profile.error``."""
    described = network(width, 1.0, gain)
    seconds = []
    benchmark.pedantic(lambda: seconds.append(cpu_seconds(lambda: vf.SpikeChain(described).survival())), rounds=ROUNDS)
    narrow = network(1000, 1.0, gain)
    few = min(cpu_seconds(lambda: vf.SpikeChain(narrow).survival()) for _ in range(ROUNDS))
    largest = float(vf.finite_width(described).error["variance"].max())
    found = {"CPU seconds": seconds, "times a chain of width 1000": [second / few for second in seconds]}
    benchmark.extra_info.update(found | {"largest error of the variance": largest})
    assert largest < 1e-9
    bar(min(seconds) < limit)


@pytest.mark.parametrize("width", size([100, 300, 600, 1000], [100]))
@pytest.mark.parametrize("threshold", [0.7, 1.0])
def test_corrected_gain(benchmark, width, threshold):
    """Time to solve for the gain, in units of one evaluation of the chain."""
    shape = {"threshold": threshold, "width": width, "depth": 100}
    described, seconds, ratios = network(width, threshold, vf.corrected_gain(**shape)), [], []

    def run():
        seconds.append(cpu_seconds(lambda: vf.corrected_gain(**shape)))
        ratios.append(seconds[-1] / cpu_seconds(lambda: vf.SpikeChain(described).survival()))

    benchmark.pedantic(run, rounds=ROUNDS)
    benchmark.extra_info.update({"CPU seconds": seconds, "times one chain": ratios})
    bar(statistics.median(ratios) < 30)
