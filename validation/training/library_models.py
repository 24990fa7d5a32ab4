"""Models as users of snnTorch, SpikingJelly and Norse build them: chains of layers, and a small Spikformer.

A model takes inputs (batch, …), the same at every step, or (batch, steps, …), and returns class scores: a linear readout of the
mean spikes of the last layer, over all steps or the last few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import nn

__all__ = ["Norse", "SnnTorch", "Spikformer", "SpikingJelly", "chain", "convolutions"]


class OneStep(nn.Module):
    """Base of models whose forward loops over time, as snnTorch's and Norse's do; ``step`` makes one step."""

    def __init__(self, steps: int | None, last: int | None = None):
        super().__init__()
        self.steps = steps  # of an input without time
        self.last = last  # how many steps are read out, all by default

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of one step."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self.modules():
            reset: Any = getattr(module, "reset_mem", None)
            if reset is not None:
                reset()
        frames = x.unbind(1) if self.steps is None else [x] * self.steps
        scores = [self.step(frame) for frame in frames]
        return torch.stack(scores[-(self.last or len(scores)) :]).mean(0)


class Chain(OneStep):
    """Layers of weights, each before a layer of neurons, and a readout.

    ``plain``; ``membrane_shortcut``: currents are added to those of the layer before; ``sew_add``: after the first two layers,
    the spikes of every two are added to those that arrive.
    """

    def __init__(
        self, layers: Sequence[nn.Module], neuron: Callable[[], nn.Module], readout: nn.Module, structure: str, **time: Any
    ):
        super().__init__(**time)
        self.structure = structure
        self.layers, self.neurons = nn.ModuleList(layers), nn.ModuleList(neuron() for _ in layers)
        self.readout = readout

    def step(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.spikes(x))

    def spikes(self, x: torch.Tensor) -> torch.Tensor:
        """Of the last layer."""
        currents = self.layers[0](x)
        spikes = shortcut = self.fire(0, currents)
        for l in range(1, len(self.layers)):
            received = self.layers[l](spikes)
            currents = currents + received if self.structure == "membrane_shortcut" else received
            spikes = self.fire(l, currents)
            if self.structure == "sew_add" and l % 2:
                spikes = shortcut = spikes + shortcut if l > 1 else spikes
        return spikes

    def fire(self, l: int, currents: torch.Tensor) -> torch.Tensor:
        """Spikes of layer ``l``."""
        return self.neurons[l](currents)


class AllSteps(Chain):
    """The same for SpikingJelly: modules take all steps at once, (steps, batch, …)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        import_module("spikingjelly.activation_based.functional").reset_net(self)
        x = x.transpose(0, 1) if self.steps is None else x.expand(self.steps, *x.shape)
        return self.step(x)[-(self.last or len(x)) :].mean(0)


class WithStates(Chain):
    """The same for Norse: a cell takes its state and returns the next."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.states: list[Any] = [None] * len(self.neurons)
        return super().forward(x)

    def fire(self, l: int, currents: torch.Tensor) -> torch.Tensor:
        spikes, self.states[l] = self.neurons[l](currents, self.states[l])
        return spikes


class SnnTorch:
    """Makers of layers and neurons as snnTorch has them: ``β`` of Leaky; ``recurrent``: numbers of neurons, for RLeaky."""

    kind: Any = Chain

    def __init__(self, beta: float, recurrent: int | None = None):
        self.beta, self.recurrent = beta, recurrent

    def neuron(self) -> nn.Module:
        library: Any = import_module("snntorch")
        if self.recurrent:
            return library.RLeaky(self.beta, linear_features=self.recurrent, init_hidden=True)
        return library.Leaky(self.beta, init_hidden=True)

    def layer(self, name: str, *args: Any, **options: Any) -> Any:
        return getattr(nn, name)(*args, **options)


class Norse(SnnTorch):
    """LIFBoxCell, a membrane without a synaptic current: ``tau_mem_inv`` times 1 ms is what a membrane loses in a step."""

    kind = WithStates

    def __init__(self, tau_mem_inv: float):
        self.tau_mem_inv = tau_mem_inv

    def neuron(self) -> nn.Module:
        library: Any = import_module("norse.torch")
        return library.LIFBoxCell(library.LIFBoxParameters(tau_mem_inv=torch.tensor(self.tau_mem_inv)))


class SpikingJelly(SnnTorch):
    """LIFNode, or with ``tau=None`` IFNode, and SpikingJelly's own layers, in step mode ``m``."""

    kind = AllSteps

    def __init__(self, tau: float | None, **options: Any):
        self.tau, self.options = tau, options

    def neuron(self) -> nn.Module:
        library: Any = import_module("spikingjelly.activation_based.neuron")
        make = library.IFNode if self.tau is None else lambda **options: library.LIFNode(self.tau, **options)
        return make(step_mode="m", **self.options)

    def layer(self, name: str, *args: Any, **options: Any) -> Any:
        return getattr(import_module("spikingjelly.activation_based.layer"), name)(*args, step_mode="m", **options)


