"""Distributions of the standardised potential: accurate at every depth, consistent with each other, honest about bad input."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.integrate import quad
from wording import NO_VARIANCE

import varflow as vf
from varflow import DomainError
from varflow.model.adapters import ScipyDistribution
from varflow.model.densities import FromDensity
from varflow.testing import distributions

DFS = (2.0001, 2.5, 3.0, 4.7, 5.0, 10.0, 100.0, 1000.5)
NAMES = ("normal", "uniform", "laplace", "logistic")
BUILTIN = [*map(vf.distribution, NAMES), *map(vf.distributions.student_t, DFS)]
ANY_DISTRIBUTION = st.one_of(st.sampled_from(BUILTIN), distributions())  # degrees of freedom next to 2, and any others
MIXTURE = scipy.stats.Mixture([scipy.stats.Normal(), scipy.stats.Normal(mu=0, sigma=6)], weights=[0.95, 0.05])
TOP = np.finfo(float).tiny


def ulps(got: float, want: mpf) -> float:
    """Error in units of the last place of the true value; 0 where that is not a normal double."""
    if not TOP <= abs(want) <= np.finfo(float).max:
        return 0.0
    return float(abs(mpf(got) - want) / mpf(float(np.spacing(abs(float(want))))))


def grid(distribution) -> np.ndarray:
    rng = np.random.default_rng(5)
    n = 50 if distribution.name.startswith("student") else 200
    sign = rng.choice([-1.0, 1.0], n)
    parts = [rng.uniform(-9, 9, n), rng.uniform(0, 2, n), rng.uniform(8, 38.5, n), sign * 10.0 ** rng.uniform(-9, 3, n)]
    if distribution.name == "uniform":
        parts.append(math.sqrt(3) - 10.0 ** rng.uniform(-16, 0, n))
    return np.concatenate([*parts, 10.0 ** rng.uniform(3, 100, n // 4), [0.0, 1.0, -1.0]])


ALLOWED = {"normal": 4.4, "uniform": 2.2, "laplace": 3.6, "logistic": 5.0}


@pytest.mark.parametrize("distribution", BUILTIN, ids=repr)
def test_builtin_distributions_agree_with_their_definition_to_a_few_ulp_at_every_depth(distribution):
    allowed = ALLOWED.get(distribution.name, 6.6)
    zs = grid(distribution)
    got = {name: getattr(distribution, name)(zs) for name in ("sf", "pdf", "log_sf", "hazard")}
    for i, z in enumerate(zs):
        tail, density = vf.reference.sf(distribution, z, digits=25), vf.reference.pdf(distribution, z, digits=25)
        with mpmath.workdps(40):
            want = {"sf": tail, "pdf": density}
            if tail > 0:
                want["log_sf"] = mp.log(tail) if z > 0 else mp.log1p(-vf.reference.sf(distribution, -z, digits=25))
                want["hazard"] = density / tail
            for name, value in want.items():
                assert ulps(got[name][i], value) <= allowed, (name, z)


@pytest.mark.parametrize("df", [1e5, 1e12])
def test_student_t_with_many_degrees_of_freedom(df):
    distribution = vf.distributions.student_t(df)
    with mpmath.workdps(30):
        rest, half = mpf(df) - 2, (mpf(df) + 1) / 2

        def density(z):
            return mp.exp(mp.loggamma(half) - mp.loggamma(mpf(df) / 2) - half * mp.log1p(z * z / rest)) / mp.sqrt(mp.pi * rest)

        for z in (0.3, 0.99, 1.01, 6.0, 20.0):
            scale = density(mpf(z))  # mpmath's tolerance is absolute
            ends = [z + k / (1 + z) for k in (0, 1, 2, 4, 8, 16, 32, 64, 128)]
            tail = scale * mp.quad(lambda y, scale=scale: density(y) / scale, ends)
            assert ulps(distribution.sf(z), tail) < 6.6
            assert ulps(distribution.pdf(z), scale) < 6.6
            assert ulps(distribution.hazard(z), scale / tail) < 6.6


@pytest.mark.parametrize("distribution", BUILTIN, ids=repr)
def test_limits_and_missing_values(distribution):
    assert distribution.sf(-math.inf) == 1
    assert distribution.sf(math.inf) == 0
    assert distribution.sf(0.0) == pytest.approx(0.5, abs=1e-16)
    assert distribution.log_sf(-math.inf) == 0
    assert distribution.log_sf(math.inf) == -math.inf
    assert distribution.pdf([-math.inf, math.inf]).tolist() == [0, 0]
    assert distribution.hazard(-math.inf) == 0
    for method in (distribution.sf, distribution.pdf, distribution.log_sf, distribution.hazard):
        assert math.isnan(method(math.nan))
        assert isinstance(method(0.3), float)
        assert method(np.full((2, 3), 0.3)).shape == (2, 3)
    many = np.linspace(-3, 3, 40_000)  # evaluated in chunks
    assert np.array_equal(distribution.sf(many)[20_001:20_003], distribution.sf(many[20_001:20_003]))


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_potentials_exceed_a_threshold_of_zero_exactly(name):
    assert vf.distribution(name).sf(0) == 0.5


@pytest.mark.parametrize("distribution", BUILTIN, ids=repr)
def test_the_inflection_is_the_only_maximum_of_z_cubed_f(distribution):
    z = np.linspace(1e-3, min(distribution.upper, 12.0), 20_001)
    weighted = z**3 * distribution.pdf(z)
    peak = z[np.argmax(weighted)]
    assert distribution.inflection == pytest.approx(peak, abs=2e-3)
    rising = np.diff(weighted) > 0
    assert np.count_nonzero(np.diff(rising.astype(int))) <= 1


@settings(max_examples=40)
@given(distribution=ANY_DISTRIBUTION, z=st.floats(0.01, 1.7))
def test_the_elasticity_is_the_logarithmic_slope_of_the_density(distribution, z):
    h = 1e-5 * z  # central difference: error of order (h/z)², and of rounding 1e-15 z/h
    slope = z * (math.log(distribution.pdf(z + h)) - math.log(distribution.pdf(z - h))) / (2 * h)
    assert distribution.elasticity(z) == pytest.approx(slope, abs=1e-8)
    assert distribution.elasticity(-z) == distribution.elasticity(z)
    if distribution.inflection < distribution.upper:
        assert distribution.elasticity(distribution.inflection) == pytest.approx(-3, rel=1e-14)


def test_the_logistic_inflection_to_the_last_digit():
    with mpmath.workdps(40):
        c = mp.pi / mp.sqrt(3)
        z = mp.findroot(lambda z: 3 - c * z * mp.tanh(c * z / 2), 1.8)
        assert vf.distribution("logistic").inflection == float(z)


@settings(max_examples=40)
@given(distribution=st.sampled_from(BUILTIN), a=st.floats(-1e3, 1e3), b=st.floats(-1e3, 1e3))
def test_tails_fall_mirror_and_match_their_logarithm_and_hazard(distribution, a, b):
    low, high = sorted((a, b))
    assert distribution.sf(high) <= distribution.sf(low) * (1 + 1e-15)
    assert distribution.sf(-a) + distribution.sf(a) == pytest.approx(1, abs=3e-16)
    assert distribution.pdf(-a) == distribution.pdf(a)
    if distribution.sf(a) > 1e-300:
        assert distribution.log_sf(a) == pytest.approx(math.log(distribution.sf(a)), rel=1e-14, abs=1e-15)
        assert distribution.hazard(a) * distribution.sf(a) == pytest.approx(distribution.pdf(a), rel=3e-15, abs=1e-300)


@settings(deadline=None, max_examples=12)
@given(location=st.floats(-50, 50), scale=st.floats(0.01, 100), z=st.floats(-6, 6))
def test_scipy_distributions_are_standardised_whatever_their_location_and_scale(location, scale, z):
    same = {"norm": "normal", "uniform": "uniform", "laplace": "laplace", "logistic": "logistic"}
    for name, ours in same.items():
        frozen = getattr(scipy.stats, name)(location, scale)
        assert type(vf.distribution(frozen)) is type(vf.distribution(ours))  # a closed form is recognised …
        generic = ScipyDistribution(name, frozen, float(frozen.mean()), float(frozen.std()))  # … and the generic route agrees
        distribution = vf.distribution(ours)
        if abs(abs(z) - distribution.upper) > 1e-6:
            assert generic.sf(z) == pytest.approx(distribution.sf(z), rel=1e-8, abs=1e-300)
            assert generic.pdf(z) == pytest.approx(distribution.pdf(z), rel=1e-8, abs=1e-300)
    t = vf.distribution(scipy.stats.t(5, location, scale))
    assert t.sf(z) == vf.distributions.student_t(5).sf(z)


NEW_STYLE = [
    (scipy.stats.Normal(mu=3, sigma=2), "normal"),
    (scipy.stats.Uniform(a=3, b=4), "uniform"),
    (2 * scipy.stats.Normal() - 7, "normal"),
    (scipy.stats.make_distribution(scipy.stats.laplace)(), "laplace"),
]


@pytest.mark.parametrize(("given_distribution", "name"), NEW_STYLE, ids=["normal", "uniform", "shifted", "made"])
def test_new_style_scipy_distributions(given_distribution, name):
    distribution, z = vf.distribution(given_distribution), np.array([-3.0, -1.0, 0.0, 0.7, 1.5, 3.0])
    np.testing.assert_allclose(distribution.sf(z), vf.distribution(name).sf(z), rtol=1e-10, atol=1e-16)
    np.testing.assert_allclose(distribution.pdf(z), vf.distribution(name).pdf(z), rtol=1e-10, atol=1e-16)


def test_a_mixture_has_the_two_maxima_of_the_theory():
    distribution = vf.distribution(MIXTURE)
    z = np.linspace(0.1, 8, 7901)
    curve = z**2 * distribution.sf(z)
    peaks = z[1:-1][(curve[1:-1] > curve[:-2]) & (curve[1:-1] > curve[2:])]
    np.testing.assert_allclose(peaks, [0.812, 4.308], atol=1e-3)
    assert distribution.inflection is None


x = sympy.Symbol("x", real=True)
HEAVY = sympy.stats.ContinuousRV(x, sympy.sqrt(2) / (sympy.pi * (1 + x**4)), set=sympy.Interval(-sympy.oo, sympy.oo))
SYMBOLIC = [
    (sympy.stats.Normal("X", 1, 2), vf.distribution("normal"), 1e-12),
    (sympy.stats.Laplace("X", 3, 1), vf.distribution("laplace"), 1e-12),
    (sympy.stats.Logistic("X", 0, 2), vf.distribution("logistic"), 1e-12),
    (sympy.stats.StudentT("X", 5), vf.distributions.student_t(5), 1e-12),
    (sympy.stats.Uniform("X", 0, 3), vf.distribution("uniform"), 1e-12),
    (sympy.stats.Exponential("X", 2), vf.distribution(scipy.stats.expon()), 1e-12),
    (sympy.stats.Gamma("X", 3, 2), vf.distribution(scipy.stats.gamma(3)), 1e-12),
]


@pytest.mark.parametrize(
    ("variable", "distribution", "rel"),
    SYMBOLIC,
    ids=lambda v: type(v.pspace.distribution).__name__ if hasattr(v, "pspace") else "",
)
def test_sympy_variables_agree_with_the_same_distribution_by_another_route(variable, distribution, rel):
    got = vf.distribution(variable)
    z = np.array([-4.0, -1.7, -0.9, -0.2, 0.0, 0.4, 1.0, 1.7, 3.0, 8.0, 20.0])
    np.testing.assert_allclose(got.sf(z), distribution.sf(z), rtol=rel)
    np.testing.assert_allclose(got.pdf(z), distribution.pdf(z), rtol=rel)
    assert got.upper == pytest.approx(distribution.upper)


def test_a_density_of_ones_own():
    distribution = vf.distribution(HEAVY)
    assert isinstance(distribution, FromDensity)
    for z in (-2.0, 0.0, 1.3, 50.0):  # ∫ has variance 1 already
        assert distribution.sf(z) == pytest.approx(
            quad(distribution.pdf, z, max(z, 0) + 1, epsrel=1e-12)[0] + distribution.sf(max(z, 0) + 1), rel=1e-11
        )
    assert distribution.sf(1e4) == pytest.approx(math.sqrt(2) / (3 * math.pi) * 1e-12, rel=1e-8)


def test_discrete_distributions_step_at_their_levels():
    for die in (scipy.stats.randint(1, 7), sympy.stats.Die("D", 6), scipy.stats.rv_discrete(values=(range(1, 7), [1 / 6] * 6))):
        distribution = vf.distribution(die)
        step = math.sqrt(35 / 12)
        np.testing.assert_allclose(distribution.levels, (np.arange(1, 7) - 3.5) / step)
        np.testing.assert_allclose(distribution.weights, 1 / 6)
        np.testing.assert_allclose(distribution.sf([-9, -0.1, 0.1, 1.4, 1.5]), [1, 1 / 2, 1 / 2, 1 / 6, 0], atol=1e-16)
        assert distribution.pdf(0.3) == 0
        assert distribution.sf(distribution.upper) == 0
    counts = vf.distribution(scipy.stats.poisson(3))
    z = (20.5 - 3) / math.sqrt(3)
    assert counts.sf(z) == pytest.approx(scipy.stats.poisson(3).sf(20), rel=1e-6)  # the cut, 1e-17, is 6e-7 of it
    assert np.sum(counts.weights * counts.levels**2) == pytest.approx(1)
    assert vf.distribution("normal").levels is None


DRAWS = np.random.default_rng(11).normal(3.0, 2.0, 10_000)


def test_a_sample_predicts_its_distribution_within_sampling_error_and_smoothing_bias():
    distribution, truth = vf.distribution(DRAWS), vf.distribution("normal")
    z = np.linspace(-3, 3, 61)

    def excess(true_tail):  # over 4 standard errors plus the h² bias of the box and of the shrinking
        error = 4 * np.sqrt(true_tail * (1 - true_tail) / DRAWS.size)
        bias = distribution.bandwidth**2 / 3 * np.abs(z) * truth.pdf(z) + distribution.bandwidth**4 / 10
        return np.max(np.abs(distribution.sf(z) - true_tail) / (error + bias))

    assert excess(truth.sf(z)) < 1
    assert excess(truth.sf(z + 0.1)) > 1  # negative controls: a mean wrong by a tenth, another shape
    assert excess(vf.distribution("logistic").sf(z)) > 1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-20, 20), min_size=20, max_size=60).filter(lambda x: len(set(x)) >= 5), st.floats(0.05, 1))
def test_samples_have_mean_zero_variance_one_and_a_tail_that_falls_from_one_to_zero(values, bandwidth):
    distribution = vf.distributions.sample(values, bandwidth=bandwidth)
    edges = np.unique(distribution._knots + bandwidth * np.array([[-1], [1]]))  # pieces on which f is linear
    nodes, weights = np.polynomial.legendre.leggauss(3)
    z = (edges[1:, None] + edges[:-1, None]) / 2 + np.diff(edges)[:, None] / 2 * nodes
    mass = distribution.pdf(z) * weights * np.diff(edges)[:, None] / 2
    assert np.sum(mass) == pytest.approx(1, abs=1e-12)
    assert np.sum(z * mass) == pytest.approx(0, abs=1e-12)
    assert np.sum(z**2 * mass) == pytest.approx(1, abs=1e-12)
    tail = distribution.sf(np.sort(z.ravel()))
    assert np.all(np.diff(tail) <= 1e-15)
    assert distribution.sf(edges[0]) == 1
    assert distribution.sf(distribution.upper) == 0


def test_the_far_tail_of_a_sample_keeps_its_digits():
    distribution = vf.distributions.sample(DRAWS)
    gap = np.array([1e-2, 1e-4, 1e-6]) * (distribution._knots[-1] - distribution._knots[-2])
    # near the end S = slope·gap²/(4 h): the end is known to rounding only
    np.testing.assert_allclose(
        distribution.sf(distribution.upper - gap), distribution._slope[-1] * gap**2 / (4 * distribution.bandwidth), rtol=1e-7
    )


CONTINUOUS = [MIXTURE, scipy.stats.gamma(3), scipy.stats.skewnorm(4, 1, 2), DRAWS, HEAVY]


@pytest.mark.parametrize("given_distribution", CONTINUOUS, ids=["mixture", "gamma", "skewnorm", "sample", "sympy"])
def test_densities_are_minus_the_slope_of_the_tail(given_distribution):
    distribution, step = vf.distribution(given_distribution), 1e-5
    z = np.linspace(-1.1, 4, 52)
    slope = (distribution.sf(z - step) - distribution.sf(z + step)) / (2 * step)
    np.testing.assert_allclose(distribution.pdf(z), slope, rtol=2e-3 if given_distribution is DRAWS else 1e-6, atol=1e-10)
    np.testing.assert_allclose(distribution.hazard(z) * distribution.sf(z), distribution.pdf(z), rtol=1e-9)
    np.testing.assert_allclose(distribution.log_sf(z), np.log(distribution.sf(z)), rtol=1e-9, atol=1e-15)


def test_distributions_are_immutable_and_can_be_copied():
    for distribution in (*BUILTIN, vf.distribution(scipy.stats.gamma(3)), vf.distribution(DRAWS)):
        with pytest.raises(AttributeError):
            distribution.name = "other"
        for twin in (copy.deepcopy(distribution), pickle.loads(pickle.dumps(distribution))):
            assert twin.sf(0.7) == distribution.sf(0.7)
            assert vf.distribution(twin) is twin


s = sympy.Symbol("s", positive=True)
REJECTED = [
    ("norm", "choose one of normal, uniform, laplace, logistic"),
    (3.0, "must be one of normal"),
    (None, "must be one of normal"),
    ({}, "must be one of normal"),
    (scipy.stats.cauchy(), NO_VARIANCE),
    (scipy.stats.t(2), NO_VARIANCE),
    (scipy.stats.bernoulli(1.0), "variance 0"),
    (scipy.stats.gamma, "freeze it"),
    (scipy.stats.norm([0, 1], 1), "one distribution at a time"),
    (scipy.stats.multivariate_normal([0, 0]), "must be one of normal"),
    (scipy.stats.zipf(3.1), "more than 2000000 atoms"),
    (sympy.stats.Normal("X", 0, s), "leaves s free"),
    (sympy.stats.Cauchy("X", 0, 1), "infinite variance"),
    (sympy.stats.StudentT("X", 2), "infinite variance"),
    (sympy.stats.Poisson("X", 2), "give it as a scipy.stats distribution"),
    (sympy.stats.Normal("X", 0, 1) + 1, "must be a single random variable"),
    (sympy.Integer(3), "must be a single random variable"),
    (list(range(19)), "at least 20"),
    (np.ones((30, 2)), "one-dimensional"),
    ([1.0] * 30, "distinct"),
    ([0.0, 1.0] * 20, "distinct"),
    ([*range(30), math.nan], "must be finite"),
    (["a"] * 30, "must be a real number"),
    (1e9 + np.arange(30) * 1e-7, "is constant to rounding"),
]


@pytest.mark.parametrize(("obj", "message"), REJECTED, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_what_is_not_a_distribution_is_told_why(obj, message):
    with pytest.raises(DomainError, match="distribution=") as error:
        vf.distribution(obj)
    assert message in str(error.value)


def test_student_t_by_its_name():
    distribution = vf.distribution("student_t:5")
    assert (distribution.name, distribution.sf(1.3)) == ("student_t(5)", vf.distributions.student_t(5).sf(1.3))
    named, made = (vf.fixed_points(threshold=1.0, gain=3.0, distribution=of).to_dict() for of in ("student_t:5", distribution))
    assert named == made


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("student_t", "needs its degrees of freedom, as in student_t:5"),
        ("student_t:x", "needs its degrees of freedom, as in student_t:5"),
        ("student_t:2", "has degrees of freedom that must be above 2"),
        ("normal:3", "is unknown; choose one of normal, uniform, laplace, logistic or student_t:DF"),
    ],
)
def test_names_that_are_no_distribution(name, message):
    with pytest.raises(DomainError, match=message) as error:
        vf.distribution(name)
    assert (error.value.argument, error.value.value) == ("distribution", name)


@pytest.mark.parametrize("df", [2, 1, -3, math.nan, math.inf, "5", [3, 4], 1e16])
def test_student_t_needs_finite_variance(df):
    with pytest.raises(DomainError, match="df="):
        vf.distributions.student_t(df)


@pytest.mark.parametrize("bandwidth", [0, -1, 1.5, math.nan])
def test_sample_bandwidths(bandwidth):
    with pytest.raises(DomainError, match="bandwidth="):
        vf.distributions.sample(DRAWS, bandwidth=bandwidth)


def test_the_closed_forms_load_neither_scipy_stats_nor_sympy():
    lines = [
        "import sys, varflow.model.distributions as d",
        "assert 'scipy' not in sys.modules",
        "d.distribution('normal').sf(1.0)",
        "assert 'scipy' not in sys.modules",
        "d.student_t(5).sf(0.1), d.distribution(list(range(30)))",
        "assert not {'scipy.stats', 'sympy', 'mpmath'} & set(sys.modules)",
    ]
    code = "\n".join(lines)
    subprocess.run([sys.executable, "-c", code], check=True)
