"""Every public derivation at 200 random admissible points: 40 digits against mpmath, doubles against the theory.

Run with ``pytest -m slow tests -k symbolic`` (minutes). The numbers come from ``vf.reference`` or from mpmath as
written out here; floats go in as their exact binary values.
"""

import inspect
import re
from functools import lru_cache
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy
from mpmath import mp, mpf
from sympy import stats

import varflow as vf
from varflow import reference
from varflow.symbolic import V, m_g, sigma_b

T5 = vf.distributions.student_t(5)
DISTRIBUTIONS = ("normal", "uniform", "laplace", "logistic", T5)
BELOW = sympy.Symbol("theta", negative=True)
FREE = sympy.Symbol("y", real=True)
DIGITS = 40

POINTS = 200
INTEGRALS = 60  # points of each surrogate: an integral to 45 digits takes a quarter of a second

# public derivation -> the tests that hold its result against numbers at random points (those of constants at each distribution)
COVERED = {
    "weight_variance": ["test_symbolic_results::test_the_weight_variance_is_the_preserving_gain", "test_responses"],
    "variance_map": [
        "test_symbolic_results::test_the_variance_map",
        "test_the_map_with_bias_and_weight_mean",
        "test_responses",
    ],
    "fixed_point_condition": ["test_the_condition_of_a_fixed_point"],
    "fixed_points": [
        "test_symbolic_results::test_closed_fixed_points_are_all_of_them",
        "test_the_three_fixed_points_of_the_uniform_distribution_with_bias",
        "test_the_fixed_point_of_the_uniform_distribution_below_zero",
        "test_fixed_points_at_threshold_zero",
        "test_fixed_points_of_an_exponential_distribution",
    ],
    "multiplier": ["test_symbolic_results::test_the_multiplier_is_that_of_the_fixed_points", "test_the_multiplier_with_a_bias"],
    "saddle_node": ["test_symbolic_results::test_saddle_node_and_cusp"],
    "bias_cusp": ["test_symbolic_results::test_saddle_node_and_cusp"],
    "expansion": ["test_expansions_in_the_threshold", "test_expansions_at_the_saddle_node", "test_expansions_at_large_gain"],
    "finite_width_corrections": ["test_finite_width_corrections", "test_finite_width_corrections_of_a_distribution"],
    "correlation_slope": ["test_symbolic_correlation::test_the_slope_at_random_points_to_forty_digits"],
    "correlation_map": ["test_the_correlation_map"],
    "gradient_gain": ["test_the_gain_of_gradients", "test_widths_and_peaks_that_keep_gradients"],
    "membrane_moments": ["test_the_membrane"],
}


def test_no_public_derivation_is_forgotten():
    public = {name for name in vf.symbolic.__all__ if inspect.isfunction(getattr(vf.symbolic, name))}
    assert public == set(COVERED)
    for places in COVERED.values():
        for place in places:
            file, _, name = place.rpartition("::")
            text = (Path(__file__).parent / f"{file or 'test_symbolic_digits'}.py").read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), place


@pytest.fixture(autouse=True)
def _sixty_digits():
    with mpmath.workdps(60):
        yield


def close(got, want, digits=DIGITS):
    return abs(got - want) <= mpf(10) ** -digits * abs(want)


@lru_cache
def functions(name, *given, **options):
    """Of a derivation in mpf numbers and in doubles."""
    derivation = getattr(vf.symbolic, name)(*given, **options)
    return derivation.lambdify("mpmath"), derivation.lambdify()


