"""Distributions of sympy.stats: functions answer or refuse in words, answers are right, and sympy is asked for little."""

import contextlib
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sympy
from mpmath import mp, mpf
from sympy import Rational, stats
from sympy.stats.crv_types import GumbelDistribution, MoyalDistribution

import varflow as vf
from varflow.symbolic import algebra, laws, standard
from varflow.symbolic.algebra import integral
from varflow.symbolic.laws import law_of

y = sympy.Symbol("y", real=True)
SPARSE = Rational(9, 10) * sympy.exp(-(y**2) / 2) / sympy.sqrt(2 * sympy.pi) + sympy.exp(-(y**2) / 72) / sympy.sqrt(
    7200 * sympy.pi
)

QUICK = {
    "normal, decimals": lambda: stats.Normal("X", 0.3, 1.7),
    "exponential, decimals": lambda: stats.Exponential("X", 0.7),
    "Wigner": lambda: stats.WignerSemicircle("X", 1),
}
SLOW = {
    "beta": lambda: stats.Beta("X", 2, 2),
    "gamma, decimals": lambda: stats.Gamma("X", 2.3, 1.1),
    "mixture": lambda: stats.ContinuousRV(y, SPARSE),
    "log-normal": lambda: stats.LogNormal("X", 0, 1),
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


def numeric(variable, z, digits=15):
    """``S(z)`` by quadrature of sympy.stats' own density, standardised here with moments by quadrature."""
    distribution, support = variable.pspace.distribution, variable.pspace.domain.set
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
    distribution, answers = make(), []
    for function in FUNCTIONS:
        with contextlib.suppress(vf.DomainError):  # its message names the argument, see below
            answers.append(function(distribution))
    if answers and answers[0].title == "The variance map":
        told = answers[0].lambdify()(1.0, 0.7, 1.0)
        assert told == pytest.approx(float(numeric(distribution, mpf("0.7"))), rel=1e-6)
        assert told != pytest.approx(float(numeric(distribution, mpf("0.71"))), rel=1e-6)  # and would see a wrong place


@pytest.mark.parametrize(("name", "digits"), [pytest.param("gamma, decimals", 12, marks=pytest.mark.slow), ("mixture", 12)])
def test_the_saddle_node_of_such_a_distribution_is_the_numeric_one(name, digits):
    distribution = SLOW[name]()
    gamma = float(vf.symbolic.saddle_node(distribution).result.evalf(20))
    tail = law_of(distribution)
    values = sympy.lambdify(tail.z, tail.tail, "mpmath")
    lowest = min(1 / float(z**2 * mp.re(values(mpf(z)))) for z in np.linspace(0.3, 6, 200))
    assert gamma * (1 - 1e-12) <= lowest <= gamma * (1 + 2e-3)


def test_the_log_normal_distribution_in_closed_form():
    """Of ``(X - E X)/√Var X``, ``ln X ~ N(0, s²)``, written out; and scipy's distribution agrees."""
    s = sympy.Symbol("s", positive=True)
    distribution = law_of(stats.LogNormal("X", 0, s), parameters={s: (0.5, 1)})
    want = sympy.erfc((s**2 / 2 + sympy.log(1 + distribution.z * sympy.sqrt(sympy.exp(s**2) - 1))) / (sympy.sqrt(2) * s)) / 2
    for z in (0.1, 1, 5):
        told, known = (float(tail.subs({distribution.z: z, s: 0.8}).evalf(20)) for tail in (distribution.tail, want))
        assert told == pytest.approx(known, rel=1e-12)
    critical = vf.critical_gain(threshold=1.0, distribution=scipy.stats.lognorm(1.0))
    told = vf.symbolic.saddle_node(stats.LogNormal("X", 0, 1)).result.evalf(20)
    assert float(told) == pytest.approx(critical**2, rel=1e-9)


def test_moments_of_other_distributions_are_integrals_of_their_density():
    """sympy's own mean of this one is 5/2, outside the support."""
    assert vf.symbolic.variance_map(stats.QuadraticU("X", 0, 1)).check(points=1)
    with pytest.raises(vf.DomainError, match=r"VonMises.* mean or variance without a known closed form"):
        vf.symbolic.variance_map(stats.VonMises("X", 0, 1))


AWKWARD = {
    "corrections of a gamma distribution": (vf.symbolic.finite_width_corrections, {"distribution": stats.Gamma("X", 2.3, 1.1)}),
    "leaky response, logistic": (vf.symbolic.weight_variance, {"distribution": "logistic", "response": "leaky_relu"}),
    "saddle-node, log-normal": (vf.symbolic.saddle_node, {"distribution": stats.LogNormal("X", 0, Rational(4, 5))}),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * ("leaky" not in name)) for name in AWKWARD])
