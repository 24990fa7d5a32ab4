"""Results as functions: NaN outside their conditions, all digits of a double inside, numbers of any library."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from mpmath import mp, mpf
from sympy import stats

import varflow as vf
from varflow.symbolic import Derivation, V, g, numbers, sigma_b, theta
from varflow.symbolic.derivation import Domain
from varflow.symbolic.laws import law_of

BELOW = sympy.Symbol("theta", negative=True)
nu = sympy.Symbol("nu", positive=True)
CLOSE = [10.0**-k for k in range(1, 15, 2)]  # to a saddle-node, relative

# (derivation, arguments inside, arguments outside)
EDGES = {
    "map, sign of the variance": (lambda: vf.symbolic.variance_map(), (1.0, 1.0, 2.0), (-1.0, 1.0, 2.0)),
    "map, below the support": (lambda: vf.symbolic.variance_map("uniform"), (1.0, 1.7, 2.0), (1.0, -1.8, 2.0)),
    "condition, beyond the support": (lambda: vf.symbolic.fixed_point_condition("uniform"), (1.7,), (1.8,)),
    "map, beyond the kink": (lambda: vf.symbolic.variance_map("laplace"), (1.0, 1.0, 2.0), (1.0, -1.0, 2.0)),
    "map, below the kink": (lambda: vf.symbolic.variance_map("laplace", threshold=BELOW), (1.0, -1.0, 2.0), (1.0, 1.0, 2.0)),
    "map, negative bias": (lambda: vf.symbolic.variance_map(bias_std=sigma_b), (1.0, 1.0, 2.0, 0.1), (1.0, 1.0, 2.0, -0.1)),
    "map, shape outside its range": (
        lambda: vf.symbolic.variance_map(stats.StudentT("X", nu), parameters={nu: (3, 9)}),
        (1.0, 1.0, 2.0, 4.0),
        (1.0, 1.0, 2.0, 2.5),
    ),
    "ternary, negative threshold": (lambda: vf.symbolic.variance_map(response="ternary"), (1.0, 1.0, 2.0), (1.0, -1.0, 2.0)),
    "weights, half a neuron": (lambda: vf.symbolic.weight_variance(), (1.0, 100), (1.0, 0.5)),
    "fixed points, below the saddle-node": (lambda: vf.symbolic.fixed_points("laplace"), (1.0, 2.8), (1.0, 2.7)),
    "fixed points, negative threshold": (lambda: vf.symbolic.fixed_points("laplace"), (1.0, 2.8), (-1.0, 2.8)),
    "fixed points, uniform": (lambda: vf.symbolic.fixed_points("uniform"), (1.0, 2.2), (1.0, 2.1)),
    "fixed points, too much bias": (
        lambda: vf.symbolic.fixed_points("uniform", bias_std=sigma_b),
        (1.0, 2.2, 0.1),
        (1.0, 2.2, 0.6),
    ),
    "multiplier, beyond the support": (lambda: vf.symbolic.multiplier("uniform"), (1.7,), (1.8,)),
    "overlap above 1": (lambda: vf.symbolic.correlation_slope(), (0.5, 1.0), (1.5, 1.0)),
    "width of a surrogate": (lambda: vf.symbolic.gradient_gain("box", threshold=0, solve="width"), (1.0, 1.5), (1.0, 0.9)),
    "expansion, epsilon above 1": (lambda: vf.symbolic.expansion("saddle_node", "laplace"), (1.0, 0.1), (1.0, 1.5)),
    "expansion, below the saddle-node": (lambda: vf.symbolic.expansion("gain_to_infinity", "laplace"), (0.3,), (0.4,)),
    "finite width, unstable": (
        lambda: vf.symbolic.finite_width_corrections(distribution="laplace"),
        (1.0, 100, 1.3),
        (1.0, 100, 1.5),
    ),
}


LONG = {
    "expansion, epsilon above 1",
    "expansion, below the saddle-node",
    "large gain",
    "finite width, unstable",
    "fixed points, too much bias",
    "fixed points, uniform",
    "map, below the kink",
    "map, below the support",
}


def long_ones_marked(cases):
    return [pytest.param(case, marks=[pytest.mark.slow] * (case in LONG)) for case in cases]


@pytest.mark.parametrize("case", long_ones_marked(EDGES))
def test_nan_outside_the_conditions_and_only_there(case):
    make, inside, outside = EDGES[case]
    derivation = make()
    fast, exact = derivation.lambdify(), derivation.lambdify("mpmath")
    assert np.isfinite(fast(*inside)).all()
    assert np.isnan(fast(*outside)).all()
    assert all(mp.isfinite(x) for x in np.atleast_1d(exact(*inside)))
    assert all(mp.isnan(x) for x in np.atleast_1d(exact(*outside)))
    several = np.atleast_2d(fast(*(np.array(pair) for pair in zip(inside, outside, strict=True))))
    assert np.isfinite(several[:, 0]).all()
    assert np.isnan(several[:, 1]).all()
    assert not np.isnan(np.array(derivation.result, dtype=object) == sympy.nan).any()  # the formula itself stays plain
    for relation in derivation.conditions:
        assert str(relation) in repr(derivation)
    assert r"\text{for }" in derivation.to_latex()


@pytest.mark.parametrize("bias", [0, sigma_b])
def test_beyond_the_support_the_map_is_silent(bias):
    derivation, at = vf.symbolic.variance_map("uniform", bias_std=bias), (0.3,) if bias else ()
    fast, exact = derivation.lambdify(), derivation.lambdify("mpmath")
    thresholds = np.array([0.5, 1.7, 1.8, 40.0])
    setting = {"gain": 2.0, "bias_std": sum(at), "distribution": "uniform"}
    want = [vf.variance_map(1.0, threshold=threshold, **setting) for threshold in thresholds]
    assert fast(1.0, thresholds, 2.0, *at) == pytest.approx(want, rel=1e-14)
    assert [exact(1, threshold, 2, *at) for threshold in thresholds] == pytest.approx(want, rel=1e-14)
    assert fast(1.0, 1.8, 2.0, *at) == sum(at) ** 2
    assert fast(0.4, 1.0, 2.0, *at) > sum(at) ** 2 == fast(0.3, 1.0, 2.0, *at)  # the edge is at V = 1/3
    assert np.isnan(fast(-1.0, 1.8, 2.0, *at))
    assert "beyond: V' = " in repr(derivation)
    assert derivation.check(points=1)


def test_a_wrong_silence_is_seen():
    derivation = vf.symbolic.variance_map("uniform", bias_std=sigma_b)
    step = derivation.beyond.steps[-1]
    wrong = replace(step, expression=sympy.Eq(step.expression.lhs, step.expression.rhs * sympy.Rational(101, 100)))
    assert not replace(derivation, beyond=replace(derivation.beyond, steps=(wrong,))).check(points=1)
    assert all(vf.symbolic.variance_map(distribution).beyond is None for distribution in ("normal", "laplace", "logistic"))
    assert vf.symbolic.variance_map("uniform", mean_gain=0.5).beyond is None


def test_every_condition_is_needed():
    """Each stated condition, taken away, lets a number through that the theory denies."""
    silence_only = vf.fixed_points(threshold=1.0, gain=2.7, distribution="laplace")
    assert len(silence_only) == 1
    derivation = vf.symbolic.fixed_points("uniform", bias_std=sigma_b)
    without = numbers.in_doubles(derivation.arguments, (theta, g, sigma_b), derivation.result, sympy.true)
    assert np.isfinite(without(1.0, 2.2, 0.6)).any()
    assert len(vf.fixed_points(threshold=1.0, gain=2.2, bias_std=0.6, distribution="uniform")) == 1


@pytest.mark.parametrize("bias", [0.0, 0.05, 0.2, 0.4, 0.57, 0.6, 1.0])
def test_conditions_of_the_cubic_are_those_of_three_fixed_points(bias):
    function = vf.symbolic.fixed_points("uniform", bias_std=sigma_b).lambdify()
    for gain in np.linspace(1.0, 4.0, 13):
        found = vf.fixed_points(threshold=1.0, gain=gain, bias_std=bias, distribution="uniform")
        told = function(1.0, gain, bias)
        assert np.isfinite(told).all() == (len(found) == 3), (gain, bias)
        if len(found) == 3:
            assert told == pytest.approx([point.variance for point in found], rel=1e-9)


DELICATE = {
    "Laplace, at the branch point": (
        lambda: vf.symbolic.fixed_points("laplace"),
        [(1.0, np.e * (1 + c)) for c in CLOSE] + [(1.0, 1e12), (1e-8, 1.0)],
    ),
    "uniform, near the double root": (
        lambda: vf.symbolic.fixed_points("uniform"),
        [(1.0, np.sqrt(4.5) * (1 + c)) for c in CLOSE] + [(1.0, 1e12), (1e-8, 1.0)],
    ),
    "uniform, below, small thresholds": (
        lambda: vf.symbolic.fixed_points("uniform", threshold=BELOW, bias_std=sigma_b),
        [(-t, gain, bias) for t in (1e-9, 1.0) for gain in (1e-2, 1.0, 1e4) for bias in (0.0, 0.1)],
    ),
    "Student t, far out": (
        lambda: vf.symbolic.variance_map(vf.distributions.student_t(5)),
        [(1.0, z, 2.0) for z in (0.1, 5.0, 1e3, 1e6)],
    ),
    "uniform, at the end of the support": (
        lambda: vf.symbolic.multiplier("uniform"),
        [(float(np.sqrt(3) * (1 - c)),) for c in CLOSE],
    ),
    "normal, far out": (lambda: vf.symbolic.multiplier(), [(1e-9,), (5.0,), (30.0,), (100.0,)]),
    "small thresholds": (lambda: vf.symbolic.expansion("threshold_to_zero", order=2), [(1e-12,), (1e-3,), (1.0,)]),
    "large gain": (lambda: vf.symbolic.expansion("gain_to_infinity", order=1), [(1e-12,), (1e-3,), (0.4,)]),
    "narrow surrogate": (
        lambda: vf.symbolic.gradient_gain("triangular"),
        [(1.0, t, 1.0, a) for t in (0.1, 5.0) for a in (1e-9, 0.1)],
    ),
}


def relative_error(got, want):
    return max(float(abs(mpf(x) - y) / abs(y)) if y else abs(x) for x, y in zip(np.atleast_1d(got), want, strict=True))


@pytest.mark.parametrize("case", long_ones_marked(DELICATE))
def test_doubles_have_their_digits_where_terms_cancel(case):
    make, points = DELICATE[case]
    derivation = make()
    fast, exact = derivation.lambdify(), derivation.lambdify("mpmath")
    for point in points:
        with mpmath.workdps(60):
            want = exact(*map(mpf, point))
            want = want if isinstance(want, tuple) else (want,)
            assert relative_error(fast(*point), want) < 1e-13, point


def test_plain_doubles_would_not_have_them(monkeypatch):
    """The control: with the bound on rounding taken away the same test fails."""
    point = (1.0, 1e6, 2.0)
    derivation = vf.symbolic.variance_map(vf.distributions.student_t(5))
    with mpmath.workdps(60):
        want = (derivation.lambdify("mpmath")(*map(mpf, point)),)
    monkeypatch.setattr(numbers, "rounding", lambda formula: sympy.S.Zero)
    blind = numbers.in_doubles.__wrapped__(("variance", "threshold", "gain"), (V, theta, g), (derivation.result,), sympy.true)
    assert relative_error(blind(*point), want) > 1e-13


def test_the_bound_on_rounding_errors_is_one():
    x, y = sympy.symbols("x y")
    rng = np.random.default_rng(0)
    for formula in (
        1 - sympy.cos(x),
        sympy.exp(x) - 1 - x,
        sympy.sqrt(x + y) - sympy.sqrt(x),
        sympy.log(x) * y - y**3,
        x**y - 1,
    ):
        fast, bound = (sympy.lambdify((x, y), e) for e in (formula, numbers.rounding(formula)))
        exact = sympy.lambdify((x, y), formula, "mpmath")
        for _ in range(50):
            point = np.exp(rng.uniform(-8, 1, 2))
            with mpmath.workdps(40):
                error = abs(mpf(float(fast(*point))) - exact(*map(mpf, point.tolist())))
            assert error <= 2.0**-53 * bound(*point)


def half_in_many_libraries():
    yield from (0.5, np.float32(0.5), np.float64(0.5), np.longdouble(0.5), np.array(0.5), mpf("0.5"))
    yield from (Fraction(1, 2), Decimal("0.5"), sympy.Rational(1, 2), sympy.Float(0.5))
    torch, flint = (pytest.importorskip(name) for name in ("torch", "flint"))
    yield from (torch.tensor(0.5), flint.fmpq(1, 2), flint.arb(0.5))


def test_numbers_of_other_libraries():
    function, at_half = vf.symbolic.variance_map().lambdify(), vf.symbolic.variance_map(threshold=sympy.Rational(1, 2)).result
    exact = vf.symbolic.variance_map().lambdify("mpmath")
    for half in half_in_many_libraries():
        assert vf.symbolic.variance_map(threshold=half).result == at_half
        assert function(1.0, half, 2.0) == function(1.0, 0.5, 2.0)
        assert exact(1, half, 2) == exact(1, mpf("0.5"), 2)
    assert function([1, 2], Fraction(1, 2), 2.0) == pytest.approx([function(1.0, 0.5, 2.0), function(2.0, 0.5, 2.0)], rel=1e-15)
    third = vf.symbolic.weight_variance(variance=Fraction(1, 3), threshold=0).result
    assert third == sympy.Rational(2, 3) / vf.symbolic.n  # not the double next to it


def test_what_is_no_real_number_is_refused():
    flint = pytest.importorskip("flint")
    function = vf.symbolic.variance_map().lambdify()
    no_numbers = [1j, True, np.bool_(True), None, "1", mpmath.mpc(1, 2), [1.0, "a"], object()]
    for bad in [*no_numbers, flint.arb(1) / 3, mpf("nan"), mpf("inf"), Decimal("NaN"), np.array([1.0, 2.0])]:
        with pytest.raises(vf.DomainError, match="threshold"):
            vf.symbolic.variance_map(threshold=bad)
    for bad in no_numbers:
        with pytest.raises(vf.DomainError, match="threshold"):
            function(1.0, bad, 2.0)
    for arguments, named in (
        ((1.0, 2.0), {}),
        ((1.0, 2.0, 3.0, 4.0), {}),
        ((1.0, 2.0), {"variance": 1.0}),
        ((1.0, 2.0), {"g": 1.0}),
    ):
        with pytest.raises(TypeError, match="variance, threshold, gain"):
            function(*arguments, **named)
    assert np.isnan(function(np.nan, 1.0, 2.0))


def test_a_condition_of_ones_own_is_heeded():
    start = Derivation("Mine", Domain(lambda rng: {theta: mpf(rng.uniform(1, 2))})).then(
        sympy.Eq(theta, theta, evaluate=False), "itself"
    )
    mine = start.then(lambda e: e, "above one", condition=sympy.Gt(theta, 1))
    assert mine.conditions == (theta > 1,)
    assert mine.lambdify()(2.0) == 2.0
    assert np.isnan(mine.lambdify()(0.5))


@pytest.mark.parametrize("distribution", ["student_t:3", "student_t:20", stats.Pareto("X", 1, 5)])
def test_spike_counts_of_a_power_law_are_refused(distribution):
    """Their series takes more terms than anybody waits for."""
    with pytest.raises(vf.DomainError, match=r"^distribution=.* faster than a power"):
        vf.symbolic.variance_map(distribution, response="multi_spike")


def test_spike_counts_of_other_tails_are_summed():
    for distribution in ("normal", "laplace", stats.Gumbel("X", 1, 0)):
        assert not law_of(distribution).heavy_tailed
    assert law_of("student_t:5").heavy_tailed
