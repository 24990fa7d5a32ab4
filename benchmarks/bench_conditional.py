"""The conditional engine against real weight matrices: varflow's own, and networks of snnTorch and SpikingJelly.

CPU seconds per network of 100 layers of 1000 neurons, including weights, on one thread in one process: the conditional engine
over 64 networks, the others network by network. Every round runs all of them in turn.
"""

import math
import statistics

import pytest
from setting import bar, cpu_seconds, size

import varflow as vf

torch = pytest.importorskip("torch")

WIDTH, DEPTH, NETWORKS, ROUNDS = size((1000, 100, 64, 3), (30, 4, 4, 1))
GAIN = 3.0
BARS = size({1: 300, 20: 20}, {1: 0, 3: 0})
LEAKY = {"decay": 0.5, "reset": "delayed_subtract"}


def described(steps):
    neuron = vf.Neuron(1.0, **(LEAKY if steps > 1 else {}))
    return vf.Network(width=WIDTH, depth=DEPTH, gain=GAIN, neuron=neuron, steps=steps)


def simulated(steps, engine, networks, seed):
    network = described(steps)
    return lambda: vf.simulate(network, repeats=networks, seed=seed, engine=engine, threads=1)


def layered(steps, respond):
    """A network of torch, layer by layer: weights drawn in place, one product for all steps, then the library's neuron."""
    linear = torch.nn.Linear(WIDTH, WIDTH, bias=False)

    def run():
        with torch.inference_mode():
            spikes = respond(torch.randn(1, WIDTH).expand(steps, 1, WIDTH))
            for _ in range(DEPTH - 1):
                torch.nn.init.normal_(linear.weight, std=GAIN / math.sqrt(WIDTH))
                spikes = respond(linear(spikes))

    return run


def snntorch_network(steps):
    leaky = pytest.importorskip("snntorch").Leaky(beta=0.5)

    def respond(currents):
        mem, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            fired, mem = leaky(current, mem)
            spikes.append(fired)
        return torch.stack(spikes)

    return layered(steps, respond)


def spikingjelly_network(steps):
    try:
        from spikingjelly.activation_based import functional, neuron
    except ImportError:
        pytest.skip("spikingjelly is not installed")
    node = neuron.LIFNode(step_mode="m")

    def respond(currents):
        functional.reset_net(node)
        return node(currents.contiguous())

    return layered(steps, respond)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ratios(steps, other, benchmark, name):
    """Ratio of the time of another simulator to that of the conditional engine, round by round."""
    found = []

    def run():
        conditional = cpu_seconds(simulated(steps, "conditional", NETWORKS, len(found)))[0] / NETWORKS
        found.append(cpu_seconds(other)[0] / conditional)

    simulated(steps, "conditional", 1, 0)()
    benchmark.pedantic(run, rounds=ROUNDS)
    benchmark.extra_info[f"{name} / conditional, {steps} steps"] = found
    return found


@pytest.mark.parametrize("steps", BARS)
def test_dense(benchmark, steps):
    bar(statistics.median(ratios(steps, simulated(steps, "dense", 1, 1), benchmark, "dense")) >= BARS[steps])


@pytest.mark.parametrize("steps", BARS)
def test_snntorch(benchmark, steps):
    ratios(steps, snntorch_network(steps), benchmark, "snnTorch")


@pytest.mark.parametrize("steps", BARS)
def test_spikingjelly(benchmark, steps):
    ratios(steps, spikingjelly_network(steps), benchmark, "SpikingJelly")
