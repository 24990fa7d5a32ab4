"""The gain of gradients in sympy: checked steps, planted errors, and quadrature that shares nothing with it."""

import math
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from random import Random

import mpmath
import numpy as np
import pytest
import scipy.integrate
import sympy
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError

X, K = sympy.Symbol("x", real=True), sympy.Symbol("k", positive=True)
SHAPES = {
    "box": lambda s: (abs(s) < 1) * 1.0,
    "triangular": lambda s: max(1 - abs(s), 0.0),
    "gaussian": lambda s: math.exp(-s * s / 2),
    "exponential": lambda s: math.exp(-abs(s)),
    "fast_sigmoid": lambda s: (1 + abs(s)) ** -2,
    "atan": lambda s: 1 / (1 + s * s),
    "sigmoid": lambda s: math.cosh(s / 2) ** -2,
}
CLOSED = ["box", "triangular", "gaussian", "exponential"]
OWN = sympy.exp(-K * X**2) * (1 + X)
LONG = ("exponential", "fast_sigmoid", "sigmoid", "atan")  # quadrature holds their gains below; atan's steps begin its peak's
CASES = [
    *(pytest.param(name, {}, marks=[pytest.mark.slow] * (name in LONG)) for name in SHAPES),
    (OWN, {}),
    ("box", {"threshold": 0, "solve": "width"}),
    pytest.param("gaussian", {"threshold": 0, "solve": "width"}, marks=pytest.mark.slow),
    ("atan", {"solve": "peak"}),
    pytest.param("exponential", {"solve": "peak", "threshold": sympy.Symbol("theta", real=True)}, marks=pytest.mark.slow),
]


@lru_cache
def _gain(surrogate, options):
    """A derivation in which every point is computed once."""
    derivation, known = vf.symbolic.gradient_gain(surrogate, **dict(options)), {}

    def define(values):
        key = (mp.prec, *((str(symbol), str(number)) for symbol, number in values.items()))
        if key not in known:
            known[key] = derivation.setting.define(values)
        return known[key]

    return replace(derivation, setting=derivation.setting._replace(define=define))


def gain(surrogate, **options):
    return _gain(surrogate, tuple(options.items()))


@pytest.mark.parametrize(("surrogate", "options"), CASES, ids=str)
def test_every_step_holds_and_an_error_in_any_is_seen(surrogate, options):
    derivation = gain(surrogate, **options)
    assert derivation.check(points=1, digits=18)
    for index, step in enumerate(derivation.steps):
        wrong = sympy.Eq(step.expression.lhs, step.expression.rhs * sympy.Rational(101, 100), evaluate=False)
        others = derivation.steps[:index] + derivation.steps[index + 1 :]
        planted = (replace(step, expression=wrong), *others)  # first, to be seen soon: each step is judged by itself
        assert not replace(derivation, steps=planted).check(points=1, digits=18), step


@pytest.mark.parametrize("name", SHAPES)
def test_the_gain_agrees_with_scipys_quadrature(name):
    chi = gain(name).lambdify()
    for variance, threshold, g, a in ((2.5, 1.5, 1.2, 1.6), (0.4, 1.0, 3.0, 0.3)):
        density = lambda u, v=variance: math.exp(-u * u / (2 * v)) / math.sqrt(2 * math.pi * v)  # noqa: E731
        square = lambda u, t=threshold, a=a: SHAPES[name]((u - t) / a) ** 2  # noqa: E731
        cuts = sorted([-12.0, threshold - a, threshold, threshold + a, 0.0, 12.0])
        inside = lambda u, f=density, h=square: h(u) * f(u)  # noqa: E731
        pieces = [scipy.integrate.quad(inside, *ends)[0] for ends in pairwise(cuts)]
        told = chi(variance, threshold, g, a)
        assert told == pytest.approx(g * g * sum(pieces), rel=1e-9)
        assert told <= g * g


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_at_random_points_to_forty_digits(name):
    chi, rng = gain(name).lambdify("mpmath"), Random(2)
    exact = {
        "box": lambda s: mpf(abs(s) < 1),
        "triangular": lambda s: max(1 - abs(s), mpf(0)),
        "gaussian": lambda s: mp.exp(-s * s / 2),
        "exponential": lambda s: mp.exp(-abs(s)),
    }[name]
    assert not gain(name).result.has(sympy.Integral)
    with mpmath.workdps(45):
        for _ in range(6):
            v, t, g, a = (mpf(rng.uniform(*ends)) for ends in ((0.5, 2), (0.1, 1.5), (0.5, 3), (0.6, 2)))
            edge = a if name in ("box", "triangular") else 16 * mp.sqrt(v)
            kernel = lambda x, v=v, t=t, a=a: exact(x / a) ** 2 * mp.exp(-((x + t) ** 2) / (2 * v))  # noqa: E731
            cuts = [-edge, 0, edge]
            direct = g**2 * mp.quad(kernel, cuts) / mp.sqrt(2 * mp.pi * v)
            assert abs(chi(v, t, g, a) / direct - 1) < mpf(10) ** -40


