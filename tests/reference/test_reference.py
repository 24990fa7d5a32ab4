"""The mpmath witness: published numbers, its own consistency, and agreement with routes that share nothing with it."""

from __future__ import annotations

import math
import re

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError, reference

T5 = vf.distributions.student_t(5)
DISTRIBUTIONS = ["normal", "uniform", "laplace", "logistic", T5]
PAPER = math.sqrt(6.303)

CRITICAL = [
    ("normal", "1.190601248342770", "6.034397946968073"),
    ("uniform", "1.15470053837925153", "4.5"),
    ("laplace", "1.41421356237309505", "7.38905609893065023"),
    ("logistic", "1.222690419617279", "6.813718279415934"),
    (T5, "1.203879314097223", "7.630300648760476"),
]


@pytest.mark.parametrize(("distribution", "z", "gamma"), CRITICAL, ids=lambda v: str(v))
def test_published_critical_gains(distribution, z, gamma):
    for threshold in (1, 0.5, 3):
        got = reference.critical_gain(threshold=threshold, distribution=distribution)
        assert abs((got / threshold) ** 2 / mpf(gamma) - 1) < 1e-15
    z = mpf(z)
    with mpmath.workdps(30):  # z_c f = 2 S, where z f - 2 S has slope 2 f or so
        balance = z * reference.pdf(distribution, z) - 2 * reference.sf(distribution, z)
        assert abs(balance / (2 * reference.pdf(distribution, z))) < 2e-15 * z
    assert reference.critical_gain(threshold=-1, distribution=distribution) == 0


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_tails_are_integrals_of_densities(distribution):
    with mpmath.workdps(30):
        edge = mp.sqrt(3) if distribution == "uniform" else mp.inf
        for z in (-1.3, 0, 0.4, 1.5):
            area = mp.quad(
                lambda y: reference.pdf(distribution, y, digits=30),
                [e for e in (z, max(z, 0), 1.6, 3, 6, 12) if e < edge] + [edge],
            )
            assert abs(area / reference.sf(distribution, z, digits=30) - 1) < 1e-20
        lower = -mp.sqrt(3) if distribution == "uniform" else -mp.inf
        square = mp.quad(lambda y: y**2 * reference.pdf(distribution, y, digits=30), [lower, -1, 0, 1, edge])
        assert abs(square - 1) < 1e-8


