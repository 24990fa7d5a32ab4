"""Models as tutorials and libraries build them: a maker, a batch by seed, and the steps, for each family."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402


@dataclass(frozen=True)
class Family:
    """``spiking``: classes of the neurons, as ``package.Class``; ``time_axis``: of their spikes; ``needs``: a library."""

    make: Callable[[], Any]
    batch: Callable[[int], Any]
    spiking: tuple[str, ...]
    steps: int | None = None
    time_axis: int | None = None
    needs: str = "snntorch"
    output: bool = False  # whether the last neurons are the network's output


def images(inputs, side, channels=1):
    """Random images of different brightness."""

    def batch(seed):
        generator = torch.Generator().manual_seed(seed)
        bright = torch.linspace(0.5, 1.5, inputs).reshape(-1, 1, 1, 1)
        return bright * torch.rand(inputs, channels, side, side, generator=generator)

    return batch


def flat(inputs, side):
    return lambda seed: images(inputs, side)(seed).flatten(1)


def leaky(**options):
    return snntorch.Leaky(**{"beta": 0.5, "init_hidden": True} | options)


class OverTime(nn.Module):
    """A sequence of modules, called once per step."""

    def __init__(self, *layers, steps):
        super().__init__()
        self.layers, self.steps = nn.Sequential(*layers), steps

    def forward(self, x):
        for module in self.layers:
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        return sum(self.layers(x) for _ in range(self.steps))


class Tutorial5(nn.Module):
    """snnTorch's feed-forward network: membranes are passed by hand."""

    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(784, 1000), snntorch.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(1000, 10), snntorch.Leaky(beta=0.95)

    def forward(self, x):
        first, second, spikes = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for _ in range(8):
            hidden, first = self.lif1(self.fc1(x), first)
            out, second = self.lif2(self.fc2(hidden), second)
            spikes.append(out)
        return torch.stack(spikes)


def tutorial6():
    """snnTorch's convolutional network: the maxima of currents are pooled."""
    first, second = nn.Conv2d(1, 12, 5), nn.Conv2d(12, 64, 5)
    head = nn.Flatten(), nn.Linear(64 * 4 * 4, 10), leaky()
    return OverTime(first, nn.MaxPool2d(2), leaky(), second, nn.MaxPool2d(2), leaky(), *head, steps=4)


def normalised(mode):
    """Convolutions with BatchNorm, a pool of spikes, and an output layer."""
    layers = []
    for n, m in pairwise([1, 16, 16, 16]):
        layers += [nn.Conv2d(n, m, 3, padding=1, bias=False), nn.BatchNorm2d(m), leaky()]
    return OverTime(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 10), leaky(), steps=4).train(mode == "train")


class Residual(nn.Module):
    """Blocks of two convolutions without BatchNorm; shortcuts of spikes (SEW) or of currents (MS)."""

    def __init__(self, kind, channels=16, blocks=2, steps=4):
        super().__init__()
        self.kind, self.steps = kind, steps
        conv = lambda n: nn.Conv2d(n, channels, 3, padding=1)  # noqa: E731
        self.stem, self.readout = conv(1), nn.Linear(channels, 10)
        self.convs = nn.ModuleList(conv(channels) for _ in range(2 * blocks))
        self.neurons = nn.ModuleList(leaky() for _ in range(2 * blocks))
        self.last = leaky()

    def forward(self, x):
        for neuron in (*self.neurons, self.last):
            neuron.reset_mem()
        return sum(self.readout(self.step(x).mean((2, 3))) for _ in range(self.steps))

    def step(self, x):
        x = self.stem(x) if self.kind == "MS" else self.last(self.stem(x))
        layers = list(zip(self.convs, self.neurons, strict=True))
        for (one, first), (two, second) in zip(layers[::2], layers[1::2], strict=True):
            x = x + (two(second(one(first(x)))) if self.kind == "MS" else second(two(first(one(x)))))
        return self.last(x) if self.kind == "MS" else x


