"""Models of recurrent modules, and of neurons that differ: their late rates are predicted, their rates those of hooks."""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402

N, STEPS, INPUTS, NETWORKS = 100, 10, 16, 8


class Chain(nn.Module):
    """Weights and cells of snnTorch."""

    def __init__(self, cell, depth=2):
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(N, N) for _ in range(depth)])
        self.cells = nn.ModuleList([cell() for _ in range(depth)])
        for weight in self.weights:
            nn.init.normal_(weight.weight, std=1.2 / math.sqrt(N))

    def forward(self, x):
        for cell in self.cells:
            cell.reset_mem()
        out = []
        for _ in range(STEPS):
            spikes = x
            for weight, cell in zip(self.weights, self.cells, strict=True):
                spikes = cell(weight(spikes))[0]
            out.append(spikes)
        return torch.stack(out)


class NorseChain(nn.Module):
    """Norse's recurrent layers, which hold all weights; behind other weights, whose currents pass two weight layers."""

    def __init__(self, behind=False):
        super().__init__()
        self.before = nn.Linear(N, N, bias=False) if behind else nn.Identity()
        if isinstance(self.before, nn.Linear):
            nn.init.normal_(self.before.weight, std=1.0 / math.sqrt(N))
        self.first, self.second = norse.LIFRecurrent(N, N), norse.LIFRecurrent(N, N)

    def forward(self, x):
        spikes, _ = self.first(3 * self.before(x.expand(STEPS, *x.shape)))
        return self.second(spikes)[0]


def container():
    from spikingjelly.activation_based import layer, neuron

    return layer.LinearRecurrentContainer(neuron.LIFNode(decay_input=False), N, N)


class JellyChain(nn.Module):
    """SpikingJelly's recurrent containers, which hold all weights."""

    def __init__(self, behind=False):
        super().__init__()
        pytest.importorskip("spikingjelly", reason="SpikingJelly is not installed")
        containers = [container(), container()]
        with torch.no_grad():
            for each in containers:
                each.rc.weight.mul_(3.0)
        before = [nn.Linear(N, N)] if behind else []
        for weight in before:
            nn.init.normal_(weight.weight, std=1.5 / math.sqrt(N))
        self.layers = nn.Sequential(*before, *containers)

    def forward(self, x):
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return torch.stack([self.layers(x) for _ in range(STEPS)])


def decays():
    return 0.2 + 0.7 * torch.rand(N)


MODELS = {
    "RLeaky": lambda: Chain(lambda: snntorch.RLeaky(0.7, linear_features=N)),
    "RSynaptic": lambda: Chain(lambda: snntorch.RSynaptic(0.4, 0.6, linear_features=N)),
    "to itself": lambda: Chain(lambda: snntorch.RLeaky(0.7, V=-0.5, all_to_all=False)),
    "decays": lambda: Chain(lambda: snntorch.Leaky(decays(), threshold=0.7 + 0.6 * torch.rand(N))),
    "Norse": NorseChain,
    "Norse, behind weights": lambda: NorseChain(behind=True),
    "SpikingJelly": JellyChain,
    "SpikingJelly, behind weights": lambda: JellyChain(behind=True),
}


@pytest.mark.parametrize("kind", MODELS)
def test_predicted_and_measured(kind):
    """Over networks, the measured rates scatter about the predictions; those of a model without recurrence or of equal neurons
    are elsewhere. Widths of 100 bias rates by up to 5 %.
    """
    found = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        model, x = MODELS[kind](), torch.rand(INPUTS, N)
        report = vf.audit(model, x)
        with torch.no_grad():
            last = float(model(x)[STEPS // 2 :].mean())
        assert report.layers[-1].firing_rate == pytest.approx(last, rel=1e-5)
        found.append([(layer.firing_rate, layer.predicted_rate, layer.variance) for layer in report.layers])
    measured, predicted, variance = np.moveaxis(found, -1, 0)
    off = measured - predicted
    error = off.std(0, ddof=1) / NETWORKS**0.5
    assert np.isfinite(variance).all()
    assert (np.abs(off.mean(0)) < 4 * error + 0.05 * predicted.mean(0)).all()
    wrong = measured - 1.3 * predicted  # what a tolerance this wide must reject
    assert (np.abs(wrong.mean(0)) > 4 * error + 0.05 * predicted.mean(0)).any()


def test_other_weights_before_every_recurrent_cell():
    model = nn.Sequential(*(part for _ in range(2) for part in (nn.Linear(N, N), Stateful(norse.LIFRecurrentCell(N, N)))))
    for parameter in (each for each in model.parameters() if each.dim() > 1):
        nn.init.normal_(parameter, std=2.5 / math.sqrt(N))
    report = vf.audit(model, 3 * torch.rand(INPUTS, N), steps=STEPS)
    for layer in report.layers:
        assert layer.predicted_rate == pytest.approx(layer.firing_rate, rel=0.1)


class Stateful(nn.Module):
    """A cell of Norse with its state."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.state = cell, None

    def forward(self, x):
        spikes, self.state = self.cell(x, self.state)
        return spikes
