"""Pools on large maps, whose positions are followed apart: as all positions together, and as simulated networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from autograd_networks import gradients_of_each

import varflow as vf
from varflow.theory.maps import maxima as maxima
from varflow.theory.operations import pool as steps
from varflow.theory.operations.pool import largest
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.moments import Spikes
from varflow.theory.signals.places import ALL_PAIRS, Grid, Window
from varflow.theory.walks.gradients import ForwardPass
from varflow.theory.walks.signals import Blocks

L = vf.layers
STEPS, SIDE, SMALL = 3, 12, 6  # 432 positions × steps; 108
BIAS = 0.05  # relative error of order 1/channels
CLASSES = 0.007  # relative: pairs of like covariance are averaged
NETWORKS = 20
SAMPLING = {"points": 2**9, "scrambles": 8, "seed": 0}
IN_WINDOWS = 2**18  # numbers in the windows of a map, a sixteenth of the usual


@pytest.fixture(autouse=True)
def fewer_points_in_windows(monkeypatch):
    """To which most of the time would go."""
    monkeypatch.setattr("varflow.theory.maps.positions.IN_WINDOWS", IN_WINDOWS)


def spike(reset="zero", **more):
    return L.Spike(vf.Neuron(1.0, decay=0.5, reset=reset, **more))


ZERO, LATE = spike(), spike("subtract", delay=1)
FIRST, LAST = [L.Conv(64, gain=3.0), ZERO], [L.Linear(100, gain=3.0), ZERO]
POOLS = {
    "average": [*FIRST, L.Pool("average", 2), L.Conv(64, gain=5.0), ZERO, L.Conv(48, gain=3.0), ZERO, *LAST],
    "maximum": [*FIRST, L.Pool("max", 2), L.Conv(64, gain=2.0), ZERO, L.Conv(48, gain=3.0), ZERO, *LAST],
    "averages": [*FIRST, L.Pool("average", 3, 2, 1), L.Conv(64, gain=5.0), ZERO, L.Pool("average", 2), *LAST],
    "maxima": [FIRST[0], LATE, L.Scale(1.5), L.Pool("max", 3, 2, 1), L.Conv(64, gain=2.0), ZERO, L.Pool("max", 2), *LAST],
    "both": [*FIRST, L.Pool("average", 2), L.Pool("max", 2), L.Conv(64, gain=3.0), ZERO, *LAST],
    "added spikes": [*FIRST, L.Residual(L.Conv(64, gain=2.0), LATE), L.Pool("max", 2), L.Conv(64, gain=2.0), ZERO, *LAST],
    "pooled currents": [
        FIRST[0],
        L.Pool("average", 2),
        L.LayerNorm(1.2),
        ZERO,
        L.Conv(64, gain=3.0, rows="centred"),
        ZERO,
        *LAST,
    ],
}


def image(side):
    """Neighbouring positions are alike."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(size=(1, STEPS, 8, -(-side // 3), -(-side // 3)))
    fine = np.repeat(np.repeat(coarse, 3, axis=-1), 3, axis=-2)[..., :side, :side]
    return 0.8 * fine + 0.6 * rng.normal(size=fine.shape)


def network(layers, side=SIDE, **more):
    return vf.Network(layers=layers, steps=STEPS, drive=vf.drives.inputs(image(side)), **more)


def predict(function, layers, side=SIDE):
    return function(network(layers, side), **SAMPLING)


def jointly_and_alone(function, layers, monkeypatch, side=SMALL):
    """On a map that is small enough to be followed both ways."""
    together = predict(function, layers, side)
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    return together, predict(function, layers, side)


def alike(one, other, names, bias=CLASSES):
    """Whether two results agree within four standard errors and a bias."""

    def near(name):
        x, y = (getattr(result, name) for result in (one, other))
        return np.all(np.abs(x - y) <= 4 * np.hypot(one.error[name], other.error[name]) + bias * np.abs(y) + 1e-12)

    return {name: bool(near(name)) for name in names}


RATES, ENERGIES = ("firing_rate", "variance", "second_moments"), ("energy", "weight_norms")