def places(distribution, seed):
    """Thresholds in standard deviations, inside the support, and variances of order one."""
    rng = np.random.default_rng(seed)
    for _ in range(POINTS):
        yield rng.uniform(0.02, 1.6 if distribution == "uniform" else 3), rng.uniform(0.2, 4), rng


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_the_map_with_bias_and_weight_mean(distribution):
    exact, fast = functions("variance_map", distribution, bias_std=sigma_b, mean_gain=m_g)
    for z, variance, rng in places(distribution, seed=1):
        gain, bias, shift = rng.uniform([0.5, 0.0, -2.0], [4.0, 0.9, 2.0])
        bias *= np.sqrt(variance)
        theta = float(z * np.sqrt(variance) + shift * (variance - bias**2) / gain**2)
        if theta <= 0:
            continue
        setting = {"threshold": theta, "gain": gain, "bias_std": bias, "mean_gain": shift, "distribution": distribution}
        numbers = (variance, theta, gain, bias, shift)
        assert close(exact(*map(mpf, numbers)), reference.variance_map(variance, **setting))
        assert fast(*numbers) == pytest.approx(vf.variance_map(variance, **setting), rel=2e-13)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_the_condition_of_a_fixed_point(distribution, bias):
    exact, fast = functions("fixed_point_condition", distribution, bias_std=sigma_b if bias else 0)
    for z, variance, rng in places(distribution, seed=2):
        silent = float(rng.uniform(0.1, 0.9) * np.sqrt(variance)) if bias else 0.0
        theta = float(z * np.sqrt(variance))
        gain = reference.gain(threshold=theta, variance=variance, bias_std=silent, distribution=distribution, digits=60)
        at = mpf(theta) / mp.sqrt(mpf(variance))
        known = (gain, mpf(silent), at) if bias else (at,)
        assert close(exact(*known), mpf(theta) ** 2 / gain**2)
        told = vf.gain(threshold=theta, variance=variance, bias_std=silent, distribution=distribution)
        assert fast(*map(float, known)) == pytest.approx((theta / told) ** 2, rel=2e-14 * (1 + float(at) ** 2))


@pytest.mark.slow
def test_the_three_fixed_points_of_the_uniform_distribution_with_bias():
    exact, fast = functions("fixed_points", "uniform", bias_std=sigma_b)
    rng, done = np.random.default_rng(3), 0
    while done < POINTS:
        theta = rng.uniform(0.05, 5)
        gain, bias = theta * rng.uniform(2.0, 6.0), theta * rng.uniform(0.0, 0.577)
        setting = {"threshold": theta, "gain": gain, "bias_std": bias, "distribution": "uniform"}
        want = reference.fixed_points(**setting)
        got = exact(*map(mpf, (theta, gain, bias)))
        assert (len(want) == 3) == all(map(mp.isfinite, got))
        if len(want) < 3:
            continue
        done += 1
        for value, told, point, theory in zip(got, fast(theta, gain, bias), want, vf.fixed_points(**setting), strict=True):
            assert close(value, point.variance)
            assert told == pytest.approx(theory.variance, rel=float(1e-13 * max(1, 1 / abs(1 - point.multiplier))))


@pytest.mark.slow
def test_the_fixed_point_of_the_uniform_distribution_below_zero():
    exact, _ = functions("fixed_points", "uniform", threshold=BELOW, bias_std=sigma_b)  # doubles: test_symbolic_results
    rng = np.random.default_rng(4)
    for _ in range(POINTS):
        theta, gain, bias = -rng.uniform(0.05, 5), rng.uniform(0.3, 8), rng.uniform(0, 1)
        (only,) = reference.fixed_points(threshold=theta, gain=gain, bias_std=bias, distribution="uniform")
        assert close(exact(*map(mpf, (theta, gain, bias))), only.variance)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_fixed_points_at_threshold_zero(distribution):
    rng = np.random.default_rng(5)
    for _ in range(POINTS):
        gain, bias = rng.uniform([0.3, 0.05], [8.0, 2.0])
        for options, given in (({}, {}), ({"bias_std": sigma_b}, {"bias_std": bias})):
            exact, fast = functions("fixed_points", distribution, threshold=0, **options)
            numbers = (gain, *given.values())
            want = reference.fixed_points(threshold=0, gain=gain, distribution=distribution, **given)
            theory = vf.fixed_points(threshold=0, gain=gain, distribution=distribution, **given)
            for value, told, point, also in zip(
                np.atleast_1d(exact(*map(mpf, numbers))), np.atleast_1d(fast(*numbers)), want, theory, strict=True
            ):
                assert close(value, point.variance)
                assert told == pytest.approx(also.variance, rel=1e-14)


