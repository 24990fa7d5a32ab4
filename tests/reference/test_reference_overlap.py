"""Overlaps and gradients in mpmath: anchors, closed forms, other routes to the same integral, and refusals."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError, reference
from varflow.reference.gradients import SHAPES

T5 = vf.distributions.student_t(5)


@pytest.mark.parametrize(
    ("z", "overlap", "multiplier"),
    [
        *(pytest.param(*row, marks=pytest.mark.slow) for row in ((0.5, 0.56073, 0.53078), (1, 0.27400, 0.47580))),
        pytest.param(0, 0.78983, 0.51899, marks=pytest.mark.slow),  # the example of its docstring
        (2, 0.02630, 0.14201),
    ],
)
def test_stable_overlaps_are_the_published_ones(z, overlap, multiplier):
    point = reference.correlation_point(z, digits=12)
    assert float(point.overlap) == pytest.approx(overlap, abs=5e-6)
    assert float(point.multiplier) == pytest.approx(multiplier, abs=5e-6)
    assert float(point.depth_scale) == pytest.approx(-1 / math.log(multiplier), rel=1e-4)
    step = mpf(10) ** -6
    above, below = (reference.correlation_map(point.overlap + s, z, digits=20) for s in (step, -step))
    assert float((above - below) / (2 * step)) == pytest.approx(float(point.multiplier), rel=1e-9)


def test_the_map_is_an_orthant_at_threshold_zero():
    with mpmath.workdps(60):
        for rho in (mpf("0.3"), mpf("0.9"), 1 - mpf(10) ** -9):
            wanted = mpf(1) / 2 + mp.asin(rho) / mp.pi
            assert abs(reference.correlation_map(rho, 0, digits=30) / wanted - 1) < mpf(10) ** -29


@pytest.mark.parametrize("z", [-1.5, 0.7, 5.0])
def test_the_map_agrees_with_the_integral_over_the_correlation(z):
    """``P(ρ) = Q(z)² + ∫₀^ρ φ₂(z, z; r) dr``."""
    z, rho = mpf(z), mpf("0.8")
    with mpmath.workdps(40):
        tail = reference.sf("normal", z, digits=40)
        density = lambda r: mp.exp(-(z**2) / (1 + r)) / (2 * mp.pi * mp.sqrt(1 - r**2))  # noqa: E731
        wanted = (tail**2 + mp.quad(density, [0, 0.2, 0.4, 0.6, rho])) / tail
        assert abs(reference.correlation_map(rho, z, digits=25) / wanted - 1) < mpf(10) ** -24
        assert abs(reference.correlation_map(rho * (1 + mpf(10) ** -20), z, digits=25) / wanted - 1) > mpf(10) ** -24


def test_the_ends_of_the_map():
    assert reference.correlation_map(1, 0.5) == 1
    assert abs(reference.correlation_map(0, 0.5) / reference.sf("normal", 0.5) - 1) < mpf(10) ** -49


NUMPY = {
    "box": lambda x, a: (abs(x) < a) * 1.0,
    "triangular": lambda x, a: np.maximum(1 - abs(x) / a, 0),
    "gaussian": lambda x, a: np.exp(-((x / a) ** 2) / 2),
    "exponential": lambda x, a: np.exp(-abs(x) / a),
    "fast_sigmoid": lambda x, a: (1 + abs(x) / a) ** -2,
    "atan": lambda x, a: 1 / (1 + (x / a) ** 2),
    "sigmoid": lambda x, a: np.cosh(x / (2 * a)) ** -2,
}


@pytest.mark.parametrize(
    ("name", "distribution"),
    [*((name, "normal") for name in SHAPES), *itertools.product(("box", "exponential"), ("uniform", "laplace", T5))],
    ids=str,
)
def test_gradient_gains_agree_with_plain_integration(name, distribution):
    a, theta, g, V = 0.6, 0.8, 2.5, 1.3
    exact = reference.gradient_gain(name, threshold=theta, gain=g, variance=V, distribution=distribution, width=a, digits=15)
    known = vf.distribution(distribution)
    integrand = lambda z: NUMPY[name](V**0.5 * z - theta, a) ** 2 * known.pdf(z)  # noqa: E731
    kinks = [(theta + x) / V**0.5 for x in (-a, 0, a)]
    edge = 3**0.5 if distribution == "uniform" else 300.0
    ends = [-edge, -10, 0, 10, edge, *kinks] if distribution != "uniform" else [-edge, 0, edge, *kinks]
    ends = sorted(z for z in ends if abs(z) <= edge)
    plain = sum(
        scipy.integrate.quad(integrand, low, high, limit=200, epsabs=1e-15, epsrel=1e-13)[0]
        for low, high in itertools.pairwise(ends)
    )
    assert g**2 * plain == pytest.approx(float(exact), rel=1e-10)


def test_a_box_counts_neurons_near_the_threshold():
    exact = reference.gradient_gain("box", threshold=0.7, gain=2, variance=1, width=0.25)
    with mpmath.workdps(60):
        theta, quarter = mpf(0.7), mpf(1) / 4
        wanted = 4 * (reference.sf("normal", theta - quarter, digits=60) - reference.sf("normal", theta + quarter, digits=60))
        assert abs(exact / wanted - 1) < mpf(10) ** -49


def test_a_gaussian_has_a_closed_form():
    """``E[e^{-x²/a²}]``, ``x ~ N(-θ, V)``, is ``e^{-θ²/(a²+2V)} a/√(a²+2V)``, for any width."""
    with mpmath.workdps(60):
        for a in (mpf(10), mpf(1), mpf("0.01")):
            spread = a**2 + 2 * 3
            wanted = 4 * a * mp.exp(-mpf(0.25) / spread) / mp.sqrt(spread)
            got = reference.gradient_gain("gaussian", threshold=0.5, gain=2, variance=3, width=a, digits=30)
            assert abs(got / wanted - 1) < mpf(10) ** -29


def test_the_variance_defaults_to_the_stable_one_and_functions_are_surrogates_too():
    gain = vf.gain(threshold=1.0)
    default = reference.gradient_gain("atan", width=1, threshold=1, gain=gain, digits=15)
    function = reference.gradient_gain(lambda x: 1 / (1 + x**2), threshold=1, gain=gain, variance=1, digits=15)
    assert float(default) == pytest.approx(float(function), rel=1e-13)
    triangle = reference.gradient_gain("triangular", threshold=1, gain=gain, variance=1, digits=20)
    with_kinks = reference.gradient_gain(
        lambda x: max(1 - abs(x), mpf(0)), threshold=1, gain=gain, variance=1, kinks=(-1, 1), digits=20
    )
    assert abs(with_kinks / triangle - 1) < mpf(10) ** -19
    assert default <= gain**2  # peak 1
    norse = reference.gradient_gain(vf.surrogates.norse_triangle(0.5), threshold=1, gain=gain, variance=1, digits=20)
    with mpmath.workdps(25):
        assert abs(4 * norse / triangle - 1) < mpf(10) ** -19


def test_an_integral_that_does_not_converge_raises():
    with pytest.raises(vf.ConvergenceError, match="20 digits"):
        reference.gradient_gain(lambda x: mpf(1) if x > mpf("0.37") else mpf(0), threshold=1, gain=2, variance=1, digits=20)


GIVEN = {"threshold": 1, "gain": 3}
BAD = [
    (reference.correlation_map, {"overlap": 1.1, "z": 0}, "overlap="),
    (reference.correlation_map, {"overlap": 0.5, "z": math.nan}, "z="),
    (reference.correlation_point, {"z": math.inf}, "z="),
    (reference.gradient_gain, GIVEN | {"surrogate": "arctan"}, "must be a name such as 'atan'"),
    (reference.gradient_gain, GIVEN | {"surrogate": "arctan", "width": 1}, "is unknown; choose one of box, "),
    (reference.gradient_gain, GIVEN | {"surrogate": "SFS"}, "has no formula here"),
    (reference.gradient_gain, GIVEN | {"surrogate": "atan", "width": 0}, "width="),
    (reference.gradient_gain, GIVEN | {"surrogate": abs, "width": 1}, "width="),
    (reference.gradient_gain, GIVEN | {"surrogate": "atan", "variance": -1}, "variance="),
    (reference.gradient_gain, GIVEN | {"surrogate": "atan", "gain": 2}, "gain="),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_input_names_argument_and_rule(function, arguments, message):
    with pytest.raises(DomainError) as error:
        function(**arguments)
    assert message in str(error.value)
