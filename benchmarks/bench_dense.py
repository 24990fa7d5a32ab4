"""The dense engine against torch: a plain loop over the layers, the rate of drawing normal numbers, two threads against one.

Ratios are of interleaved runs in one process; those on one thread in CPU time, so that other load does not change them.
"""

import statistics
import time

import pytest
from setting import bar, cpu_seconds, size

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


def plain_loop(seed):
    """The work that the answer needs: every matrix is drawn, rounded to a grid on which sums are exact, and multiplied."""
    torch.set_num_threads(1)
    weights, generator = torch.empty(WIDTH, WIDTH), torch.Generator().manual_seed(seed)
    spikes = (torch.rand(len(SWEEP), WIDTH, generator=generator) < 0.2).float()
    for _ in range(DEPTH - 1):
        torch.matmul(spikes, weights.normal_(0, 1000.0, generator=generator).round_())


def dense(seed):
    """One network of every configuration."""
    vf.simulate(SWEEP, repeats=1, seed=seed, threads=1)


@pytest.fixture(autouse=True)
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_fraction_of_the_rate_of_a_plain_loop(benchmark):
    """End to end: 100 layers × width 1000 × 12 configurations × 20 repeats on one thread, network by network."""
    times = []

    def run():
        times.append((raw_seconds(), *(cpu_seconds(lambda work=work: work(len(times)))[0] for work in (plain_loop, dense))))

    benchmark.pedantic(run, rounds=REPEATS)
    raw, plain, ours = map(statistics.median, zip(*times, strict=True))
    benchmark.extra_info |= {
        "fraction of the rate of a plain loop": plain / ours,
        "fraction of the raw normal_ rate": raw / ours,
    }
    bar(plain / ours >= 0.65)


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
