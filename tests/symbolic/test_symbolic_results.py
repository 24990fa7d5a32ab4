"""Results of symbolic derivations equal the reference at 40 digits on random points, and the fast theory in doubles.

200 points with ``pytest -m slow``, fewer without.
"""

import mpmath
import numpy as np
import pytest
import sympy
from mpmath import mp, mpf
from sympy import stats

import varflow as vf
from varflow.symbolic import V, m_g, sigma_b

DISTRIBUTIONS = ("normal", "uniform", "laplace", "logistic", vf.distributions.student_t(5))
EACH = [*DISTRIBUTIONS[:-1], pytest.param(DISTRIBUTIONS[-1], marks=pytest.mark.slow)]  # whose derivations take sympy long
DIGITS = 40


@pytest.fixture(params=[4, pytest.param(200, marks=pytest.mark.slow)], ids="{} points".format)
def points(request):
    return request.param


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mpmath.workdps(50):
        yield


def close(got, want, digits=DIGITS):
    return abs(got - want) <= mpf(10) ** -digits * abs(want)


def random_points(points, distribution, seed=0, below=False):
    """Thresholds inside the support, variances and gains of order one."""
    rng = np.random.default_rng(seed)
    for _ in range(points):
        variance, gain = rng.uniform(0.2, 4), rng.uniform(0.5, 4)
        threshold = rng.uniform(0.02, 1.6 if distribution == "uniform" else 3) * np.sqrt(variance)
        yield variance, -threshold if below else threshold, gain


@pytest.mark.parametrize(
    ("distribution", "below"),
    [
        *((distribution, False) for distribution in DISTRIBUTIONS),
        *((distribution, True) for distribution in ("uniform", "laplace")),  # the others have one formula on both sides
        *(
            pytest.param(distribution, True, marks=pytest.mark.slow)
            for distribution in ("normal", "logistic", DISTRIBUTIONS[-1])
        ),
    ],
    ids=str,
)
def test_the_variance_map(distribution, below, points):
    threshold = sympy.Symbol("theta", negative=True) if below else vf.symbolic.theta
    derivation = vf.symbolic.variance_map(distribution, threshold=threshold, bias_std=sigma_b)
    exact, fast = derivation.lambdify("mpmath"), derivation.lambdify()
    for variance, theta, gain in random_points(points, distribution, below=below):
        setting = {"threshold": theta, "gain": gain, "bias_std": 0.25, "distribution": distribution}
        numbers = (variance, theta, gain, 0.25)
        assert close(exact(*map(mpf, numbers)), vf.reference.variance_map(variance, **setting))
        assert fast(*numbers) == pytest.approx(vf.variance_map(variance, **setting), rel=1e-14)


def test_the_variance_map_with_a_weight_mean(points):
    derivation = vf.symbolic.variance_map(mean_gain=m_g)
    exact = derivation.lambdify("mpmath")
    rng = np.random.default_rng(1)
    for variance, theta, gain in random_points(points, "normal"):
        shift = rng.uniform(-2, 2)
        want = vf.reference.variance_map(variance, threshold=theta, gain=gain, mean_gain=shift)
        assert close(exact(*map(mpf, (variance, theta, gain, shift))), want)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_the_weight_variance_is_the_preserving_gain(distribution, points):
    derivation = vf.symbolic.weight_variance(distribution, variance=V)
    exact = derivation.lambdify("mpmath")
    for variance, theta, _ in random_points(points, distribution):
        want = vf.reference.gain(threshold=theta, variance=variance, distribution=distribution) ** 2
        assert close(7 * exact(mpf(variance), mpf(theta), 7), want)
        assert derivation.lambdify()(variance, theta, 7) * 7 == pytest.approx(
            vf.gain(threshold=theta, variance=variance, distribution=distribution) ** 2, rel=1e-14
        )


@pytest.mark.parametrize("distribution", EACH, ids=str)
def test_the_multiplier_is_that_of_the_fixed_points(distribution, points):
    exact = vf.symbolic.multiplier(distribution).lambdify("mpmath")
    for variance, theta, _ in random_points(points, distribution):
        gain = mp.sqrt(mpf(variance) / vf.reference.sf(distribution, mpf(theta) / mp.sqrt(mpf(variance)), digits=48))
        found = vf.reference.fixed_points(threshold=theta, gain=gain, distribution=distribution)
        point = min(found, key=lambda p: abs(p.variance - variance))
        assert close(exact(mpf(theta) / mp.sqrt(point.variance)), point.multiplier)


@pytest.mark.parametrize("distribution", ["uniform", "laplace"])
def test_closed_fixed_points_are_all_of_them(distribution, points):
    derivation = vf.symbolic.fixed_points(distribution)
    exact, fast = derivation.lambdify("mpmath"), derivation.lambdify()
    critical = vf.critical_gain(threshold=1.0, distribution=distribution)
    rng = np.random.default_rng(2)
    for _ in range(points):
        theta = rng.uniform(0.05, 5)
        gain = theta * critical * rng.uniform(1.01, 6)
        found = vf.reference.fixed_points(threshold=theta, gain=gain, distribution=distribution)
        for got, point in zip(exact(mpf(theta), mpf(gain)), found, strict=True):
            assert close(got, point.variance) or got == point.variance == 0
        theory = [point.variance for point in vf.fixed_points(threshold=theta, gain=gain, distribution=distribution)]
        assert fast(theta, gain) == pytest.approx(theory, rel=2e-13)


