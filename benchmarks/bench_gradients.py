"""Energy of gradients through 20 layers: against back-propagation through as many real networks of width 1000 as have the same
standard error.

Both run in one process, in CPU time. The scatter of real networks is that of a few, which are timed.
"""

import math

import numpy as np
import pytest
import torch
from setting import bar, cpu_seconds, size

import varflow as vf

DEPTH, WIDTH, GAIN, BETA = size(20, 3), size(1000, 20), 8**0.5, 0.5
NETWORKS = size(6, 3)


class Spike(torch.autograd.Function):
    """A step forwards, snnTorch's arctangent backwards."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).float()

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0] / (1 + (math.pi * ctx.saved_tensors[0]) ** 2)


def growth_of_one(steps, seed):
    """The logarithm of the growth per layer in one network."""
    generator = torch.Generator().manual_seed(seed)
    I, currents = torch.randn(WIDTH, generator=generator).expand(steps, WIDTH).clone().requires_grad_(), []
    for layer in range(DEPTH):
        I.retain_grad()
        currents.append(I)
        h, spikes = torch.zeros(WIDTH), []
        for c in I.unbind(0):
            h = BETA * h + c - (spikes[-1].detach() if spikes else 0)
            spikes.append(Spike.apply(h - 1))
        x = torch.stack(spikes)
        I = x @ torch.randn(WIDTH, WIDTH, generator=generator) * (GAIN / WIDTH**0.5) if layer < DEPTH - 1 else x
    (torch.randn(WIDTH, generator=generator) * I).sum().backward()
    first, last = (float(currents[at].grad.square().sum()) for at in (0, -1))
    return math.log(first / last) / (DEPTH - 1)


@pytest.mark.parametrize("steps", size([8, 32], [2, 3]))
def test_gradient_flow(benchmark, steps):
    neuron = vf.neurons.snntorch_leaky(BETA)
    network = vf.Network(width=WIDTH, depth=DEPTH, gain=GAIN, neuron=neuron, steps=steps)
    vf.gradient_flow(vf.Network(width=WIDTH, depth=2, gain=GAIN, neuron=neuron, steps=2), points=64)  # imports
    ours, flow = cpu_seconds(lambda: benchmark.pedantic(vf.gradient_flow, (network,), rounds=1))
    theirs, growths = cpu_seconds(lambda: [growth_of_one(steps, seed) for seed in range(NETWORKS)])
    found = np.array(growths)
    each, scatter = theirs / NETWORKS, found.std(ddof=1)
    error = float(flow.error["growth"]) / flow.growth
    ratio = each * (scatter / error) ** 2 / ours
    benchmark.extra_info |= {"CPU seconds": ours, "standard error": error, "ratio": ratio, "networks": (scatter / error) ** 2}
    off = abs(found.mean() - math.log(flow.growth))
    assert off < 5 * math.hypot(scatter / NETWORKS**0.5, error) + 20 / WIDTH
    bar(ratio >= 10)
