"""Laws of sympy.stats: each function answers or refuses in words, within a limit, and what it answers is right."""

import contextlib
import time

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy
from mpmath import mp, mpf
from sympy import Rational, stats
from sympy.stats.crv_types import GumbelDistribution, MoyalDistribution

import varflow as vf
from varflow.symbolic import effort
from varflow.symbolic.laws import law_of

y = sympy.Symbol("y", real=True)
SPARSE = Rational(9, 10) * sympy.exp(-(y**2) / 2) / sympy.sqrt(2 * sympy.pi) + sympy.exp(-(y**2) / 72) / sympy.sqrt(
    7200 * sympy.pi
)

QUICK = {
    "normal, decimals": lambda: stats.Normal("X", 0.3, 1.7),
    "gamma, decimals": lambda: stats.Gamma("X", 2.3, 1.1),
    "beta": lambda: stats.Beta("X", 2, 2),
    "exponential, decimals": lambda: stats.Exponential("X", 0.7),
    "Wigner": lambda: stats.WignerSemicircle("X", 1),
    "mixture": lambda: stats.ContinuousRV(y, SPARSE),
    "log-normal": lambda: stats.LogNormal("X", 0, 1),
}
SLOW = {
    "normal, many digits": lambda: stats.Normal("X", Rational(314159265358979323846, 10**20), Rational(27182818284590, 10**13)),
    "gamma, half-integer": lambda: stats.Gamma("X", Rational(5, 2), 1),
    "chi-squared": lambda: stats.ChiSquared("X", 3),
    "Student t, 5": lambda: stats.StudentT("X", 5),
    "triangular": lambda: stats.Triangular("X", 0, 3, 1),
    "Maxwell": lambda: stats.Maxwell("X", 2),
    "Rayleigh": lambda: stats.Rayleigh("X", 2),
    "Weibull": lambda: stats.Weibull("X", 1, Rational(3, 2)),
    "Weibull, decimals": lambda: stats.Weibull("X", 1, 1.5),
    "beta, half-integers": lambda: stats.Beta("X", Rational(5, 2), Rational(1, 2)),
    "beta, decimals": lambda: stats.Beta("X", 2.5, 3.7),
    "chi": lambda: stats.Chi("X", 3),
    "Gumbel": lambda: stats.Gumbel("X", 1, 2),
    "Pareto": lambda: stats.Pareto("X", 1, 5),
    "arcsine": lambda: stats.Arcsin("X", 0, 1),
    "inverse gamma": lambda: stats.GammaInverse("X", 5, 2),
    "Student t, decimals": lambda: stats.StudentT("X", 4.5),
    "F": lambda: stats.FDistribution("X", 5, 7),
    "von Mises": lambda: stats.VonMises("X", 0, 1),
    "Moyal": lambda: stats.Moyal("X", 0, 1),
}
CASES = [*(pytest.param(make, id=name) for name, make in QUICK.items())]
CASES += [pytest.param(make, id=name, marks=pytest.mark.slow) for name, make in SLOW.items()]
FUNCTIONS = (vf.symbolic.variance_map, vf.symbolic.multiplier, vf.symbolic.saddle_node)
SECONDS = 20.0  # of processor time, for a call


def numeric(law, z, digits=15):
    """``S(z)`` by quadrature of sympy.stats' own density, standardised here with moments by quadrature."""
    distribution, support = law.pspace.distribution, law.pspace.domain.set
    density = sympy.lambdify(y, distribution.pdf(y), "mpmath")
    low, high = (mpf(float(end)) if end.is_infinite else mpf(str(sympy.N(end, 25))) for end in (support.inf, support.sup))
    if isinstance(distribution, (GumbelDistribution, MoyalDistribution)):
        low = mpf(-40)  # they end like exp(-exp(-y)): below, mpmath would carry a million digits of an exponent
    with mpmath.workdps(digits):
        cuts = [low, *(mpf(c) for c in (-10, 0, 1, 3, 10) if low < c < high), high]
        mean, second = (mp.quad(lambda x, k=k: x**k * mp.re(density(x)), cuts) for k in (1, 2))
        at = mean + z * mp.sqrt(second - mean**2)
        return mp.quad(lambda x: mp.re(density(x)), [at, *(c for c in cuts if c > at)]) if at < high else mpf(0)


@pytest.mark.parametrize("make", CASES)
def test_each_function_answers_or_refuses_in_words(make):
    law, answers = make(), []
    for function in FUNCTIONS:
        start = time.process_time()
        with contextlib.suppress(vf.DomainError):  # its message names the argument, see below
            answers.append(function(law))
        assert time.process_time() - start < SECONDS
    if answers and answers[0].title == "The variance map":
        told = answers[0].lambdify()(1.0, 0.7, 1.0)
        assert told == pytest.approx(float(numeric(law, mpf("0.7"))), rel=1e-6)
        assert told != pytest.approx(float(numeric(law, mpf("0.71"))), rel=1e-6)  # and would see a wrong place