@pytest.mark.slow
def test_fixed_points_of_an_exponential_distribution():
    """Tail ``e^{-(1+z)}``: the roots of ``z² e^{-(1+z)} = θ²/g²`` by bracketing."""
    exact, _ = functions("fixed_points", stats.Exponential("X", 2))
    rng = np.random.default_rng(6)
    for _ in range(POINTS):
        theta = mpf(rng.uniform(0.05, 5))
        gain = theta * mpf(rng.uniform(4.5, 40))  # the critical one is e^{3/2}/2 · θ = 2.24 θ
        lack = lambda z, theta=theta, gain=gain: 2 * mp.log(z) - 1 - z - 2 * mp.log(theta / gain)  # noqa: E731
        roots = [mp.findroot(lack, ends, solver="anderson", tol=mpf(10) ** -110) for ends in ((1e-3, 2), (2, 60))]
        silence, edge, active = exact(theta, gain)
        assert silence == 0
        assert close(edge, (theta / roots[1]) ** 2)
        assert close(active, (theta / roots[0]) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_the_multiplier_with_a_bias(distribution):
    derivation = vf.symbolic.multiplier(distribution, bias_std=sigma_b)
    exact, fast = derivation.lambdify("mpmath"), derivation.lambdify()
    for z, variance, rng in places(distribution, seed=7):
        theta, bias = float(z * np.sqrt(variance)), float(rng.uniform(0.1, 0.9) * np.sqrt(variance))
        setting = {"threshold": theta, "bias_std": bias, "distribution": distribution}
        setting["gain"] = vf.gain(variance=variance, **setting)
        point = min(reference.fixed_points(**setting), key=lambda p, v=variance: abs(p.variance - v))
        known = {"variance": point.variance, "gain": mpf(setting["gain"]), "z": mpf(theta) / mp.sqrt(point.variance)}
        assert close(exact(*(known[name] for name in derivation.arguments)), point.multiplier)
        told = min(vf.fixed_points(**setting), key=lambda p, v=variance: abs(p.variance - v)).multiplier
        allowed = 1e-12 * max(1, 1 / abs(1 - float(point.multiplier)))
        assert fast(*(float(known[name]) for name in derivation.arguments)) == pytest.approx(told, rel=allowed)


def square_of_response(response, z, a):
    """``E[r(u)²]`` for ``u ~ N(0, 1)``: a partial second moment is an incomplete gamma function."""
    tail = lambda x: mp.ncdf(-x)  # noqa: E731
    if response == "ternary":
        return 2 * tail(z)
    if response == "multi_spike":
        return mp.fsum((2 * k - 1) * tail(k * z) for k in range(1, int(18 / z) + 2))
    above = mp.gammainc(1.5, z**2 / 2) / mp.sqrt(mp.pi)
    return above if response == "graded" else above + a**2 * (1 - above)


@pytest.mark.slow
@pytest.mark.parametrize("response", ["graded", "leaky_relu", "ternary", "multi_spike"])
def test_responses(response):
    mapped, weights = (
        functions(name, response=response, **options)[0]
        for name, options in (("variance_map", {}), ("weight_variance", {"variance": V}))
    )
    for z, variance, rng in places("normal", seed=8):
        z, variance, gain, a = map(mpf, (max(z, 0.2), variance, *rng.uniform([0.5, -0.8], [4.0, 0.8])))
        extra = (a,) if response == "leaky_relu" else ()
        square = square_of_response(response, z, a) * (variance if response in ("graded", "leaky_relu") else 1)
        assert close(mapped(variance, z * mp.sqrt(variance), gain, *extra), gain**2 * square)
        assert close(weights(variance, z * mp.sqrt(variance), 3, *extra), variance / (3 * square))


def at_unit_variance(distribution, theta):
    """``g²`` and ``m`` of the gain that preserves a variance of 1."""
    tail = reference.sf(distribution, theta, digits=70)
    return 1 / tail, theta * reference.pdf(distribution, theta, digits=70) / (2 * tail)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "distribution", "order", "size"),
    [
        ("threshold_to_zero", "normal", 2, -14.0),
        ("threshold_to_zero", "laplace", 2, -14.0),
        ("threshold_to_zero", "logistic", 1, -21.0),
        ("threshold_to_zero", "uniform", 3, -10.7),
        ("threshold_to_infinity", "normal", 2, 7.2),
        ("threshold_to_infinity", "laplace", 1, 0.0),  # exact at any threshold
        ("threshold_to_infinity", "logistic", 1, 0.0),
    ],
)
def test_expansions_in_the_threshold(limit, distribution, order, size):
    """So near the limit that what is left out is below the fortieth digit, and every coefficient is above it."""
    exact, _ = functions("expansion", limit, distribution, order=order)  # doubles against the theory: test_symbolic_expansions
    rng = np.random.default_rng(9)
    for _ in range(POINTS):
        theta = mpf(10) ** mpf(size + rng.uniform(-0.2, 0.0) * (1 if size < 0 else -1))
        for got, want in zip(exact(theta), at_unit_variance(distribution, theta), strict=True):
            assert close(got, want)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distribution", "order", "size"), [("normal", 2, -14.0), ("uniform", 2, -14.0), ("laplace", 2, -14.0)]
)
def test_expansions_at_the_saddle_node(distribution, order, size):
    exact, _ = functions("expansion", "saddle_node", distribution, order=order)
    rng = np.random.default_rng(10)
    with mpmath.workdps(120):
        critical = reference.saddle_node(distribution, digits=120).gamma
        for _ in range(POINTS):
            theta, delta = mpf(rng.uniform(0.1, 3)), mpf(10) ** mpf(size - rng.uniform(0.2, 0.6))
            gain = theta * mp.sqrt(critical / (1 - delta**2))
            _, edge, stable = reference.fixed_points(threshold=theta, gain=gain, distribution=distribution, digits=90)
            want = (stable.variance, edge.variance, stable.multiplier, edge.multiplier)
            for got, number in zip(exact(theta, delta), want, strict=True):
                assert close(got, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distribution", "order", "size", "known"),
    [
        ("normal", 1, -20.5, [0]),
        ("normal", 1, -41.0, [1]),  # of the multiplier an order has one term less
        ("logistic", 1, -20.5, [0]),
        ("uniform", 2, -13.9, [0]),
        ("uniform", 2, -20.5, [1]),
        ("uniform", 2, -7.0, [2, 3]),
        ("laplace", 1, -13.9, [0]),
        ("laplace", 1, -41.0, [1]),
        ("laplace", 1, -2.0, [2, 3]),  # the edge exactly, by Lambert's W; of the others it has logarithms, beyond any digits
    ],
)
def test_expansions_at_large_gain(distribution, order, size, known):
    exact, _ = functions("expansion", "gain_to_infinity", distribution, order=order)
    rng = np.random.default_rng(11)
    for _ in range(POINTS):
        eta = mpf(10) ** mpf(size - rng.uniform(0.2, 0.6))
        _, edge, stable = reference.fixed_points(threshold=1, gain=1 / eta, distribution=distribution)
        want = (stable.variance * eta**2, stable.multiplier, edge.variance, edge.multiplier)
        got = exact(eta)
        for index in known:
            assert close(got[index], want[index]), index