def test_closed_fixed_points_below_and_at_zero(points):
    below = vf.symbolic.fixed_points("uniform", threshold=sympy.Symbol("theta", negative=True), bias_std=sigma_b)
    function, rng, kinds = below.lambdify(), np.random.default_rng(3), set()
    for _ in range(points):
        theta, gain, bias = -rng.uniform(0.05, 5), rng.uniform(0.3, 8), rng.uniform(0, 1)
        (only,) = vf.fixed_points(threshold=theta, gain=gain, bias_std=bias, distribution="uniform")
        assert function(theta, gain, bias) == pytest.approx(only.variance, rel=1e-13)
        kinds.add((only.firing_rate == 1, -1.5 * 3**0.5 * gain**2 * theta > (gain**2 + 2 * bias**2) ** 1.5 * 1.5**0.5))
    assert {kind[0] for kind in kinds} == {True, False}
    for distribution in DISTRIBUTIONS:
        silence, active = vf.symbolic.fixed_points(distribution, threshold=0).lambdify()(1.5)
        assert [silence, active] == [
            point.variance for point in vf.fixed_points(threshold=0.0, gain=1.5, distribution=distribution)
        ]


@pytest.mark.parametrize("distribution", EACH, ids=str)
def test_saddle_node_and_cusp(distribution):
    gamma = vf.symbolic.saddle_node(distribution).result
    reference = vf.reference.saddle_node(distribution)
    assert close(mpf(str(sympy.N(gamma, 48))), reference.gamma)
    assert vf.critical_gain(threshold=1.0, distribution=distribution) ** 2 == pytest.approx(float(gamma), rel=1e-14)
    got = [mpf(str(sympy.N(number, 48))) for number in vf.symbolic.bias_cusp(distribution).result]
    want = vf.reference.bias_cusp(distribution)
    assert close(got[0], want.gamma)
    assert close(got[1], want.bias_variance)


def test_the_saddle_nodes_with_closed_forms():
    assert vf.symbolic.saddle_node("uniform").result == sympy.Rational(9, 2)
    assert vf.symbolic.saddle_node("laplace").result == sympy.exp(2)
    assert not vf.symbolic.saddle_node("logistic").result.has(vf.symbolic.symbols.ImplicitRoot)
    assert vf.symbolic.saddle_node("normal").result.has(vf.symbolic.symbols.ImplicitRoot)


def response_by_quadrature(response, theta, variance, a):
    """``E[r(u)²]`` for normal potentials, written out here."""
    density = lambda u: mp.exp(-(u**2) / (2 * variance)) / mp.sqrt(2 * mp.pi * variance)  # noqa: E731
    tail = lambda x: vf.reference.sf("normal", x / mp.sqrt(variance), digits=58)  # noqa: E731
    if response == "ternary":
        return 2 * tail(theta)
    if response == "multi_spike":
        return mp.nsum(lambda k: (2 * k - 1) * tail(int(k) * theta), [1, 40], method="d")
    far = lambda sign: [sign * k * mp.sqrt(variance) for k in (20, 9, 4)]  # noqa: E731
    above = mp.quad(lambda u: u**2 * density(u), [theta, *reversed(far(1))])
    below = mp.quad(lambda u: a**2 * u**2 * density(u), [*far(-1), 0, theta])
    return above + (below if response == "leaky_relu" else 0)


@pytest.mark.parametrize("response", ["graded", "leaky_relu", "ternary", "multi_spike"])
def test_responses_beyond_the_step(response):
    """Here by quadrature; by incomplete gamma functions at 200 points in ``test_symbolic_digits``."""
    function = vf.symbolic.variance_map(response=response).lambdify("mpmath")
    rng = np.random.default_rng(4)
    for _ in range(2):
        variance, gain, a = (mpf(x) for x in rng.uniform([0.3, 0.5, -0.8], [3, 3, 0.8]))
        theta = mpf(rng.uniform(0.4, 2)) * mp.sqrt(variance)
        extra = (a,) if response == "leaky_relu" else ()
        with mpmath.workdps(60):
            want = gain**2 * response_by_quadrature(response, theta, variance, a)
        assert close(function(variance, theta, gain, *extra), want)


def test_kaiming_is_the_limit_of_the_leaky_response():
    """n Var[w] = 2/(1 + a²): He et al. 2015, from a response with a threshold that goes to zero."""
    result = vf.symbolic.weight_variance(response="leaky_relu", variance=V).result
    n, a = vf.symbolic.n, sympy.Symbol("a", real=True)
    kaiming = sympy.simplify(n * sympy.limit(result, vf.symbolic.theta, 0))
    assert sympy.simplify(kaiming - 2 / (1 + a**2)) == 0
    graded = vf.symbolic.weight_variance(response="graded", variance=V).result
    assert sympy.simplify(n * sympy.limit(graded, vf.symbolic.theta, 0)) == 2


def test_a_distribution_of_ones_own_equals_the_numeric_distribution_of_the_same_variable():
    variable = stats.Gamma("X", 3, 2)
    derivation, distribution = vf.symbolic.variance_map(variable), vf.distribution(variable)
    function = derivation.lambdify()
    for variance, theta, gain in random_points(10, "normal", seed=5):
        want = vf.variance_map(variance, threshold=theta, gain=gain, distribution=distribution)
        assert function(variance, theta, gain) == pytest.approx(want, rel=1e-9)
