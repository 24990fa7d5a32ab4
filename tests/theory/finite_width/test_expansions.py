"""The 1/n series: each order's remainder shrinks as stated against the exact chain, and a wrong term is noticed."""

from __future__ import annotations

from functools import lru_cache

import mpmath
import numpy as np
import pytest

import varflow as vf
from varflow.theory.finite_width.expansions import rate_series, stationary_moments
from varflow.theory.layer import layers

GAIN = vf.gain(threshold=0.7)
CASES = {
    "paper": (2000, {"gain": GAIN, "neuron": vf.Neuron(0.7)}),
    "close to critical": (16_000, {"gain": vf.gain(threshold=1.0), "neuron": vf.Neuron(1.0)}),
    "bias": (1000, {"gain": GAIN, "neuron": vf.Neuron(0.7), "bias_std": 0.3}),
    "weight mean": (3000, {"gain": GAIN, "neuron": vf.Neuron(0.7), "mean_gain": -0.5}),
    "negative threshold": (500, {"gain": GAIN, "neuron": vf.Neuron(-0.3), "bias_std": 0.2, "mean_gain": 0.4}),
    "input scale": (2000, {"gain": GAIN / 0.5, "neuron": vf.Neuron(0.7, input_scale=0.5)}),
}


def network(width: int, **parameters) -> vf.Network:
    return vf.Network(width=width, depth=2, **parameters)


@lru_cache
def stationary(case: str, width: int):
    """The stationary distribution of spike counts, from the chain."""
    net = network(width, **CASES[case][1])
    chain = vf.SpikeChain(net)
    return (chain.quasi_stationary() if net.silence_is_absorbing else chain.stationary().states[-1]).distribution


def exact(case: str, net: vf.Network, V: float) -> np.ndarray:
    """Mean shift and variance of ``C``, and its skewness."""
    distribution = stationary(case, net.width)
    C = layers(net)[0].conditional_variance(distribution.counts) - V
    mean = distribution.mass @ C
    variance = distribution.mass @ (C - mean) ** 2
    return np.array([mean, variance, distribution.mass @ (C - mean) ** 3 / variance**1.5])


def falls(case: str, order: int, wrong: float = 0.0, width: int | None = None) -> np.ndarray:
    """By which power of two remainders fall from a width to its double."""
    width = width or CASES[case][0]
    return np.log2(remainders(case, width, order, wrong) / remainders(case, 2 * width, order, wrong))


def remainders(case: str, width: int, order: int, wrong: float) -> np.ndarray:
    """|series - exact|, with the last coefficients of each series wrong by a fraction."""
    net = network(width, **CASES[case][1])
    e = vf.expansion(net, order=order)
    powers = float(width) ** -np.arange(1, order + 1)
    powers[-1] *= 1 + wrong
    told = [e.mean_coefficients @ powers, e.variance_coefficients @ powers, e.skewness_coefficients @ powers * width**0.5]
    return np.abs(np.array(told) - exact(case, net, e.fixed_point.variance))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", [1, 2])
def test_what_an_order_leaves_out_is_of_the_next_order(case, order):
    assert falls(case, order) == pytest.approx([order + 1, order + 1, order + 0.5], abs=0.15)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", ["paper", "bias"])
def test_a_coefficient_wrong_by_five_percent_is_noticed(case, order):
    assert (np.abs(falls(case, order, wrong=0.05) - [order + 1, order + 1, order + 0.5]) > 0.15).all()


def test_third_order_holds_too():
    assert falls("paper", 3, width=1000) == pytest.approx([4, 4, 3.5], abs=0.15)


def test_leading_order_is_the_closed_form():
    V, g2 = 1.0, GAIN**2
    p, z = 1 / g2, 0.7
    m = z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * g2 / 2
    bend = m * (z**2 - 3) / (2 * V)  # F'' = F' (z² - 3)/(2V)
    noise = g2**2 * p * (1 - p)
    e = vf.expansion(network(2000, gain=GAIN, neuron=vf.Neuron(0.7)), order=1)
    assert e.variance_coefficients[0] == pytest.approx(noise / (1 - m**2), rel=1e-12)
    assert e.mean_coefficients[0] == pytest.approx(bend * noise / (2 * (1 - m**2) * (1 - m)), rel=1e-11)
    assert e.variance - V == pytest.approx(-0.001017, abs=5e-7)