@pytest.mark.parametrize(
    ("distribution", "frozen"),
    [
        ("normal", scipy.stats.norm()),
        ("uniform", scipy.stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("laplace", scipy.stats.laplace(0, math.sqrt(0.5))),
        ("logistic", scipy.stats.logistic(0, math.sqrt(3) / math.pi)),
        (T5, scipy.stats.t(5, 0, math.sqrt(3 / 5))),
    ],
)
def test_tails_agree_with_scipy(distribution, frozen):
    for z in np.linspace(-6, 6, 25):
        assert float(reference.sf(distribution, z, digits=20)) == pytest.approx(frozen.sf(z), rel=1e-12, abs=1e-300)
        assert float(reference.pdf(distribution, z, digits=20)) == pytest.approx(frozen.pdf(z), rel=1e-12, abs=1e-300)


def test_deep_tails_and_digits():
    z = 1e20
    assert abs(mp.log(reference.sf("normal", z)) / (-(mpf(z) ** 2) / 2) - 1) < 1e-30
    with mpmath.workdps(120):
        exact = mp.erfc(mpf(30) / mp.sqrt(2)) / 2
        for digits in (15, 50, 100):
            assert abs(reference.sf("normal", 30, digits=digits) / exact - 1) < mpf(10) ** (1 - digits)


ANCHORS = [
    (0.5, 1.0, ["0.0559455", "1"], 0.28527),
    (1.0, 1.0, ["0.5143019", "1"], 0.762568),
    (1.2, 1.0, ["1", "1.032029"], None),
    (1.5, 1.0, ["1", "2.712280"], None),
    (2.0, 1.0, ["1", "12.594536"], None),
]


@pytest.mark.parametrize(("threshold", "variance", "roots", "multiplier"), ANCHORS)
def test_fixed_points_at_the_papers_gain(threshold, variance, roots, multiplier):
    gain = reference.gain(threshold=threshold, variance=variance)
    found = reference.fixed_points(threshold=threshold, gain=gain)
    assert found.complete
    assert [point.stable for point in found] == [True, False, True]
    for point, root in zip(found[1:], roots, strict=True):
        assert float(point.variance) == pytest.approx(float(root), rel=2e-7)
    assert abs(min(abs(point.variance - 1) for point in found)) < mpf(10) ** -48
    if multiplier:
        assert float(found[2].multiplier) == pytest.approx(multiplier, rel=2e-6)
    assert found.basin_edge == found[1].variance


def test_three_fixed_points_with_bias_and_none_with_negative_mean():
    found = reference.fixed_points(threshold=1, gain=PAPER, bias_std=math.sqrt(0.05))
    np.testing.assert_allclose([float(point.variance) for point in found], [0.0500, 0.3797, 1.1685], atol=1e-4)
    assert found.basin_edge == found[1].variance
    assert len(reference.fixed_points(threshold=1, gain=PAPER, bias_std=math.sqrt(0.1534))) == 1
    dead = reference.fixed_points(threshold=1, gain=PAPER, mean_gain=-1)
    assert [float(point.variance) for point in dead] == [0.0]
    assert dead.basin_edge == mp.inf
    alive = reference.fixed_points(threshold=1, gain=PAPER, mean_gain=1)
    np.testing.assert_allclose([float(point.firing_rate) for point in alive], [0, 0.0560, 0.3117], atol=1e-4)
    assert alive.complete
    assert alive.resolution is None


def test_roots_that_meet_under_a_weight_mean_leave_a_doubt():
    """Between one and three fixed points no halving decides; on either side of it the list is complete."""
    with mpmath.workdps(40):
        z = lambda v, g: (1 - v / (2 * g**2)) / mp.sqrt(v)  # noqa: E731
        excess = lambda v, g: g**2 * mp.ncdf(-z(v, g)) - v  # noqa: E731
        slope = lambda v, g: g**2 * mp.npdf(z(v, g)) * (z(v, g) / (2 * v) + 1 / (2 * g**2 * mp.sqrt(v))) - 1  # noqa: E731
        _, gain = mp.findroot(lambda v, g: [excess(v, g), slope(v, g)], (mpf("0.65"), mpf("2.2")))
    setting = {"threshold": 1, "mean_gain": 0.5, "digits": 20}
    meeting = reference.fixed_points(gain=gain, **setting)
    assert not meeting.complete
    assert 0 < meeting.resolution < 1e-11
    for side, number in ((-1, 1), (1, 3)):
        apart = reference.fixed_points(gain=gain * (1 + side * mpf(10) ** -16), **setting)
        assert apart.complete
        assert len(apart) == number


def test_laplace_has_closed_roots():
    gain = mpf(3)
    with mpmath.workdps(60):  # z² e^{-√2 z}/2 = 1/γ: z = -√2 W(-1/√γ)
        wanted = sorted(1 / (mp.sqrt(2) * mp.lambertw(-1 / gain, branch)) ** 2 for branch in (0, -1))
    found = reference.fixed_points(threshold=1, gain=gain, distribution="laplace")
    for point, root in zip(found[1:], wanted, strict=True):
        assert abs(point.variance / root.real - 1) < mpf(10) ** -49


def test_threshold_zero_and_below():
    zero = reference.fixed_points(threshold=0, gain=1.5)
    assert [float(point.variance) for point in zero] == [0.0, 1.125]
    assert [point.stable for point in zero] == [False, True]
    assert zero[0].multiplier == mp.inf
    assert zero.basin_edge == 0
    for distribution in DISTRIBUTIONS:
        below = reference.fixed_points(threshold=-1, gain=1.5, distribution=distribution)
        assert len(below) == 1
        assert below.complete
        assert below[0].multiplier <= 0


@settings(deadline=None, max_examples=25)
@given(
    distribution=st.sampled_from(DISTRIBUTIONS),
    threshold=st.floats(0.1, 5),
    ratio=st.floats(1.5, 8),
    bias=st.sampled_from([0.0, 0.05, 0.2, 0.6]),
    shift=st.sampled_from([0.0, 0.0, 3.0, 0.4, -0.4, -3.0]),
)
def test_no_root_is_missed_and_every_root_is_one(distribution, threshold, ratio, bias, shift):
    setting = {"threshold": threshold, "gain": ratio * threshold, "distribution": distribution, "bias_std": bias * threshold}
    setting["mean_gain"] = shift
    found = reference.fixed_points(**setting, digits=30)
    assert found.complete
    for point in found:
        image = reference.variance_map(point.variance, **setting, digits=40)
        assert abs(image - point.variance) <= mpf(10) ** -27 * point.variance
    scan = threshold**2 * np.exp(np.linspace(-7, 5, 3000))  # an independent count: signs of the float map
    fast = vf.distribution(distribution)
    silent, gain2 = setting["bias_std"] ** 2, setting["gain"] ** 2
    excess = silent + gain2 * fast.sf((threshold - shift * (scan - silent) / gain2) / np.sqrt(scan)) - scan
    inside = [point for point in found if scan[0] < point.variance < scan[-1]]
    assert len(inside) >= np.count_nonzero(np.diff(np.sign(excess)))
    variances = [point.variance for point in found]
    assert variances == sorted(variances)


@settings(deadline=None, max_examples=20)
@given(
    distribution=st.sampled_from(DISTRIBUTIONS), threshold=st.floats(-2, 1.7), shift=st.floats(-2, 2), bias=st.floats(0, 0.9)
)
def test_the_gain_preserves_the_variance(distribution, threshold, shift, bias):
    setting = {"threshold": threshold, "bias_std": bias, "mean_gain": shift, "distribution": distribution}
    gain = reference.gain(**setting)
    assert abs(reference.variance_map(1, gain=gain, **setting) - 1) < mpf(10) ** -44


def test_multipliers_are_slopes_of_the_map():
    for setting in ({"mean_gain": 1}, {"bias_std": 0.3}, {"distribution": T5}):
        point = reference.fixed_points(threshold=1, gain=3, **setting)[-1]
        with mpmath.workdps(60):
            step = mpf(10) ** -15
            ends = [reference.variance_map(point.variance + s, threshold=1, gain=3, **setting) for s in (step, -step)]
            assert abs((ends[0] - ends[1]) / (2 * step) - point.multiplier) < 1e-25


def test_precision_is_left_alone_and_results_are_shown():
    before = (mp.dps, mp.prec)
    found = reference.fixed_points(threshold=1, gain=2.6, digits=80)
    assert (mp.dps, mp.prec) == before
    with pytest.raises(DomainError):
        reference.fixed_points(threshold=1, gain=-1)
    assert (mp.dps, mp.prec) == before
    with mpmath.workdps(80):
        for shown in (repr(found), repr(found[2])):
            texts = re.findall(r"(?:variance|firing_rate) +(1\.26\d+|0\.18\d+)", shown)
            numbers = [mpf(text) for text in texts]
            assert [len(text) for text in texts] == [81, 82]
            for number, value in zip(numbers, (found[2].variance, found[2].firing_rate), strict=True):
                assert abs(number / value - 1) < mpf(10) ** -79
    assert "80 digits" in repr(found)
    assert found.to_dict()["fixed_points"][2]["variance"] == pytest.approx(1.26204436)
    coarse = reference.fixed_points(threshold=1, gain=2.6, digits=20)
    assert abs(coarse[2].variance / found[2].variance - 1) < mpf(10) ** -19


def test_the_map_at_variance_zero():
    assert reference.variance_map(0, threshold=1, gain=2, bias_std=1) == 1
    assert reference.variance_map(0, threshold=0, gain=2) == 0
    assert reference.variance_map(0, threshold=-1, gain=2) == 4


GOOD = {"threshold": 1.0, "gain": 2.0}
BAD = [
    (reference.fixed_points, GOOD | {"threshold": math.nan}, "threshold="),
    (reference.fixed_points, GOOD | {"gain": 0}, "gain="),
    (reference.fixed_points, GOOD | {"gain": [1, 2]}, "gain="),
    (reference.fixed_points, GOOD | {"bias_std": -1}, "bias_std="),
    (reference.fixed_points, GOOD | {"mean_gain": math.inf}, "mean_gain="),
    (reference.fixed_points, GOOD | {"digits": 3}, "digits="),
    (reference.fixed_points, GOOD | {"distribution": scipy.stats.gamma(3)}, "is not built in"),
    (reference.fixed_points, GOOD | {"distribution": "cauchy"}, "distribution="),
    (reference.variance_map, GOOD | {"variance": -1}, "variance="),
    (reference.variance_map, GOOD | {"variance": "1"}, "variance="),
    (reference.critical_gain, {"threshold": None}, "threshold="),
    (reference.gain, {"threshold": 1, "bias_std": 1}, "variance="),
    (reference.gain, {"threshold": 2, "distribution": "uniform"}, "threshold="),
    (reference.two_steps, {"neuron": vf.Neuron(1e100), "covariance": ((1, 0.3), (0.3, 1))}, "neuron="),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_input_names_argument_and_rule(function, arguments, message):
    with pytest.raises(DomainError) as error:
        function(**({"variance": 1.0} if function is reference.variance_map else {}) | arguments)
    assert message in str(error.value)
