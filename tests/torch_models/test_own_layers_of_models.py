"""Functions and modules of torch that stand for a layer written outside the package: audits predict what is behind them."""

from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import varflow as vf  # noqa: E402
from varflow.model.extensions import READS  # noqa: E402


@dataclass(frozen=True, slots=True, repr=False)
class Cubed(vf.layers.Layer):
    """Spikes (and sums of spikes) times a factor, through a function of torch."""

    factor: float

    def after(self, signal, width=None):
        return signal


def cubed(layer, inputs, visit):
    return vf.theory.summed(inputs, [layer.factor])


class Threefold(torch.nn.Module):
    def forward(self, x):
        return torch.cosh(x) * 0 + 3 * x


class Spiking(torch.nn.Module):
    def forward(self, current):
        return (current > 1.0).float()


@pytest.fixture
def registered(monkeypatch):
    """The class, with readers for this test only."""
    vf.init.reads(Spiking)(lambda module: vf.Neuron(1.0))
    for name in ("sinh", Threefold):
        monkeypatch.setitem(READS, name, None)
    vf.register(
        Cubed,
        forward=cubed,
        backward=lambda layer, gradients, visit, way: [gradients.times(layer.factor**2)],
        reads={"sinh": lambda x: Cubed(np.sinh(1.0)), Threefold: lambda module: Cubed(3.0)},
    )


class Model(torch.nn.Module):
    def __init__(self, between):
        super().__init__()
        self.first, self.one, self.second, self.two = torch.nn.Linear(500, 500), Spiking(), torch.nn.Linear(500, 500), Spiking()
        self.between = between

    def forward(self, x):
        return self.two(self.second(self.between(self.one(self.first(x)))))


def audited(between):
    torch.manual_seed(0)
    return vf.audit(Model(between), 3 * torch.randn(8, 500))


BETWEEN = {"a function": torch.sinh, "a module": Threefold()}


@pytest.mark.parametrize("name", BETWEEN)
def test_an_operation_from_outside_is_predicted(registered, name):
    found, known = audited(BETWEEN[name]).layers[1], audited(lambda x: {"a module": 3.0}.get(name, np.sinh(1.0)) * x).layers[1]
    assert found.predicted_rate == pytest.approx(known.predicted_rate, rel=1e-6)
    assert found.firing_rate == pytest.approx(known.firing_rate, abs=1e-3)
    assert found.predicted_rate == pytest.approx(found.firing_rate, abs=0.03)


@pytest.mark.parametrize("name", BETWEEN)
def test_without_a_reader_it_is_named(name):
    vf.init.reads(Spiking)(lambda module: vf.Neuron(1.0))
    report = audited(BETWEEN[name])
    assert any("sinh" in each or "cosh" in each or "between" in each for each in [str(report), *map(str, report.layers)])
