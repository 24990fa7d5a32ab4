"""The 1/n series in time against networks that are drawn: shifts, spreads and overlaps of deep layers and of each layer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.stats

import varflow as vf
from varflow.theory.finite_width.in_time.expansion import variance_over_networks
from varflow.theory.finite_width.in_time.flow import weights_between
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import Grid

GAIN = 1.3 * 6.0344**0.5
ZERO = vf.Neuron(1.0, decay=0.5, reset="zero")
LAYERS = [11, 17, 23, 29, 35]  # so far apart that their networks are independent
NEXT_ORDER = 0.25, 0.03  # relative bias of shift and variance at these widths


def network(width: int = 200, **other) -> vf.Network:
    return vf.Network(**({"width": width, "depth": 36, "steps": 4, "gain": GAIN, "neuron": ZERO} | other))


def scores(samples: np.ndarray, limit: float, c: float, v: float, n: int, error: float = 0.0) -> np.ndarray:
    """Deviations in standard errors, past the bias, of ``n (mean - limit)`` and ``n Var``; samples (networks, layers)."""
    of_networks = np.array([n * (samples - limit).mean(axis=1), n * ((samples - limit - c / n) ** 2).mean(axis=1)])
    se = np.hypot(of_networks.std(axis=1, ddof=1) / len(samples) ** 0.5, [n * error, 0.0])
    told = np.array([c, v])
    return np.maximum(np.abs(of_networks.mean(axis=1) - told) - np.abs(told) * NEXT_ORDER, 0) / se


@cache
def drawn(repeats: int, engine: str = "conditional", **other) -> tuple[vf.Network, np.ndarray]:
    """A network, and second moments of these layers in drawn networks."""
    net = network(**other)
    ensemble = vf.simulate(net, repeats=repeats, seed=1, engine=engine)
    assert ensemble.second_moments is not None
    return net, ensemble.second_moments[:, [layer for layer in LAYERS if layer < net.depth]]


def late(moments: np.ndarray) -> np.ndarray:
    return np.diagonal(moments, 0, -2, -1)[..., moments.shape[-1] // 2 :].mean(axis=-1)


def of_late(found, samples: np.ndarray, width: float = 1.0, c: float = 1.0) -> np.ndarray:
    """Scores of the late rate; errors: a relative width, a factor on the shift."""
    n, (shift, variance) = found.network.width, found.late_coefficients
    limit = found.late_rate - shift / n
    return scores(late(samples), limit, c * shift, variance / width, n, late(found.error["fixed_point"]))


class TestAgainstDrawnNetworks:
    def test_rates_and_overlaps(self):
        net, samples = drawn(2000)
        found = vf.expansion(net, points=2**13)
        assert of_late(found, samples).max() < 3
        s, t = 2, 3
        coefficients = found.mean_coefficients[s, t], found.variance_coefficients[s, t]
        error = found.error["fixed_point"][s, t]
        assert scores(samples[..., s, t], found.fixed_point[s, t], *coefficients, net.width, error).max() < 3

    def test_wrong_theories_are_rejected(self):
        net, samples = drawn(2000)
        found = vf.expansion(net, points=2**13)
        assert of_late(found, samples, c=0.0)[0] > 3
        assert of_late(found, samples, width=1.2)[1] > 3
        assert of_late(found, samples, width=0.8)[1] > 3
        without_reset = vf.expansion(replace(net, neuron=replace(ZERO, reset="none")), points=2**10)
        assert of_late(without_reset, samples).max() > 3
        one_step = vf.expansion(replace(net, steps=1), order=1)
        p, g2 = one_step.fixed_point.firing_rate, GAIN**2
        told = one_step.mean_coefficients[0] / g2, one_step.variance_coefficients[0] / g2**2
        assert scores(late(samples), p, *told, net.width).max() > 3

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "other",
        [
            {"bias_std": 0.4},
            {"neuron": vf.Neuron(scipy.stats.uniform(0.6, 0.8), decay=0.5, reset="zero")},
            {"neuron": vf.Neuron(1.0, decay=scipy.stats.uniform(0.1, 0.8), reset="subtract")},
            {"neuron": replace(ZERO, synaptic_decay=0.5)},
            {"neuron": vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(membrane=0.6, threshold=0.3, input=0.4))},
            {"neuron": vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(threshold=1.0, lowest=-0.5))},
            {"neuron": vf.Neuron(1.0), "drive": vf.drives.white(1.0)},
        ],
        ids=["bias", "thresholds", "decays", "synapse", "partial reset", "bounded", "memoryless"],
    )
    def test_neurons_and_biases(self, other):
        net, samples = drawn(3000, **other)
        found = vf.expansion(net, points=2**12)
        assert of_late(found, samples).max() < 3
        assert of_late(found, samples, width=1.2)[1] > 3

    @pytest.mark.slow
    def test_weights_with_kurtosis(self):
        net, samples = drawn(800, "dense", width=300, depth=18, weights=vf.weights.sparse(0.3))
        found, normal = (vf.expansion(each, points=2**12) for each in (net, replace(net, weights="normal")))
        assert found.late_coefficients[1] == normal.late_coefficients[1]
        assert of_late(found, samples).max() < 3
        assert of_late(normal, samples)[0] > 3

    def test_two_inputs_of_one_network(self):
        x = np.random.default_rng(0).normal(size=(2, 50))
        net = network(steps=2, depth=18, drive=vf.drives.inputs(x))
        found = vf.expansion(net, points=2**12)
        samples = vf.kernel(net, repeats=2000).samples
        M = samples[:, [11, 17]].reshape(2000, 2, 4, 4)
        for i, j in ((1, 3), (2, 2)):  # an overlap between the inputs, and a rate
            told = found.mean_coefficients[i, j], found.variance_coefficients[i, j]
            z = lambda v, i=i, j=j: scores(M[..., i, j], found.fixed_point[i, j], told[0], v, 200)  # noqa: B023, E731
            assert z(told[1]).max() < 3
            assert z(told[1] * 1.2)[1] > 3
        mean = M[..., [0, 1, 2, 3], [0, 1, 2, 3]][..., [1, 3]].mean(axis=-1)
        v = found.late_coefficients[1]
        assert scores(mean, found.late_rate, 0.0, v, 200)[1] < 3
        assert scores(mean, found.late_rate, 0.0, found.variance_coefficients[1, 1], 200)[1] > 3  # as of one input

    def test_every_layer_from_the_drive_on(self):
        net = network(width=(150, 300, 200, 200), depth=4, drive=vf.drives.white(1.2))
        found = vf.expansion(net, per_layer=True, points=2**12)
        ensemble = vf.simulate(net, repeats=4000, seed=2, engine="conditional")
        rates = late(ensemble.second_moments)
        for layer, n in enumerate(net.widths):
            c, v = found.late_coefficients[layer]
            limit = found.late_rate[layer] - c / n
            z = lambda v, layer=layer, limit=limit, c=c, n=n: scores(rates[:, [layer]], limit, c, v, n)  # noqa: E731
            assert z(v).max() < 3
            assert z(1.2 * v)[1] > 3
        assert found.firing_rate.shape == found.firing_rate_std.shape == (4, 4)
        assert not found.mean_coefficients[0].any()
        assert found.error["late_coefficients"].shape == (4, 2)


class TestLongRuns:
    def test_the_adjoint_is_the_matrices(self):
        net = network(steps=8)
        found, responses = vf.expansion(net, points=2**12), Responses(2**12, 8, 1)
        observable = np.diag([0.0] * 4 + [0.25] * 4)
        sampling = responses.sampling(net.neuron, Grid(1, 1, 1, 8))
        v = variance_over_networks(weights_between(net)[0], found.fixed_point, sampling, observable)
        error = np.hypot(v.std(ddof=1) / 8**0.5, found.error["late_coefficients"][1])
        z = lambda factor: abs(v.mean() - factor * found.late_coefficients[1]) / (error + 2e-3 * v.mean())  # noqa: E731
        assert z(1.0) < 3
        assert z(1.03) > 3

    @pytest.mark.slow
    def test_later_steps_are_as_the_last_ones_known(self):
        found, short = (vf.expansion(network(width=1000, steps=steps), points=2**12) for steps in (40, 12))
        assert found.second_moments.shape == (40, 40)
        assert found.mean_coefficients[39, 39] == np.diagonal(found.mean_coefficients)[8:16].mean()
        assert np.isnan(found.variance_coefficients[39, 38])
        (c, v), (of_c, of_v) = found.late_coefficients, found.error["late_coefficients"]
        z = lambda factor: abs(c - factor * short.late_coefficients[0]) / np.hypot(of_c, short.error["late_coefficients"][0])  # noqa: E731
        assert z(1.0) < 3 < z(0.0)
        own = found.variance_coefficients[11, 11]
        assert of_v < 0.03 * v
        assert own / 20 < v < own / 2  # steps are neither independent nor the same


def test_a_longer_run_begins_as_a_shorter_one():
    short, long = (vf.expansion(network(steps=steps), points=2**12) for steps in (3, 5))
    for name in ("fixed_point", "mean_coefficients", "variance_coefficients"):
        difference = getattr(long, name)[:3, :3] - getattr(short, name)
        error = np.hypot(long.error[name][:3, :3], short.error[name])
        assert (np.abs(difference) < 4 * error + 2e-5).all(), name
    assert (np.abs(long.mean_coefficients[0, 0] * 1.1 - short.mean_coefficients) > 1e-3).all()


def test_the_first_step_is_the_series_of_one_step():
    found, one = vf.expansion(network(), points=2**8), vf.expansion(network(steps=1), order=1)
    assert found.mean_coefficients[0, 0] == pytest.approx(one.mean_coefficients[0] / GAIN**2, rel=2e-3)
    assert found.variance_coefficients[0, 0] == pytest.approx(one.variance_coefficients[0] / GAIN**4, rel=1e-4)
    assert found.small_parameter[0] == pytest.approx(one.small_parameter, rel=1e-3)
    assert found.multipliers[0] == pytest.approx(one.fixed_point.multiplier, rel=1e-4)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"width": 20, "gain": 1.15 * 6.0344**0.5}, "width=20 is too small for a series in 1/n: the small parameter of step"),
        ({"gain": 0.8 * 6.0344**0.5}, "has steps (1, 2, 3, 4) that are silent"),
        ({"gain": 2.2, "width": 900}, "vf.survival(network, alive=…) draws such networks, and vf.corrected_gain("),
        ({"neuron": vf.Neuron(1.0)}, "has steps (2, 3, 4) that are the same as earlier ones"),
        ({"neuron": vf.Neuron(1.0, decay=0.5, reset="multi_spike")}, "reset='multi_spike' must spike at most once per step"),
        ({"neuron": replace(ZERO, delay=1)}, "delay=1 must be 0"),
        ({"depth": 1}, "depth=1 must be at least 2"),
        ({"mean_gain": 0.5}, "mean_gain=0.5 must be 0"),
        ({"weights": "sign"}, "weights='sign' must be continuous and symmetric"),
        ({"weights": "exponential", "mean_gain": 0.0}, "weights='exponential' must be continuous and symmetric"),
        ({"weights": vf.weights.fixed_in_degree(50)}, "must be continuous and symmetric, not of a fixed in-degree"),
        ({"width": [200, 300] * 18}, "has layers that differ: give per_layer=True"),
        ({"drive": vf.drives.spikes(np.full((2, 50), 0.3))}, "must be made by vf.drives.inputs if several"),
        ({"steps": 13, "drive": vf.drives.inputs(np.eye(2))}, "must be at most 24/inputs"),
    ],
)
def test_what_it_does_not_cover(other, said):
    with pytest.raises(vf.DomainError) as refused:
        vf.expansion(network(**other), points=2**10)
    assert said in str(refused.value)


def test_arguments():
    for options, said in (
        ({"order": 2}, "order=2 must be 1 for networks of several steps"),
        ({"per_layer": True, "points": 3}, "power of two"),
    ):
        with pytest.raises(vf.DomainError) as refused:
            vf.expansion(network(), **options)
        assert said in str(refused.value)
    with pytest.raises(vf.DomainError, match="per_layer=True needs several steps"):
        vf.expansion(network(steps=1), per_layer=True)
    with pytest.raises(vf.DomainError, match="must send Gaussian currents"):
        vf.expansion(network(drive=vf.drives.spikes(np.full(50, 0.3))), per_layer=True, points=2**8)


def test_it_prints_its_steps():
    text = str(vf.expansion(network(), points=2**8))
    assert text.startswith("TemporalExpansion of Network(width=200")
    assert len(text.splitlines()) == 6
    assert "late rate" in str(vf.expansion(network(depth=2), per_layer=True, points=2**8))