def truncated(left, right):
    """Product of two polynomials in ``δ`` up to ``δ⁴``."""
    return [mp.fsum(left[i] * right[k - i] for i in range(k + 1)) for k in range(5)]


def stationary_moments(F, g, p, width):
    """Mean and variance of ``δ = C - V*`` from the moments of the binomial: linear equations for ``E[δ], …, E[δ⁴]``."""
    one = [mpf(1), *[mpf(0)] * 4]
    moved = [mpf(0), *(F[k] / mp.factorial(k) for k in range(1, 5))]
    rate = [x / g**2 + p * (k == 0) for k, x in enumerate(moved)]
    silent = [(k == 0) - x for k, x in enumerate(rate)]
    spread = truncated(rate, silent)
    skew = truncated(spread, [s - r for r, s in zip(rate, silent, strict=True)])
    noise = [one, [mpf(0)] * 5, [g**4 * x / width for x in spread], [g**6 * x / width**2 for x in skew]]
    noise.append([3 * g**8 * x / width**2 for x in truncated(spread, spread)])
    powers = [one]
    for _ in range(4):
        powers.append(truncated(powers[-1], moved))
    rows = []
    for j in range(1, 5):
        parts = [[mp.binomial(j, i) * x for x in truncated(powers[j - i], noise[i])] for i in range(j + 1)]
        rows.append([mp.fsum(column) for column in zip(*parts, strict=True)])
    system = mp.matrix([[(j == i) - rows[j - 1][i] for i in range(1, 5)] for j in range(1, 5)])
    first, second, *_ = mp.lu_solve(system, mp.matrix([row[0] for row in rows]))
    return first, second - first**2


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2])
def test_finite_width_corrections(order):
    """At a width of ``10⁵⁰`` the next order is below the fortieth digit of the last coefficient."""
    derivation, rng = vf.symbolic.finite_width_corrections(order), np.random.default_rng(12)
    exact, width = derivation.lambdify("mpmath"), mpf(10) ** 50
    before = vf.symbolic.finite_width_corrections(1).lambdify("mpmath") if order == 2 else None
    names = {order: derivation.arguments, 1: vf.symbolic.finite_width_corrections(1).arguments}
    with mpmath.workdps(260):
        for _ in range(POINTS):
            F = [mpf(x) for x in (0, rng.uniform(-0.9, 0.9), *rng.uniform(-2, 2, 3))]
            g, p = map(mpf, rng.uniform([0.5, 0.05], [3.0, 0.95]))
            known = {"gain": g, "fan_in": width, "p": p} | {f"F{k}": F[k] for k in range(1, 5)}
            got = exact(*(known[name] for name in derivation.arguments))
            less = before(*(known[name] for name in names[1])) if before else (0, 0)
            for told, want, known_before in zip(got, stationary_moments(F, g, p, width), less, strict=True):
                assert abs(told - want) <= mpf(10) ** -DIGITS * abs(told - known_before)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["normal", "laplace"])
