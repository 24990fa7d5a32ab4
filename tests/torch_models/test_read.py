"""Torch models read as networks: the mean field, gradients, kernels and simulations of these are those of the model."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from model_families import FAMILIES, Block  # noqa: E402
from model_structures import BIAS, STEPS, STRUCTURES, drawn, leaky, stronger  # noqa: E402
from torch import nn  # noqa: E402

import varflow as vf  # noqa: E402
from varflow.model.build import graph_of  # noqa: E402
from varflow.results import late_steps  # noqa: E402
from varflow.theory.signals.moments import rescaled  # noqa: E402
from varflow.theory.walks.signals import Blocks, signals_walk  # noqa: E402
from varflow.torch_models.prediction.signals import effort_for  # noqa: E402

L = vf.layers


def some(x, most=8):
    """The inputs that an audit takes of a batch."""
    return x if len(x) <= most else x[np.linspace(0, len(x) - 1, most).round().astype(int)]


def made(name):
    make, data = STRUCTURES[name]
    model = make()
    return drawn(model, model.gain, 3), some(data())


def late(rates, steps):
    return rates.reshape(len(rates), -1)[:, late_steps(steps)].mean(axis=1)


def predicted(model, x):
    return np.array([layer.predicted_rate for layer in vf.audit(model, x).layers])


def with_the_effort_of_an_audit(network):
    """Rates of each layer at each step, by the walk of ``mean_field``."""
    blocks = Blocks.of(network, effort_for(graph_of(network)))
    ((start, batching),) = blocks
    walk = blocks.walk(batching)
    signals_walk(blocks.graph, start, walk)
    return np.stack([state.firing_rate.reshape(-1, network.steps).mean(axis=0) for state in walk.records])


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_mean_field_is_the_prediction_of_an_audit(name):
    """To rounding, with the audit's effort; that of a stronger model is another."""
    model, x = made(name)
    network = vf.read(model, x)
    rates = late(with_the_effort_of_an_audit(network), network.steps)
    # a point in a thousand may change sides where currents are rounded in another order
    assert np.abs(rates / predicted(model, x) - 1).max() < 1e-3
    assert np.abs(rates / predicted(stronger(model), x) - 1).max() > 0.05


@pytest.mark.parametrize("name", ["spikes added", "inhibited", "concatenated", "membranes added", "maxima of currents"])
def test_a_simulation_agrees_with_the_model_that_was_read(name):
    model, x = made(name)
    network = vf.read(model, x)
    rates = vf.simulate(network, repeats=2 * len(x), seed=1).firing_rate[..., late_steps(STEPS)].mean(axis=-1)
    error = rates.std(axis=0, ddof=1) / math.sqrt(len(rates))
    right, wrong = (late(vf.mean_field(vf.read(each, x), points=2**9).firing_rate, STEPS) for each in (model, stronger(model)))
    tolerance = 4 * error + BIAS * rates.mean(axis=0)
    assert np.all(np.abs(right - rates.mean(axis=0)) < tolerance)
    assert np.any(np.abs(wrong - rates.mean(axis=0)) > tolerance)


@pytest.mark.parametrize("name", ["spikes added", "running statistics", "layer norm", "pools"])
def test_gradients_grow_as_an_audit_predicts(name):
    """Ratios of norms, within numerical errors; those of a wider surrogate do not."""
    model, x = made(name)
    psi = vf.surrogates.atan()
    norms = np.array([layer.predicted_gradient_norm for layer in vf.audit(model, x, gradients=True).layers])

    def ratios(surrogate):
        flow = vf.gradient_flow(vf.read(model, x), surrogate, points=2**9, scrambles=2)
        energy = flow.energy.reshape(len(norms), -1).sum(axis=1)
        return np.sqrt(energy / energy[-1]) / (norms / norms[-1])

    assert np.abs(ratios(psi) - 1).max() < 0.03  # the audit's 2⁸ to 2¹⁰ points
    assert np.abs(ratios(psi.widened(2 * psi.width)) - 1).max() > 0.1


def test_a_chain_is_a_chain():
    """With which all that knows chains only goes on."""
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(40, 40, bias=False), leaky())))
    network = vf.read(model, torch.rand(5, 40), steps=4)
    assert network.nodes is None
    assert network.unknown == ()
    assert network.neurons == [vf.neurons.snntorch_leaky(0.5)] * 3
    gains = [layer.gain for layer in graph_operations(network, L.Linear)] if network.layers else list(network.gains[1:])
    assert gains[-2:] == pytest.approx([float(model[l].weight.detach().std(correction=0)) * 40**0.5 for l in (2, 4)], rel=1e-6)
    assert vf.kernel(network).depth == 3


def graph_operations(network, kind):
    return [node.operation for node in graph_of(network) if isinstance(node.operation, kind)]


