"""Spiking models of the libraries that tests watch: the same network, with the loop in time in different places; and what a
forward pass may change in a model.
"""

import random

import numpy as np
import torch
from torch import nn

snntorch = __import__("pytest").importorskip("snntorch")
norse = __import__("pytest").importorskip("norse.torch")


class Looped(nn.Module):
    """Weights and neurons in two lists, the neurons' list in reverse order; the membranes are passed along."""

    def __init__(self, width=32, depth=5, steps=4, neuron=lambda: snntorch.Leaky(0.5), readout=3):
        super().__init__()
        self.steps = steps
        self.neurons = nn.ModuleList([neuron() for _ in range(depth)])
        self.weights = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.readout = nn.Linear(width, readout)

    def forward(self, x):
        states, out = [None] * len(self.weights), 0.0
        for neuron in self.neurons:
            if hasattr(neuron, "reset_mem"):
                neuron.reset_mem()
        for _ in range(self.steps):
            spikes = x
            for l, weight in enumerate(self.weights):
                spikes, *state = self.neurons[-1 - l](weight(spikes), *([] if states[l] is None else states[l]))
                states[l] = state
            out = out + self.readout(spikes)
        return out


def norse_loop(width=32, depth=3, steps=4, cell=norse.LIFBoxCell):
    return Looped(width, depth, steps, cell)


class Maps(nn.Module):
    """Convolutions with hidden state, then a dense readout neuron."""

    def __init__(self, channels=8, depth=3, steps=4, beta=0.5, pool=None):
        super().__init__()
        self.steps = steps
        layers = []
        for l in range(depth):
            layers += [nn.Conv2d(channels if l else 1, channels, 3, padding=1), snntorch.Leaky(beta, init_hidden=True)]
            layers += [pool] if pool is not None and l == 0 else []
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10), snntorch.Leaky(beta, init_hidden=True))

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, snntorch.Leaky):
                layer.reset_mem()
        return torch.stack([self.layers(x) for _ in range(self.steps)]).sum(0)


class IAF(nn.Module):
    """Steps as the class of this name in sinabs does, and is known by the same attributes: time in axis 1; several spikes per
    step, or one.
    """

    __module__ = "sinabs.layers.iaf"

    def __init__(self, several=True, tau_mem=None):
        super().__init__()
        self.spike_threshold, self.tau_mem, self.norm_input, self.min_v_mem = torch.tensor(1.0), tau_mem, False, None
        self.spike_fn = type("MultiSpike" if several else "SingleSpike", (), {})
        self.reset_fn = type("MembraneSubtract", (), {"subtract_value": None})()
        self.several, self.decay = several, 1.0 if tau_mem is None else float(torch.exp(torch.tensor(-1 / tau_mem)))

    def forward(self, currents):
        v, spikes = 0.0, []
        for current in currents.unbind(1):
            v = self.decay * v + current
            spikes.append(v.floor().clamp(min=0) if self.several else (v >= 1).to(v.dtype))
            v = v - spikes[-1]
        return torch.stack(spikes, 1)


def left_behind(model):
    """Everything a pass may change: attributes, tensors, hooks, generators."""
    state = [torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64)), torch.tensor(random.getstate()[1])]  # noqa: NPY002
    words = []
    for module in model.modules():
        words.append((module.training, sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks)))
        own = [*module._buffers.values(), *(v for v in vars(module).values() if isinstance(v, torch.Tensor))]
        state += [tensor.detach().clone() for tensor in [*own, *module._parameters.values()] if tensor is not None]
    return state, words


def same(one, other):
    return one[1] == other[1] and len(one[0]) == len(other[0]) and all(map(torch.equal, one[0], other[0]))
