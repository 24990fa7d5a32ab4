"""The overlap of two inputs through one layer: against mpmath, closed forms, properties, extremes; its fixed points."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

import varflow as vf
from varflow.theory.memoryless.depth_scales import stable_overlap

OVERLAPS = [0.0, 1e-9, 0.3, 0.95, 1 - 1e-6, 1 - 1e-12]


@pytest.mark.parametrize("z", [-0.7, 3.0, *(pytest.param(z, marks=pytest.mark.slow) for z in (-4.0, 0.475, 1.0, 8.0, 20.0))])
def test_the_map_against_mpmath(z):
    """Relative to ``ρ'`` and, up to rounding of the answer, to ``1 - ρ'``; an error of 1e-12 is seen."""
    fast = vf.correlation_map(OVERLAPS, threshold=z)
    exact = [vf.reference.correlation_map(rho, z, digits=25) for rho in OVERLAPS]
    for got, wanted in zip(fast.tolist(), exact, strict=True):
        bound = 5e-14 * float(min(wanted, 1 - wanted)) + 2.0**-52 * float(wanted)
        assert abs(got - wanted) <= bound
        assert abs(got * (1 + 1e-12) - wanted) > bound


@pytest.mark.parametrize("z", [-1.3, 0.8])
def test_negative_correlations_against_mpmath(z):
    rho = [-1e-6, -0.4, -0.95, -0.999]
    exact = [float(vf.reference.orthant(z, z, r, digits=20) / vf.reference.sf("normal", z, digits=20)) for r in rho]
    assert vf.correlation_map(rho, threshold=z) == pytest.approx(exact, rel=0, abs=2e-15)


def test_threshold_zero_is_an_angle():
    rho = np.linspace(-1, 1, 201)
    assert vf.correlation_map(rho, threshold=0.0) == pytest.approx(0.5 + np.arcsin(rho) / np.pi, rel=0, abs=1e-15)


def test_only_the_ratio_matters_and_arguments_broadcast():
    rho, theta, V = np.linspace(-1, 1, 5), np.array([[0.3], [2.0]]), np.array([[[4.0]], [[0.01]]])
    whole = vf.correlation_map(rho, threshold=theta, variance=V)
    assert whole.shape == (2, 2, 5)
    for place in np.ndindex(whole.shape):
        z = theta[place[1], 0] / V[place[0], 0, 0] ** 0.5
        assert whole[place] == pytest.approx(vf.correlation_map(float(rho[place[2]]), threshold=z), rel=1e-12)
    assert isinstance(vf.correlation_map(0.5, threshold=1), float)
    assert vf.correlation_map([], threshold=1.0).shape == (0,)


THRESHOLDS = st.integers(-30000, 30000).map(lambda k: k / 1000)


@settings(max_examples=40)
@given(THRESHOLDS, st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_the_map_rises_and_ends_where_it_must(z, rho):
    """``ρ'(-1) = max(0, 2 - 1/Q)``, ``ρ'(0) = Q``, ``ρ'(1) = 1``."""
    ends = vf.correlation_map([-1.0, 0.0, 1.0], threshold=z)
    Q = float(ndtr(-z))
    assert ends == pytest.approx([max(0.0, 2 - 1 / Q), Q, 1.0], rel=5e-14, abs=1e-15)
    mapped = vf.correlation_map(np.sort(rho), threshold=z)
    assert np.all(np.diff(mapped) >= -1e-14)
    assert mapped.min() >= 0
    assert mapped.max() <= 1 + 1e-15


def test_identical_inputs_part_with_infinite_slope():
    """``1 - ρ' ≈ e^{-z²/2} √((1 - ρ)/2)/(π Q(z))``."""
    apart = np.array([1e-12, 1e-10, 1e-8])
    slope = (1 - vf.correlation_map(1 - apart, threshold=1.0)) / np.sqrt(1 - (1 - apart))
    wanted = np.exp(-0.5) / (np.pi * np.sqrt(2) * ndtr(-1.0))
    assert slope == pytest.approx(np.full(3, wanted), rel=1e-7)


@pytest.mark.parametrize("z", [1.0, *(pytest.param(z, marks=pytest.mark.slow) for z in (-2.0, 0.0, 0.475, 2.0, 5.0))])
def test_the_stable_overlap_against_mpmath(z):
    exact = vf.reference.correlation_point(z, digits=15)
    stable, same = vf.correlation_fixed_points(threshold=2 * z, variance=4.0)
    assert stable.overlap == pytest.approx(float(exact.overlap), rel=1e-13)
    assert stable.multiplier == pytest.approx(float(exact.multiplier), rel=1e-12)
    assert stable.depth_scale == pytest.approx(float(exact.depth_scale), rel=1e-12)
    assert stable.stable
    assert (same.overlap, same.multiplier, same.stable, same.depth_scale) == (1.0, math.inf, False, 0.0)


@settings(max_examples=30)
@given(THRESHOLDS)
def test_the_stable_overlap_is_a_fixed_point_with_the_slope_of_the_map(z):
    stable, _ = vf.correlation_fixed_points(threshold=z)
    assert vf.correlation_map(stable.overlap, threshold=z) == pytest.approx(stable.overlap, rel=1e-13, abs=1e-300)
    assert 0 <= stable.multiplier < 0.533
    if 1e-3 < stable.overlap < 0.999:
        step = 1e-5 * min(stable.overlap, 1 - stable.overlap)
        above, below = vf.correlation_map([stable.overlap + step, stable.overlap - step], threshold=z)
        assert (above - below) / (2 * step) == pytest.approx(stable.multiplier, rel=1e-5)


def test_the_longest_memory_of_pairs_is_under_two_layers():
    z = np.linspace(-3, 3, 2001)
    _, slope = stable_overlap(z)
    scale = -1 / np.log(slope)
    assert scale.max() == pytest.approx(1.58, abs=0.005)


@pytest.mark.slow
def test_it_is_longest_where_mpmath_says():
    z = np.linspace(0.3, 0.6, 3001)
    peak = float(z[stable_overlap(z)[1].argmax()])
    before, there, after = (vf.reference.correlation_point(x, digits=12).depth_scale for x in (peak - 2e-3, peak, peak + 2e-3))
    assert before < there > after


@pytest.mark.parametrize(
    ("z", "overlap", "multiplier"), [(-1e100, 1.0, 0.5), (-30, 1.0, 0.5), (60, 0.0, 0.0), (1e100, 0.0, 0.0)]
)
def test_extreme_thresholds(z, overlap, multiplier):
    """Where nearly all neurons fire, ``1 - ρ' ∝ √(1 - ρ)`` right down to the fixed point, of slope ½."""
    stable, same = vf.correlation_fixed_points(threshold=z)
    assert (stable.overlap, stable.multiplier, stable.stable, same.stable) == (overlap, multiplier, True, False)


def test_rare_spikes_keep_their_digits():
    """``ρ* ≈ Q (1 + z² Q)``: at ``z = 10`` the overlap is 8e-24, with all its digits."""
    stable, _ = vf.correlation_fixed_points(threshold=10.0)
    with mpmath.workdps(40):
        assert stable.overlap == pytest.approx(float(mpmath.ncdf(-10)), rel=1e-13)


def test_shown_as_a_table_and_a_dictionary():
    points = vf.correlation_fixed_points(threshold=1.0)
    assert points.to_dict()["fixed_points"][1] == {"overlap": 1.0, "multiplier": None, "stable": False, "depth_scale": 0.0}
    assert len(points) == 2
    assert points[-1] is points[1]
    assert "0.2740011" in repr(points)