@pytest.mark.parametrize(("name", "digits"), [("gamma, decimals", 12), ("mixture", 12)])
def test_the_saddle_node_of_such_a_law_is_the_numeric_one(name, digits):
    law = QUICK[name]()
    gamma = float(vf.symbolic.saddle_node(law).result.evalf(20))
    grid = np.linspace(0.3, 6, 4000)
    tail = law_of(law)
    values = sympy.lambdify(tail.z, tail.tail, "mpmath")
    assert min(1 / float(z**2 * mp.re(values(mpf(z)))) for z in grid[::20]) >= gamma * (1 - 1e-12)
    assert min(1 / float(z**2 * mp.re(values(mpf(z)))) for z in grid[::20]) == pytest.approx(gamma, rel=2e-3)


def test_the_log_normal_law_in_closed_form():
    """Of ``(X - E X)/√Var X``, ``ln X ~ N(0, s²)``, written out; and scipy's law agrees."""
    s = sympy.Symbol("s", positive=True)
    law = law_of(stats.LogNormal("X", 0, s), parameters={s: (0.5, 1)})
    want = sympy.erfc((s**2 / 2 + sympy.log(1 + law.z * sympy.sqrt(sympy.exp(s**2) - 1))) / (sympy.sqrt(2) * s)) / 2
    for z in (0.1, 1, 5):
        told, known = (float(tail.subs({law.z: z, s: 0.8}).evalf(20)) for tail in (law.tail, want))
        assert told == pytest.approx(known, rel=1e-12)
    critical = vf.critical_gain(threshold=1.0, distribution=scipy.stats.lognorm(1.0))
    told = vf.symbolic.saddle_node(stats.LogNormal("X", 0, 1)).result.evalf(20)
    assert float(told) == pytest.approx(critical**2, rel=1e-9)


def test_wrong_moments_of_sympy_are_noticed():
    """Its mean of this law is 5/2, outside the support; whatever a later version says must be right."""
    law = stats.QuadraticU("X", 0, 1)
    if stats.E(law) == sympy.Rational(1, 2):
        assert vf.symbolic.variance_map(law).check(points=1)
        return
    with pytest.raises(vf.DomainError, match=r"QuadraticU.* mean or variance"):
        vf.symbolic.variance_map(law)


def test_a_limit_interrupts_what_has_none_and_nothing_else():
    def endless():
        while True:
            sum(range(100))

    start = time.process_time()
    assert effort.within(endless, "late", seconds=0.2) == "late"
    assert 0.1 < time.process_time() - start < 5
    assert effort.within(lambda: 3, "late") == 3
    with pytest.raises(ZeroDivisionError):
        effort.within(lambda: 1 / 0, "late")


def test_an_outer_limit_ends_an_inner_one():
    def endless():
        while True:
            sum(range(100))

    def three_times():
        return [effort.within(endless, "inner late", seconds=0.1) for _ in range(3)]

    assert effort.within(three_times, "late", seconds=30) == ["inner late"] * 3
    assert effort.within(lambda: effort.within(endless, "inner late", seconds=30), "late", seconds=0.3) == "late"
    assert effort.within(lambda: 3, "late") == 3  # nothing is left on its way


def test_a_whole_derivation_is_limited_for_laws_of_sympy_stats_only(monkeypatch):
    monkeypatch.setattr(effort, "PATIENCE", 0.05)
    derivations = (vf.symbolic.variance_map, vf.symbolic.weight_variance, vf.symbolic.multiplier, vf.symbolic.saddle_node)
    derivations += (vf.symbolic.fixed_points, vf.symbolic.fixed_point_condition, vf.symbolic.bias_cusp)
    derivations += (
        lambda law: vf.symbolic.expansion("saddle_node", law),
        lambda law: vf.symbolic.finite_width_corrections(distribution=law),
    )
    for shape, derive in enumerate(derivations):
        with pytest.raises(vf.DomainError, match=r"^distribution=GammaDistribution.*takes sympy more than 0.05 s here"):
            derive(stats.Gamma("X", Rational(2 * shape + 5, 2), 1))  # each new, so that nothing is remembered
    assert vf.symbolic.variance_map("laplace").steps


@pytest.mark.parametrize("name", ["erfc", "sqrt"])
def test_a_shape_parameter_may_have_the_name_of_a_function(name):
    shape = sympy.Symbol(name, positive=True)
    derivation = vf.symbolic.variance_map(stats.StudentT("X", shape), parameters={shape: (3, 9)})
    want = vf.variance_map(1.3, threshold=0.8, gain=1.7, distribution=vf.distributions.student_t(5))
    given = {"variance": 1.3, "threshold": 0.8, "gain": 1.7, name: 5.0}
    assert derivation.lambdify()(**given) == pytest.approx(want, rel=1e-12)
    assert float(derivation.lambdify("mpmath")(**given)) == pytest.approx(want, rel=1e-12)


def test_long_numbers_stay_out_of_polynomials_and_come_back():
    exponent = Rational(2.3)
    expression = y**exponent + exponent - Rational(3, 2)
    short, back = effort.symbols_for_long_numbers(expression)
    assert not any(number.q > 1000 for number in short.atoms(sympy.Rational))
    assert short.xreplace(back) == expression
    assert effort.neat(expression - y**exponent) == exponent - Rational(3, 2)
