"""Escape asymptotics: the action against a plain minimisation, the rate against the exact chain, and its known limits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.optimize
import scipy.special

import varflow as vf

# Exact I at the paper's gain, from 50-digit arithmetic
ACTIONS = {1.0: 0.0049810360220445148, 0.85: 0.0297079946592987}


@cache
def theory(threshold: float) -> vf.EscapeAsymptotics:
    return vf.escape_asymptotics(threshold=threshold, gain=vf.gain(threshold=threshold))


@cache
def exact(threshold: float, width: int) -> float:
    network = vf.Network(width=width, depth=2, gain=vf.gain(threshold=threshold), neuron=vf.Neuron(threshold))
    return vf.SpikeChain(network).quasi_stationary().escape_rate


def excess(
    threshold: float, widths: tuple[int, ...], power: float = 0.0, action: float = 1.0, prefactor: float = 1.0
) -> np.ndarray:
    """``exact/asymptotic - 1``; the last three make the asymptotics wrong on purpose."""
    e, n = theory(threshold), np.array(widths)
    told = np.array([e.escape_rate(width) for width in widths]) * np.exp(-n * e.rate_per_neuron * (action - 1))
    told *= prefactor * (n / n[0]) ** power
    return np.array([exact(threshold, width) for width in widths]) / told - 1


@pytest.mark.parametrize("threshold", ACTIONS)
def test_action_against_high_precision(threshold):
    assert theory(threshold).rate_per_neuron == pytest.approx(ACTIONS[threshold], rel=1e-11)


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_action_against_plain_minimisation(threshold):
    e, g = theory(threshold), vf.gain(threshold=threshold)
    ends = [point.firing_rate for point in vf.fixed_points(threshold=threshold, gain=g)]

    def action(inner):
        x = np.concatenate([[ends[2]], scipy.special.expit(inner), [ends[1]]])
        p = scipy.special.ndtr(-threshold / (g * np.sqrt(x[:-1])))
        return float(np.sum(scipy.special.rel_entr(x[1:], p) + scipy.special.rel_entr(1 - x[1:], 1 - p)))

    start = scipy.special.logit(np.linspace(ends[2], ends[1], 44)[1:-1])
    found = scipy.optimize.minimize(action, start, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    assert e.rate_per_neuron <= found.fun * (1 + 1e-7)  # no path is cheaper
    assert found.fun == pytest.approx(e.rate_per_neuron, rel=2e-6)  # nor does it need to be dearer
    assert e.residual < 1e-8


def test_path_runs_from_the_stable_state_to_the_edge():
    e = theory(0.85)
    points = [point.firing_rate for point in vf.fixed_points(threshold=0.85, gain=vf.gain(threshold=0.85))]
    assert e.path[[0, -1]] == pytest.approx(points[:0:-1], rel=1e-5)
    assert (np.diff(e.path) < 0).all()


@pytest.mark.parametrize(
    ("threshold", "widths"), [(0.7, (1000, 2000, 4000)), (0.85, (2000, 4000, 8000)), (1.0, (8000, 16_000, 32_000))]
)
def test_what_is_missing_halves_with_twice_the_width(threshold, widths):
    left = excess(threshold, widths)
    assert (np.abs(left) < 0.012).all()
    assert left[1:] / left[:-1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("wrong", [{"power": -0.5}, {"power": 0.02}, {"action": 1 - 2e-6}, {"prefactor": 1.001}], ids=str)
def test_a_wrong_power_action_or_prefactor_is_noticed(wrong):
    left = excess(0.85, (2000, 4000, 8000), **wrong)
    assert (np.abs(left[1:] / left[:-1] - 0.5) > 0.01).any()


def test_holds_down_to_the_smallest_rates():
    """At n = 10⁵ the exact rate is 2.6e-218; the coefficient of 1/n is still that of smaller widths."""
    assert exact(1.0, 100_000) == pytest.approx(2.6435e-218, rel=1e-4)
    coefficients = excess(1.0, (16_000, 100_000)) * (16_000, 100_000)
    assert coefficients[1] == pytest.approx(coefficients[0], rel=0.02)


def test_saddle_node_limit_is_kramers():
    """Close to the critical gain ``A → (1-m)/2π``, with an error of order ``1-m``, and ``I → π'' D³/(6 p(1-p))``."""
    left, distance = [], []
    for above in (16e-3, 8e-3):
        gain = vf.critical_gain(threshold=1.0) * (1 + above)
        e, (_, edge, stable) = vf.escape_asymptotics(threshold=1.0, gain=gain), vf.fixed_points(threshold=1.0, gain=gain)
        D, middle = stable.firing_rate - edge.firing_rate, 0.5 * (stable.firing_rate + edge.firing_rate)
        z = 1 / (gain * np.sqrt(middle))
        bend = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * z * (3 - z**2) / (4 * middle**2)
        distance.append(1 - stable.multiplier)
        left.append(
            [e.prefactor * 2 * np.pi / distance[-1] - 1, e.rate_per_neuron * 6 * middle * (1 - middle) / (bend * D**3) - 1]
        )
    left, distance = np.array(left), np.array(distance)
    assert left[1, 0] / left[0, 0] == pytest.approx(distance[1] / distance[0], rel=0.1)
    assert (np.abs(left[:, 1]) < 0.1 * distance**2).all()


def test_only_the_ratio_of_gain_and_threshold_matters():
    one, other = (vf.escape_asymptotics(threshold=t, gain=2.6 * t) for t in (1.0, 3.7))
    assert other.rate_per_neuron == pytest.approx(one.rate_per_neuron, rel=1e-11)
    assert other.prefactor == pytest.approx(one.prefactor, rel=1e-6)


@pytest.mark.parametrize(
    ("threshold", "gain", "words"),
    [
        (0.0, 2.0, "must be positive"),
        (-0.5, 2.0, "must be positive"),
        (1.0, 2.4, "critical gain is 2.4565"),
        (1.0, 2.45651, "too close"),
        (1.0, 4.0, "few jumps"),
        (float("nan"), 2.0, "finite"),
        (1.0, 0.0, "positive"),
        ([1.0, 0.7], 2.5, "a single number"),
    ],
)
def test_refusals(threshold, gain, words):
    with pytest.raises(vf.DomainError, match=words):
        vf.escape_asymptotics(threshold=threshold, gain=gain)


def test_width_is_checked():
    with pytest.raises(vf.DomainError, match="width"):
        theory(1.0).escape_rate(0)
