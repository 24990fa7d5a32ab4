"""The dense engine against the rate at which torch draws normal numbers, and two threads against one.

Ratios are of interleaved runs in one process; those on one thread in CPU time, so that other load does not change them.
"""

import statistics
import time

import pytest
from setting import bar, size

import varflow as vf

torch = pytest.importorskip("torch")

WIDTH, DEPTH, REPEATS = size((1000, 100, 20), (40, 5, 1))
BLOCK = 2**18  # float32 normals that fit a cache
SWEEP = [
    vf.Network(width=WIDTH, depth=DEPTH, gain=gain, neuron=vf.Neuron(threshold))
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
    for gain in (2.6, 3.0)
]
WEIGHTS = (DEPTH - 1) * WIDTH**2


def raw_seconds(number=WEIGHTS):
    """CPU seconds of one thread for this many float32 normals, by default the weights of one network."""
    block, generator = torch.empty(min(BLOCK, number)), torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    blocks = number // block.numel()
    start = time.process_time()
    for _ in range(blocks):
        block.normal_(generator=generator)
    return (time.process_time() - start) * number / (blocks * block.numel())


def dense_seconds(seed):
    """CPU seconds to simulate one network of every configuration."""
    start = time.process_time()
    vf.simulate(SWEEP, repeats=1, seed=seed, threads=1)
    return time.process_time() - start


@pytest.fixture(autouse=True)
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_fraction_of_the_raw_rate(benchmark):
    """End to end: 100 layers × width 1000 × 12 configurations × 20 repeats on one thread, network by network."""
    ratios = []

    def run():
        times = [(raw_seconds(), dense_seconds(seed)) for seed in range(REPEATS)]
        raw, dense = map(sum, zip(*times, strict=True))
        ratios.append(raw / dense)

    benchmark.pedantic(run, rounds=3)
    benchmark.extra_info["fraction of the raw normal_ rate"] = ratios
    bar(statistics.median(ratios) >= 0.75)


def test_two_threads(benchmark):
    """Wall-clock gain of a second thread; near 2 on idle cores."""
    gains = []

    def seconds(threads):
        start = time.perf_counter()
        vf.simulate(SWEEP, repeats=size(6, 2), threads=threads)
        return time.perf_counter() - start

    benchmark.pedantic(lambda: gains.append(seconds(1) / seconds(2)), rounds=4)
    benchmark.extra_info["two threads against one"] = gains


@pytest.mark.parametrize("width", [12, 20])
def test_many_small_networks(benchmark, width):
    """20 000 networks of 30 layers, relative to drawing their weights."""
    network, repeats, ratios = vf.Network(width=width, depth=30, gain=2.51), size(20000, 20), []

    def run():
        raw, start = raw_seconds(repeats * 29 * width**2), time.process_time()
        vf.simulate(network, repeats=repeats, threads=1)
        ratios.append(raw / (time.process_time() - start))

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["fraction of the raw normal_ rate"] = ratios
