"""Deep networks of spiking neurons and how their weights begin: a :class:`Design` says both, ``build`` makes the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import varflow as vf
from validation.training.spiking import Spiking
from varflow.init.published.leaky import spikeinit_first_layer_std, spikeinit_gain

__all__ = ["INITIALISATIONS", "STRUCTURES", "Design", "Network", "build", "size_of"]

STRUCTURES = ("plain", "membrane_shortcut", "sew_add", "batch_norm", "centred", "convolutional")
CHANNELS = (16, 32)  # of the convolutional network, whose third layer is dense
RATE = 0.2  # late rate asked of gain_for_rate
SCALED = 256  # images on which init_model scales layers


@dataclass(frozen=True, slots=True)
class Design:
    """A deep network of leaky neurons and its weights at the start.

    Parameters
    ----------
    structure : str
        ``plain``; ``membrane_shortcut``, ``u' = u + W S(u)``; ``sew_add``, ``x' = x + S(W x)``; ``batch_norm`` before each
        layer of neurons; ``centred``, each row of weights minus its mean; ``convolutional``: two layers of 3 × 3 filters,
        each averaged over 2 × 2, and a dense one.
    initialisation : str
        One of ``INITIALISATIONS``.
    gain : float, optional
        ``g`` of hidden layers, instead of the initialisation's.
    rate : float, optional
        Firing rate, over all steps, that :func:`varflow.init.init_model` gives all layers, instead of the initialisation.
    biases : bool
        Biases as torch fills them, instead of 0.
    surrogate : Surrogate or str
    """

    depth: int = 10
    width: int = 100
    steps: int = 4
    threshold: float = 1.0
    decay: float = 0.5
    structure: str = "plain"
    initialisation: str = "micheli"
    gain: float | None = None
    rate: float | None = None
    biases: bool = False
    surrogate: Any = "atan"

    def __post_init__(self) -> None:
        for name, known in (("structure", STRUCTURES), ("initialisation", tuple(INITIALISATIONS))):
            if getattr(self, name) not in known:
                raise vf.DomainError(name, getattr(self, name), f"is unknown; choose from {', '.join(known)}")
        if self.structure == "convolutional" and self.depth != 3:
            raise vf.DomainError("depth", self.depth, "must be 3 for the convolutional network")
        if self.initialisation == "identity" and (self.gain is not None or self.structure == "convolutional"):
            raise vf.DomainError("initialisation", "identity", "has no gain and is for layers of equal width")
        object.__setattr__(self, "surrogate", vf.surrogates.surrogate_of(self.surrogate))

    @property
    def neuron(self) -> vf.Neuron:
        """snnTorch's Leaky."""
        return vf.neurons.snntorch_leaky(self.decay, self.threshold)

    def network(self) -> vf.Network:
        """The plain chain of theory; the currents of layer 1 have variance 1."""
        gain = self.gains()[0]
        return vf.Network(width=self.width, depth=self.depth, gain=gain, neuron=self.neuron, steps=self.steps)

    def driven(self, x: np.ndarray, size: float) -> vf.Network:
        """Theory of the first weights on these images, plain or with membrane shortcuts; ``size``: as in ``build``."""
        hidden, first = self.gains()
        bias = [self.biases / math.sqrt(3 * fan_in) for fan_in in (x.shape[1], self.width)]
        spike, later = vf.layers.Spike(self.neuron), vf.layers.Linear(self.width, gain=hidden, bias_std=bias[1])
        block = [vf.layers.Residual(spike, later)] if self.structure == "membrane_shortcut" else [spike, later]
        layers = [vf.layers.Linear(self.width, gain=first / size, bias_std=bias[0]), *block * (self.depth - 1), spike]
        return vf.Network(layers=layers, width=self.width, steps=self.steps, drive=vf.drives.inputs(x))

    def gains(self) -> tuple[float, float]:
        """Gain of the hidden layers, and of the first over the root mean square of its inputs."""
        hidden, first = INITIALISATIONS[self.initialisation](self)
        return (hidden if self.gain is None else self.gain), first


def _torch(design: Design) -> tuple[float, float]:
    return 3**-0.5, math.nan  # uniform within ±1/√n: g² = 1/3


@cache
def _in_time(neuron: vf.Neuron, steps: int) -> tuple[float, float]:
    found = vf.gain_for_rate(neuron, rate=RATE, steps=steps)
    assert found.input_gain is not None
    return found.gain, found.input_gain


def _spikeinit(design: Design) -> tuple[float, float]:
    theta, beta = design.threshold, design.decay
    first = spikeinit_first_layer_std(RATE, threshold=theta, decay=beta)
    return spikeinit_gain(RATE, threshold=theta, decay=beta), first