class Gap(nn.Module):
    """An operation without a theory between two layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.one, self.two = nn.Linear(30, 300), nn.Linear(300, 300), leaky(), leaky()
        nn.init.normal_(self.first.weight, 0, 4 / 30**0.5), nn.init.normal_(self.second.weight, 0, 3 / 300**0.5)

    def forward(self, x):
        return self.two(self.second(torch.tanh(2 * self.one(self.first(x)))))


def test_what_theory_does_not_know_is_named_and_measured():
    model, x = Gap(), torch.rand(6, 30)
    network = vf.read(model, x, steps=4)
    assert network.unknown == ("tanh in the model's forward",)
    assert [type(operation).__name__ for operation in graph_operations(network, L.Measured)] == ["Measured"] * 2
    rates, ensemble = (
        vf.mean_field(network).firing_rate,
        vf.simulate(network, repeats=60, seed=2, engine="conditional").firing_rate,
    )
    error = ensemble.std(axis=0, ddof=1) / 60**0.5
    assert np.all(np.abs(rates - ensemble.mean(axis=0)) < 4 * error + BIAS * rates)
    assert "into second" in str(network)
    with pytest.raises(vf.DomainError, match="a neuron without equations"):
        vf.read(FAMILIES["hand-written"].make(), FAMILIES["hand-written"].batch(0))


def test_rows_count_as_inputs_and_unknown_neurons_are_left_out():
    torch.manual_seed(0)
    network = vf.read(Block(), torch.rand(3, 5, 16))
    assert network.depth == 7
    assert any("matmul" in words for words in network.unknown)
    assert graph_operations(network, L.Measured)[0].x.shape[1] == 3 * 5


class InARow(nn.Module):
    """Weights that receive the currents of others, which neurons receive too."""

    def __init__(self, gain=1.2):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.one, self.two = nn.Linear(30, 300), nn.Linear(300, 300), leaky(), leaky()
        nn.init.normal_(self.first.weight, 0, 4 / 30**0.5), nn.init.normal_(self.second.weight, 0, gain / 300**0.5)

    def forward(self, x):
        currents = self.first(x)
        return self.one(currents) + self.two(self.second(currents))


def test_weights_in_a_row_are_followed():
    x = torch.rand(6, 30, generator=torch.Generator().manual_seed(1))
    network, other = (vf.read(InARow(gain), x, steps=4) for gain in (1.2, 1.8))
    assert network.unknown == ()
    rates = vf.simulate(network, repeats=48, seed=3, engine="conditional").firing_rate.mean(axis=2)
    tolerance = 4 * rates.std(axis=0, ddof=1) / 48**0.5 + BIAS * rates.mean(axis=0)
    right, wrong = (vf.mean_field(each).firing_rate.mean(axis=1) - rates.mean(axis=0) for each in (network, other))
    assert np.all(np.abs(right) < tolerance)
    assert np.abs(wrong[1]) > tolerance[1]


class Shared(nn.Module):
    """Two modules of one weight, whose currents are added or fed to different neurons."""

    def __init__(self, added):
        super().__init__()
        self.added = added
        self.a, self.b = nn.Linear(30, 30), nn.Linear(30, 30)
        self.b.weight = self.a.weight
        self.one, self.two, self.three, self.c = leaky(), leaky(), leaky(), nn.Linear(30, 30)

    def forward(self, x):
        if self.added:
            return self.one(self.a(x) + self.b(x.flip(-1)))
        return self.three(self.c(self.one(self.a(x)) + self.two(self.b(x.flip(-1)))))


def test_weights_that_modules_share_are_not_taken_as_independent():
    for added, words in ((True, "a sum"), (False, "a sum")):
        model = Shared(added)
        report = vf.audit(model, torch.rand(4, 30), steps=3)
        assert any(f"{words} of signals that depend on each other" in note for note in report.notes)
    assert any("depend on each other" in words for words in vf.read(model, torch.rand(4, 30), steps=3).unknown)


# Operations of one's own.


class RootMeanSquare(L.Layer):
    """``γ x/√⟨x²⟩``."""

    normalises, free, accepts = True, "gamma", ("currents",)

    def __init__(self, gamma):
        object.__setattr__(self, "gamma", gamma)

    def after(self, signal, width=None):
        return signal

    def __repr__(self):
        return f"RootMeanSquare({self.gamma})"


class OwnNorm(nn.Module):
    def __init__(self, size, gamma=1.5):
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), gamma))

    def forward(self, x):
        return self.weight * x / x.square().mean(-1, keepdim=True).sqrt()


def normalised(norm):
    torch.manual_seed(2)
    layers = [m for n in (40, 400) for m in (nn.Linear(n, 400), norm(400), leaky())]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("norm", [OwnNorm, lambda size: nn.GroupNorm(1, size)])
def test_an_operation_of_ones_own_is_read(norm, monkeypatch):
    """By the class of its module, or by its function: an audit predicts it, and rejects another γ."""
    model, x = normalised(norm), torch.rand(8, 40)
    assert all(math.isnan(layer.predicted_rate) for layer in vf.audit(model, x, steps=4).layers)
    factor = 1.0

    def scale(layer, currents):
        square = np.diagonal(currents.covariance, axis1=-2, axis2=-1) + currents.mean**2
        return factor * layer.gamma / np.sqrt(square)

    def of_function(x, num_groups, weight=None, bias=None, eps=1e-5):
        return RootMeanSquare(1.0 if weight is None else float(weight.detach().square().mean().sqrt()))

    for part in ("forward", "backward", "simulate"):  # undone afterwards
        monkeypatch.setitem(vf.model.graph.MAPS[part], RootMeanSquare, None)
    for name in (OwnNorm, "group_norm"):
        monkeypatch.setitem(vf.model.extensions.READS, name, None)

    def of_module(module):
        return RootMeanSquare(float(module.weight.detach().square().mean().sqrt()))

    vf.register(
        RootMeanSquare,
        forward=lambda layer, inputs, visit: rescaled(inputs[0], scale(layer, inputs[0])),
        reads={
            OwnNorm: lambda module: RootMeanSquare(float(module.weight.detach().square().mean().sqrt())),
            "group_norm": of_function,
        },
    )

    def off():
        layers = vf.audit(model, x, steps=4).layers
        return max(abs(layer.predicted_rate / layer.firing_rate - 1) for layer in layers)

    assert off() < 0.1  # one network of width 400
    assert vf.read(model, x, steps=4).unknown == ()
    factor = 1.3
    assert off() > 0.2
