"""BatchNorm over few rows, or rows that are alike: the variance that divides a neuron's currents is itself random."""

from dataclasses import replace

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import varflow as vf
from varflow.theory.operations import batch_norm
from varflow.theory.operations.batch_norm import BatchStatistics
from varflow.theory.signals.shared_scale import SharedScale

L = vf.layers
BIAS = 0.01  # relative, of a variance that is matched by its first two moments
NEURONS = 60000


def normalised(x, gamma, seed=4):
    """Currents of neurons with normal weights, each divided by its own standard deviation over the rows."""
    u = x @ np.random.default_rng(seed).standard_normal((x.shape[1], NEURONS))
    return gamma * (u - u.mean(axis=0)) / u.std(axis=0)


@pytest.mark.parametrize(("rows", "numbers", "gamma"), [(7, 50, 1.0), (16, 20, 0.65), (30, 12, 1.2)])
def test_rates_of_few_rows_are_those_of_real_neurons(rows, numbers, gamma, monkeypatch):
    """Means over rows within 1 %. A normal law of what is normalised is rejected."""
    x = np.random.default_rng(8).standard_normal((rows, numbers))
    fired = (normalised(x, gamma) > 1.0).mean(axis=0)
    error = fired.std(ddof=1) / np.sqrt(NEURONS)
    layers = [L.Linear(100, gain=1.0), L.BatchNorm(gamma=gamma), L.Spike(vf.Neuron(1.0))]
    network = vf.Network(layers=layers, drive=vf.drives.inputs(x))

    def fits():
        return abs(vf.mean_field(network).firing_rate[0] / fired.mean() - 1) < BIAS + 4 * error / fired.mean()

    assert fits()
    applied = BatchStatistics.applied
    monkeypatch.setattr(BatchStatistics, "applied", lambda self, *parts: applied(replace(self, shared=None), *parts))
    assert not fits()


@pytest.mark.parametrize(("gamma", "rate"), [(1.3, 0.5), (0.99, 0.0)])
def test_two_rows_are_plus_and_minus_gamma(gamma, rate):
    """But for neurons whose variance is below ``ε``, a few in a thousand."""
    x = np.random.default_rng(5).standard_normal((2, 30))
    layers = [L.Linear(100, gain=1.0), L.BatchNorm(gamma=gamma), L.Spike(vf.Neuron(1.0))]
    found = vf.mean_field(vf.Network(layers=layers, drive=vf.drives.inputs(x)))
    assert found.firing_rate[0] == pytest.approx(rate, abs=5e-3)


@pytest.mark.parametrize("directions", [3, 8])
def test_directions_of_one_variance_are_exact(directions):
    """A coordinate of a random point on a sphere."""
    y = np.random.default_rng(1).standard_normal((directions, 400_000))
    g_over_s = y[0] / np.sqrt((y**2).mean(axis=0))
    t = np.array([-1.2, 0.3, 0.9, 1.5, 1.0 + np.sqrt(directions)])
    scale = SharedScale(np.full(1, 1 / directions), 1 / directions)
    expected = (np.random.default_rng(2).standard_normal(400_000) > scale.passed(t)[:, None]).mean(axis=1)
    measured = (g_over_s > t[:, None]).mean(axis=1)
    error = np.sqrt((measured * (1 - measured) + expected * (1 - expected)) / 400_000)
    assert np.all(np.abs(measured - expected) <= 4 * error)
    normal = (np.random.default_rng(3).standard_normal(400_000) > t[:, None]).mean(axis=1)
    assert not np.all(np.abs(measured - normal) <= 4 * error)


class Images(nn.Module):
    """A convolution with BatchNorm in train mode, whose channels fire."""

    def __init__(self, colours, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.weights, self.norm = nn.Conv2d(colours, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.neurons = snntorch.Leaky(0.6, init_hidden=True)

    def forward(self, x):
        return self.neurons(self.norm(self.weights(x)))


def images(colours, side=13, size=9):
    """Smooth, and not negative."""
    noise = np.random.default_rng(6).standard_normal((12, colours, side + size - 1, side + size - 1))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (size, size), axis=(2, 3)).mean(axis=(-2, -1))
    return torch.tensor(np.clip(0.5 + 0.3 * windows / windows.std(), 0, 1), dtype=torch.float32)


@pytest.mark.parametrize(("colours", "bias"), [(1, 0.06), (3, 0.03)])
def test_first_convolutions_of_images_are_predicted(colours, bias, monkeypatch):
    """Eight networks. Without the fluctuation, or with overlaps in proportion to variances, rates are off."""
    x = images(colours)

    def rates(networks):
        layers = [vf.audit(Images(colours, seed).train(), x, steps=5).layers[0] for seed in range(networks)]
        return np.array([(layer.firing_rate, layer.predicted_rate) for layer in layers]).T

    measured, predicted = rates(8)
    tolerance = 4 * measured.std(ddof=1) / np.sqrt(len(measured)) + bias * measured.mean()

    def fits(predicted):
        return abs(predicted.mean() - measured.mean()) < tolerance

    assert fits(predicted)
    with monkeypatch.context() as changed:
        changed.setattr(SharedScale, "passed", lambda self, t: t)
        assert not fits(rates(2)[1])
    by_overlap = batch_norm.by_overlap
    without = lambda layer, x, overlap, inputs: by_overlap(layer, x, replace(overlap, with_batch_mean=None), inputs)  # noqa: E731
    monkeypatch.setattr(batch_norm, "by_overlap", without)
    assert not fits(rates(2)[1])
