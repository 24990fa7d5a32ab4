"""User models of many structures, and weights drawn for them."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

import varflow as vf  # noqa: E402

STEPS, NETWORKS, WIDTH = 4, 8, 300
BIAS = 0.04  # relative, of infinite width for networks of this width and number


def leaky():
    return snntorch.Leaky(0.5, init_hidden=True)


class Stepped(nn.Module):
    """A loop over time, from empty membranes; the input grows by this fraction from step to step."""

    growth = 0.0

    def forward(self, x):
        for module in self.modules():
            if isinstance(module, snntorch.Leaky):
                module.reset_mem()
        for t in range(STEPS):
            out = self.step(x * (1 + self.growth * t))
        return out


def growing(model):
    model.growth = 0.3
    return model


class Dense(Stepped):
    """Three dense branches after a first layer, joined in the way of a subclass."""

    gain, extra = 2.6, 0

    def __init__(self):
        super().__init__()
        self.first, self.zeroth = nn.Linear(64, WIDTH), leaky()
        self.weights = nn.ModuleList(nn.Linear(WIDTH + self.extra * l, WIDTH) for l in range(3))
        self.neurons = nn.ModuleList(leaky() for _ in self.weights)

    def branches(self):
        return zip(self.weights, self.neurons, strict=True)


class Added(Dense):
    def step(self, x):
        spikes = self.zeroth(self.first(x))
        for weight, neuron in self.branches():
            spikes = spikes + neuron(weight(spikes))
        return spikes


class Membranes(Dense):
    gain = 2.0

    def step(self, x):
        currents = self.first(x)
        for weight, neuron in self.branches():
            currents = 0.8 * currents + weight(neuron(currents))
        return self.zeroth(currents)


class Inhibited(Dense):
    gain = 3.2

    def step(self, x):
        spikes = self.zeroth(self.first(x))
        for weight, neuron in self.branches():
            spikes = spikes * (1 - neuron(weight(spikes)))
        return spikes


class Concatenated(Dense):
    extra = WIDTH

    def step(self, x):
        spikes = self.zeroth(self.first(x))
        for weight, neuron in self.branches():
            spikes = torch.cat([spikes, neuron(weight(spikes))], 1)
        return spikes


class Normalised(Dense):
    def __init__(self, norm, train=True):
        super().__init__()
        self.norms = nn.ModuleList(norm(WIDTH) for _ in self.weights)
        for each in self.norms:
            nn.init.constant_(each.weight, 1.3)
        self.train(train)

    def step(self, x):
        spikes = self.zeroth(self.first(x))
        for norm, (weight, neuron) in zip(self.norms, self.branches(), strict=True):
            spikes = neuron(norm(weight(spikes)))
        return spikes


class Fed(Dense):
    """Recurrent weights in the forward."""

    def forward(self, x):
        self.zeroth.reset_mem()
        spikes = torch.zeros(len(x), WIDTH)
        for _ in range(STEPS):
            spikes = self.zeroth(self.first(x) + self.weights[0](spikes))
        return spikes


class Maps(Stepped):
    gain = 2.6

    def __init__(self, *between, size=3):
        super().__init__()
        channels, layers = [size, 48, 48, 48, 48], []
        for l, other in enumerate((*between, nn.Identity())):
            stride = 2 if isinstance(other, nn.Identity) and l < len(between) else 1
            layers += [nn.Conv2d(channels[l], channels[l + 1], 3, stride, padding=1), leaky(), other]
        self.layers = nn.Sequential(*layers)

    def step(self, x):
        return self.layers(x)


class Larger(Stepped):
    """A small map, made larger by copies and by a transposed convolution."""

    gain = 2.6

    def __init__(self):
        super().__init__()
        small = nn.Conv2d(3, 48, 3, 2, padding=1), leaky(), nn.Conv2d(48, 48, 3, 2, padding=1), leaky()
        copies = nn.Upsample(scale_factor=2), nn.Conv2d(48, 48, 3, padding=1), leaky()
        zeros = nn.ConvTranspose2d(48, 48, 4, 2, 1), leaky()
        self.layers = nn.Sequential(*small, *copies, *zeros, nn.Conv2d(48, 48, 3, padding=1), leaky())

    def step(self, x):
        return self.layers(x)


class Maxima(Stepped):
    """Of currents, of normalised ones, and over windows that overlap."""

    gain = 2.6

    def __init__(self):
        super().__init__()
        first = nn.Conv2d(3, 48, 5), nn.MaxPool2d(2), leaky()
        norm = nn.BatchNorm2d(48, eps=0.7)
        second = nn.Conv2d(48, 48, 3, padding=1), norm, nn.MaxPool2d(3, 2), leaky()
        self.layers = nn.Sequential(*first, *second, nn.Conv2d(48, 48, 3, padding=1), leaky()).eval()

    def step(self, x):
        return self.layers(x)


class NormalisedMaps(Maps):
    """Down to a single position, which only the batch tells apart."""

    def __init__(self):
        super().__init__(nn.Identity(), nn.Identity(), nn.Identity())
        self.layers = nn.Sequential(*(part for layer in self.layers for part in self._normalised(layer)))

    @staticmethod
    def _normalised(layer):
        if not isinstance(layer, nn.Conv2d):
            return [layer]
        layer.stride = (2, 2)
        return [layer, nn.BatchNorm2d(layer.out_channels)]


def vectors():
    return torch.rand(16, 64, generator=torch.Generator().manual_seed(5))


def images(side, batch=3):
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(5))


class Grouped(Stepped):
    """Groups of 24 channels, and a separable convolution, in which each channel has a filter of its own."""

    gain = 2.6

    def __init__(self):
        super().__init__()
        separable = nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.Conv2d(48, 48, 1)
        grouped = nn.Conv2d(48, 48, 3, padding=1, groups=2)
        self.layers = nn.Sequential(nn.Conv2d(3, 48, 3), leaky(), grouped, leaky(), *separable, leaky())
        self.depthwise = separable

    def step(self, x):
        return self.layers(x)


STRUCTURES = {
    "spikes added": (Added, vectors),
    "membranes added": (Membranes, vectors),
    "inhibited": (Inhibited, vectors),
    "concatenated": (Concatenated, vectors),
    "over the batch": (lambda: Normalised(nn.BatchNorm1d), vectors),
    "maps over the batch": (NormalisedMaps, lambda: images(12, batch=32)),
    "running statistics": (lambda: Normalised(nn.BatchNorm1d, train=False), vectors),
    "layer norm": (lambda: Normalised(nn.LayerNorm), vectors),
    "recurrent": (Fed, vectors),
    "pools": (lambda: Maps(nn.MaxPool2d(2), nn.AvgPool2d(2)), lambda: images(8)),
    "maxima of currents": (Maxima, lambda: images(16)),
    "strides": (lambda: Maps(nn.Identity(), nn.Identity()), lambda: images(12)),
    "groups of channels": (Grouped, lambda: images(10)),
    "larger maps": (Larger, lambda: images(8)),
    "a large map": (lambda: Maps(nn.Identity()), lambda: images(14)),
    "inputs that grow": (lambda: growing(Added()), vectors),
    "pools of inputs that grow": (lambda: growing(Maps(nn.MaxPool2d(2), nn.AvgPool2d(2))), lambda: images(8)),
    "maxima of inputs that grow": (lambda: growing(Maxima()), lambda: images(16)),
}


def drawn(model, gain, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                fan_in = vf.init.fan_in(module)
                factor = 1.0 if fan_in > 64 or module in getattr(model, "depthwise", ()) else 2.0
                module.weight.normal_(0, factor * gain / math.sqrt(fan_in), generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model


def stronger(model):
    """With weights, and factors of normalisations, twice as large."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.mul_(2)
    return model