def test_sympy_is_asked_for_small_expressions_only_and_every_time_for_the_same(name, monkeypatch):
    """Each of these once took sympy minutes. The bound is on sizes, so that the outcome is the same on every machine."""
    sizes = []

    def noted(expression, work=sympy.simplify, **named):
        sizes.append(expression.count_ops())
        return work(expression, **named)

    monkeypatch.setattr(sympy, "simplify", noted)
    outcomes = []
    for _ in range(2):
        for cached in (algebra.neat, standard.on_the_line, laws._standardised, laws._built_in):
            cached.cache_clear()
        sympy.core.cache.clear_cache()
        function, arguments = AWKWARD[name]
        outcomes.append(function.__wrapped__(**arguments))  # without what it remembers
    assert [str(step.expression) for step in outcomes[0].steps] == [str(step.expression) for step in outcomes[1].steps]
    assert 0 < max(sizes) <= algebra.LARGEST


def test_what_is_large_stays_as_it_is():
    small = sympy.sin(y) ** 2 + sympy.cos(y) ** 2
    large = sum((sympy.sin(k * y) ** 2 + sympy.cos(k * y) ** 2 for k in range(1, 12)), sympy.S.Zero)
    assert algebra.neat(small) == 1
    assert large.count_ops() > algebra.LARGEST
    assert algebra.neat(large) == large
    assert algebra.factored(sympy.expand((y + 1) ** 3)) == (y + 1) ** 3
    whole = sympy.expand((y + 1) ** 400)
    assert whole.count_ops() > algebra.LARGEST_FACTORED
    assert algebra.factored(whole) == whole


x = sympy.Symbol("x", positive=True)


@pytest.mark.parametrize(
    ("equation", "roots"),
    [
        (3 * x - 2, [Rational(2, 3)]),
        (x**2 - 3, [-sympy.sqrt(3), sympy.sqrt(3)]),
        (6 * x**2 / (x**2 + 3) - 3, [-sympy.sqrt(3), sympy.sqrt(3)]),
        (x * sympy.exp(2 * x) - 1, None),
        (2 * x - 5 + sympy.exp(-x), None),
        (x**3 - x - 1, []),
        (x - sympy.atan(x) - 1, []),
        (x + sympy.exp(x) + sympy.exp(sympy.sqrt(2) * x) - 4, []),
        (x * sympy.exp(x) + x - 1, []),
    ],
)
def test_equations_are_solved_up_to_squares_and_one_exponential(equation, roots):
    found = algebra.solutions(equation, x)
    assert found or roots == []
    assert roots is None or sorted(found, key=float) == roots
    for root in found:
        assert abs(equation.subs(x, root).evalf(20)) < 1e-15


INTEGRALS = [
    (y**2 * sympy.exp(-3 * y), 1, sympy.oo),
    ((y**3 - y) * sympy.exp(2 * y + 1), -sympy.oo, Rational(1, 3)),
    ((1 + y + y**4) * sympy.exp(-(y**2) - y), -1, 2),
    (y**2 * sympy.exp(-(y**2) / 2), -sympy.oo, sympy.oo),
    (y**5 - 2 * y, -1, Rational(3, 2)),
    (1 / (3 + 2 * y**2) ** 3, Rational(1, 2), sympy.oo),
    (y**2 / (3 + 2 * y**2) ** Rational(5, 2), -sympy.oo, Rational(-1, 2)),
    (y**4 / (1 + y**2) ** 4, -1, 2),
]


@pytest.mark.parametrize(("integrand", "low", "high"), INTEGRALS)
def test_closed_integrals_have_the_values_of_quadrature(integrand, low, high):
    ends = [mp.inf * sympy.sign(end) if end.is_infinite else mpf(str(sympy.N(end, 40))) for end in map(sympy.S, (low, high))]
    ends = [mpf(str(end)) if not isinstance(end, mpf) else end for end in ends]
    with mpmath.workdps(30):
        want = mp.quad(
            sympy.lambdify(y, integrand, "mpmath"), [ends[0], *(c for c in (0, 1) if ends[0] < c < ends[1]), ends[1]]
        )
    found = integral(integrand, y, sympy.S(low), sympy.S(high))
    assert float(found.evalf(25)) == pytest.approx(float(want), rel=1e-14)


@pytest.mark.parametrize(
    "integrand", [sympy.exp(-(y**3)), sympy.exp(y), 1 / (1 + y**2) ** Rational(1, 2), sympy.log(y), y**y, y ** Rational(1, 3)]
)
def test_integrals_of_other_kinds_stay(integrand):
    assert integral(integrand, y, sympy.S.One, sympy.oo) is None


