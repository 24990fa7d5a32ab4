"""The correlation of two inputs in sympy: checked steps, planted errors, known numbers, and independent routes."""

from dataclasses import replace
from functools import lru_cache
from random import Random

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError

FREE = sympy.Symbol("y", real=True)
Z = vf.symbolic.z
CASES = [
    ("map", Z),
    pytest.param("map", 0, marks=pytest.mark.slow),
    ("slope", -0.75),
]  # the map's derivation contains the slope's


@lru_cache
def derived(name, z=Z):
    """A derivation in which every point is computed once."""
    derivation, known = getattr(vf.symbolic, f"correlation_{name}")(z), {}

    def define(values):
        key = (mp.prec, *((str(symbol), str(number)) for symbol, number in values.items()))
        if key not in known:
            known[key] = derivation.setting.define(values)
        return known[key]

    return replace(derivation, setting=derivation.setting._replace(define=define))


def with_error_in(derivation, index):
    """One per cent more on the right of one step."""
    step = derivation.steps[index]
    left, right = step.expression.args
    wrong = right.removeO() * sympy.Rational(101, 100) + (right.getO() or 0)
    others = derivation.steps[:index] + derivation.steps[index + 1 :]
    planted = replace(step, expression=sympy.Eq(left, wrong, evaluate=False))
    return replace(derivation, steps=(planted, *others))  # first, to be seen soon: each step is judged by itself


@pytest.mark.parametrize(("name", "z"), CASES)
def test_every_step_holds_and_an_error_in_any_is_seen(name, z):
    derivation = derived(name, z)
    assert derivation.check(points=1, digits=18)
    for index in range(len(derivation.steps)):
        assert not with_error_in(derivation, index).check(points=1, digits=18), derivation.steps[index]


def both_fire(z, rho):
    """``P(u > θ, û > θ)`` given one of the two potentials."""
    s = mp.sqrt(1 - rho**2)
    return mp.quad(lambda t: mp.npdf(t) * mp.erfc((z - rho * t) / (s * mp.sqrt(2))) / 2, [z, z + 2, z + 8])


@pytest.mark.parametrize(
    ("z", "point", "multiplier"),
    [(0, "0.78983", "0.51899"), (0.5, "0.56073", "0.53078"), (1, "0.27400", "0.47580"), (2, "0.02630", "0.14201")],
)
def test_known_stable_points_and_their_multipliers(z, point, multiplier):
    slope = derived("slope", FREE).lambdify("mpmath")
    rate = mp.erfc(z / mp.sqrt(2)) / 2
    found = mp.findroot(lambda rho: both_fire(mpf(z), rho) / rate - rho, (mpf(point), mpf(point) * 0.99), tol=1e-20)
    assert abs(found - mpf(point)) < 6e-6
    assert abs(slope(overlap=found, y=z) - mpf(multiplier)) < 6e-6
    mapped = derived("map").lambdify("mpmath")
    assert abs(mapped(overlap=found, z=mpf(z)) - found) < 1e-9
    assert abs(slope(overlap=found, y=z) * 1.01 - mpf(multiplier)) > 1e-3


@pytest.mark.parametrize("points", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_the_slope_at_random_points_to_forty_digits(points):
    slope = derived("slope", FREE).lambdify("mpmath")
    rng = Random(1)
    with mpmath.workdps(60):
        for _ in range(points):
            z, rho = mpf(rng.uniform(-3, 3)), mpf(rng.uniform(0, 0.999))
            s = mp.sqrt(1 - rho**2)
            density = mp.npdf(z) * mp.npdf((z - rho * z) / s) / s
            direct = density / mp.ncdf(-z)
            assert abs(slope(overlap=rho, y=z) / direct - 1) < mpf(10) ** -40


def test_the_slope_is_the_numerical_derivative_of_the_definition():
    slope = derived("slope").lambdify("mpmath")
    with mpmath.workdps(20):
        for z, rho in ((mpf("0.3"), mpf("0.2")), (mpf("1.4"), mpf("0.7"))):
            direct = mp.diff(lambda r, z=z: both_fire(z, r), rho) / mp.ncdf(-z)
            assert abs(slope(overlap=rho, z=z) / direct - 1) < 1e-12


def test_the_map_agrees_with_scipys_bivariate_normal():
    mapped = derived("map").lambdify()
    for z, rho in ((0.4, 0.3), (1.0, 0.8), (2.0, 0.5)):
        joint = scipy.stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([-z, -z])
        assert mapped(overlap=rho, z=z) == pytest.approx(joint / scipy.stats.norm.sf(z), rel=1e-6)


def test_the_slope_takes_arrays():
    slope = derived("slope").lambdify()
    both = slope(overlap=np.array([0.1, 0.9]), z=1.0)
    assert both == pytest.approx([slope(0.1, 1.0), slope(0.9, 1.0)], rel=1e-15)


def test_near_inputs_separate_with_infinite_slope():
    slope = derived("slope").lambdify("mpmath")
    scaled = [slope(overlap=1 - mpf(10) ** -k, z=mpf(1)) * mp.sqrt(1 - (1 - mpf(10) ** -k) ** 2) for k in (6, 10)]
    limit = mp.exp(-0.5) / (2 * mp.pi * mp.ncdf(-1))
    assert abs(scaled[0] / limit - 1) < 1e-5
    assert abs(scaled[1] / limit - 1) < 1e-9


def test_at_zero_the_map_is_the_arcsine_law():
    rho = sympy.Symbol("rho", nonnegative=True)
    assert sympy.simplify(derived("map", 0).result - (sympy.asin(rho) / sympy.pi + sympy.Rational(1, 2))) == 0


def test_what_it_rests_on_is_said_and_printed():
    derivation = derived("slope")
    assert any("jointly normal" in assumption for assumption in derivation.assumptions)
    assert r"\frac{d\rho'}{d\rho}" in derivation.to_latex()
    assert derivation.arguments == ("overlap", "z")


@pytest.mark.parametrize("bad", [float("nan"), 9.5, -1e140, "x y", 1j, sympy.Symbol("a") + 1, None])
@pytest.mark.parametrize("function", [vf.symbolic.correlation_slope, vf.symbolic.correlation_map])
def test_bad_input_is_named(function, bad):
    with pytest.raises(DomainError, match=r"^z="):
        function(bad)
