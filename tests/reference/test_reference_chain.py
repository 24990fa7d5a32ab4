"""The chain of narrow layers in mpmath: anchors, brute force, the fast chain, and errors it must see."""

from __future__ import annotations

import itertools
import math

import mpmath
import pytest
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError, reference
from varflow.reference import chain as chain_module

SETTINGS = [
    {"threshold": 0.85, "gain": 2.3},
    {"threshold": 1.0, "gain": 2.6, "bias_std": 0.4},
    {"threshold": 0.7, "gain": 2.1, "mean_gain": -0.4, "bias_std": 0.2},
    {"threshold": -0.3, "gain": 1.4, "mean_gain": 0.7},
    {"threshold": 0.0, "gain": 1.0},
]


def network(width, depth, *, threshold, drive_std=1.0, **parameters):
    drive = vf.drives.currents(drive_std)
    return vf.Network(width=width, depth=depth, neuron=vf.Neuron(threshold), drive=drive, **parameters)


def floats(values):
    return [float(value) for value in values]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("drive", [1.0, 1.7])
def test_distributions_and_summaries_agree_with_the_fast_chain(setting, drive):
    width, depth = 14, 8
    fast = network(width, depth, drive_std=drive, **setting)
    distributions = reference.spike_counts(width=width, depth=depth, drive_std=drive, digits=40, **setting)
    for exact, distribution in zip(distributions, vf.SpikeChain(fast).propagate(), strict=True):
        assert distribution.mass == pytest.approx(floats(exact), rel=1e-11, abs=1e-300)
        assert abs(mpmath.fsum(exact) - 1) < 1e-14
    exact, profile = reference.finite_width(width=width, depth=depth, drive_std=drive, **setting), vf.finite_width(fast)
    for name in exact._fields:
        assert getattr(profile, name) == pytest.approx(floats(getattr(exact, name)), rel=1e-11), name


def test_a_gain_wrong_by_one_in_ten_billion_is_noticed():
    profile = vf.finite_width(network(14, 8, threshold=0.85, gain=2.3 * (1 + 1e-10)))
    exact = reference.finite_width(width=14, depth=8, threshold=0.85, gain=2.3)
    assert profile.survival != pytest.approx(floats(exact.survival), rel=1e-11)
    assert profile.variance_std != pytest.approx(floats(exact.variance_std), rel=1e-11)


@pytest.mark.slow  # the fast chain has them in test_published_numbers
@pytest.mark.parametrize(
    ("threshold", "mean", "spread", "alive"), [(0.85, 0.5422, 0.5031, 0.5867), (1.0, 0.01490, 0.1233, 0.01712)]
)
def test_anchors_at_width_100(threshold, mean, spread, alive):
    g = vf.gain(threshold=threshold)
    found = reference.finite_width(threshold=threshold, gain=g, width=100, depth=100, digits=15)
    told = [g**2 * float(found.firing_rate[-1]), g**2 * float(found.firing_rate_std[-1]), float(found.survival[-1])]
    for value, wanted in zip(told, (mean, spread, alive), strict=True):
        assert value == pytest.approx(wanted, abs=0.5 * 10 ** (math.floor(math.log10(wanted)) - 3) * 1.01)


def test_two_neurons_by_hand():
    """Every spike pattern of a network of two neurons and three layers."""
    threshold, gain = 1, 3
    distributions = reference.spike_counts(threshold=threshold, gain=gain, width=2, depth=3, digits=40)
    with mpmath.workdps(50):
        fires = [mpf(0), *(mp.erfc(threshold / mp.sqrt(mpf(gain) ** 2 * k)) / 2 for k in (1, 2))]  # C = g² k/2
        first = mp.erfc(threshold / mp.sqrt(2)) / 2
        wanted = [mpf(0)] * 3
        for a, b, c in itertools.product(itertools.product((0, 1), repeat=2), repeat=3):
            weight = mpf(1)
            for pattern, p in ((a, first), (b, fires[sum(a)]), (c, fires[sum(b)])):
                for spike in pattern:
                    weight *= p if spike else 1 - p
            wanted[sum(c)] += weight
        assert max(abs(p - q) for p, q in zip(distributions[2], wanted, strict=True)) < mpf(10) ** -39