def test_spread_of_the_sample_variance_and_rates():
    """What order 2 leaves of the summaries falls 8 and 4 times with twice the width, for means and for spreads."""
    left = []
    for width in (2000, 4000):
        net = network(width, gain=GAIN, neuron=vf.Neuron(0.7))
        told, state = vf.expansion(net), vf.SpikeChain(net).quasi_stationary()
        names = ("variance", "firing_rate", "variance_std", "firing_rate_std")
        left.append([abs(getattr(told, name) - getattr(state, name)) for name in names])
    assert np.log2(left[0]) - np.log2(left[1]) == pytest.approx([3, 3, 2.5, 2.5], abs=0.15)


def test_constant_firing_probability_is_a_plain_binomial():
    """At θ = 0 without bias π = 1/2: the moments are those of Binomial(n, 1/2)/n."""
    e = vf.expansion(network(100, gain=1.3, neuron=vf.Neuron(0.0)), order=4)
    assert e.mean_coefficients == pytest.approx(0, abs=1e-15)
    assert e.variance_coefficients == pytest.approx([1.3**4 / 4, 0, 0, 0], abs=1e-15)
    moments = stationary_moments(np.array([0.3, *np.zeros(8)]), 3)
    assert moments[3] == pytest.approx([0, 0, 0.21 * 0.4, 0], abs=1e-15)
    assert moments[4] == pytest.approx([0, 0, 3 * 0.21**2, 0.21 * (1 - 6 * 0.21)], abs=1e-15)


@pytest.mark.parametrize(("bias", "mean_gain", "x"), [(0.0, 0.0, 0.2), (0.4, 0.0, 0.1), (0.3, -1.2, 0.4), (0.0, 0.7, 0.9)])
def test_derivatives_of_the_firing_probability(bias, mean_gain, x):
    network = vf.Network(width=50, depth=2, gain=3**0.5, bias_std=bias, mean_gain=mean_gain, neuron=vf.Neuron(0.8))
    layer = layers(network)[0]
    with mpmath.workdps(40):
        rate = lambda x: mpmath.ncdf((mean_gain * x - mpmath.mpf(0.8)) / mpmath.sqrt(3 * x + mpmath.mpf(bias) ** 2))  # noqa: E731
        want = [float(c) for c in mpmath.taylor(rate, mpmath.mpf(x), 8)]
    got = rate_series(layer, np.array([x, x]), 8)
    assert got.shape == (9, 2)
    assert got[:, 0] == pytest.approx(want, rel=1e-11)


def test_small_parameter_grows_towards_the_saddle_node():
    """As ``(1-m)^-3``: the exponent between gains ever closer to the critical one approaches 3."""
    critical = vf.critical_gain(threshold=1.0)
    found = [vf.expansion(network(10**9, gain=critical * (1 + d), neuron=vf.Neuron(1.0))) for d in (1e-3, 2.5e-4, 6.25e-5)]
    size = np.log([e.small_parameter for e in found])
    exponents = -np.diff(size) / np.diff(np.log([1 - e.fixed_point.multiplier for e in found]))
    assert abs(exponents[1] - 3) < 0.6 * abs(exponents[0] - 3) < 0.1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"gain": 2.4}, "critical gain is 2.4565"),
        ({"gain": vf.critical_gain(threshold=1.0) * 1.0001}, "too small for a series"),
        ({"gain": vf.gain(threshold=1.0), "width": 400}, "small parameter is 0.327"),
        ({"gain": 3.0, "weights": "sign"}, "must be .normal."),
        ({"gain": 3.0, "steps": 5}, "steps"),
        ({"gain": 3.0, "width": [100, 200]}, "equal widths"),
        ({"gain": 3.0, "depth": 1}, "at least 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(parameters, words):
    with pytest.raises(vf.DomainError, match=words):
        vf.expansion(vf.Network(**{"width": 2000, "depth": 2, **parameters}))


@pytest.mark.parametrize("order", [0, 9, 1.5])
def test_orders_refused(order):
    with pytest.raises(vf.DomainError, match="order"):
        vf.expansion(network(2000, gain=3.0), order=order)
