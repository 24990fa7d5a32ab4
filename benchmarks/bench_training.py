"""A training step of the experiments' networks against the same network as a snnTorch loop, interleaved in one process."""

import statistics

import pytest
from setting import bar, cpu_seconds, size

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from validation.training import Design, build  # noqa: E402

DEPTH, WIDTH, BATCH, STEPS = size((20, 100, 100, 4), (3, 20, 10, 4))
ROUNDS = size(15, 2)


class Loop(torch.nn.Module):
    """Steps outside, layers inside, as in snnTorch's tutorials."""

    def __init__(self, network):
        super().__init__()
        self.weights, self.readout = network.weights, network.readout
        self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.5, spike_grad=snntorch.surrogate.atan(2.0)) for _ in self.weights)

    def forward(self, x):
        membranes, total = [neuron.init_leaky() for neuron in self.neurons], 0.0
        for _ in range(STEPS):
            sent = x
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
                sent, membranes[l] = neuron(weight(sent), membranes[l])
            total = total + sent
        return self.readout(total / STEPS)


def step(network, optimizer, x, y):
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()


def test_a_training_step(benchmark):
    torch.set_num_threads(1)
    x, y = torch.rand(BATCH, 784), torch.randint(10, (BATCH,))
    ours = build(Design(depth=DEPTH, width=WIDTH, steps=STEPS), x, (1, 28, 28), 10, torch.Generator().manual_seed(0))
    theirs = Loop(build(Design(depth=DEPTH, width=WIDTH, steps=STEPS), x, (1, 28, 28), 10, torch.Generator().manual_seed(0)))
    assert torch.equal(ours(x), theirs(x)) or torch.allclose(ours(x), theirs(x), atol=1e-5)
    trained = [(network, torch.optim.Adam(network.parameters()), x, y) for network in (ours, theirs)]
    times = [[], []]

    def run():
        for each, network in zip(times, trained, strict=True):
            each.append(cpu_seconds(lambda network=network: step(*network))[0])

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=2)
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    benchmark.extra_info["step / step of a snnTorch loop"] = ratio
    bar(ratio <= 0.9)