@pytest.mark.parametrize("name", POOLS)
def test_moments_are_those_of_all_positions_together(name, monkeypatch):
    """Effective widths, for which far positions count as alike, within 20 % on these small maps. Positions that are independent
    of each other are rejected.
    """
    together, alone = jointly_and_alone(vf.mean_field, POOLS[name], monkeypatch)
    assert all(alike(alone, together, RATES).values())
    assert np.nanmax(np.abs(alone.effective_width / together.effective_width - 1)) < 0.2
    monkeypatch.setattr("varflow.theory.walks.signals._products", independent)
    wrong = predict(vf.mean_field, POOLS[name], SMALL)
    assert not all(alike(wrong, together, RATES).values())
    assert np.nanmax(np.abs(wrong.effective_width / together.effective_width - 1)) > 0.2


def independent(x, offset, grid):
    """No products of different positions."""
    return np.zeros((1, len(x) if offset is ALL_PAIRS else x.shape[0] * x.shape[1], grid.steps, grid.steps))


@pytest.mark.parametrize("name", ["averages", "pooled currents"])
def test_positions_far_apart_count_as_alike(name, monkeypatch):
    """Here from two rows or columns on. Positions that are independent of each other are rejected."""
    monkeypatch.setattr("varflow.theory.signals.moments.NEAR", 1)
    together, alone = jointly_and_alone(vf.mean_field, POOLS[name], monkeypatch, 8)
    assert all(alike(alone, together, RATES[:2]).values())
    monkeypatch.setattr("varflow.theory.walks.signals._products", independent)
    assert not all(alike(predict(vf.mean_field, POOLS[name], 8), together, RATES[:2]).values())


def test_currents_that_are_independent_at_every_position(monkeypatch):
    """As on a map that is followed as a whole; other currents are rejected."""

    def found(std):
        drive = vf.drives.white(std, shape=(64, 8, 8))
        return vf.mean_field(vf.Network(layers=POOLS["average"][1:], steps=STEPS, drive=drive), **SAMPLING)

    together = found(2.0)
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    assert all(alike(found(2.0), together, RATES[:2]).values())
    assert not all(alike(found(2.2), together, RATES[:2]).values())


def test_moments_of_two_windows_have_no_bias_of_few_points():
    """Spikes that are the same everywhere, ``M = 1/2``, at two points for each input. ``1/4 + 1/8``, from sums divided by the
    number of points, is rejected.
    """
    rng, inputs, grid = np.random.default_rng(0), 4000, Grid(1, 4, 2, 1, per_position=True)

    def draw(places):
        alike = rng.integers(0, 2, (1, inputs * len(places), 1, 2)).astype(np.float32)
        return alike.repeat(places.shape[1], axis=2)

    one = np.full((1, inputs * grid.positions, 1), 0.5)
    spikes = largest(Window((2, 2), (2, 2)), Spikes(one, one[..., None], grid, 1, draw))
    M = spikes.between((1, 0)).reshape(inputs, -1)[:, 0]
    error = M.std(ddof=1) / math.sqrt(inputs)
    assert abs(M.mean() - 1 / 2) < 4 * error
    assert abs(M.mean() - 3 / 8) > 4 * error


@pytest.mark.parametrize("name", ["averages", "maxima", "added spikes", "pooled currents"])
def test_gradients_are_those_of_all_positions_together(name, monkeypatch):
    """Gradients of different positions that are left out, or a choice independent of the membranes, are rejected."""
    together, alone = jointly_and_alone(vf.gradient_flow, POOLS[name], monkeypatch)
    assert all(alike(alone, together, ENERGIES, 2 * CLASSES).values())
    if "max" in name or "added" in name:
        kept = maxima.RoutedPerWindow.back
        turned = lambda self, *parts: kept(replace(self, taps=np.roll(self.taps, 7, axis=-1)), *parts)  # noqa: E731
        monkeypatch.setattr(maxima.RoutedPerWindow, "back", turned)
    else:
        kept = steps.averaged_back
        monkeypatch.setattr(steps, "averaged_back", lambda *parts: replace(kept(*parts), pairs={}))
    assert not all(alike(predict(vf.gradient_flow, POOLS[name], SMALL), together, ENERGIES, 2 * CLASSES).values())


