"""Series of the theory near its limits: every step holds, a planted percent is noticed, and the fast theory agrees."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import sympy
import sympy.stats
from sympy import Eq

import varflow as vf
from varflow.symbolic import expansion

VARIABLE = sympy.stats.Uniform("X", 0, 1)  # not one of the built-in distributions
CASES = [
    ("threshold_to_zero", "normal", 2),
    ("threshold_to_zero", "laplace", 2),
    ("threshold_to_zero", "logistic", 1),
    ("threshold_to_zero", VARIABLE, 1),
    ("threshold_to_infinity", "normal", 2),
    ("threshold_to_infinity", "laplace", 1),
    ("threshold_to_infinity", "logistic", 1),
    ("saddle_node", "normal", 1),
    ("saddle_node", "uniform", 2),
    ("gain_to_infinity", "normal", 1),
    ("gain_to_infinity", "uniform", 2),
    ("gain_to_infinity", "laplace", 1),
]
LONG = {("gain_to_infinity", "normal", 1), ("gain_to_infinity", "laplace", 1), ("saddle_node", "normal", 1)}
STEPS = [pytest.param(*case, id="-".join(map(str, case)), marks=[pytest.mark.slow] * (case in LONG)) for case in CASES]


@lru_cache
def derived(limit, distribution, order):
    return expansion(limit, distribution, order=order)


@lru_cache
def function(limit, distribution, order):
    derivation = derived(limit, distribution, order)
    return derivation.arguments, derivation.lambdify()


def told(limit, distribution, order, **given):
    names, result = function(limit, distribution, order)
    return np.array(result(*(given[name] for name in names)), dtype=float)


@pytest.mark.parametrize(("limit", "distribution", "order"), STEPS)
def test_every_step_holds(limit, distribution, order):
    assert derived(limit, distribution, order).check(points=1)


def planted(equation):
    """The same equation, its right-hand side wrong by one percent in the highest term of its series, or as a whole."""
    right, rest = equation.rhs.removeO(), equation.rhs.getO()
    if rest is None:
        return Eq(equation.lhs, right * sympy.Rational(101, 100), evaluate=False)
    variable, limit = rest.variables[0], rest.point[0]
    near = {variable: 1000 if limit == sympy.oo else sympy.Rational(1, 1000)}
    terms = sympy.Add.make_args(sympy.expand(right))
    known = {s: sympy.Rational(7, 10) for s in right.free_symbols - {variable}}
    last = min(terms, key=lambda term: abs(sympy.N(term.subs(near).subs(known)))) if len(terms) > 1 else right
    return Eq(equation.lhs, right + last / 100 + rest, evaluate=False)


@pytest.mark.parametrize(("limit", "distribution", "order"), STEPS)
def test_a_step_wrong_by_one_percent_is_noticed(limit, distribution, order):
    derivation = derived(limit, distribution, order)
    for index, step in enumerate(derivation.steps):
        wrong = replace(derivation, steps=(replace(step, expression=planted(step.expression)),))
        assert not wrong.check(points=1), f"step {index}: {step.expression}"
    steps = list(derivation.steps)
    steps[-1] = replace(steps[-1], expression=planted(steps[-1].expression))
    assert not replace(derivation, steps=tuple(steps)).check(points=1)


def multiplier(threshold, gain, distribution, variance):
    points = vf.fixed_points(threshold=threshold, gain=gain, distribution=distribution)
    return min(points, key=lambda point: abs(point.variance - variance)).multiplier


@pytest.mark.parametrize(("distribution", "order"), [("normal", 2), ("laplace", 2)])
def test_small_thresholds_approach_the_preserving_gain(distribution, order):
    gaps = []
    for threshold in (0.1, 0.05):
        gain = vf.gain(threshold=threshold, distribution=distribution)
        exact = [gain**2, multiplier(threshold, gain, distribution, 1.0)]
        gaps.append(np.abs(told("threshold_to_zero", distribution, order, threshold=threshold) - exact))
    assert np.log2(gaps[0][0] / gaps[1][0]) == pytest.approx(order + 1, abs=0.2)
    if distribution == "laplace":  # m = θ/√2, nothing is left out
        assert gaps[0][1] < 1e-10
    else:
        assert np.log2(gaps[0][1] / gaps[1][1]) == pytest.approx(order + 2, abs=0.2)


def test_large_thresholds_approach_the_preserving_gain():
    for threshold in (5.0, 8.0):
        squared, slope = told("threshold_to_infinity", "normal", 2, threshold=threshold)
        gain = vf.gain(threshold=threshold)
        assert squared == pytest.approx(gain**2, rel=15 / threshold**6)
        assert slope == pytest.approx(multiplier(threshold, gain, "normal", 1.0), abs=10 / threshold**4)


@pytest.mark.parametrize("distribution", ["laplace", "logistic"])
def test_exponential_tails_are_exact(distribution):
    for threshold in (0.4, 1.1, 6.0):
        gain = vf.gain(threshold=threshold, distribution=distribution)
        exact = [gain**2, multiplier(threshold, gain, distribution, 1.0)]
        assert told("threshold_to_infinity", distribution, 1, threshold=threshold) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("distribution", "order"), [("normal", 1), ("uniform", 2)])
def test_both_branches_near_the_saddle_node(distribution, order):
    gaps = []
    for epsilon in (0.04, 0.02):
        gain = 0.8 * np.sqrt(vf.critical_gain(threshold=0.8, distribution=distribution) ** 2 / 0.64 / (1 - epsilon**2))
        edge, stable = [p for p in vf.fixed_points(threshold=0.8, gain=gain, distribution=distribution) if p.variance > 0]
        exact = [stable.variance, edge.variance, stable.multiplier, edge.multiplier]
        gaps.append(np.abs(told("saddle_node", distribution, order, threshold=0.8, epsilon=epsilon) - exact))
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx([order + 1] * 4, abs=0.15)


def test_laplace_near_the_saddle_node_in_small_integers():
    epsilon = sympy.Symbol("epsilon", positive=True)
    assert expansion("saddle_node", "laplace", order=2).result[2:] == (
        1 - epsilon + epsilon**2 / 3,
        1 + epsilon + epsilon**2 / 3,
    )


def exact_at_large_gain(distribution, eta):
    edge, stable = [p for p in vf.fixed_points(threshold=1.0, gain=1 / eta, distribution=distribution) if p.variance > 0]
    return np.array([stable.variance * eta**2, stable.multiplier, edge.variance, edge.multiplier])


@pytest.mark.parametrize(("distribution", "order"), [("normal", 1), ("uniform", 2), ("laplace", 1)])
def test_large_gain(distribution, order):
    near, nearer = (
        np.abs(told("gain_to_infinity", distribution, order, eta=eta) / exact_at_large_gain(distribution, eta) - 1)
        for eta in (0.02, 0.01)
    )
    lost = order + (distribution == "laplace")  # whose variance has no η² term
    assert np.log2(near[0] / nearer[0]) == pytest.approx(lost + 1, abs=0.2)
    assert np.log2(near[1] / nearer[1]) == pytest.approx(order, abs=0.2)
    if distribution == "normal":
        assert (nearer[2:] < 0.02).all()
        assert (nearer[2:] < near[2:]).all()
    elif distribution == "laplace":
        assert near[2:] == pytest.approx([0, 0], abs=1e-9)
    else:
        assert np.log2(near[2:] / nearer[2:]) == pytest.approx([2 * order + 2] * 2, abs=0.3)


def test_mills_ratio_is_the_known_one():
    theta = vf.symbolic.theta
    assert (
        expansion("threshold_to_infinity", order=3).result[1] == theta**2 / 2 + sympy.Rational(1, 2) - theta**-2 + 5 / theta**4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("threshold",), "limit='threshold' is unknown; choose one of threshold_to_zero, threshold_to_infinity"),
        (("threshold_to_infinity", "uniform"), "no gain keeps a variance of 1"),
        (("threshold_to_infinity", VARIABLE), "choose one of normal, laplace, logistic"),
        (("gain_to_infinity", VARIABLE), "choose one of normal, uniform, laplace, logistic"),
        (("saddle_node", "cauchy"), "cauchy"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(vf.DomainError, match=message):
        expansion(*arguments)


@pytest.mark.parametrize("order", [0, 5, 1.5])
def test_bad_order(order):
    with pytest.raises(vf.DomainError, match="order"):
        expansion("threshold_to_zero", order=order)