def test_what_has_no_closed_form_keeps_its_integral():
    for name in ("fast_sigmoid", "atan", "sigmoid"):
        assert gain(name).result.has(sympy.Integral)


def test_narrow_surrogates_see_the_density_at_the_threshold():
    for name, mass in (("box", 2), ("triangular", 2 / 3), ("gaussian", math.sqrt(math.pi)), ("exponential", 1)):
        chi = gain(name).lambdify("mpmath")
        with mpmath.workdps(60):
            narrow = chi(1, mpf("0.8"), 1, mpf(10) ** -3) / (mass * mpf(10) ** -3 * mp.npdf(mpf("0.8")))
        assert abs(narrow - 1) < 1e-5


def test_at_the_width_and_the_peak_found_the_gain_is_one():
    width = gain("box", threshold=0, solve="width").lambdify()(variance=1.7, gain=1.9)
    assert gain("box").lambdify()(1.7, 0.0, 1.9, width) == pytest.approx(1, rel=1e-12)
    peak = gain("atan", solve="peak").lambdify()(1.0, 0.5, 2.0, 0.7)
    assert peak**2 * gain("atan").lambdify()(1.0, 0.5, 2.0, 0.7) == pytest.approx(1, rel=1e-9)


def test_a_surrogate_of_ones_own_equals_the_named_one():
    own = gain(sympy.exp(-sympy.Abs(X) / K)).lambdify()
    assert own(variance=1.2, threshold=0.4, gain=1.5, k=0.8) == pytest.approx(
        gain("exponential").lambdify()(1.2, 0.4, 1.5, 0.8)
    )


def test_a_simulated_backward_pass_agrees():
    rng, width, above, g = np.random.default_rng(5), 400, 300, 1.7
    ratios = []
    for _ in range(60):
        u, delta = rng.normal(size=width), rng.normal(size=above)
        weights = rng.normal(scale=g / math.sqrt(width), size=(above, width))
        ratios.append(np.mean((np.maximum(1 - abs(u - 0.5), 0) * (delta @ weights)) ** 2) / np.mean(delta**2))
    chi = gain("triangular").lambdify()(1.0, 0.5, g, 1.0) * above / width
    error = np.std(ratios, ddof=1) / math.sqrt(len(ratios))
    assert abs(np.mean(ratios) - chi) < 4 * error
    assert abs(np.mean(ratios) - 1.1 * chi) > 4 * error


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"surrogate": "relu"}, "^surrogate='relu'"),
        ({"surrogate": None}, "^surrogate="),
        ({"surrogate": 3}, "leaves no symbol"),
        ({"surrogate": sympy.exp(-sympy.Symbol("q") * X**2)}, "leaves q, x"),
        ({"surrogate": sympy.exp(-sympy.Symbol("q") * X**2), "argument": X}, "leaves q"),
        ({"surrogate": sympy.Heaviside(X)}, "case distinctions"),
        ({"threshold": float("nan")}, "^threshold="),
        *(({"threshold": x, "solve": solve}, "a symbol or at most 7") for x in (8, -(10**400)) for solve in (None, "peak")),
        ({"solve": "slope"}, "^solve='slope'"),
        ({"surrogate": "triangular", "solve": "width"}, "has no closed form"),
    ],
)
def test_bad_input_is_named(options, rule):
    with pytest.raises(DomainError, match=rule):
        vf.symbolic.gradient_gain(**options)