INITIALISATIONS: dict[str, Callable[[Design], tuple[float, float]]] = {
    "torch": _torch,
    "kaiming": lambda design: (math.sqrt(2), math.nan),
    "xavier": lambda design: (1.0, math.nan),
    "micheli": lambda design: (vf.gain(threshold=design.threshold), 1.0),
    "corrected": lambda design: (vf.corrected_gain(threshold=design.threshold, width=design.width, depth=design.depth), 1.0),
    "in_time": lambda design: _in_time(design.neuron, design.steps),
    "spikeinit": _spikeinit,
    "identity": lambda design: (math.nan, _in_time(design.neuron, design.steps)[1]),
}
"""Gain of hidden layers, and standard deviation of the first layer's currents over the data; NaN where the first layer is
filled as the others are, whatever its inputs. ``identity`` draws no hidden weights: they are ``W = (θ/β) 1``, with which a
layer of snnTorch's neurons copies the spikes of the layer before, since then ``H_t = (θ/β) S_t`` at every step."""


class Network(nn.Module):
    """Images (batch, numbers), the same at every step, to class scores: a linear readout of the mean spikes.

    As :func:`varflow.audit` needs them, images may be given step by step too, (steps, batch, numbers).
    """

    def __init__(self, design: Design, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.design, self.shape = design, shape
        if design.structure == "convolutional":
            self.weights = _filters(shape, design.width)
        else:
            fan_ins = [math.prod(shape)] + [design.width] * (design.depth - 1)
            self.weights = nn.ModuleList(nn.Linear(fan_in, design.width) for fan_in in fan_ins)
        self.neurons = nn.ModuleList(Spiking(design.neuron, design.surrogate) for _ in self.weights)
        normalised = design.structure == "batch_norm"
        self.norms = nn.ModuleList(nn.BatchNorm1d(design.width) if normalised else nn.Identity() for _ in self.weights)
        self.readout = nn.Linear(design.width, classes)

    def forward(self, x: torch.Tensor, seen: list[tuple[torch.Tensor, torch.Tensor]] | None = None) -> torch.Tensor:
        """Scores; currents and spikes of every layer, (steps, batch, neurons…), are appended to ``seen``."""
        design, steps = self.design, self.design.steps
        image = self._weighted(0, x.reshape(-1, *self.shape) if design.structure == "convolutional" else x.flatten(0, -2))
        currents = image.unflatten(0, (steps, -1)) if x.dim() == 3 else image.expand(steps, *image.shape)
        sent = spikes = self._spikes(0, currents, seen)
        for l in range(1, design.depth):
            received = self._weighted(l, sent.flatten(0, 1)).unflatten(0, (steps, -1))
            currents = currents + received if design.structure == "membrane_shortcut" else received
            spikes = self._spikes(l, currents, seen)
            sent = sent + spikes if design.structure == "sew_add" else spikes
        return self.readout(sent.mean(0))

    def _weighted(self, l: int, x: torch.Tensor) -> torch.Tensor:
        """Currents of layer ``l`` from what arrives, (batch, …)."""
        layer: Any = self.weights[l]
        if l and self.design.structure == "centred":
            return functional.linear(x, layer.weight - layer.weight.mean(1, keepdim=True), layer.bias)
        if l and self.design.structure == "convolutional":
            x = functional.avg_pool2d(x, 2)
        return self.norms[l](layer(x.flatten(1) if isinstance(layer, nn.Linear) else x))

    def _spikes(self, l: int, currents: torch.Tensor, seen: list[tuple[torch.Tensor, torch.Tensor]] | None) -> torch.Tensor:
        spikes = self.neurons[l](currents)
        if seen is not None:
            seen.append((currents, spikes))
        return spikes


def _filters(shape: tuple[int, int, int], width: int) -> nn.ModuleList:
    (channels, height, columns), (first, second) = shape, CHANNELS
    dense = nn.Linear(second * (height // 4) * (columns // 4), width)
    return nn.ModuleList([nn.Conv2d(channels, first, 3, padding=1), nn.Conv2d(first, second, 3, padding=1), dense])


def size_of(x: torch.Tensor) -> float:
    """Root mean square of all numbers of the images."""
    return math.sqrt(float(x.square().mean()))


def build(design: Design, x: torch.Tensor, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> Network:
    """The network with its first weights; ``x``: images, whose root mean square the first layer's scale depends on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        network = Network(design, shape, classes)  # all layers as torch fills them
    if design.rate is not None:
        vf.init.init_model(network, x[:SCALED], neurons={Spiking: None}, rate=design.rate, generator=generator)
    if design.rate is not None or (design.initialisation == "torch" and design.gain is None):
        return network
    hidden, first = design.gains()
    size = 1.0 if math.isnan(first) else size_of(x)
    with torch.no_grad():
        layer: Any
        for l, layer in enumerate(network.weights):
            if not design.biases:
                layer.bias.zero_()
            if l and design.initialisation == "identity":
                nn.init.eye_(layer.weight).mul_(design.threshold / design.decay)
            else:
                gain = hidden if l or math.isnan(first) else first / size
                layer.weight.normal_(0.0, gain / math.sqrt(vf.init.fan_in(layer)), generator=generator)
    return network