def test_finite_width_corrections_of_a_distribution(distribution):
    derivation = vf.symbolic.finite_width_corrections(1, distribution=distribution)
    exact, width = derivation.lambdify("mpmath"), mpf(10) ** 50
    for z, variance, _ in places(distribution, seed=13):
        z, variance = mpf(min(z, 1.1) if distribution == "normal" else min(z, 1.3)), mpf(variance)
        theta, p = z * mp.sqrt(variance), reference.sf(distribution, z, digits=100)
        g = mp.sqrt(variance / p)
        image = lambda v, theta=theta, g=g: reference.variance_map(  # noqa: E731
            v, threshold=theta, gain=g, distribution=distribution, digits=mp.dps
        )
        F = [0, *(mp.diff(image, variance, k) for k in (1, 2)), 0, 0]  # the others do not enter
        known = {"variance": variance, "fan_in": width, "z": z}
        got = exact(*(known[name] for name in derivation.arguments))
        for told, want in zip(got, stationary_moments(F, g, p, width), strict=True):
            assert close(told, want)


@pytest.mark.slow
def test_the_correlation_map():
    exact, _ = functions("correlation_map", FREE)
    rng = np.random.default_rng(14)
    for _ in range(POINTS):
        z, rho = rng.uniform(-3, 3), rng.uniform(0, 0.99)
        assert close(exact(overlap=mpf(rho), y=mpf(z)), reference.correlation_map(rho, z, digits=45))


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", ["box", "triangular", "gaussian", "exponential", "fast_sigmoid", "atan", "sigmoid"])
def test_the_gain_of_gradients(surrogate):
    exact, _ = functions("gradient_gain", surrogate)
    rng = np.random.default_rng(15)
    for _ in range(INTEGRALS):
        variance, theta, gain, a = rng.uniform([0.3, 0.05, 0.5, 0.3], [3.0, 2.0, 3.0, 2.0])
        want = reference.gradient_gain(surrogate, threshold=theta, gain=gain, variance=variance, width=a, digits=45)
        assert close(exact(*map(mpf, (variance, theta, gain, a))), want)


