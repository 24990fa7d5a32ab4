"""Where fixed points meet, the stable one, and the recursion over depth: anchors, the fast theory, and what must fail."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError, reference
from varflow.theory.memoryless.fixed_points import saddle_node

T5 = vf.distributions.student_t(5)
DISTRIBUTIONS = ["normal", "uniform", "laplace", "logistic", T5]


@pytest.mark.parametrize(
    ("distribution", "z", "gamma"),
    [
        ("normal", "1.190601248342770", "6.034397946968073"),
        ("uniform", "1.154700538379252", "4.5"),
        ("laplace", "1.414213562373095", "7.389056098930650"),
        ("logistic", "1.222690419617230", "6.813718279415934"),
        (T5, "1.203879314097223", "7.630300648760476"),
    ],
    ids=str,
)
def test_saddle_nodes_are_the_published_ones(distribution, z, gamma):
    found = reference.saddle_node(distribution)
    assert abs(found.z / mpf(z) - 1) < 1e-13
    assert abs(found.gamma / mpf(gamma) - 1) < 1e-15
    z_c, gamma_c = saddle_node(vf.distribution(distribution))
    assert z_c == pytest.approx(float(found.z), rel=1e-15)
    assert gamma_c == pytest.approx(float(found.gamma), rel=1e-15)
    critical = reference.critical_gain(threshold=2, distribution=distribution)
    assert abs(critical**2 / (4 * found.gamma) - 1) < 1e-49


def test_the_cusp_of_the_normal_distribution_is_the_published_one():
    cusp = reference.bias_cusp()
    assert float(cusp.gamma) == pytest.approx(4.323941, abs=5e-7)
    assert float(cusp.bias_variance) == pytest.approx(0.153318, abs=5e-7)
    assert abs(3 * cusp.variance - 1) < mpf(10) ** -49


@pytest.mark.parametrize("distribution", ["normal", "laplace", "logistic", T5], ids=str)
def test_at_the_cusp_the_map_touches_the_diagonal_three_times(distribution):
    cusp = reference.bias_cusp(distribution, digits=40)
    with mpmath.workdps(60):
        excess = lambda V: cusp.bias_variance + cusp.gamma * reference.sf(distribution, 1 / mp.sqrt(V), digits=55) - V  # noqa: E731
        slopes = [mp.diff(excess, cusp.variance, order, h=mpf(10) ** -11) for order in range(4)]
    assert max(map(abs, slopes[:3])) < 1e-9
    assert abs(slopes[3]) > 0.1


@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS[:-1], pytest.param(T5, marks=pytest.mark.slow)], ids=str)
def test_three_fixed_points_below_the_cusp_and_one_above(distribution):
    cusp = reference.bias_cusp(distribution)

    def most(bias_variance):
        gammas = float(cusp.gamma) * np.linspace(0.9, 2 if distribution == "uniform" else 1.2, 81)
        found = [
            vf.fixed_points(threshold=1, gain=g, bias_std=bias_variance**0.5, distribution=distribution) for g in gammas**0.5
        ]
        return max(map(len, found))

    assert most(float(cusp.bias_variance) * 0.97) == 3
    assert most(float(cusp.bias_variance) * 1.001) == 1


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_stable_variances_agree_with_the_fast_theory(distribution):
    for threshold, gain, bias in [(1, 2.9, 0), (0.3, 1.4, 0), (1, 2.7, 0.25), (0, 1.3, 0), (-0.4, 1.2, 0.1), (1, 1.5, 0.5)]:
        setting = {"threshold": threshold, "gain": gain, "bias_std": bias, "distribution": distribution}
        exact = reference.stable_variance(**setting, digits=20)
        assert vf.stable_variance(**setting) == pytest.approx(float(exact), rel=1e-14)
    assert reference.stable_variance(threshold=1, gain=2, distribution=distribution) == 0


def test_stable_variance_at_the_papers_gain():
    for threshold, wanted in [(1.0, 1), (1.2, 1.032029), (1.5, 2.712280), (2.0, 12.594536)]:
        exact = reference.stable_variance(threshold=threshold, gain=reference.gain(threshold=threshold))
        assert float(exact) == pytest.approx(wanted, rel=5e-7)
    assert reference.stable_variance(threshold=0.5757025, gain=2**0.5) == 0  # Kaiming's death
    assert reference.stable_variance(threshold=0.5757023, gain=2**0.5) > 0


@pytest.mark.parametrize("setting", [{}, {"bias_std": 0.3}, {"mean_gain": 0.8}, {"mean_gain": -0.5, "bias_std": 0.2}], ids=str)
@pytest.mark.parametrize("drive", [1.0, 0.6])
def test_every_layer_agrees_with_the_fast_recursion(setting, drive):
    network = vf.Network(width=100, depth=30, gain=2.6, neuron=vf.Neuron(0.9), drive=vf.drives.currents(drive), **setting)
    exact = reference.mean_field(threshold=0.9, gain=2.6, depth=30, drive_std=drive, **setting)
    fast = vf.mean_field(network)
    assert fast.variance == pytest.approx([float(V) for V in exact.variance], rel=1e-13)
    assert fast.firing_rate == pytest.approx([float(p) for p in exact.firing_rate], rel=1e-13)
    wrong = reference.mean_field(threshold=0.9, gain=2.6 * (1 + 1e-11), depth=30, drive_std=drive, **setting)
    assert fast.variance != pytest.approx([float(V) for V in wrong.variance], rel=1e-13)


def test_depth_ends_in_a_fixed_point_or_in_silence():
    for distribution in DISTRIBUTIONS:
        deep = reference.mean_field(threshold=1, gain=3, depth=400, distribution=distribution, drive_std=2)
        assert abs(deep.variance[-1] / reference.stable_variance(threshold=1, gain=3, distribution=distribution) - 1) < 1e-40
    with_mean = reference.mean_field(threshold=1, gain=math.sqrt(6.303), depth=300, mean_gain=1, drive_std=1.5)
    assert float(with_mean.firing_rate[-1]) == pytest.approx(0.3117, abs=5e-5)
    silent = reference.mean_field(threshold=1, gain=2, depth=3, drive_std=0)
    assert silent.variance == silent.firing_rate == (0, 0, 0)
    constant = reference.mean_field(threshold=-1, gain=2, depth=2, drive_std=0)
    assert constant.firing_rate[0] == 1


HUGE_MEANS = [
    ("normal", 3.0, 1e8),
    ("normal", 4.9, 2e5),
    ("normal", 0.2, -1e7),
    ("laplace", 4.0, 300.0),
    ("logistic", 5.0, 4e3),
    (T5, 4.0, 60.0),
    ("uniform", 1.2, 40.0),
    ("uniform", 1.2, -1e3),
]


@pytest.mark.parametrize(("distribution", "threshold", "mean_gain"), HUGE_MEANS, ids=str)
def test_the_gain_takes_the_smallest_rate_at_huge_weight_means(distribution, threshold, mean_gain):
    exact = reference.gain(threshold=threshold, mean_gain=mean_gain, distribution=distribution)
    assert vf.gain(threshold=threshold, mean_gain=mean_gain, distribution=distribution) == pytest.approx(
        float(exact), rel=1e-12
    )
    with mpmath.workdps(60):
        rate = 1 / exact**2
        lack = lambda p: reference.sf(distribution, threshold - mean_gain * p) - p  # noqa: E731
        assert abs(lack(rate)) < mpf(10) ** -35
        assert all(lack(rate * mpf(k) / 200) > 0 for k in range(200))  # no smaller rate does


def test_a_rate_between_two_others_is_not_taken():
    """At θ = 3, m_g = 1000 three rates are self-consistent; a coarse scan sees the largest only."""
    exact = reference.gain(threshold=4, mean_gain=20)
    rates = np.geomspace(1e-6, 1, 20_000)
    lack = vf.distribution("normal").sf(4 - 20 * rates) - rates
    assert np.count_nonzero(np.diff(np.sign(lack))) == 3
    assert float(1 / exact**2) == pytest.approx(rates[np.argmax(lack < 0)], rel=1e-3)


BAD = [
    (reference.saddle_node, {"distribution": "cauchy"}, "distribution="),
    (reference.bias_cusp, {"distribution": "cauchy"}, "distribution="),
    (reference.stable_variance, {"threshold": 1, "gain": -1}, "gain="),
    (reference.mean_field, {"threshold": 1, "gain": 1, "depth": 0}, "depth="),
    (reference.mean_field, {"threshold": 1, "gain": 1, "depth": 2, "drive_std": -1}, "drive_std="),
    (reference.mean_field, {"threshold": math.inf, "gain": 1, "depth": 2}, "threshold="),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_input_names_argument_and_rule(function, arguments, message):
    with pytest.raises(DomainError) as error:
        function(**arguments)
    assert message in str(error.value)
