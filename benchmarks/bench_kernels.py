"""Kernels of many inputs: overlaps and orthants against Owen's T of scipy, sampled kernels against real matrices.

Ratios are of the best of several rounds in one process on the same problems, in CPU time so that other load does not change
them.
"""

import numpy as np
from scipy.special import ndtr, owens_t
from setting import bar, best, size

import varflow as vf
from varflow.simulation.kernels import sampled_moments

NUMBER, INPUTS, DEPTH = size(10**6, 1000), size(1000, 20), size(20, 2)
RNG = np.random.default_rng(1)


def test_correlation_map_against_owens_t(benchmark):
    """Both signs of the correlation, both with an absolute error below 1e-14."""
    rho = RNG.uniform(-1, 1, NUMBER)
    ours, got = best(lambda: vf.correlation_map(rho, threshold=1.0), 5)
    theirs, wanted = best(lambda: 1 - 2 * owens_t(1.0, np.sqrt((1 - rho) / (1 + rho))) / ndtr(-1.0), 5)
    benchmark.pedantic(vf.correlation_map, (rho,), {"threshold": 1.0}, rounds=3)
    assert np.abs(got - wanted).max() < 1e-14
    result = {"ns an element": 1e9 * ours / NUMBER, "owens_t / correlation_map": theirs / ours}
    benchmark.extra_info |= result
    bar(result["owens_t / correlation_map"] >= 0.3)  # Owen's T alone loses the digits of small overlaps


def two_tails(h, k, rho):
    """``P(X > h, Y > k)``, ``h, k > 0``, by two of Owen's functions."""
    root = np.sqrt(1 - rho**2)
    return (ndtr(-h) + ndtr(-k)) / 2 - owens_t(h, (k / h - rho) / root) - owens_t(k, (h / k - rho) / root)


def test_a_gram_matrix_against_owens_t(benchmark):
    """All pairs of inputs in every layer, their squared norms within a factor of two."""
    x = RNG.normal(size=(INPUTS, 300)) * RNG.uniform(0.85, 1.15, INPUTS)[:, None] + RNG.normal(size=300)
    network = vf.Network(width=1000, depth=DEPTH, gain=vf.gain(threshold=1.0))
    ours, kernel = best(lambda: vf.kernel(network, x), 2)
    benchmark.pedantic(vf.kernel, (network, x), rounds=1)
    C = kernel.network.drive.input_gain**2 * x @ x.T / 300
    a, b = np.triu_indices(INPUTS, 1)
    h = 1 / np.sqrt(np.diagonal(C))
    theirs, wanted = best(lambda: two_tails(h[a], h[b], C[a, b] * h[a] * h[b]), 2)
    assert np.abs(kernel.moments[0][a, b] - wanted).max() < 1e-14
    pairs = len(a) * DEPTH
    result = {"seconds": ours, "ns a pair and layer": 1e9 * ours / pairs, "owens_t / kernel": theirs * DEPTH / ours}
    benchmark.extra_info |= result
    bar(result["owens_t / kernel"] >= 0.4)


def test_sampled_kernels_against_real_matrices(benchmark):
    """100 inputs through networks of width 1000."""
    network = vf.Network(width=size(1000, 50), depth=size(10, 2), gain=2.6)
    x = RNG.normal(size=(size(100, 5), 300))
    driven = vf.Network(width=network.width, depth=network.depth, gain=2.6, drive=vf.drives.inputs(x))
    times = {
        engine: best(lambda engine=engine: sampled_moments(driven, repeats=2, seed=1, engine=engine), 2)[0]
        for engine in ("dense", "conditional")
    }
    benchmark.pedantic(vf.kernel, (network, x), {"repeats": 2}, rounds=1)
    result = {"seconds a network": times["conditional"] / 2, "matrices / sampled": times["dense"] / times["conditional"]}
    benchmark.extra_info |= result
    bar(result["matrices / sampled"] >= 1.2)
