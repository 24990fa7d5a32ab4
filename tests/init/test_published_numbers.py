"""The numbers the theory was published with, each to the digits printed, in one table of claims.

A claim is a name, a function of nothing, the numbers as they are printed, and nothing else: a printed number is met if the
computed one rounds to it, give or take one in its last place.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import cache

import numpy as np
import pytest

import varflow as vf

T5 = vf.distributions.student_t(5)
PAPER = math.sqrt(6.303)


def z_c(distribution):
    """Where ``z f = 2 S``, by bisection on the public tail and density."""
    distribution = vf.distribution(distribution)
    lo, hi = 0.5, 1.7
    for _ in range(60):
        middle = 0.5 * (lo + hi)
        lo, hi = (middle, hi) if middle * distribution.pdf(middle) < 2 * distribution.sf(middle) else (lo, middle)
    return lo


def gamma_c(distribution):
    return vf.critical_gain(threshold=1.0, distribution=distribution) ** 2


def at_the_papers_gain(threshold):
    """Variance of the fixed point other than ``V = 1``, and the multiplier at ``V = 1``."""
    found = vf.fixed_points(threshold=threshold, gain=vf.gain(threshold=threshold))[1:]
    one = min(found, key=lambda point: abs(point.variance - 1))
    (other,) = (point for point in found if point is not one)
    assert other.stable is not one.stable
    return other.variance, one.multiplier


def death(gain_squared):
    """The threshold whose critical gain this is."""
    return math.sqrt(gain_squared) / vf.critical_gain(threshold=1.0)


def with_bias():
    return [point.variance for point in vf.fixed_points(threshold=1.0, gain=PAPER, bias_std=math.sqrt(0.05))]


def with_weight_mean(mean_gain):
    return [point.firing_rate for point in vf.fixed_points(threshold=1.0, gain=PAPER, mean_gain=mean_gain)]


@cache
def profile(width, threshold, depth=101, gain=None):
    gain = vf.gain(threshold=threshold) if gain is None else gain
    return vf.finite_width(vf.Network(width=width, depth=depth, gain=gain, neuron=vf.Neuron(threshold)))


def after_99_transitions(width, threshold):
    """Mean and standard deviation of ``σ_w² K_100``, and ``P(K_100 > 0)``, from the firing rate of layer 100."""
    distribution = profile(width, threshold)
    g2 = vf.gain(threshold=threshold) ** 2
    return g2 * distribution.firing_rate[99], g2 * distribution.firing_rate_std[99], distribution.survival[99]


def conditional_variance(width, threshold):
    """Mean and standard deviation of layer 101's conditional variance: the sampling of one layer taken off."""
    distribution = profile(width, threshold)
    mean, n = distribution.variance[100], width
    square = (distribution.variance_std[100] ** 2 + mean**2) / (1 + 2 / (n - 1))
    return mean, math.sqrt(square - mean**2)


def extinction(width):
    """Per layer, at θ = 0.85, once the chain has forgotten its start."""
    distribution = profile(width, 0.85)
    if distribution.survival[-1] > 1 - 1e-4:  # the survival has too few digits left: the rare death, layer by layer
        return (distribution.survival[60] - distribution.survival[90]) / 30
    return 1 - (distribution.survival[90] / distribution.survival[60]) ** (1 / 30)


def corrected(width):
    gain = vf.corrected_gain(threshold=1.0, width=width, depth=100, survival_target=0.99)
    before = profile(width, 1.0, 100).survival[-1]
    assert profile(width, 1.0, 100, gain).survival[-1] >= 0.99
    return gain**2, 100 * before, vf.stable_variance(threshold=1.0, gain=gain)


