"""The membrane over one step in sympy: checked steps, planted errors, a simulation, and the mean that is often confused."""

from dataclasses import replace
from functools import lru_cache
from random import Random

import mpmath
import numpy as np
import pytest
import sympy
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError

RESETS = ["none", "subtract", "delayed_subtract", "zero", "gate", "multi_spike"]
LONG = {("none", "correlated"), ("delayed_subtract", "correlated"), ("zero", "correlated"), ("multi_spike", "correlated")}
CASES = [
    pytest.param(reset, kind, marks=[pytest.mark.slow] * ((reset, kind) in LONG))
    for reset in RESETS
    for kind in ("white", "correlated")
]


@lru_cache
def moments(reset, kind):
    """A derivation in which every point is computed once."""
    derivation, known = vf.symbolic.membrane_moments(reset, input=kind), {}

    def define(values):
        key = (mp.prec, *((str(symbol), str(number)) for symbol, number in values.items()))
        if key not in known:
            known[key] = derivation.setting.define(values)
        return known[key]

    return replace(derivation, setting=derivation.setting._replace(define=define))


def with_step(derivation, index, right):
    """The derivation with another right-hand side in one step."""
    step = derivation.steps[index]
    steps = list(derivation.steps)
    steps[index] = replace(step, expression=sympy.Eq(step.expression.lhs, right, evaluate=False))
    return replace(derivation, steps=tuple(steps))


@pytest.mark.parametrize(("reset", "kind"), CASES)
def test_every_step_holds_and_an_error_in_any_is_seen(reset, kind):
    derivation = moments(reset, kind)
    assert derivation.check(points=1, digits=18)
    for index, step in enumerate(derivation.steps):
        planted = with_step(derivation, index, step.expression.rhs * sympy.Rational(101, 100))
        alone = replace(planted, steps=(planted.steps[index],))  # each step is judged by itself
        assert not alone.check(points=1, digits=18), step


def stepped(reset, h, c, beta, theta):
    """``H'`` as the neurons' table has it."""
    s = np.floor(np.maximum(h / theta, 0)) if reset == "multi_spike" else (h > theta) * 1.0
    return {
        "none": beta * h + c,
        "subtract": beta * (h - theta * s) + c,
        "delayed_subtract": beta * h - theta * s + c,
        "zero": beta * h * (1 - s) + c,
        "gate": (beta * h + c) * (1 - s),
        "multi_spike": beta * (h - theta * s) + c,
    }[reset]


@pytest.mark.parametrize(("reset", "kind"), CASES)
def test_a_simulation_agrees_and_sees_three_per_cent(reset, kind):
    rng = np.random.default_rng(RESETS.index(reset) + 10 * (kind == "white"))
    count = 200_000
    predict = moments(reset, kind).lambdify()
    values = {"decay": 0.6, "input_scale": 0.8, "m_I": 0.4, "V_I": 1.3, "mu": 0.3, "sigma": 1.2}
    values |= {"threshold": 0.7} if reset != "none" else {}
    values |= {"C_HI": 0.8} if kind == "correlated" else {}
    cov = values.get("C_HI", 0.0)
    h, current = rng.multivariate_normal([0.3, 0.4], [[1.44, cov], [cov, 1.3]], count).T
    after = stepped(reset, h, 0.8 * current, 0.6, 0.7)
    mean, variance = predict(**values)
    square = (after - after.mean()) ** 2
    assert abs(after.mean() - mean) < 4.5 * after.std() / np.sqrt(count)
    assert abs(square.mean() - variance) < 4.5 * square.std() / np.sqrt(count)
    assert abs(square.mean() - 1.03 * variance) > 4.5 * square.std() / np.sqrt(count)


