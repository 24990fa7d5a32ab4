"""Two-cycles of the layer map: against iteration, the reference, the exact chain and distributions of finitely many values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import brentq

import varflow as vf

ALTERNATING = {"threshold": -1.0, "gain": 1.0, "bias_std": 0.3, "mean_gain": -4.0}
UNSETTLED = {"threshold": 0.03762, "gain": 1.0, "bias_std": 0.0131, "mean_gain": -18.0}
CASES = [
    ALTERNATING,
    UNSETTLED,
    {"threshold": 0.0, "gain": 1.3, "mean_gain": -10.0},
    {"threshold": -1.0, "gain": 1.0, "mean_gain": -4.0, "distribution": "laplace"},
    {"threshold": -0.5, "gain": 1.0, "mean_gain": -9.0, "distribution": "uniform"},
    {"threshold": 0.3, "gain": 8.0, "bias_std": 0.5, "mean_gain": -60.0, "distribution": "logistic"},
    {"threshold": 0.05, "gain": 1.0, "mean_gain": -4.6},
]
RISING = [
    {"threshold": 1.0, "gain": 2.6, "bias_std": 0.2},
    {"threshold": -1.0, "gain": 2.0, "distribution": "uniform"},
    {"threshold": 0.5, "gain": 1.0, "mean_gain": 3.0},
    {"threshold": 0.0, "gain": 1.0},
]


def settled(setting, start, layers=600):
    """Two successive variances after many layers."""
    V = start
    for _ in range(layers):
        before, V = V, vf.variance_map(V, **setting)
    return tuple(sorted((before, V)))


def test_published_cycle():
    (cycle,) = vf.fixed_points(**ALTERNATING).cycles
    assert [f"{rate:.5f}" for rate in cycle.firing_rates] == ["0.99946", "0.00204"]
    assert cycle.stable
    assert [point.stable for point in vf.fixed_points(**ALTERNATING)] == [False]


@pytest.mark.parametrize("setting", CASES, ids=str)
def test_cycles_by_the_reference_and_by_iteration(setting):
    found, exact = vf.fixed_points(**setting), vf.reference.fixed_points(digits=30, **setting)
    assert len(found.cycles) == len(exact.cycles) == 1
    cycle, other = found.cycles[0], exact.cycles[0]
    spread = max(1e-14, 1e-15 * abs(cycle.multiplier) / abs(1 - cycle.multiplier))
    assert cycle.variances == pytest.approx([float(V) for V in other.variances], rel=50 * spread)
    assert cycle.firing_rates == pytest.approx([float(p) for p in other.firing_rates], rel=1e-11)
    assert cycle.multiplier == pytest.approx(float(other.multiplier), rel=1e-10)
    assert cycle.stable is other.stable
    assert cycle.depth_scale == pytest.approx(float(other.depth_scale), rel=1e-10)
    low, high = cycle.variances
    assert vf.variance_map(low, **setting) == pytest.approx(high, rel=1e-12)
    end = settled(setting, 0.97 * high)
    assert (end == pytest.approx(cycle.variances, rel=1e-9)) is cycle.stable


@pytest.mark.parametrize("setting", RISING, ids=str)
def test_maps_that_rise_or_contract_have_none(setting):
    assert vf.fixed_points(**setting).cycles == vf.reference.fixed_points(**setting).cycles == ()


def test_a_cycle_leaves_the_fixed_point_where_that_turns_unstable():
    """Beyond m = -1 by ε its phases lie √ε apart, and its multiplier is 1 - 4ε."""
    beyond, apart, lack = [], [], []
    setting = ALTERNATING | {"mean_gain": 0.0}
    turn = brentq(lambda m: vf.fixed_points(**setting | {"mean_gain": m})[0].multiplier + 1, -2.2, -1.2, xtol=1e-12)
    assert not vf.fixed_points(**setting | {"mean_gain": turn + 1e-4}).cycles
    for more in np.geomspace(1e-4, 1e-2, 5):
        found = vf.fixed_points(**setting | {"mean_gain": turn - more})
        (cycle,) = found.cycles
        beyond.append(-found[0].multiplier - 1)
        apart.append(np.diff(cycle.variances).item())
        lack.append((1 - cycle.multiplier) / (4 * beyond[-1]))
    assert np.polyfit(np.log(beyond), np.log(apart), 1)[0] == pytest.approx(0.5, abs=0.02)
    assert np.array(lack) == pytest.approx(1, abs=0.05)


def test_every_stable_cycle_of_random_networks_is_found():
    rng, seen = np.random.default_rng(5), 0
    for _ in range(14):
        setting = {"threshold": rng.uniform(-2, 0.5), "gain": 1.0, "bias_std": 10 ** rng.uniform(-2, 0)}
        setting["mean_gain"] = -(10 ** rng.uniform(0, 1.5))
        V = setting["bias_std"] ** 2 + np.geomspace(1e-3, 1, 20)
        for _ in range(300):
            before, V = V, vf.variance_map(V, **setting)
        again = vf.variance_map(V, **setting)
        ends = {(a, b) for a, b, c in zip(before, V, again, strict=True) if a < (1 - 1e-6) * b and abs(c - a) < 1e-10 * a}
        told = [cycle.variances for cycle in vf.fixed_points(**setting).cycles if cycle.stable]
        assert all(any(end == pytest.approx(pair, rel=1e-6) for pair in told) for end in ends)
        seen += bool(ends)
    assert seen > 4


def test_a_distribution_of_two_values():
    """Potentials of ±√V: at ``V < θ²`` every neuron fires, above only half of them."""
    distribution = scipy.stats.rv_discrete(values=([-1, 1], [0.5, 0.5]))
    setting = {"threshold": -1.0, "gain": 1.5**0.5, "distribution": distribution}
    found = vf.fixed_points(**setting)
    (cycle,) = found.cycles
    assert cycle.variances == pytest.approx((0.75, 1.5), rel=1e-15)
    assert cycle.firing_rates == (1, 0.5)
    assert cycle.stable
    assert len(found) == 0
    assert np.isnan(vf.stable_variance(**setting))
    assert not vf.fixed_points(**setting | {"gain": 0.9}).cycles  # always every neuron


def test_a_bimodal_distribution_has_a_cycle_without_weight_mean():
    """Two narrow bumps: no fixed point is stable, and the cycle is what iteration ends in."""
    bumps = scipy.stats.Mixture([scipy.stats.Normal(mu=mu, sigma=0.1) for mu in (-1.0, 1.0)], weights=[0.5, 0.5])
    setting = {"threshold": -1.0, "gain": 1.4**0.5, "distribution": bumps}
    found = vf.fixed_points(**setting)
    assert [cycle.stable for cycle in found.cycles] == [True]
    assert np.isnan(vf.stable_variance(**setting))
    assert settled(setting, 1.0, 300) == pytest.approx(found.cycles[0].variances, rel=1e-6)


def test_the_exact_chain_of_a_wide_network_alternates_so():
    (cycle,), width = vf.fixed_points(**ALTERNATING).cycles, 20_000
    rates = cycle.firing_rates
    neuron = vf.Neuron(ALTERNATING["threshold"])
    network = vf.Network(width=width, depth=41, **{k: v for k, v in ALTERNATING.items() if k != "threshold"}, neuron=neuron)
    distributions = vf.SpikeChain(network).propagate()[-2:]
    for distribution, rate in zip(distributions, rates if distributions[0].firing_rate > 0.5 else rates[::-1], strict=True):
        assert abs(distribution.firing_rate - rate) < 10 / width
        assert distribution.firing_rate_std < 10 / width**0.5
    limit = vf.mean_field(network).variance
    assert sorted(limit[-2:]) == pytest.approx(cycle.variances, rel=1e-12)


def test_where_nothing_is_stable_the_table_says_so():
    found = vf.fixed_points(**UNSETTLED)
    assert not any(state.stable for state in (*found, *found.cycles))
    assert "longer cycle" in repr(found)
    assert "longer cycle" in repr(vf.reference.fixed_points(digits=15, **UNSETTLED))
    assert "longer cycle" not in repr(vf.fixed_points(**ALTERNATING))
    V = settled(UNSETTLED, 0.02)[0]
    orbit = [V := vf.variance_map(V, **UNSETTLED) for _ in range(6)]
    assert orbit[:3] == pytest.approx(orbit[3:], rel=1e-9)  # of three layers here


def test_cycles_are_exported():
    for found in (vf.fixed_points(**ALTERNATING), vf.reference.fixed_points(digits=20, **ALTERNATING)):
        (cycle,) = json.loads(json.dumps(found.to_dict(), allow_nan=False))["cycles"]
        assert set(cycle) == {"variances", "firing_rates", "multiplier", "stable", "depth_scale", "residual"}
        assert cycle["variances"] == pytest.approx(vf.fixed_points(**ALTERNATING).cycles[0].variances, rel=1e-14)
    assert vf.fixed_points(threshold=1.0, gain=2.6).to_dict()["cycles"] == []
    assert vf.reference.fixed_points(threshold=0, gain=1, mean_gain=-10, digits=20).basin_edge == 0  # falls through V: no edge
