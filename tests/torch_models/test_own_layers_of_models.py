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


def test_a_module_whose_reader_gives_no_layer_is_named(registered, monkeypatch):
    assert audited(BETWEEN["a module"]).notes == ()
    monkeypatch.setitem(READS, Threefold, lambda module: None)
    assert audited(BETWEEN["a module"]).notes == (
        "predicted from what they received in this pass, after Threefold in 'between': second",
    )


@dataclass(frozen=True, slots=True, repr=False)
class Lerp(vf.layers.Layer):
    """``a + w (b - a)``."""

    weight: float
    merges = True

    def after(self, first, second, width=None):
        return first


def mixed(layer, inputs, visit):
    return vf.theory.summed(inputs, (1 - layer.weight, layer.weight))


class Mixing(torch.nn.Module):
    """Strong and weak currents of one layer, mixed."""

    def __init__(self, mix):
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Linear(500, 500) for _ in range(3))
        self.one, self.two, self.mix = Spiking(), Spiking(), mix
        with torch.no_grad():
            self.b.weight *= 6

    def forward(self, x):
        spikes = self.one(self.a(x))
        return self.two(self.mix(self.b(spikes), self.c(spikes)))


def last_layer(mix):
    torch.manual_seed(0)
    return vf.audit(Mixing(mix), 3 * torch.randn(8, 500)).layers[1]


ORDERS = {
    "lerp": (lambda p, q: torch.lerp(q, p, weight=0.9), lambda p, q: torch.lerp(end=p, weight=0.9, input=q)),
    "add": (lambda p, q: torch.add(p, q, alpha=5), lambda p, q: torch.add(alpha=5, other=q, input=p)),
    "sub": (lambda p, q: torch.sub(q, p, alpha=0.5), lambda p, q: torch.sub(other=p, input=q, alpha=0.5)),
    "out": (lambda p, q: p + 5 * q, lambda p, q: torch.add(p, 5 * q, out=p + 0)),
}


@pytest.mark.parametrize("name", ORDERS)
def test_signals_come_in_the_order_of_parameters(registered, monkeypatch, name):
    """Whatever that of the keywords in the call; in the other order the prediction is another."""
    monkeypatch.setitem(READS, "lerp", None)
    vf.register(Lerp, forward=mixed, reads={"lerp": lambda input, end, weight: Lerp(float(weight))})
    declared, other = (last_layer(mix) for mix in ORDERS[name])
    assert other.predicted_rate == pytest.approx(declared.predicted_rate, rel=1e-9)
    assert other.predicted_rate == pytest.approx(other.firing_rate, abs=0.03)
    swapped = last_layer(lambda p, q: ORDERS[name][0](q, p))
    assert abs(swapped.predicted_rate - other.predicted_rate) > 0.05


def test_constants_in_a_merge_are_not_covered(registered, monkeypatch):
    monkeypatch.setitem(READS, "lerp", None)
    vf.register(Lerp, forward=mixed, reads={"lerp": lambda x, end, weight: Lerp(float(weight))})
    for mix in (lambda p, q: torch.lerp(p, torch.zeros_like(p), 0.7), lambda p, q: torch.lerp(torch.zeros_like(p), p, 0.7)):
        torch.manual_seed(0)
        report = vf.audit(Mixing(mix), 3 * torch.randn(8, 500))
        assert any("lerp" in note for note in report.notes)
        assert np.isnan(report.layers[1].predicted_rate)