class Handwritten(nn.Module):
    """A neuron that no library knows: adaptive threshold, soft reset."""

    def __init__(self):
        super().__init__()
        self.reset()

    def reset(self):
        self.v = self.adapted = None

    def forward(self, current):
        v = current if self.v is None else 0.7 * self.v + current
        threshold = 1.0 if self.adapted is None else 1.0 + 0.3 * self.adapted
        spikes = (v > threshold).to(v.dtype)
        self.v = v - spikes * threshold
        self.adapted = spikes if self.adapted is None else 0.8 * self.adapted + spikes
        return spikes


class Block(nn.Module):
    """A spiking transformer block: attention of spikes without softmax, an MLP, residual sums, LayerNorm behind all weights."""

    def __init__(self, width=32, heads=2, steps=4):
        super().__init__()
        self.heads, self.steps = heads, steps
        linear = lambda n, m: nn.Sequential(nn.Linear(n, m, bias=False), nn.LayerNorm(m))  # noqa: E731
        sizes = {"embed": (16, width), **dict.fromkeys(("q", "k", "v", "proj"), (width, width))}
        sizes |= {"fc1": (width, 4 * width), "fc2": (4 * width, width)}
        self.linears = nn.ModuleDict({name: linear(*size) for name, size in sizes.items()})
        self.neurons = nn.ModuleDict({name: leaky() for name in sizes})
        self.attention = leaky(threshold=0.5)
        self.readout = nn.Linear(width, 10)

    def forward(self, x):
        for neuron in (*self.neurons.values(), self.attention):
            neuron.reset_mem()
        return sum(self.readout(self.step(x).mean(1)) for _ in range(self.steps))

    def layer(self, name, x):
        return self.neurons[name](self.linears[name](x))

    def step(self, x):
        x = self.layer("embed", x)
        q, k, v = (self.layer(name, x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in "qkv")
        attended = (q @ k.mT @ v * 0.25).transpose(1, 2).flatten(2)
        x = x + self.layer("proj", self.attention(attended))
        return x + self.layer("fc2", self.layer("fc1", x))


class Repeated(nn.Module):
    """The same input at every step, to modules of SpikingJelly that take all steps at once; mean output."""

    def __init__(self, net, steps=4):
        super().__init__()
        import_module("spikingjelly.activation_based.functional").set_step_mode(net, "m")
        self.net, self.steps = net, steps

    def forward(self, x):
        return self.net(x.expand(self.steps, *x.shape)).mean(0)


def spikingjelly_csnn(channels=32):
    """SpikingJelly's network for Fashion-MNIST."""
    neuron, layer = (import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "layer"))
    conv = lambda n: layer.Conv2d(n, channels, 3, padding=1, bias=False)  # noqa: E731
    maps = [[conv(n), layer.BatchNorm2d(channels), neuron.IFNode(), layer.MaxPool2d(2, 2)] for n in (1, channels)]
    dense = [layer.Linear(channels * 49, channels * 16, bias=False), neuron.IFNode()]
    head = [layer.Linear(channels * 16, 10, bias=False), neuron.IFNode()]
    return Repeated(nn.Sequential(*maps[0], *maps[1], layer.Flatten(), *dense, *head))


def of_spikingjelly(module, name, mode="train", **options):
    """A network of SpikingJelly's model zoo."""

    def make():
        neuron = import_module("spikingjelly.activation_based.neuron")
        found = getattr(import_module(f"spikingjelly.activation_based.model.{module}"), name)
        return Repeated(found(spiking_neuron=neuron.IFNode, num_classes=10, **options)).train(mode == "train")

    return make


def of_sinabs():
    """sinabs' defaults: integrators of several spikes per step, with a lowest potential."""
    from_model = import_module("sinabs.from_torch").from_model
    layers = [nn.Conv2d(1, 8, 3, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU()]
    return from_model(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 100, 10)), batch_size=16).spiking_model


def frames(seed):
    """Ten steps of the same image, in sinabs' axis of batch and time."""
    return images(16, 26)(seed)[:, None].expand(16, 10, 1, 26, 26).flatten(0, 1)


def dense(neuron, first=64, width=100):
    return nn.Sequential(nn.Linear(first, width), neuron(), nn.Linear(width, width), neuron(), nn.Linear(width, 10))


