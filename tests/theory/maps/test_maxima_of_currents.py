"""Neurons that receive maxima of Gaussian currents, forwards and backwards, against torch at drawn currents."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf
from varflow.theory.maps.maxima import WindowedCurrents, drawn_windows, maxima_joined
from varflow.theory.responses.back_propagation import Sampling
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import Grid, Window

torch = pytest.importorskip("torch")

from autograd_networks import atan, neurons  # noqa: E402

TAPS, STEPS, DRAWS = 4, 3, 2**16
LAYER = vf.layers.Spike(vf.Neuron(decay=0.6, reset="subtract", synaptic_decay=0.3, input_scale=0.8, delay=1))
POINTS = Responses(2**12, 16, 0)
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(TAPS * STEPS, 5)) + np.repeat(2 * RNG.normal(size=(TAPS, 5)), STEPS, axis=0)  # alike at all steps
MEAN, C = np.repeat(RNG.normal(size=TAPS), STEPS), ROOT @ ROOT.T / 5
READOUT = np.array([[1.0, 0.4, 0.3], [0.4, 1.5, 0.2], [0.3, 0.2, 0.8]])
MAXIMA = WindowedCurrents(
    Currents(MEAN[None, None], C[None, None], Grid(1, 1, TAPS, STEPS), 7), Grid(1, 1, 1, STEPS, per_position=True)
)


def measured():
    """Rates, and second moments of gradients by the currents of each position and by the maxima: means and standard errors."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(DRAWS, 5))
    I = torch.tensor((MEAN + z @ ROOT.T / 5**0.5).reshape(DRAWS, 2, 2, STEPS)).permute(0, 3, 1, 2).requires_grad_()
    pooled = torch.nn.functional.max_pool2d(I, 2).flatten(1)[..., None]
    pooled.retain_grad()
    S = neurons(LAYER, pooled, atan, detached=False)
    e = torch.tensor(rng.normal(size=(DRAWS, STEPS)) @ np.linalg.cholesky(READOUT).T)
    (e * S[..., 0]).sum().backward()
    by_current = I.grad.flatten(2).permute(0, 2, 1).numpy()  # (draws, taps, steps)
    by_maximum = pooled.grad[..., 0].numpy()
    products = by_current[..., :, None] * by_current[..., None, :], by_maximum[:, :, None] * by_maximum[:, None]
    return [(x.mean(axis=0), x.std(axis=0) / DRAWS**0.5) for x in (S[..., 0].detach().numpy(), *products)]


def predicted():
    _, spikes = MAXIMA.fire(LAYER, 0, POINTS)
    above = Gradients(READOUT[None, None], MAXIMA.grid, 7)
    found = MAXIMA.back(LAYER, above, Sampling(0, POINTS, vf.surrogates.atan(), detached=False))
    below = maxima_joined(Window((2, 2), (2, 2)), found.split, Grid(1, 2, 2, STEPS, per_position=True), 7)
    each = spikes.mean[:, 0], below.moments, found.moments[:, 0]
    return [(x.mean(axis=0), x.std(axis=0, ddof=1) / len(x) ** 0.5) for x in each]


def agree(one, other):
    pairs = zip(one, other, strict=True)
    return [bool(np.all(np.abs(x - y) <= 5 * np.hypot(a, b) + 0.002 * np.abs(y))) for (x, a), (y, b) in pairs]


def test_neurons_that_receive_maxima_fire_and_send_gradients_back():
    """All steps and positions; points in single precision."""
    assert agree(predicted(), measured()) == [True, True, True]


def test_many_windows_have_fewer_points_each(monkeypatch):
    """As many as fit into the numbers for all windows; the mean is the same."""
    monkeypatch.setattr("varflow.theory.maps.maxima.IN_WINDOWS", 2**8 * 16 * TAPS * STEPS)
    assert drawn_windows(LAYER, MAXIMA, 0, POINTS).currents.shape[-1] == 2**8
    assert agree(predicted(), measured()) == [True, True, True]


def test_the_choice_depends_on_the_one_at_other_steps(monkeypatch):
    """A choice with the same probabilities, independent at every step, leaves rates as they are and is rejected."""

    def independent(*parts):
        at_points = drawn_windows(*parts)
        I = at_points.currents.copy()
        own = I.argmax(axis=2)[:, :, None]
        other = np.concatenate([np.roll(own[..., t : t + 1, :], 7 * t, axis=-1) for t in range(STEPS)], axis=3)
        largest, less = np.take_along_axis(I, own, 2), np.take_along_axis(I, other, 2)
        np.put_along_axis(I, own, less, 2)
        np.put_along_axis(I, other, largest, 2)
        return replace(at_points, currents=I)

    monkeypatch.setattr("varflow.theory.maps.maxima.drawn_windows", independent)
    assert agree(predicted(), measured()) == [True, False, True]


def test_other_currents_are_rejected(monkeypatch):
    found = measured()
    monkeypatch.setattr("test_maxima_of_currents.MAXIMA", replace(MAXIMA, currents=MAXIMA.currents.scaled(1.2)))
    assert agree(predicted(), found) == [False, False, False]