MOMENTS = {
    "ex-Gaussian": lambda: stats.ExGaussian("X", 1, Rational(1, 2), 2),
    "inverse Gaussian": lambda: stats.GaussianInverse("X", 2, 3),
    "Nakagami": lambda: stats.Nakagami("X", Rational(3, 2), 2),
    "Gumbel of minima": lambda: stats.Gumbel("X", 1, 2, minimum=True),
    "Student t": lambda: stats.StudentT("X", 6),
    "uniform": lambda: stats.Uniform("X", -1, 3),
    "Laplace": lambda: stats.Laplace("X", 1, 2),
    "logistic": lambda: stats.Logistic("X", 1, 2),
}


FAMILIES = {name: make for name, make in (QUICK | SLOW | MOMENTS).items() if name not in ("mixture", "von Mises")}


def powers(density, ends, low, mean, std, orders=(0, 1, 2)):
    """``∫_low^∞ ((x - mean)/std)^k f(x) dx`` for each order ``k`` by scipy's quadrature."""
    cuts = sorted({max(low, ends[0]), *(mean + k * std for k in (-8, -1, 0, 1, 8, 60, 500)), ends[1]})
    cuts = [c for c in cuts if max(low, ends[0]) <= c <= ends[1]]
    kernel = lambda x, k: np.nan_to_num(((x - mean) / std) ** k * density(x), posinf=0.0)  # noqa: E731
    with np.errstate(all="ignore"):
        quad = lambda k, a, b: scipy.integrate.quad(kernel, a, b, (k,), epsabs=1e-12, limit=400)[0]  # noqa: E731
        return [sum(quad(k, a, b) for a, b in pairwise(cuts)) for k in orders]


class Family:
    """Of sympy.stats, from its own density: moments by scipy's quadrature, and the tail beyond ``mean + z std``."""

    def __init__(self, distribution):
        self.moments = [float(moment) for moment in standard.moments(distribution) or (Rational(4, 3), Rational(7, 18))]
        self.density = sympy.lambdify(y, distribution.pdf(y), ["scipy", "numpy"])
        self.ends = [float(end) for end in (distribution.set.inf, distribution.set.sup)]

    def powers(self, z, orders):
        mean, std = self.moments[0], np.sqrt(self.moments[1])
        return powers(self.density, self.ends, mean + z * std, mean, std, orders)

    def has_tail(self, told, z):
        """``told`` is the tail there, and not that a hundredth of a standard deviation beside."""
        right, beside = (self.powers(at, (0,))[0] for at in (z, z + 0.01))
        return told == pytest.approx(right, rel=1e-6) and told != pytest.approx(beside, rel=1e-6)


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_moments_and_tails_of_a_family_are_those_of_its_density(make):
    distribution = make().pspace.distribution
    family = Family(distribution)  # of a triangle, which has no moments listed, those written there
    got = family.powers(-np.inf, (0, 1, 2))
    assert got == pytest.approx([1, 0, 1], rel=2e-6, abs=2e-6)
    assert got[2] != pytest.approx(1.001, rel=1e-5)
    tail = standard.upper_tail(distribution, y)
    if tail is not None:  # else the integral of the density
        mean, std = family.moments[0], np.sqrt(family.moments[1])
        for z in (0.5, -0.4):
            assert family.has_tail(float(mp.re(sympy.lambdify(y, tail, "mpmath")(mpf(mean + z * std)))), z)


# families that differ in kind: two-sided with a case distinction, powers and absolute values, nested exponentials, one-sided
KINDS = {"Student t, decimals", "chi", "Moyal", "Pareto"}


@pytest.mark.parametrize("z", [0.5, pytest.param(-0.4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make", [pytest.param(make, id=name, marks=[pytest.mark.slow] * (name not in KINDS)) for name, make in FAMILIES.items()]
)
def test_the_standardised_tail_of_a_family_is_that_of_its_density(make, z):
    line = law_of(make(), sign=1 if z > 0 else -1)
    told = float(mp.re(sympy.lambdify(line.z, line.tail, "mpmath")(mpf(z))))
    assert Family(make().pspace.distribution).has_tail(told, z)


@pytest.mark.parametrize("name", [pytest.param("erfc", marks=pytest.mark.slow), "sqrt"])  # the tail has a square root
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
    short, back = algebra.symbols_for_long_numbers(expression)
    assert not any(number.q > 1000 for number in short.atoms(sympy.Rational))
    assert short.xreplace(back) == expression
    assert algebra.neat(expression - y**exponent) == exponent - Rational(3, 2)