@pytest.mark.parametrize("pool", [(2,), (3, 1, 1)])
def test_gradients_of_one_step_are_those_of_all_positions_together(pool, monkeypatch):
    """Layers above the pool are exact, those below are sampled; half of what pairs of positions add is rejected."""
    once, x = spike(), image(SMALL)[:, 0]
    layers = [L.Conv(32, gain=2.4), once, L.Pool("average", *pool), L.Conv(32, gain=4.5), once, L.Conv(16, gain=2.8), once]

    def found():
        return vf.gradient_flow(vf.Network(layers=layers, drive=vf.drives.inputs(x)), points=2**9)

    together = found()
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    assert all(alike(found(), together, ENERGIES, 2 * CLASSES).values())
    kept = steps.averaged_back

    def half(*parts):
        back = kept(*parts)
        return replace(back, pairs={d: G / 2 for d, G in back.pairs.items()})

    monkeypatch.setattr(steps, "averaged_back", half)
    assert not all(alike(found(), together, ENERGIES, 2 * CLASSES).values())


@pytest.fixture(scope="module", params=["average", "maximum", "added spikes"])
def large(request):
    layers = POOLS[request.param]
    return layers, vf.simulate(network(layers), repeats=2 * NETWORKS, seed=1, engine="conditional")


def test_large_maps_are_those_of_simulated_networks(large, monkeypatch):
    layers, ensemble = large
    assert vf.compare(predict(vf.mean_field, layers), ensemble, bias=BIAS).passed
    monkeypatch.setattr("varflow.theory.walks.signals._products", independent)
    assert not vf.compare(predict(vf.mean_field, layers), ensemble, bias=BIAS).passed


@pytest.mark.parametrize("name", ["average", "maximum"])
def test_gradients_on_large_maps_are_those_of_real_networks(name):
    layers, x = POOLS[name], torch.tensor(image(SIDE), dtype=torch.float32)
    found = gradients_of_each(layers, x.repeat(NETWORKS, 1, 1, 1, 1))
    found = {quantity: each.numpy() for quantity, each in zip(ENERGIES, found, strict=True)}

    def agrees(flow):
        for quantity, each in found.items():
            mean, error, theory = each.mean(axis=0), each.std(axis=0, ddof=1) / math.sqrt(NETWORKS), getattr(flow, quantity)
            if np.any(np.abs(mean - theory) > 4 * np.hypot(error, flow.error[quantity]) + BIAS * theory):
                return False
        return True

    passed, psi = ForwardPass.of(Blocks.of(network(layers), Effort(Responses(**SAMPLING)))), vf.surrogates.atan()
    assert agrees(passed.gradients(psi))
    for factor in (0.75, 1.33):
        assert not agrees(passed.gradients(psi.widened(factor * psi.width)))


def test_inputs_are_averaged(monkeypatch):
    """Of several in one block."""
    x = np.concatenate([image(6), 2 * image(6)])
    layers = POOLS["maximum"]
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    both, *each = (
        vf.mean_field(vf.Network(layers=layers, steps=STEPS, drive=vf.drives.inputs(rows)), **SAMPLING)
        for rows in (x, x[:1], x[1:])
    )
    for name in RATES:
        mean = np.mean([getattr(one, name) for one in each], axis=0)
        error = np.sqrt(np.sum([one.error[name] ** 2 for one in (both, *each)], axis=0))
        assert np.all(np.abs(getattr(both, name) - mean) <= 4 * error + CLASSES * mean)


def test_maps_may_be_narrow():
    """Pools that join more rows than the map has: transposed, the same; a wider map is another."""
    rng = np.random.default_rng(0)
    x, spike = rng.standard_normal((1, 3, 40, 4)), vf.layers.Spike(vf.Neuron(1.0, decay=0.5))
    layers = [vf.layers.Conv(16, gain=3.0), spike, vf.layers.Pool("average", 3, 2, 1), vf.layers.Conv(16, gain=5.0), spike]
    layers += [vf.layers.Pool("average", 2), vf.layers.Linear(10, gain=3.0), spike]

    def last(images):
        drive = vf.drives.inputs(images[:, None].repeat(3, axis=1))
        found = vf.mean_field(vf.Network(layers=layers, steps=3, drive=drive), **SAMPLING)
        return found.firing_rate[-1], 6 * found.error["firing_rate"][-1] + 1e-12

    (rate, error), (turned, other), (wide, _) = last(x), last(x.swapaxes(2, 3)), last(x.reshape(1, 3, 20, 8))
    assert (np.abs(rate - turned) <= error + other).all()
    assert (np.abs(rate - wide) > error + other).any()