def chain(
    library: SnnTorch,
    inputs: int,
    width: int,
    depth: int,
    classes: int,
    *,
    structure: str = "plain",
    normalised: bool = False,
    **time: Any,
) -> nn.Module:
    """Dense layers."""
    layers = []
    for fan_in in [inputs, *[width] * (depth - 1)]:
        layers.append(_normalised(library, library.layer("Linear", fan_in, width), "BatchNorm1d", width, normalised))
    return library.kind(layers, library.neuron, library.layer("Linear", width, classes), structure, **time)


def convolutions(
    library: SnnTorch,
    channels: Sequence[int],
    pooled: Sequence[int],
    side: int,
    classes: int,
    *,
    structure: str = "plain",
    normalised: bool = True,
    **time: Any,
) -> nn.Module:
    """3 × 3 filters, from and to these numbers of channels; maxima of 2 × 2 before those whose number is in ``pooled``."""
    layers = []
    for l, (n, m) in enumerate(pairwise(channels)):
        layer = _normalised(library, library.layer("Conv2d", n, m, 3, padding=1), "BatchNorm2d", m, normalised)
        layers.append(nn.Sequential(library.layer("MaxPool2d", 2), layer) if l in pooled else layer)
    side //= 2 ** len(pooled)
    head = nn.Sequential(library.layer("AvgPool2d", 2), library.layer("Flatten"))
    readout = nn.Sequential(*head, library.layer("Linear", channels[-1] * (side // 2) ** 2, classes))
    return library.kind(layers, library.neuron, readout, structure, **time)


def _normalised(library: SnnTorch, layer: nn.Module, norm: str, size: int, normalised: bool) -> nn.Module:
    return nn.Sequential(layer, library.layer(norm, size)) if normalised else layer


class Tokens(nn.Module):
    """A linear layer of tokens (steps, batch, tokens, width), BatchNorm over all but the width, and neurons."""

    def __init__(self, library: SpikingJelly, n: int, m: int):
        super().__init__()
        self.linear, self.norm, self.neuron = nn.Linear(n, m), nn.BatchNorm1d(m), library.neuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.norm(self.linear(x).flatten(0, 2)).view(*x.shape[:-1], -1))


class Block(nn.Module):
    """Attention of spikes without softmax, and two dense layers; spikes are added to those that arrive."""

    def __init__(self, library: SpikingJelly, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.after = (Tokens(library, width, width) for _ in range(4))
        self.attention = SpikingJelly(library.tau, v_threshold=0.5, **library.options).neuron()
        self.first, self.second = Tokens(library, width, 2 * width), Tokens(library, 2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (each(x).unflatten(-1, (self.heads, -1)).transpose(-2, -3) for each in (self.q, self.k, self.v))
        attended = (q @ (k.mT @ v) * 0.125).transpose(-2, -3).flatten(-2)
        x = x + self.after(self.attention(attended))
        return x + self.second(self.first(x))


class Spikformer(AllSteps):
    """Two convolutions, one with maxima of 2 × 2, whose positions are the tokens, and blocks of attention."""

    def __init__(
        self, library: SpikingJelly, channels: int, width: int, blocks: int, classes: int, heads: int = 4, **time: Any
    ):
        sizes = (channels, width // 2, width)
        layers = [
            _normalised(library, library.layer("Conv2d", n, m, 3, padding=1), "BatchNorm2d", m, True)
            for n, m in pairwise(sizes)
        ]
        super().__init__(layers, library.neuron, nn.Linear(width, classes), "plain", **time)
        self.pool = library.layer("MaxPool2d", 2)
        self.blocks = nn.Sequential(*(Block(library, width, heads) for _ in range(blocks)))

    def step(self, x: torch.Tensor) -> torch.Tensor:
        (first, second), (one, other) = self.layers, self.neurons
        x = other(second(self.pool(one(first(x)))))
        return self.readout(self.blocks(x.flatten(3).mT).mean(2))
