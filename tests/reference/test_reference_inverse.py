"""Inverse problems of narrow layers in mpmath: they solve what they say, and the fast answers agree."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import varflow as vf
from varflow import DomainError, reference


def floats(values):
    return [float(value) for value in values]


@pytest.mark.parametrize(
    ("width", "depth", "target"), [(20, 3, 0.9), pytest.param(30, 10, 0.5, marks=pytest.mark.slow), (8, 5, 0.3)]
)
def test_corrected_gains_agree_and_survive_exactly(width, depth, target):
    exact = reference.corrected_gain(threshold=1, width=width, depth=depth, survival_target=target, digits=20)
    fast = vf.corrected_gain(threshold=1.0, width=width, depth=depth, survival_target=target)
    assert fast == pytest.approx(float(exact), rel=3e-12)
    for side in (-1, 1):
        with mpmath.workdps(30):
            gain = exact * (1 + side * mpf(10) ** -18)
        survival = reference.finite_width(threshold=1, gain=gain, width=width, depth=depth, digits=25).survival[-1]
        assert (survival >= mpf(target)) == (side > 0)


def test_depth_one_needs_no_gain():
    assert reference.corrected_gain(threshold=0.2, width=30, depth=1) == 0
    assert np.all(np.array(floats(reference.finite_width(threshold=9, gain=1, width=3, depth=1).survival)) < 1e-17)


@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_the_gain_for_a_mean_variance_gives_it(variance):
    setting = {"threshold": 1.0, "width": 15, "depth": 4}
    exact = reference.gain_for_mean_variance(**setting, variance=variance, digits=25)
    assert vf.gain_for_mean_variance(**setting, variance=variance) == pytest.approx(float(exact), rel=3e-12)
    found = reference.finite_width(**setting, gain=exact, digits=25).variance[-1]
    assert abs(found / mpf(variance) - 1) < 1e-14
    assert abs(found - mpf(variance)) < mpf(10) ** -15


def test_the_largest_threshold_is_carried_and_no_larger_one():
    exact = reference.largest_threshold(width=12, depth=4, digits=20)
    assert vf.largest_threshold(width=12, depth=4) == pytest.approx(float(exact), rel=3e-12)
    for side in (-1, 1):
        with mpmath.workdps(30):
            theta = exact * (1 + side * mpf(10) ** -15)
        gain = reference.gain(threshold=theta, digits=30)
        survival = reference.finite_width(threshold=theta, gain=gain, width=12, depth=4, digits=25).survival[-1]
        assert (survival >= mpf(0.99)) == (side < 0)


def test_at_the_best_gain_the_drive_decides():
    """The fast theory stands in a gain of a million thresholds for the limit."""
    exact = reference.largest_threshold(width=12, depth=4, gain="best", digits=15)
    assert vf.largest_threshold(width=12, depth=4, gain="best") == pytest.approx(float(exact), rel=2e-12)
    assert vf.largest_threshold(width=12, depth=4) < exact


@pytest.mark.parametrize(("threshold", "gain", "target"), [(0.5, None, 0.99), (0.8, None, 0.9), (1.0, 4.0, 0.95)])
def test_the_smallest_width_is_the_fast_one(threshold, gain, target):
    setting = {"threshold": threshold, "depth": 3, "gain": gain, "survival_target": target}
    assert reference.smallest_width(**setting) == vf.smallest_width(**setting) > 1


def test_the_sparsest_rate_agrees():
    exact = reference.sparsest_rate(width=12, depth=4, digits=15)
    assert vf.sparsest_rate(width=12, depth=4) == pytest.approx(float(exact), rel=1e-11)
    assert exact > reference.sf("normal", reference.saddle_node().z)


BAD = [
    (reference.corrected_gain, {"threshold": 1, "width": 20, "depth": 3}, "is 0.96"),
    (reference.corrected_gain, {"threshold": 1, "width": 20, "depth": 3, "survival_target": 1}, "survival_target="),
    (reference.corrected_gain, {"threshold": 0, "width": 20, "depth": 3}, "threshold="),
    (reference.corrected_gain, {"threshold": 1, "width": 300, "depth": 3}, "must be at most 200"),
    (reference.gain_for_mean_variance, {"threshold": 1, "width": 20, "depth": 1}, "depth="),
    (reference.gain_for_mean_variance, {"threshold": 1, "width": 20, "depth": 2, "variance": 0}, "variance="),
    (reference.largest_threshold, {"width": 2, "depth": 3}, "at θ → 0 survival is 0."),
    (reference.largest_threshold, {"width": 20, "depth": 3, "gain": "largest"}, "gain="),
    (reference.smallest_width, {"threshold": 3, "depth": 1, "digits": 10}, "needs a width above 60"),
    (reference.sparsest_rate, {"width": 2, "depth": 3}, "at rate 1/2 survival is 0."),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_input_names_argument_and_rule(function, arguments, message):
    with pytest.raises(DomainError) as error:
        function(**arguments)
    assert message in str(error.value)
