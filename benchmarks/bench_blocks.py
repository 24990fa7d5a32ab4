"""Fixed points of blocks, relative to a plain search for those of a single layer, interleaved in one process."""

import statistics

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from setting import bar, cpu_seconds, size

import varflow as vf

CALLS = size(20, 2)
SPIKE, L = vf.layers.Spike(vf.Neuron(1.0)), vf.layers
BLOCKS = {
    "membrane shortcut": [L.Residual(SPIKE, L.Linear(gain=1.1), keep=0.9)],
    "branch of two layers": [
        L.Residual(L.Linear(gain=2.7), SPIKE, L.Linear(gain=2.7), SPIKE, merge="iand"),
        L.Linear(gain=3.0),
        SPIKE,
    ],
    "centred rows": [L.Linear(gain=2.8, rows="centred"), SPIKE],
    "different thresholds": [L.Linear(gain=2.7), L.Spike(vf.Neuron(scipy.stats.uniform(0.7, 0.6)))],
    "batch normalisation": [L.Linear(gain=1.0), L.BatchNorm(gamma=1.5), SPIKE],
}


def plain_search():
    """Fixed points of one layer with g = 2.7: a scan, and scipy's brentq between changes of sign."""

    def excess(v):
        return 2.7**2 * scipy.stats.norm.sf(v**-0.5) - v

    grid = np.geomspace(1e-2, 1e2, 64)
    positive = [excess(v) > 0 for v in grid]
    return [scipy.optimize.brentq(excess, *grid[i : i + 2]) for i in range(63) if positive[i] != positive[i + 1]]


@pytest.mark.parametrize("name", BLOCKS)
def test_fixed_points_of_a_block(benchmark, name):
    vf.fixed_points(block=BLOCKS[name])
    assert plain_search() == pytest.approx([point.variance for point in vf.fixed_points(threshold=1.0, gain=2.7)][1:])
    plain, ours = [], []

    def run():
        plain.append(cpu_seconds(plain_search)[0])
        ours.append(cpu_seconds(lambda: vf.fixed_points(block=BLOCKS[name]))[0])

    benchmark.pedantic(run, rounds=CALLS)
    ratio = statistics.median(ours) / statistics.median(plain)
    benchmark.extra_info |= {"times a plain search for one layer": ratio, "CPU ms a call": 1e3 * statistics.median(ours)}
    bar(ratio <= 6)  # a block has two layers, or neurons of many thresholds, and its points come with multipliers
