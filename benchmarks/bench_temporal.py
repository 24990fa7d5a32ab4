"""The mean field in time over 100 layers: against scipy's bivariate normal for every pair of steps and, with reset, against
plain Monte Carlo with the same standard error.

Both run in one process, in CPU time so that other load does not change the ratio; the naive method computes one layer, scaled
to all. With reset, several threads share the work, and wall seconds are given too.
"""

import time

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from setting import bar, best, size

import varflow as vf

DEPTH = size(100, 4)


def network(steps, squared_gain=6.303, **neuron):
    return vf.Network(width=1000, depth=DEPTH, gain=squared_gain**0.5, neuron=vf.Neuron(1.0, decay=0.5, **neuron), steps=steps)


def pair_by_pair(described, below):
    """Second moments of the next layer's spikes: scipy's bivariate normal for each pair of steps."""
    neuron, steps = described.neuron, described.steps
    leak = neuron.decay ** np.maximum(np.subtract.outer(np.arange(steps), np.arange(steps)), 0) * np.tri(steps)
    H = leak @ (float(described.gains[-1]) ** 2 * below) @ leak.T
    M = np.zeros((steps, steps))
    for t in range(steps):
        M[t, t] = multivariate_normal.cdf(-neuron.threshold, cov=H[t, t])
        for s in range(t):
            pair = H[np.ix_([t, s], [t, s])]
            M[t, s] = M[s, t] = multivariate_normal.cdf([-neuron.threshold] * 2, cov=pair, allow_singular=True)
    return M


@pytest.mark.parametrize(("steps", "least"), size([(20, 30), (100, 100)], [(3, 0), (6, 0)]))
def test_without_reset(benchmark, steps, least):
    described = network(steps)
    ours, profile = best(lambda: vf.mean_field(described), 5)
    benchmark.pedantic(vf.mean_field, (described,), rounds=5)
    layer = DEPTH // 2  # far from the drive, where steps are perfectly correlated
    naive, M = best(lambda: pair_by_pair(described, profile.second_moments[layer - 1]), 2)
    agreement = np.abs(M - profile.second_moments[layer]).max()
    result = {"seconds": ours, "pair by pair": DEPTH * naive, "ratio": DEPTH * naive / ours, "largest difference": agreement}
    benchmark.extra_info |= result
    assert agreement <= 1e-10
    bar(result["ratio"] >= least)


def plain_coincidences(described, below, points, rng):
    """Second moments of the next layer's spikes from sampled currents, in double precision."""
    neuron, steps = described.neuron, described.steps
    currents = rng.multivariate_normal(np.zeros(steps), float(described.gains[-1]) ** 2 * below, points, method="cholesky").T
    S, h, s = np.empty(currents.shape), 0.0, 0.0
    for t in range(steps):
        kept = h * (1 - s) if neuron.reset == "zero" else h
        given = neuron.threshold * s if neuron.reset == "delayed_subtract" else 0.0
        h = neuron.decay * kept - given + currents[t]
        S[t] = s = (h > neuron.threshold).astype(float)
    return S @ S.T / points


@pytest.mark.parametrize("reset", ["zero", "delayed_subtract"])
def test_with_reset(benchmark, reset):
    described, replicas = network(size(20, 3), squared_gain=8.0, reset=reset), 8
    vf.mean_field(network(2, reset=reset), points=2)  # imports
    ours, profile = best(lambda: vf.mean_field(described), 2)
    wall = time.perf_counter()
    benchmark.pedantic(vf.mean_field, (described,), rounds=1)
    wall = time.perf_counter() - wall
    rng, points, below = np.random.default_rng(0), 2**12, profile.second_moments[-2]
    naive, drawn = best(lambda: [plain_coincidences(described, below, points, rng) for _ in range(replicas)], 2)
    # One layer: the plain errors are those of a single layer, the profile's have accumulated over layers.
    plain = np.diagonal(np.std(drawn, axis=0, ddof=1)).mean() / replicas**0.5
    error = profile.error["firing_rate"][-1]
    ratio = DEPTH * naive * (plain / error.mean()) ** 2 / ours
    offset = np.abs(np.diagonal(np.mean(drawn, axis=0)) - profile.firing_rate[-1]).mean() / plain
    result = {
        "CPU seconds": ours,
        "wall seconds": wall,
        "largest standard error": error.max(),
        "ratio": ratio,
        "offset": offset,
    }
    benchmark.extra_info |= result
    assert error.max() <= 2e-3
    assert offset <= 5  # agreement, in standard errors of plain Monte Carlo
    bar(ratio >= 30)


@pytest.mark.parametrize(
    ("neuron", "rate"),
    [
        ("snntorch_leaky:beta=0.5", 0.2),
        ("snntorch_leaky:beta=0.9", 0.2),  # first steps fall silent
        ("spikingjelly_lif", 0.128),  # and the drive of this rate is too weak
        ("norse_lif", 0.2),  # out of reach
    ][: size(4, 1)],
)
def test_a_gain_costs_a_few_networks(benchmark, neuron, rate):
    """Against one whole network with 1024 points and two scrambles, at the gain found: a search needs several."""
    neuron, steps = vf.neuron(neuron), size(100, 4)
    vf.gain_for_rate(vf.Neuron(1.0, decay=0.5, reset="zero"), rate=0.2, steps=3, depth=3)  # imports

    def answered():
        try:
            return vf.gain_for_rate(neuron, rate=rate, steps=steps, depth=DEPTH)
        except vf.DomainError:
            return None

    ours, found = best(answered, size(2, 1))
    wall = time.perf_counter()
    benchmark.pedantic(answered, rounds=1)
    wall = time.perf_counter() - wall
    gain, drive = (found.gain, found.input_gain) if found else (2 * neuron.threshold / neuron.input_scale,) * 2
    whole = vf.Network(width=1000, depth=DEPTH, gain=gain, neuron=neuron, steps=steps, drive=vf.drives.currents(drive))
    one, _ = best(lambda: vf.mean_field(whole, points=2**10, scrambles=2), 2)
    benchmark.extra_info |= {"CPU seconds": ours, "wall seconds": wall, "networks": ours / one}
    bar(ours <= 10 * one)
