"""Models that draw random numbers in their forward are measured in several passes, with the standard error of their means."""

import copy
import re

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from spiking_models import left_behind, same  # noqa: E402
from torch import nn  # noqa: E402

STEPS, WIDTH, PASSES, MANY = 5, 60, 5, 60
X = torch.rand(4, WIDTH, generator=torch.Generator().manual_seed(0))


class Encoded(nn.Module):
    """Rate coding inside the forward, by torch, numpy or Python; or dropout written as a function."""

    def __init__(self, chance):
        super().__init__()
        torch.manual_seed(1)
        self.chance = chance
        weights = [nn.Linear(WIDTH, WIDTH) for _ in range(3)]
        for weight in weights:
            nn.init.normal_(weight.weight, std=3.0 / WIDTH**0.5)
        self.neurons = [snntorch.Leaky(0.5, init_hidden=True) for _ in weights]
        self.weights, self.modules_in_time = nn.ModuleList(weights), nn.ModuleList(self.neurons)

    def encoded(self, x):
        match self.chance:
            case "torch":
                return torch.bernoulli(x)
            case "numpy":
                return (torch.from_numpy(np.random.random(x.shape)) < x).float()  # noqa: NPY002
            case "like":
                return (torch.rand_like(x) < x).float()
            case _:
                return x

    def forward(self, x):
        for neuron in self.neurons:
            neuron.reset_mem()
        spikes = x
        for _ in range(STEPS):
            spikes = self.encoded(x)
            for weight, neuron in zip(self.weights, self.neurons, strict=True):
                spikes = neuron(weight(spikes))
                if self.chance == "dropout":
                    spikes = nn.functional.dropout(spikes, 0.4, training=self.training)
        return spikes


CHANCES = ("torch", "numpy", "like", "dropout")


def late_rates(model, seeds):
    """Late rates of every layer in passes with other random numbers, shape (passes, layers)."""
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        spikes = [[] for _ in model.neurons]
        handles = [
            neuron.register_forward_hook(lambda m, a, out, own=own: own.append(float(out.mean())))
            for neuron, own in zip(model.neurons, spikes, strict=True)
        ]
        with torch.no_grad():
            model(X)
        for handle in handles:
            handle.remove()
        found.append([np.mean(own[STEPS // 2 :]) for own in spikes])
    return np.array(found)


@pytest.mark.parametrize("chance", CHANCES)
def test_the_audit_averages_passes(chance):
    """Rates are within 4.5 standard errors of the mean of many passes; the stated error is that of the mean to within its own
    scatter; a model with weights 30 % smaller is rejected.
    """
    model = Encoded(chance)
    before = copy.deepcopy(left_behind(model))
    report = vf.audit(model, X)
    assert same(before, left_behind(model))
    (note,) = (note for note in report.notes if "draws random numbers" in note)
    assert f"means of {PASSES} passes" in note
    passes = late_rates(model, range(100, 100 + MANY))
    spread = passes.std(axis=0, ddof=1)
    off = np.abs([layer.firing_rate for layer in report.layers] - passes.mean(axis=0))
    tolerance = 4.5 * spread * (1 / PASSES + 1 / MANY) ** 0.5 + 1e-6  # rounding
    assert np.all(off < tolerance)
    (stated,) = map(float, re.findall(r"at most ([\d.e-]+) of", note))
    assert 0.2 < stated / (spread.max() / PASSES**0.5) < 3  # a sample of 5: χ₄/2 is within these with probability 0.998
    with torch.no_grad():
        for weight in model.weights.parameters():
            weight.mul_(0.7)
    weaker = [layer.firing_rate for layer in vf.audit(model, X).layers]
    assert np.any(np.abs(weaker - passes.mean(axis=0)) > tolerance)


@pytest.mark.parametrize("chance", ["torch", "dropout"])
def test_weights_are_scaled_to_means_of_passes(chance):
    """The rate planned is the mean over passes, within 4.5 standard errors and the 2 % to which layers are scaled."""
    model = Encoded(chance)
    plan = vf.init.init_model(model, X, rate=0.2, refine=True, generator=torch.Generator().manual_seed(0))
    assert any("draws random numbers" in note for note in plan.notes)
    passes = late_rates(model, range(100, 100 + MANY))
    tolerance = 4.5 * passes.std(axis=0, ddof=1) * (1 / PASSES + 1 / MANY) ** 0.5
    planned = np.array([layer.firing_rate for layer in plan.layers])
    assert np.all(np.abs(passes.mean(axis=0) - planned) < tolerance + 0.03 * planned)
    assert np.any(np.abs(late_rates(Encoded(chance), range(3)).mean(axis=0) - planned) > tolerance + 0.03 * planned)


def test_models_without_chance_are_measured_once():
    """Dropout modules and functions that are off draw nothing."""
    for model in (Encoded("none"), Encoded("dropout").eval(), nn.Sequential(Encoded("none"), nn.Dropout(0.5))):
        assert not any("random" in note for note in vf.audit(model, X).notes)


def test_active_dropout_is_not_predicted_as_if_it_were_off():
    report = vf.audit(Encoded("dropout"), X)
    assert any("dropout in the model's forward" in note for note in report.notes)


class AsLongAsChance(nn.Module):
    """A number of steps drawn at random."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.neuron = nn.Linear(WIDTH, WIDTH), snntorch.Leaky(0.5, init_hidden=True)

    def forward(self, x):
        return sum(self.neuron(self.weight(8 * x)) for _ in range(4, 5 + int(torch.randint(6, ()))))


def test_passes_of_different_lengths_are_averaged():
    """Late steps with late ones: within 4.5 standard errors of the mean over many passes; another network is not."""
    model, passes, made = AsLongAsChance(), [], []
    report = vf.audit(model, X)
    assert any("draws random numbers" in note for note in report.notes)
    (layer,) = report.layers
    assert len(layer.firing_rates) == report.steps
    handle = model.neuron.register_forward_hook(lambda module, given, out: made.append(float(out.detach().mean())))
    for number in range(MANY):
        torch.manual_seed(number)
        made.clear()
        model.neuron.reset_mem()
        model(X)
        passes.append(np.mean(made[len(made) // 2 :]))
    handle.remove()
    tolerance = 4.5 * np.std(passes, ddof=1) * (1 / PASSES + 1 / MANY) ** 0.5
    assert abs(layer.firing_rate - np.mean(passes)) < tolerance
    with torch.no_grad():
        model.weight.weight.mul_(0.7)
    assert abs(vf.audit(model, X).layers[0].firing_rate - np.mean(passes)) > tolerance