def test_width_one_has_no_sample_variance():
    exact = reference.finite_width(threshold=0.5, gain=2, width=1, depth=3)
    assert all(mp.isnan(spread) for spread in exact.variance_std)
    profile = vf.finite_width(network(1, 3, threshold=0.5, gain=2))
    assert profile.variance == pytest.approx(floats(exact.variance), rel=1e-13)


@pytest.mark.parametrize("setting", [SETTINGS[0], {"threshold": 1.0, "gain": 3.0, "mean_gain": 0.5}], ids=str)
def test_the_quasi_stationary_state_agrees_with_the_fast_one(setting):
    exact = reference.quasi_stationary(width=20, digits=25, **setting)
    fast = vf.SpikeChain(network(20, 2, **setting)).quasi_stationary()
    assert fast.escape_rate == pytest.approx(float(exact.escape_rate), rel=1e-11)
    for name in ("variance", "variance_std", "firing_rate", "firing_rate_std"):
        assert getattr(fast, name) == pytest.approx(float(getattr(exact, name)), rel=1e-9), name
    assert fast.distribution.mass == pytest.approx(floats(exact.distribution), rel=1e-7, abs=1e-15)


@pytest.mark.parametrize("setting", [SETTINGS[0], {"threshold": 0.7, "gain": 2.1, "mean_gain": -0.4}], ids=str)
def test_relaxation_depths_agree_with_the_fast_ones(setting):
    fast = vf.SpikeChain(network(12, 2, **setting)).quasi_stationary()
    assert fast.relaxation_depth == pytest.approx(float(reference.relaxation_depth(width=12, **setting)), rel=1e-10)


def test_escape_at_width_50_is_the_anchor():
    exact = reference.quasi_stationary(threshold=0.85, gain=vf.gain(threshold=0.85), width=50, digits=15)
    assert float(exact.escape_rate) == pytest.approx(0.026, abs=5e-4)


def test_lifetimes_agree_with_the_fast_ones_and_with_the_sum():
    setting = {"threshold": 1.0, "gain": 2.5}
    exact = reference.lifetime(width=12, digits=25, **setting)
    fast = vf.SpikeChain(network(12, 2, **setting)).lifetime()
    assert fast.from_drive == pytest.approx(float(exact.from_drive), rel=1e-9)
    assert fast.from_quasi_stationary == pytest.approx(float(exact.from_quasi_stationary), rel=1e-11)
    alive = reference.finite_width(width=12, depth=250, digits=15, **setting).survival
    assert alive[-1] < 1e-9
    assert float(mpmath.fsum(alive)) == pytest.approx(float(exact.from_drive), rel=1e-9)


NARROW = {"threshold": 1, "gain": 2, "width": 5}
BAD = [
    (reference.spike_counts, NARROW | {"depth": 2, "width": 201}, "must be at most 200"),
    (reference.spike_counts, NARROW | {"depth": 0}, "depth="),
    (reference.finite_width, NARROW | {"depth": 2, "gain": 0}, "gain="),
    (reference.finite_width, NARROW | {"depth": 2, "drive_std": -1}, "drive_std="),
    (reference.quasi_stationary, NARROW | {"threshold": -1}, "threshold="),
    (reference.quasi_stationary, NARROW | {"width": 0}, "width="),
    (reference.lifetime, NARROW | {"bias_std": -1}, "bias_std="),
    (reference.relaxation_depth, NARROW | {"width": 41}, "between 2 and 40"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_input_names_argument_and_rule(function, arguments, message):
    with pytest.raises(DomainError) as error:
        function(**arguments)
    assert message in str(error.value)


def test_a_distribution_that_does_not_settle_raises(monkeypatch):
    monkeypatch.setattr("varflow.reference.deep.LONGEST", 3)
    with pytest.raises(vf.ConvergenceError, match="did not settle within 3"):
        reference.quasi_stationary(**NARROW)
    assert chain_module.WIDEST == 200