@pytest.mark.parametrize("reset", ["subtract", "delayed_subtract", "zero", "gate"])
def test_the_mean_of_those_that_fire_in_place_of_all_fails(reset):
    """``E[H | H > θ]`` where ``E[H 1(H > θ)]`` belongs: the covariance with the spike comes out wrong."""
    derivation = moments(reset, "white")
    theta, mu, sigma = sympy.Symbol("theta", positive=True), sympy.Symbol("mu", real=True), sympy.Symbol("sigma", positive=True)
    z = (theta - mu) / sigma
    rate, density = sympy.erfc(z / sympy.sqrt(2)) / 2, sympy.exp(-(z**2) / 2) / sympy.sqrt(2 * sympy.pi)
    spike, product = (sympy.Symbol(name, real=True) for name in ("E[S]", "E[H*S]"))
    covariance, square = (sympy.Symbol(name, real=True) for name in ("Cov[H, S]", "E[H^2*S]"))
    of_firing = mu + sigma * density / rate
    second = (mu**2 + sigma**2) * rate + sigma * (theta + mu) * density
    general = derivation.steps[-3].expression.rhs
    right = {spike: rate, product: mu * rate + sigma * density, covariance: sigma * density, square: second}
    wrong = right | {product: of_firing, covariance: of_firing - mu * rate}
    last = lambda put: (made := with_step(derivation, -1, general.subs(put))) and replace(made, steps=made.steps[-1:])  # noqa: E731
    assert last(right).check(points=1, digits=18)
    assert not last(wrong).check(points=1, digits=18)


def test_the_stationary_identities():
    kept, spike = sympy.Symbol("E[I]_stationary", real=True), sympy.Symbol("E[S]", real=True)
    beta, theta = sympy.Symbol("beta", positive=True), sympy.Symbol("theta", positive=True)
    mu, lam = sympy.Symbol("mu", real=True), sympy.Symbol("lambda", positive=True)
    for reset, taken in {"none": 0, "subtract": beta * theta * spike, "delayed_subtract": theta * spike}.items():
        identity = moments(reset, "white").steps[2].expression
        assert sympy.expand(identity.lhs - mu * (1 - beta)) == 0
        assert sympy.expand(identity.rhs - (lam * kept - taken)) == 0


@pytest.mark.parametrize("reset", ["subtract", "delayed_subtract", "zero", "gate"])
def test_random_points_to_forty_digits(reset):
    predict, rng = moments(reset, "white").lambdify("mpmath"), Random(3)
    with mpmath.workdps(60):
        for _ in range(20):
            names = ("threshold", "decay", "input_scale", "V_I", "m_I", "mu", "sigma")
            ends = ((-2, 2), (0, 1), (0.1, 2), (0.1, 2), (-1, 1), (-1, 1), (0.3, 2))
            point = {name: mpf(rng.uniform(*end)) for name, end in zip(names, ends, strict=True)}
            found = predict(**point)
            for got, wanted in zip(found, directly(reset, *point.values()), strict=True):
                assert abs(got - wanted) < mpf(10) ** -40 * max(1, abs(wanted))


def directly(reset, theta, beta, lam, v, m, mu, sigma):
    """Mean and variance by the law of total expectation: those below the threshold, those above it, truncated normals."""
    z = (theta - mu) / sigma
    weights, pieces = {0: mp.ncdf(z), 1: mp.ncdf(-z)}, {}
    for s, sign in ((0, -1), (1, 1)):
        ratio = sign * mp.npdf(z) / weights[s]
        mean, var = mu + sigma * ratio, sigma**2 * (1 + z * ratio - ratio**2)
        factor = 0 if s and reset in ("zero", "gate") else beta
        shift = {"subtract": -beta * theta, "delayed_subtract": -theta}.get(reset, 0) * s
        open_gate = 0 if s and reset == "gate" else 1
        pieces[s] = (factor * mean + shift + lam * m * open_gate, factor**2 * var + lam**2 * v * open_gate)
    mean = sum(weights[s] * pieces[s][0] for s in (0, 1))
    return mean, sum(weights[s] * (pieces[s][1] + (pieces[s][0] - mean) ** 2) for s in (0, 1))


def test_assumptions_are_named_where_they_are_used():
    white, correlated = moments("subtract", "white"), moments("subtract", "correlated")
    assert "white in time" in white.steps[1].assumption
    assert any("jointly normal" in assumption for assumption in correlated.assumptions)
    assert white.steps[-2].assumption == "normal membrane"
    assert r"\operatorname{Var}[H']" in white.to_latex()
    assert "C_HI" in correlated.arguments
    assert "C_HI" not in white.arguments


@pytest.mark.parametrize(("argument", "bad"), [("reset", "soft"), ("reset", None), ("input", "pink"), ("input", 1)])
def test_bad_input_is_named(argument, bad):
    with pytest.raises(DomainError, match=f"^{argument}="):
        vf.symbolic.membrane_moments(**{argument: bad})