CLAIMS = {
    "z_c normal": (lambda: z_c("normal"), "1.190601248342770"),
    "z_c uniform": (lambda: z_c("uniform"), "1.154700538379252"),
    "z_c laplace": (lambda: z_c("laplace"), "1.414213562373095"),
    "z_c logistic": (lambda: z_c("logistic"), "1.222690419617279"),
    "z_c student t 5": (lambda: z_c(T5), "1.203879314097223"),
    "γ_c normal": (lambda: gamma_c("normal"), "6.034397946968073"),
    "γ_c uniform": (lambda: gamma_c("uniform"), "4.500000000000000"),
    "γ_c laplace": (lambda: gamma_c("laplace"), "7.389056098930650"),
    "γ_c logistic": (lambda: gamma_c("logistic"), "6.813718279415934"),
    "γ_c student t 5": (lambda: gamma_c(T5), "7.630300648760476"),
    "second fixed point θ = 0.5": (lambda: at_the_papers_gain(0.5), "0.0559455 0.28527"),
    "second fixed point θ = 1": (lambda: at_the_papers_gain(1.0), "0.5143019 0.762568"),
    "second fixed point θ = 1.2": (lambda: at_the_papers_gain(1.2), "1.032029 1.01253"),
    "second fixed point θ = 1.5": (lambda: at_the_papers_gain(1.5)[0], "2.712280"),
    "second fixed point θ = 2": (lambda: at_the_papers_gain(2.0)[0], "12.594536"),
    "death for g² = 2": (lambda: death(2), "0.5757024"),
    "death for g² = 1": (lambda: death(1), "0.4070831"),
    "death for g² = 1/3": (lambda: death(1 / 3), "0.2350295"),
    "kaiming at θ = 0": (lambda: vf.gain(threshold=0.0) ** 2, "2.000000000000000"),
    "the paper's gain at θ = 1": (lambda: vf.gain(threshold=1.0) ** 2, "6.303"),
    "three roots with bias": (with_bias, "0.0500 0.3797 1.1685"),
    "weight mean -1 kills": (lambda: with_weight_mean(-1.0), "0"),
    "weight mean +1": (lambda: with_weight_mean(1.0), "0 0.0560 0.3117"),
    "n = 100, θ = 0.85": (lambda: after_99_transitions(100, 0.85), "0.5422 0.5031 0.5867"),
    "n = 100, θ = 1": (lambda: after_99_transitions(100, 1.0), "0.01490 0.1233 0.01712"),
    "n = 600, θ = 1": (lambda: after_99_transitions(600, 1.0), "0.7699 0.4041 0.8118"),
    "n = 600, θ = 0.7": (lambda: after_99_transitions(600, 0.7), "0.9965 0.0812 1"),
    "the same from layer 101's variance": (lambda: conditional_variance(600, 0.7), "0.9965 0.0812"),
    "sample variance, n = 600, θ = 0.7": (lambda: profile(600, 0.7).variance_std[100], "0.0996"),
    "extinction per layer n = 50": (lambda: extinction(50), "0.026"),
    "extinction per layer n = 100": (lambda: extinction(100), "0.0057"),
    "extinction per layer n = 200": (lambda: extinction(200), "3.1e-4"),
    "extinction per layer n = 400": (lambda: extinction(400), "8.7e-7"),
    "mean shift n = 2000, θ = 0.7": (lambda: profile(2000, 0.7).variance[100] - 1, "-0.001023"),
    "corrected gain n = 100": (lambda: corrected(100), "8.16387 1.71 1.921"),
    "corrected gain n = 300": (lambda: corrected(300), "6.83731 35.8 1.302"),
    "corrected gain n = 600": (lambda: corrected(600), "6.49539 81.2 1.118"),
}


def last_place(printed):
    return float(Decimal(1).scaleb(Decimal(printed).as_tuple().exponent))


def unmet(found, printed, *, off=0):
    """The printed numbers, ``off`` in their last places, that the computed ones do not round to; rounding of doubles apart."""
    pairs = zip(np.atleast_1d(found), printed.split(), strict=True)
    allowed = lambda p: 1.000001 * last_place(p) + 4 * np.spacing(abs(float(p)))  # noqa: E731
    return [(n, p) for n, p in pairs if abs(n - (float(p) + off * last_place(p))) > allowed(p)]


