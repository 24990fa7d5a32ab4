"""Moving dots on a large map: every position has its own covariance over time, and classes of positions must keep it."""

import numpy as np
import pytest

import varflow as vf
from varflow.theory.maps.positions import VarianceClasses

L = vf.layers
SIDE, STEPS, INPUTS = 26, 12, 2
BIAS = 0.015  # relative, of the second layer, whose windows join positions of several classes
SAMPLING = {"points": 2**8, "scrambles": 4, "seed": 1}
NEURONS = {
    "no leak": vf.Neuron(1.0, decay=1.0, reset="subtract"),
    "short": vf.Neuron(1.0, decay=0.6, reset="zero"),
    "no reset": vf.Neuron(1.0, decay=0.8),
}


def moving_dots(noise=0.0):
    """Squares of 3 × 3 with two polarities; shape (inputs, steps, 2, rows, columns)."""
    rng = np.random.default_rng(17)
    x = (rng.random((INPUTS, STEPS, 2, SIDE, SIDE)) < noise).astype(float)
    for n, speed in enumerate(rng.normal(0.0, 2.0, (2 * INPUTS, 2))):
        place = rng.uniform(1, SIDE - 1, 2)
        for step in range(STEPS):
            for polarity in range(2):
                row, column = ((place + speed * step).astype(int) + np.array([0, 2 * polarity])) % SIDE
                x[n % INPUTS, step, polarity, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 1.0
    return x


DOTS = moving_dots()


def network(neuron, x=DOTS, gain=2.5, depth=2):
    layers = [L.Conv(64, gain=gain), L.Spike(neuron), L.Conv(64, gain=4.0, stride=2), L.Spike(neuron)]
    return vf.Network(layers=layers[: 2 * depth], steps=STEPS, drive=vf.drives.inputs(x))


def near(found, every, name, bias=BIAS):
    """Sums over time agree within four standard errors and a bias."""
    one, other = (getattr(result, name).sum(axis=1) for result in (found, every))
    error = np.hypot(found.error[name], every.error[name]).sum(axis=1)
    return np.all(np.abs(one - other) < 4 * error + bias * other)


@pytest.fixture
def classes(monkeypatch):
    def limit(number):
        monkeypatch.setattr("varflow.theory.maps.positions.GROUPS", number * STEPS)

    return limit


RATES = [(name, vf.mean_field, "firing_rate") for name in NEURONS]
ENERGIES = [(name, vf.gradient_flow, "energy") for name in ("short", "no reset")]  # without leak they scatter


@pytest.mark.parametrize(("name", "function", "of"), RATES + ENERGIES)
def test_classes_are_as_all_positions(name, function, of, classes, monkeypatch):
    """A tenth of the positions. Where the average stands for a class of like variance, too many fire."""
    found = {}
    for number in (SIDE**2, 70):
        classes(number)
        found[number] = function(network(NEURONS[name]), **SAMPLING)
    assert near(found[70], found[SIDE**2], of)
    monkeypatch.setattr(VarianceClasses, "with_members", lambda self, *_: self)
    monkeypatch.setattr("varflow.theory.maps.positions.of_sums", of_total)
    assert not near(function(network(NEURONS[name]), **SAMPLING), found[SIDE**2], of)


def of_total(covariance):
    return np.trace(covariance.mean(axis=0), axis1=-2, axis2=-1)[:, None]


def fired(neuron, filters, x=DOTS, gain=2.5):
    """Rates of filters with normal weights, each averaged over inputs, positions and steps; the reset subtracts."""
    rng, padded = np.random.default_rng(3), np.pad(x, [(0, 0)] * 3 + [(1, 1)] * 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(-2, -1))
    weights = gain / np.sqrt(18) * rng.standard_normal((filters, 2, 3, 3))
    currents = np.einsum("btcyxij,fcij->tfbyx", windows, weights, optimize=True)
    H, spikes = np.zeros(currents.shape[1:]), np.zeros(filters)
    for I in currents:
        H = neuron.decay * H + I
        S = H > 1.0
        H, spikes = H - S, spikes + S.mean(axis=(1, 2, 3))
    return spikes / STEPS


@pytest.mark.parametrize("x", [DOTS, moving_dots(0.01), DOTS[:, :1].repeat(STEPS, axis=1) / 3], ids=["dots", "noise", "still"])
def test_first_layer_is_that_of_real_filters(x):
    """A gain 25 % off is rejected."""
    rates = fired(NEURONS["no leak"], 600, x)
    error = rates.std(ddof=1) / np.sqrt(len(rates))

    def fits(gain):
        found = vf.mean_field(network(NEURONS["no leak"], x, gain, depth=1), **SAMPLING | {"points": 2**9})
        return abs(found.firing_rate.mean() - rates.mean()) < 4 * np.hypot(error, found.error["firing_rate"].mean())

    assert fits(2.5)
    assert not fits(1.25 * 2.5)