class Recurrent(nn.Module):
    """Two layers of snnTorch's recurrent neurons and a readout."""

    def __init__(self, kind, **options):
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(64, 100), nn.Linear(100, 100)])
        self.neurons = nn.ModuleList(kind(beta=0.5, linear_features=100, init_hidden=True, **options) for _ in self.weights)
        self.readout = nn.Linear(100, 10)

    def forward(self, x):
        for neuron in self.neurons:
            neuron.reset_mem()
        return sum(self.step(x) for _ in range(8))

    def step(self, x):
        for weight, neuron in zip(self.weights, self.neurons, strict=True):
            x = neuron(weight(x))
        return self.readout(x)


def recurrent_container():
    neuron, layer = (import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "layer"))
    container = layer.LinearRecurrentContainer(neuron.LIFNode(), 100, 100)
    return Repeated(nn.Sequential(layer.Linear(64, 100), container, layer.Linear(100, 10)), steps=8)


def norse_recurrent():
    layers = norse.LIFRecurrent(64, 100), nn.Linear(100, 100), norse.LIF(), nn.Linear(100, 10), norse.LI()
    return norse.SequentialState(*layers)


def norse_sequence():
    layers = nn.Linear(64, 100), norse.LIF(), nn.Linear(100, 100), norse.LIF(), nn.Linear(100, 10), norse.LI()
    return norse.SequentialState(*layers)


def currents(seed):
    """Six steps of the same inputs."""
    return 3 * flat(32, 8)(seed).expand(6, 32, 64)


SNNTORCH, SPIKINGJELLY = ("snntorch.Leaky",), ("spikingjelly.IFNode",)
JELLY = {"spiking": SPIKINGJELLY, "time_axis": 0, "needs": "spikingjelly"}
ZOO = {
    "sew_resnet18": ("sew_resnet", {"cnf": "ADD"}),
    "ms_resnet18": ("ms_resnet", {}),
    "spiking_resnet18": ("spiking_resnet", {}),
    "spiking_vgg11_bn": ("spiking_vgg", {}),
}
COLOURS = images(16, 32, 3)

FAMILIES = {
    "snnTorch tutorial 5": Family(Tutorial5, flat(32, 28), SNNTORCH, output=True),
    "snnTorch tutorial 6": Family(tutorial6, images(16, 28), SNNTORCH, output=True),
    "BatchNorm, train": Family(lambda: normalised("train"), images(16, 14), SNNTORCH, output=True),
    "BatchNorm, eval": Family(lambda: normalised("eval"), images(16, 14), SNNTORCH, output=True),
    "SEW": Family(lambda: Residual("SEW"), images(16, 12), SNNTORCH),
    "MS": Family(lambda: Residual("MS"), images(16, 12), SNNTORCH),
    "Norse SequentialState": Family(norse_sequence, currents, ("norse.LIF",), time_axis=0, needs="norse"),
    "Norse LIFRecurrent": Family(norse_recurrent, currents, ("norse.LIF", "norse.LIFRecurrent"), time_axis=0, needs="norse"),
    "snnTorch RLeaky": Family(lambda: Recurrent(snntorch.RLeaky), flat(32, 8), ("snntorch.RLeaky",)),
    "snnTorch RSynaptic": Family(lambda: Recurrent(snntorch.RSynaptic, alpha=0.8), flat(32, 8), ("snntorch.RSynaptic",)),
    "hand-written": Family(lambda: dense(Handwritten), flat(32, 8), (f"{__name__}.Handwritten",), steps=8),
    "transformer": Family(Block, lambda seed: images(16, 16)(seed).squeeze(1), SNNTORCH),
    "SpikingJelly CSNN": Family(spikingjelly_csnn, images(16, 28), **JELLY, output=True),
    "SpikingJelly LinearRecurrentContainer": Family(
        recurrent_container, flat(32, 8), ("spikingjelly.LinearRecurrentContainer",), time_axis=0, needs="spikingjelly"
    ),
    **{
        f"SpikingJelly {name}, {mode}": Family(of_spikingjelly(module, name, mode, **options), COLOURS, **JELLY)
        for name, (module, options) in ZOO.items()
        for mode in ("train", "eval")
    },
    "sinabs from_model": Family(of_sinabs, frames, ("sinabs.IAFSqueeze",), needs="sinabs"),
}