@pytest.mark.parametrize("claim", CLAIMS)
def test_printed_digits(claim):
    compute, printed = CLAIMS[claim]
    found = compute()
    assert unmet(found, printed) == []
    for off in (-9, 9):
        assert len(unmet(found, printed, off=off)) == len(printed.split())


def test_the_normal_distribution_has_one_root_only_beyond_the_cusp():
    """``σ_b² = 0.153318 θ²`` at ``V = θ²/3``, ``γ = 4.323941``: three roots just below, one just above, whatever γ."""

    def most(bias_variance, gammas):
        counts = [len(vf.fixed_points(threshold=1.0, gain=math.sqrt(g), bias_std=math.sqrt(bias_variance))) for g in gammas]
        return max(counts)

    gammas = 4.323941 + np.linspace(-1e-3, 1e-3, 101)
    assert most(0.153318 - 1e-5, gammas) == 3
    assert most(0.153318 + 1e-5, gammas) == 1
    assert most(0.153318 + 1e-5, np.geomspace(1, 100, 100)) == 1
    cusp = vf.fixed_points(threshold=1.0, gain=math.sqrt(4.323941), bias_std=math.sqrt(0.153318 + 1e-6))[0]
    assert cusp.variance == pytest.approx(1 / 3, abs=0.02)  # cube root of the distance to the cusp
    assert cusp.multiplier == pytest.approx(1.0, abs=0.01)


def test_multipliers_below_zero_stop_at_their_published_bound():
    """Normal distribution, θ < 0, no bias: the smallest multiplier is -0.14726."""
    z = -np.geomspace(0.01, 10, 4001)
    distribution = vf.distribution("normal")
    multipliers = z * distribution.pdf(z) / (2 * distribution.sf(z))
    worst = z[np.argmin(multipliers)]
    V = 1 / worst**2
    point = vf.fixed_points(threshold=-1.0, gain=math.sqrt(V / distribution.sf(worst)))[0]
    assert point.multiplier == pytest.approx(-0.14726, abs=1e-5)
    assert point.stable
    theta, g = np.meshgrid(-np.geomspace(0.01, 10, 12), np.geomspace(0.1, 10, 12))
    found = [vf.fixed_points(threshold=t, gain=h)[0].multiplier for t, h in zip(theta.flat, g.flat, strict=True)]
    assert -0.14727 <= min(found) < -0.14


def test_extinction_at_n_800_is_beyond_one_minus_survival():
    """6e-12 a layer: 1 - survival keeps it to about 1e-16/6e-12 of its digits."""
    distribution = profile(800, 0.85)
    rate = (distribution.survival[30] - distribution.survival[99]) / 69
    assert rate == pytest.approx(6e-12, abs=0.5e-12)


def test_leading_order_at_finite_width():
    """-0.001017 to leading order against -0.001023 exact (θ = 0.7, n = 2000); 11 % off at θ = 1."""

    def leading(threshold, n):
        g = vf.gain(threshold=threshold)
        point = vf.fixed_points(threshold=threshold, gain=g)[-1]
        m, p, step = point.multiplier, point.firing_rate, 1e-4
        images = vf.variance_map([1 + step, 1.0, 1 - step], threshold=threshold, gain=g)
        curvature = (images[0] - 2 * images[1] + images[2]) / step**2
        return curvature * g**4 * p * (1 - p) / (2 * n * (1 - m**2) * (1 - m))

    assert leading(0.7, 2000) == pytest.approx(-0.001017, abs=1e-6)
    exact = profile(2000, 1.0).variance[100] - 1
    assert abs(leading(1.0, 2000) / exact - 1) == pytest.approx(0.11, abs=0.015)


def test_uniform_is_infeasible_at_its_edge():
    for v in (0.5, 1.0, 2.0):
        with pytest.raises(vf.DomainError):
            vf.gain(threshold=math.sqrt(3 * v) * (1 + 1e-15), variance=v, distribution="uniform")
        assert vf.gain(threshold=math.sqrt(3 * v) * (1 - 1e-9), variance=v, distribution="uniform") > 0
