"""Finite-width corrections: every step holds, a planted percent is noticed, and the numerical expansion agrees."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import sympy
from sympy import Eq

import varflow as vf
from varflow.symbolic import finite_width_corrections

CASES = [(1, None), (2, None), (1, "normal"), (1, "laplace")]


@lru_cache
def derived(order, distribution):
    return finite_width_corrections(order, distribution=distribution)


@pytest.mark.parametrize(("order", "distribution"), CASES)
def test_every_step_holds(order, distribution):
    assert derived(order, distribution).check(points=1)


def planted(equation):
    """The same equation, wrong by one percent in the highest term of its series, or as a whole."""
    right, rest = equation.rhs.removeO(), equation.rhs.getO()
    if rest is None:
        return Eq(equation.lhs, right * sympy.Rational(101, 100))
    variable = rest.variables[0]
    last = max(sympy.Add.make_args(right), key=lambda term: abs(term.as_coeff_exponent(variable)[1]))
    return Eq(equation.lhs, right + last / 100 + rest)


@pytest.mark.parametrize(("order", "distribution"), CASES)
def test_a_step_wrong_by_one_percent_is_noticed(order, distribution):
    derivation = derived(order, distribution)
    for index, step in enumerate(derivation.steps):
        wrong = replace(derivation, steps=(replace(step, expression=planted(step.expression)),))
        assert not wrong.check(points=1), f"step {index}: {step.expression}"


@pytest.mark.parametrize("order", [1, 2])
def test_every_term_of_the_stationarity_conditions_counts(order):
    derivation = derived(order, None)
    for step in derivation.steps:
        if step.reason.startswith("stationary"):
            right = step.expression.rhs
            for term in sympy.Add.make_args(right.removeO()):
                wrong = replace(step, expression=Eq(step.expression.lhs, right + term / 20))
                assert not replace(derivation, steps=(wrong,)).check(points=1), term


def coefficients(order, distribution, **values):
    """Of ``n^-1 … n^-order``, as numbers."""
    width = vf.symbolic.n
    point = {
        symbol: values[symbol.name]
        for series in derived(order, distribution).result
        for symbol in series.free_symbols - {width}
    }
    small = sympy.Symbol("epsilon")
    series = [sympy.expand(s.subs(width, 1 / small).subs(point)) for s in derived(order, distribution).result]
    return np.array([[float(s.coeff(small, k)) for k in range(1, order + 1)] for s in series])


@pytest.mark.parametrize(
    ("threshold", "bias_std", "mean_gain"), [(0.7, 0.0, 0.0), (1.0, 0.0, 0.0), (0.4, 0.3, 0.0), (0.6, 0.2, -0.5)]
)
def test_the_numerical_expansion_has_these_coefficients(threshold, bias_std, mean_gain):
    gain = vf.gain(threshold=threshold, bias_std=bias_std)
    network = vf.Network(width=500_000, depth=2, gain=gain, neuron=vf.Neuron(threshold), bias_std=bias_std, mean_gain=mean_gain)
    found = vf.expansion(network, order=2)
    V, rate = found.fixed_point.variance, found.fixed_point.firing_rate
    v, z = sympy.Symbol("v"), sympy.Symbol("z")
    argument = (threshold - mean_gain * (v - bias_std**2) / gain**2) / sympy.sqrt(v)
    mapped = (gain**2 * sympy.erfc(z / sympy.sqrt(2)) / 2).subs(z, argument)
    F = {f"F{k}": float(sympy.diff(mapped, v, k).subs(v, V)) for k in range(1, 5)}
    mean, variance = coefficients(2, None, g=gain, p=rate, **F)
    assert mean == pytest.approx(found.mean_coefficients, rel=1e-7)
    assert variance == pytest.approx(found.variance_coefficients, rel=1e-7)


def test_the_normal_distribution_written_out():
    gain = vf.gain(threshold=0.7)
    found = vf.expansion(vf.Network(width=2000, depth=2, gain=gain, neuron=vf.Neuron(0.7)), order=1)
    shift, variance = derived(1, "normal").lambdify()(1.0, 2000, 0.7)
    assert derived(1, "normal").arguments == ("variance", "fan_in", "z")
    assert shift == pytest.approx(-0.001017, abs=5e-7)
    assert [shift * 2000, variance * 2000] == pytest.approx(
        [found.mean_coefficients[0], found.variance_coefficients[0]], rel=1e-10
    )


def test_without_curvature_the_mean_does_not_move():
    shift, variance = derived(1, None).result
    assert shift.subs(sympy.Symbol("F2", real=True), 0) == 0
    assert not variance.has(sympy.Symbol("F2", real=True))


@pytest.mark.parametrize("order", [0, 3, 1.5])
def test_bad_order(order):
    with pytest.raises(vf.DomainError, match="order"):
        finite_width_corrections(order)


def test_bad_distribution():
    with pytest.raises(vf.DomainError, match="distribution"):
        finite_width_corrections(distribution="cauchy")


def test_random_networks_have_the_coefficients_of_the_normal_distribution():
    derivation, rng = derived(1, "normal"), np.random.default_rng(0)
    function = derivation.lambdify()
    for _ in range(20):
        threshold = rng.uniform(0.1, 1.2)
        gain = vf.critical_gain(threshold=threshold) * rng.uniform(1.05, 2.5)
        found = vf.expansion(vf.Network(width=10**8, depth=2, gain=gain, neuron=vf.Neuron(threshold)), order=1)
        V = found.fixed_point.variance
        values = {"z": threshold / V**0.5, "variance": V, "fan_in": 1}
        mean, variance = function(*(values[name] for name in derivation.arguments))
        accuracy = 1e-12 / (1 - found.fixed_point.multiplier) ** 2
        assert mean == pytest.approx(found.mean_coefficients[0], rel=accuracy)
        assert variance == pytest.approx(found.variance_coefficients[0], rel=accuracy)
        assert mean * 1.001 != pytest.approx(found.mean_coefficients[0], rel=accuracy)