@pytest.mark.slow
def test_widths_and_peaks_that_keep_gradients():
    rng = np.random.default_rng(16)
    for _ in range(INTEGRALS // 3):
        variance, gain, theta, a = map(mpf, rng.uniform([0.3, 1.1, 0.05, 0.3], [3.0, 3.0, 2.0, 2.0]))
        for surrogate in ("box", "gaussian"):
            width = functions("gradient_gain", surrogate, threshold=0, solve="width")[0](variance, gain)
            assert close(reference.gradient_gain(surrogate, threshold=0, gain=gain, variance=variance, width=width), 1)
        peak = functions("gradient_gain", "exponential", solve="peak")[0](variance, theta, gain, a)
        without = reference.gradient_gain("exponential", threshold=theta, gain=gain, variance=variance, width=a)
        assert close(peak**2 * without, 1)


def membrane(reset, theta, beta, lam, v, m, mu, sigma, c):
    """Mean and variance by the law of total expectation, over the numbers of spikes: truncated normals and linear updates."""
    at = lambda k: (k * theta - mu) / sigma  # noqa: E731
    most = int((18 * sigma + abs(mu)) / theta) + 1 if reset == "multi_spike" else 1
    pieces = []
    for k in range(most + 1):
        low = at(k) if k else -mp.inf
        high = at(k + 1) if k < most else mp.inf
        weight = mp.ncdf(-low) - mp.ncdf(-high) if low > 0 else mp.ncdf(high) - mp.ncdf(low)
        edges = [mp.npdf(x) if abs(x) != mp.inf else mpf(0) for x in (low, high)]
        first = (edges[0] - edges[1]) / weight
        second = 1 + sum(sign * x * e for sign, x, e in ((1, low, edges[0]), (-1, high, edges[1])) if e) / weight
        mean, var = mu + sigma * first, sigma**2 * (second - first**2)
        shut = k > 0 and reset == "gate"
        tilt = 0 if shut else lam * c / sigma**2  # the input regressed on the membrane
        factor = (0 if k and reset in ("zero", "gate") else beta) + tilt
        taken = {"subtract": beta * theta * k, "multi_spike": beta * theta * k, "delayed_subtract": theta * k}.get(reset, 0)
        constant = (0 if shut else lam * m) - tilt * mu - taken
        rest = 0 if shut else lam**2 * (v - c**2 / sigma**2)
        pieces.append((weight, factor * mean + constant, factor**2 * var + rest))
    mean = mp.fsum(weight * inner for weight, inner, _ in pieces)
    return mean, mp.fsum(weight * (rest + (inner - mean) ** 2) for weight, inner, rest in pieces)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("reset", ["none", "subtract", "delayed_subtract", "zero", "gate", "multi_spike"])
def test_the_membrane(reset, kind):
    derivation = vf.symbolic.membrane_moments(reset, input=kind)
    exact, fast = derivation.lambdify("mpmath"), derivation.lambdify()
    rng = np.random.default_rng(17)
    for _ in range(POINTS):
        names = ("threshold", "decay", "input_scale", "V_I", "m_I", "mu", "sigma")
        known = dict(zip(names, map(mpf, rng.uniform([0.3, 0, 0.1, 0.1, -1, -1, 0.3], [2, 1, 2, 2, 1, 1, 2])), strict=True))
        c = mpf(rng.uniform(-0.9, 0.9)) * known["sigma"] * mp.sqrt(known["V_I"]) if kind == "correlated" else mpf(0)
        with mpmath.workdps(80):
            want = membrane(reset, *known.values(), c)
        given = {name: (known | {"C_HI": c})[name] for name in derivation.arguments}
        told = fast(**{name: float(number) for name, number in given.items()})
        for got, double, number in zip(exact(**given), told, want, strict=True):
            assert abs(got - number) <= mpf(10) ** -DIGITS * max(1, abs(number))
            assert double == pytest.approx(float(number), rel=1e-12, abs=1e-12)
