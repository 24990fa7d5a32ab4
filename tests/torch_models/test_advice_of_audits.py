"""The advice of an audit: gains with factors in the forward, guesses that are called guesses, and gains that are too large."""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

WIDTH, LAYERS, STEPS = 120, 4, 8
X = torch.rand(6, WIDTH, generator=torch.Generator().manual_seed(5))


def draw(weight, gain):
    nn.init.normal_(weight.weight, 0, gain / math.sqrt(weight.in_features), generator=torch.Generator().manual_seed(7))
    nn.init.zeros_(weight.bias)


class Net(nn.Module):
    """Layers of neurons, each behind ``between(weight, what arrives)``."""

    def __init__(self, gain, between=lambda weight, x: weight(x), neuron=lambda: snntorch.Leaky(0.6, init_hidden=True)):
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.neurons = nn.ModuleList(neuron() for _ in range(LAYERS))
        self.between = between
        for weight in self.weights:
            draw(weight, gain)

    def forward(self, x):
        for weight, neuron in zip(self.weights, self.neurons, strict=True):
            x = neuron(self.between(weight, x))
        return x

    def mended(self, fixes):
        for name, gain in fixes.items():
            draw(self.get_submodule(name), gain)
        return self


def normalised(std):
    """BatchNorm in eval mode, whose statistics are a factor."""
    norm = nn.BatchNorm1d(WIDTH).eval()
    norm.running_var.fill_(std**2)
    return lambda weight, x: norm(weight(x))


BETWEEN = {
    "times": (7.0, lambda weight, x: 7 * weight(x)),
    "over": (0.25, lambda weight, x: weight(x) / 4),
    "spikes": (3.0, lambda weight, x: weight(3.0 * x)),
    "minus": (0.4, lambda weight, x: -(weight(x * 0.8) * 0.5)),
    "statistics": (5.0, normalised(0.2)),
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_constant_factors_are_part_of_the_gain(kind):
    """A factor f on currents or spikes is answered by 1/f in the needed gains of all layers, and these lead to health."""
    factor, between = BETWEEN[kind]
    plain = vf.audit(Net(0.3, lambda weight, x: 1.0 * weight(x)), X, steps=STEPS)
    found = vf.audit(Net(0.3 / factor, between), X, steps=STEPS)
    assert len(found.fixes) == LAYERS
    assert {name: factor * gain for name, gain in found.fixes.items()} == pytest.approx(plain.fixes, rel=1e-3)
    assert found.cause == plain.cause == "below the critical gain"
    mended, ignored = (vf.audit(Net(0.3, between).mended(fixes), X, steps=STEPS).layers for fixes in (found.fixes, plain.fixes))
    assert all(abs(layer.firing_rate - 0.2) < 0.06 for layer in mended)
    assert not all(abs(layer.firing_rate - 0.2) < 0.06 for layer in ignored)  # with the gains that know no factor


def test_a_factor_between_two_weights_in_a_row_is_part_of_the_gain():
    class Row(nn.Module):
        def __init__(self, factor, gain):
            super().__init__()
            self.a, self.first = nn.Linear(WIDTH, WIDTH), snntorch.Leaky(0.6, init_hidden=True)
            self.b, self.c, self.second = (
                nn.Linear(WIDTH, WIDTH),
                nn.Linear(WIDTH, WIDTH),
                snntorch.Leaky(0.6, init_hidden=True),
            )
            self.d, self.third = nn.Linear(WIDTH, WIDTH), snntorch.Leaky(0.6, init_hidden=True)
            self.factor = factor
            for weight, own in zip((self.a, self.b, self.c, self.d), (3.0, 1.0, gain, 3.0), strict=True):
                draw(weight, own)

        def forward(self, x):
            return self.third(self.d(self.second(self.c(self.factor * self.b(self.first(self.a(x)))))))

    needed = [vf.audit(Row(factor, 0.01), X, steps=STEPS)["c"].needed_gain for factor in (1.0, 6.0)]
    assert needed[0] == pytest.approx(6 * needed[1], rel=1e-6)


class Refractory(nn.Module):
    """A neuron without equations: it pauses for a step after a spike, and needs much."""

    def __init__(self):
        super().__init__()
        self.u = self.paused = 0.0

    def forward(self, current):
        self.u = 0.5 * self.u + current
        spikes = ((self.u > 4.0) * (1.0 - self.paused)).float()
        self.u, self.paused = self.u * (1 - spikes), spikes
        return spikes


def test_a_guess_is_called_one():
    """Where theory knows no needed gain, no factor is claimed; where it knows one, it is the factor."""
    unknown = vf.audit(Net(0.5, neuron=Refractory), X, steps=STEPS)
    (problem,) = unknown.problems
    assert math.isnan(unknown[unknown.fix_layer].needed_gain)
    assert f"{unknown.fix_layer} (Linear) needs a larger gain, theory does not know which. To begin with: vf.init." in problem
    assert "times too small" not in problem
    known = vf.audit(Net(0.5), X, steps=STEPS)
    ratio = known.fix_gain / known[known.fix_layer].gain
    assert f"Weights of {known.fix_layer} (Linear) are {ratio:.3g} times too small" in known.problems[0]


def test_all_gains_that_are_too_large_are_listed():
    """One set of fixes mends the network; a layer that has the gain it needs is not in it."""
    first = vf.audit(Net(300.0), X, steps=STEPS)
    assert not first.healthy
    assert len(first.fixes) == LAYERS
    for name in ("elsewhere", np.zeros(2)):
        with pytest.raises(vf.DomainError, match=r"is none of \.fixes"):
            first.remedy(name)
    again = vf.audit(Net(300.0).mended(first.fixes), X, steps=STEPS)
    assert again.healthy
    assert max(layer.width_in_thresholds for layer in again.layers) < 5
    mixed = Net(300.0).mended({name: gain for name, gain in first.fixes.items() if name != "weights.2"})
    assert list(vf.audit(mixed, X, steps=STEPS).fixes) == ["weights.2"]


def test_rates_near_the_most_that_gains_give_are_remarked_on():
    large, good = (vf.audit(Net(gain), X, steps=STEPS) for gain in (9.0, 2.0))
    assert large.healthy
    assert good.healthy
    (remark,) = large.remarks
    assert remark.startswith("late rates of 0.4")
    assert remark in repr(large)
    assert not good.remarks


@pytest.mark.parametrize(
    ("gain", "word"), [(400.0, "hardly depend on what it receives: lower its gain"), (1e-3, "may fire little")]
)
def test_an_output_that_is_not_healthy_is_told_what_it_needs(gain, word):
    """A saturated output is not said to fire little."""
    found = vf.audit(Net(2.0).mended({f"weights.{LAYERS - 1}": gain}), X, steps=STEPS)
    assert found.healthy
    (remark,) = found.remarks
    assert word in remark
    if gain > 1:
        assert remark.endswith(f"to {found.layers[-1].needed_gain:.4g}")
        assert "fire little" not in remark
