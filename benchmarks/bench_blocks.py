"""Fixed points of blocks: CPU time of one call."""

import statistics
import time

import pytest
import scipy.stats
from setting import bar, size

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


@pytest.mark.parametrize("name", BLOCKS)
def test_fixed_points_of_a_block(benchmark, name):
    vf.fixed_points(block=BLOCKS[name])
    times = []

    def run():
        start = time.process_time()
        vf.fixed_points(block=BLOCKS[name])
        times.append(time.process_time() - start)

    benchmark.pedantic(run, rounds=CALLS)
    milliseconds = 1e3 * statistics.median(times)
    benchmark.extra_info["CPU ms a call"] = milliseconds
    bar(milliseconds <= 5)
