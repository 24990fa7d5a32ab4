"""The layer map at infinite width: its fixed points, critical gain, stable variance and preserving gain.

Routes that share no code must agree: the fast functions, the mpmath reference, independent root finding on closed-form
tails, and iteration of the map itself. Tolerances follow the conditioning of the question: a root ``V`` of ``F(V) = V``
moves by ``1/|1 - m|`` times what the map is perturbed by.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.optimize import brentq
from scipy.special import ndtr

import varflow as vf
from varflow import DomainError
from varflow.testing import gains, thresholds

EPS = np.finfo(float).eps
DISTRIBUTIONS = {
    distribution.name: distribution for distribution in map(vf.distribution, ("normal", "uniform", "laplace", "logistic"))
}
DISTRIBUTIONS |= {distribution.name: distribution for distribution in map(vf.distributions.student_t, (5, 3))}
EVERY_DISTRIBUTION = pytest.mark.parametrize(  # Student's t with 3 degrees of freedom takes the way of that with 5
    "distribution",
    [
        pytest.param(distribution, id=name, marks=[pytest.mark.slow] * (name == "student_t(3)"))
        for name, distribution in DISTRIBUTIONS.items()
    ],
)

MIXTURE = scipy.stats.Mixture([scipy.stats.Normal(), scipy.stats.Normal(mu=0, sigma=6)], weights=[0.95, 0.05])
TWO_PEAKS = scipy.stats.Mixture(
    [scipy.stats.Normal(mu=-1, sigma=0.05), scipy.stats.Normal(mu=1, sigma=0.05)], weights=[0.5, 0.5]
)
ATOMS = scipy.stats.rv_discrete(values=([-2, 0, 1, 3], [0.2, 0.4, 0.3, 0.1]))()
SAMPLE = vf.distributions.sample(np.random.default_rng(3).normal(size=5000))
OTHERS = {"mixture": vf.distribution(MIXTURE), "atoms": vf.distribution(ATOMS), "sample": SAMPLE}
ALL_DISTRIBUTIONS = DISTRIBUTIONS | OTHERS


def representable(number):
    """Whether its square stays far from the edge of double precision."""
    return number == 0 or abs(number) > 1e-100


def gamma_c(distribution):
    return vf.critical_gain(threshold=1.0, distribution=distribution) ** 2


def conditioned(multiplier):
    """1e-12, times what the root amplifies."""
    gap = abs(1 - float(multiplier))
    return 1e-12 * max(1.0, 1 / gap if gap else math.inf)


def settings_of(distribution, seed, number, *, biased):
    """Thresholds over two decades, γ/γ_c from far above to both sides of 1, biases up to the threshold's size."""
    rng = np.random.default_rng(seed)
    critical = gamma_c(distribution)
    for i in range(number):
        theta = 10 ** rng.uniform(-1, 1)
        close = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-9, -1)
        ratio = 1 + close if i % 3 == 0 else 10 ** rng.uniform(-0.3, 3)
        bias = theta * 10 ** rng.uniform(-2, 0.3) if biased else 0.0
        yield {"threshold": theta, "gain": theta * math.sqrt(critical * ratio), "bias_std": bias}


class TestFixedPointsAgainstTheReference:
    def agree(self, case, distribution):
        found = vf.fixed_points(distribution=distribution, **case)
        wanted = vf.reference.fixed_points(distribution=distribution, digits=30, **case)
        assert len(found) == len(wanted), case
        assert found.complete == wanted.complete
        for point, exact in zip(found, wanted, strict=True):
            allowed = conditioned(exact.multiplier)
            assert abs(point.variance - exact.variance) <= allowed * exact.variance, case
            assert abs(point.firing_rate - exact.firing_rate) <= 2 * allowed * exact.firing_rate + 1e-300
            assert point.stable == exact.stable
            assert abs(point.residual) <= 16 * EPS * (1 + abs(point.multiplier)) * point.variance if point.variance else True
            assert point.variance == pytest.approx(float(exact.variance), rel=allowed)
            if math.isfinite(exact.multiplier):
                # m moves with V at most like the logarithmic slopes of z, f and V allow: a few times (1 + z²)
                z2 = case["threshold"] ** 2 / float(exact.variance) if exact.variance else 0.0
                assert float(point.multiplier) == pytest.approx(float(exact.multiplier), rel=allowed * (4 + 4 * z2), abs=1e-290)
            else:
                assert point.multiplier == math.inf
        return found

    @EVERY_DISTRIBUTION
    def test_without_bias(self, distribution):
        counts = {len(self.agree(case, distribution)) for case in settings_of(distribution, 11, 9, biased=False)}
        assert counts == {1, 3}

    @EVERY_DISTRIBUTION
    def test_with_bias(self, distribution):
        counts = {len(self.agree(case, distribution)) for case in settings_of(distribution, 12, 9, biased=True)}
        assert counts == {1, 3}

    @EVERY_DISTRIBUTION
    @pytest.mark.parametrize("bias", [0.0, 0.3])
    def test_threshold_zero_and_below(self, distribution, bias):
        for threshold in (0.0, -1e-6, -0.4, -20.0):
            found = self.agree({"threshold": threshold, "gain": 1.3, "bias_std": bias}, distribution)
            silence = threshold == 0 and bias == 0
            assert [point.stable for point in found] == ([False, True] if silence else [True])
            assert found.basin_edge == 0

    @EVERY_DISTRIBUTION
    def test_basin_edges(self, distribution):
        for case in settings_of(distribution, 13, 6, biased=False):
            found = vf.fixed_points(distribution=distribution, **case)
            exact = vf.reference.fixed_points(distribution=distribution, digits=30, **case).basin_edge
            if len(found) == 1:
                assert found.basin_edge == exact == math.inf
            else:
                assert abs(found.basin_edge - exact) <= conditioned(found[1].multiplier) * exact

    @pytest.mark.parametrize("gain", [1e5, 1e7, 1e8, 1e9, 1e40, 1e139])
    def test_the_unstable_point_at_the_edge_of_a_bounded_distribution(self, gain):
        found = vf.fixed_points(threshold=1.0, gain=gain, distribution="uniform")
        digits = int(2 * math.log10(gain)) + 40
        exact = vf.reference.fixed_points(threshold=1.0, gain=gain, distribution="uniform", digits=digits)
        assert [point.stable for point in found] == [True, False, True]
        for name in ("variance", "firing_rate", "multiplier"):
            assert abs(getattr(found[1], name) / getattr(exact[1], name) - 1) <= 4 * EPS

    def test_the_quiet_state_of_a_bounded_distribution_lies_beyond_its_edge(self):
        found = vf.fixed_points(threshold=1.0, gain=1e9, distribution="uniform", bias_std=0.1)
        assert (found[0].variance, found[0].firing_rate, found[0].multiplier) == (0.1**2, 0.0, 0.0)
        assert [point.stable for point in found] == [True, False, True]

    @pytest.mark.parametrize(
        ("threshold", "gain", "mean_gain", "bias_std"),
        [
            (1.0, 2.51, 1.0, 0.0),
            (0.7, 3.0, -0.8, 0.2),
            (1.0, 2.0, 3.0, 0.1),
            (1.0, 0.1, 10.0, 0.0),
            (1.0, 0.1, 100.0, 0.0),  # the unstable point lies below where a tail of mean 0 is already empty
            (1.0, 1.0, 1e4, 0.0),
            (0.0, 2.0, 1.5, 0.0),
            (0.0, 1.0, -1e7, 0.0),
            (-1.0, 2.0, 3.0, 0.0),
            (-1.0, 1.0, -1e13, 0.0),
        ],
    )
    def test_with_weight_mean(self, threshold, gain, mean_gain, bias_std):
        case = {"threshold": threshold, "gain": gain, "mean_gain": mean_gain, "bias_std": bias_std}
        found = vf.fixed_points(**case)
        wanted = vf.reference.fixed_points(digits=30, **case)
        assert len(found) == len(wanted)
        assert not found.complete
        assert 0 < found.resolution < 0.01
        for point, exact in zip(found, wanted, strict=True):
            # the margin θ - m_g p loses digits where the mean reaches the threshold
            lost = 1 + abs(mean_gain) * point.firing_rate / math.sqrt(point.variance) if point.variance else 1.0
            assert abs(point.variance - exact.variance) <= lost * conditioned(exact.multiplier) * exact.variance
            assert point.stable == exact.stable

    def test_a_repelling_point_that_oscillates_is_no_basin_edge(self):
        found = vf.fixed_points(threshold=0.0, gain=1.0, mean_gain=-1e3)
        assert found[1].multiplier < -1
        assert found.basin_edge == 0


class TestVarianceMap:
    @EVERY_DISTRIBUTION
    def test_agrees_with_the_reference(self, distribution):
        """Error: rounding of the tail, and of ``z`` amplified by the hazard."""
        rng = np.random.default_rng(21)
        for _ in range(40):
            V, theta, g = 10 ** rng.uniform(-2, 2), rng.uniform(-3, 3), 10 ** rng.uniform(-1, 1)
            bias, mean = rng.choice([0.0, 0.5 * math.sqrt(V)]), rng.choice([0.0, rng.uniform(-2, 2)])
            case = {"threshold": theta, "gain": g, "bias_std": bias, "mean_gain": mean, "distribution": distribution}
            got, wanted = vf.variance_map(V, **case), vf.reference.variance_map(V, digits=25, **case)
            incoming = abs(mean) * (V + bias**2) / g**2
            z = (theta - mean * (V - bias**2) / g**2) / math.sqrt(V)
            wobble = (abs(theta) + 3 * incoming) / math.sqrt(V) * (distribution.hazard(z) if distribution.sf(z) > 0 else 0.0)
            assert abs(got - wanted) <= 8 * EPS * (1 + wobble) * wanted + 1e-300

    def test_at_variance_zero_the_potential_is_its_mean(self):
        assert vf.variance_map(0.0, threshold=1.0, gain=2.0, bias_std=1.0) == 1.0
        assert vf.variance_map(0.0, threshold=0.0, gain=2.0) == 0.0
        assert vf.variance_map(0.0, threshold=-1.0, gain=2.0) == 4.0

    @pytest.mark.parametrize("distribution", ALL_DISTRIBUTIONS.values(), ids=ALL_DISTRIBUTIONS.keys())
    @settings(deadline=None, max_examples=10)
    @given(
        V=st.floats(1e-3, 1e3),
        step=st.floats(1.001, 10),
        threshold=thresholds(-5, 5, positive=False),
        gain=gains(0.1, 10, living=False),
        bias=st.floats(0, 3),
    )
    def test_monotone_in_variance_and_gain(self, distribution, V, step, threshold, gain, bias):
        assume(representable(bias))
        case = {"threshold": threshold, "bias_std": bias, "distribution": distribution}
        here, more_variance = vf.variance_map([V, step * V], gain=gain, **case)
        rise = (more_variance - here) * (1 if threshold >= 0 else -1)
        assert rise >= -4 * EPS * here
        assert vf.variance_map(V, gain=step * gain, **case) >= here

    @EVERY_DISTRIBUTION
    def test_strictly_monotone_where_the_tail_is_alive(self, distribution):
        V = np.geomspace(0.5, 50, 40)
        assert np.all(np.diff(vf.variance_map(V, threshold=1.0, gain=2.0, distribution=distribution)) > 0)
        assert np.all(np.diff(vf.variance_map(V, threshold=-1.0, gain=2.0, distribution=distribution)) < 0)
        assert np.all(np.diff(vf.variance_map(1.0, threshold=1.0, gain=V, distribution=distribution)) > 0)

    @EVERY_DISTRIBUTION
    @settings(deadline=None, max_examples=10)
    @given(
        V=st.floats(1e-3, 1e3),
        threshold=thresholds(-5, 5, positive=False),
        gain=gains(0.1, 10, living=False),
        bias=st.floats(0, 3),
        power=st.integers(-40, 40),
    )
    def test_units_do_not_matter(self, distribution, V, threshold, gain, bias, power):
        """θ, g, σ_b in other units (a power of two: exact) change V by the square."""
        assume(representable(bias))
        c = 2.0**power
        one = {"threshold": threshold, "gain": gain, "bias_std": bias, "distribution": distribution}
        other = {"threshold": c * threshold, "gain": c * gain, "bias_std": c * bias, "distribution": distribution}
        assert vf.variance_map(c**2 * V, **other) == c**2 * vf.variance_map(V, **one)
        assert vf.stable_variance(**other) == pytest.approx(c**2 * vf.stable_variance(**one), rel=1e-13, nan_ok=True)
        assert vf.critical_gain(threshold=c * threshold) == c * vf.critical_gain(threshold=threshold)

    @EVERY_DISTRIBUTION
    def test_without_bias_only_gamma_counts(self, distribution):
        theta = np.geomspace(1e-3, 1e3, 7)
        V = vf.stable_variance(threshold=theta, gain=3.2 * theta, distribution=distribution) / theta**2
        np.testing.assert_allclose(V, V[3], rtol=1e-14)

    @EVERY_DISTRIBUTION
    def test_limits_of_the_threshold(self, distribution):
        half = distribution.sf(0.0)
        for theta in (1e-3, 1e-6, 1e-12):
            for V, g in ((1.0, 2.0), (0.1, 0.7)):
                gap = abs(vf.variance_map(V, threshold=theta, gain=g, distribution=distribution) / g**2 - half)
                assert gap <= 1.01 * distribution.pdf(0.0) * theta / math.sqrt(V) + EPS
            V = vf.stable_variance(threshold=theta, gain=2.0, distribution=distribution)
            assert abs(V / 4 - half) <= 1.01 * distribution.pdf(0.0) * theta / math.sqrt(V) + 4 * EPS
        heavy = distribution.name.startswith("student")
        far = vf.variance_map(1.0, threshold=1e120 if heavy else 1e4, gain=2.0, bias_std=0.5, distribution=distribution)
        assert far == 0.25
        assert vf.stable_variance(threshold=1e4, gain=2.0, distribution=distribution) == 0.0
        assert vf.variance_map(1.0, threshold=-1e120, gain=2.0, distribution=distribution) == 4.0


class TestCriticalGain:
    @EVERY_DISTRIBUTION
    def test_agrees_with_the_reference(self, distribution):
        for theta in (1e-100, 0.3, 1.0, 7.0):
            exact = vf.reference.critical_gain(threshold=theta, distribution=distribution, digits=25)
            assert abs(vf.critical_gain(threshold=theta, distribution=distribution) / exact - 1) <= 8 * EPS
        assert vf.critical_gain(threshold=[-1.0, 0.0], distribution=distribution).tolist() == [0.0, 0.0]

    @EVERY_DISTRIBUTION
    def test_separates_silence_from_life(self, distribution):
        critical = vf.critical_gain(threshold=0.7, distribution=distribution)
        for gain, number in ((critical * (1 - 1e-9), 1), (critical * (1 + 1e-9), 3)):
            assert len(vf.fixed_points(threshold=0.7, gain=gain, distribution=distribution)) == number
            assert (vf.stable_variance(threshold=0.7, gain=gain, distribution=distribution) > 0) == (number == 3)


class TestStableVariance:
    @staticmethod
    def from_all_fixed_points(distribution, theta, g, bias):
        points = vf.fixed_points(threshold=theta, gain=g, bias_std=bias, distribution=distribution)
        return max(((p.variance, p.multiplier) for p in points if p.stable), default=(math.nan, 0.0))

    def agree(self, distribution, theta, g, bias):
        got = vf.stable_variance(threshold=theta, gain=g, bias_std=bias, distribution=distribution)
        for V, *case in zip(got, theta, g, bias, strict=True):
            wanted, m = self.from_all_fixed_points(distribution, *case)
            assert pytest.approx(wanted, rel=conditioned(m), abs=0, nan_ok=True) == V, case
        return got

    @EVERY_DISTRIBUTION
    def test_equals_the_largest_stable_fixed_point(self, distribution):
        unbiased = [tuple(case.values()) for case in settings_of(distribution, 31, 12, biased=False)]
        biased = [tuple(case.values()) for case in settings_of(distribution, 32, 12, biased=True)]
        below = [(theta, g, b) for theta in (0.0, -0.3, -2.0) for g in (0.2, 1.0, 5.0) for b in (0.0, 0.1, 1.0)]
        self.agree(distribution, *np.array(unbiased).T)
        self.agree(distribution, *np.array(biased + below).T)

    def test_bias_with_one_root_and_with_three(self):
        bias = np.sqrt([0.02, 0.05, 0.1, 0.15, 0.2, 0.5])
        gain = np.sqrt(np.array([4.0, 4.4, 5.0, 6.303, 9.0]))[:, None]
        theta, g, b = (a.ravel() for a in np.broadcast_arrays(1.0, gain, bias))
        counts = [len(vf.fixed_points(threshold=1.0, gain=x, bias_std=y)) for x, y in zip(g, b, strict=True)]
        assert set(counts) == {1, 3}
        self.agree(vf.distribution("normal"), theta, g, b)

    @pytest.mark.parametrize(
        "distribution",
        [MIXTURE, TWO_PEAKS, ATOMS, SAMPLE, scipy.stats.gamma(3), scipy.stats.gumbel_l()],
        ids=["mixture", "two peaks", "atoms", "sample", "gamma", "skewed left"],
    )
    def test_other_distributions(self, distribution):
        distribution = vf.distribution(distribution)
        rng = np.random.default_rng(33)
        critical = gamma_c(distribution)
        theta = np.concatenate([10 ** rng.uniform(-1, 1, 20), [0.0, 0.0, -0.5, -0.5]])
        g = np.where(theta > 0, theta * np.sqrt(critical * 10 ** rng.uniform(-0.5, 1.5, 24)), 1.3)
        bias = np.where(np.arange(24) % 4 == 3, 0.3 * np.abs(theta), 0.0)
        got = self.agree(distribution, theta, g, bias)
        assert 0.0 in got
        assert np.count_nonzero(got > 0) >= 10

    def test_below_the_critical_gain_it_is_exactly_zero(self):
        theta = np.geomspace(1e-3, 1e3, 50)
        assert not vf.stable_variance(threshold=theta, gain=theta * math.sqrt(6.0343)).any()
        assert not vf.stable_variance(threshold=0.5757025, gain=math.sqrt(2))
        assert vf.stable_variance(threshold=0.5757023, gain=math.sqrt(2)) > 0

    def test_residual(self):
        """Relative to V, for γ from the critical one to 1e12, every millionth of a decade looked at."""
        gamma = np.concatenate([6.0344 + np.geomspace(1e-12, 1e-2, 50_000), np.geomspace(6.0344, 1e12, 200_000)])
        V = vf.stable_variance(threshold=1.0, gain=np.sqrt(gamma))
        residual = np.abs(vf.variance_map(V, threshold=1.0, gain=np.sqrt(gamma)) / V - 1)
        assert residual.max() <= 1e-14
        for pick in range(0, len(gamma), 25_000):  # and the float map itself is not to blame
            g = math.sqrt(gamma[pick])
            exact = vf.reference.variance_map(V[pick], threshold=1.0, gain=g, digits=25)
            assert abs(exact / V[pick] - 1) <= 1e-14
        assert np.abs(vf.variance_map(1.001 * V, threshold=1.0, gain=np.sqrt(gamma)) / (1.001 * V) - 1).max() > 1e-4

    @EVERY_DISTRIBUTION
    def test_residual_of_every_distribution_with_and_without_bias(self, distribution):
        gamma = gamma_c(distribution) * (1 + np.geomspace(1e-9, 1e11, 4000))
        for bias in (0.0, 0.01, 0.4):
            V = vf.stable_variance(threshold=1.0, gain=np.sqrt(gamma), bias_std=bias, distribution=distribution)
            again = vf.variance_map(V, threshold=1.0, gain=np.sqrt(gamma), bias_std=bias, distribution=distribution)
            np.testing.assert_allclose(again, V, rtol=3e-14, atol=0)

    def test_nan_where_the_only_fixed_point_repels(self):
        """A narrow peak at z = -1: the layer swings between two variances."""
        case = {"threshold": -1.0, "gain": 1.0, "distribution": TWO_PEAKS}
        found = vf.fixed_points(**case)
        assert len(found) == 1
        assert found[0].multiplier < -1
        assert not found[0].stable
        assert math.isnan(vf.stable_variance(**case))
        orbit = [found[0].variance * 1.001]
        for _ in range(200):
            orbit.append(vf.variance_map(orbit[-1], **case))
        assert orbit[-1] == pytest.approx(orbit[-3], rel=1e-12)
        assert abs(orbit[-1] / orbit[-2] - 1) > 0.01

    def test_empty_and_many_dimensions(self):
        assert vf.stable_variance(threshold=np.empty((0, 3)), gain=1.0).shape == (0, 3)
        theta = np.linspace(0.1, 1, 24).reshape(2, 3, 4)
        np.testing.assert_array_equal(
            vf.stable_variance(threshold=theta, gain=2.0).ravel(), vf.stable_variance(threshold=theta.ravel(), gain=2.0)
        )
        np.testing.assert_array_equal(
            vf.stable_variance(threshold=theta.T, gain=2.0), vf.stable_variance(threshold=theta, gain=2.0).T
        )


class TestMixture:
    """0.95 N(0, 1) + 0.05 N(0, 36): unimodal, yet ``z² S(z)`` has two maxima. The tail is written out here."""

    SCALE = math.sqrt(0.95 + 0.05 * 36)

    def tail(self, z):
        return 0.95 * ndtr(-z * self.SCALE) + 0.05 * ndtr(-z * self.SCALE / 6)

    def height(self, z):
        return z**2 * self.tail(z)

    def extrema(self):
        z = np.geomspace(0.05, 20, 400_001)
        h = self.height(z)
        up = np.sign(np.diff(h))
        return z[1 + np.flatnonzero(np.diff(up))]

    def roots(self, gamma):
        z = np.geomspace(1e-3, 60, 20_001)
        above = self.height(z) > 1 / gamma
        cells = np.flatnonzero(above[1:] != above[:-1])
        return sorted(
            brentq(lambda y: self.height(y) - 1 / gamma, z[i], z[i + 1], xtol=1e-300, rtol=4 * EPS) ** -2 for i in cells
        )

    def test_published_maxima(self):
        first, between, second = self.extrema()
        assert first == pytest.approx(0.812, abs=5e-4)
        assert second == pytest.approx(4.308, abs=5e-4)
        assert first < between < second

    def test_counts_and_values(self):
        first, between, second = self.extrema()
        steps = [1 / self.height(z) for z in (second, first, between)]
        assert steps == sorted(steps)
        for gamma, number in [
            (steps[0] * (1 - 1e-6), 0),
            (steps[0] * (1 + 1e-6), 2),
            (steps[1] * (1 - 1e-6), 2),
            (steps[1] * (1 + 1e-6), 4),
            (16.0, 4),
            (steps[2] * (1 - 1e-6), 4),
            (steps[2] * (1 + 1e-6), 2),
            (100.0, 2),
        ]:
            found = vf.fixed_points(threshold=1.0, gain=math.sqrt(gamma), distribution=MIXTURE)
            wanted = self.roots(gamma)
            assert len(found) == 1 + len(wanted) == 1 + number
            for point, V in zip(found[1:], wanted, strict=True):
                assert point.variance == pytest.approx(V, rel=conditioned(point.multiplier))
            assert [point.stable for point in found] == [True, *([False, True] * (number // 2))]
            assert not found.complete
            assert 0 < found.resolution < 0.01
            assert found.basin_edge == (found[1].variance if number else math.inf)
            top = vf.stable_variance(threshold=1.0, gain=math.sqrt(gamma), distribution=MIXTURE)
            assert top == pytest.approx(found[-1].variance if number else 0.0, rel=1e-9)

    def test_saddle_node_is_the_higher_maximum(self):
        top = max(self.height(z) for z in self.extrema())
        assert vf.critical_gain(threshold=1.0, distribution=MIXTURE) ** 2 == pytest.approx(1 / top, rel=1e-9)


class TestAtomsAndSamples:
    def test_atoms_reproduce_their_variance_exactly_and_none_is_missing(self):
        rng = np.random.default_rng(41)
        for _ in range(40):
            case = {"threshold": rng.uniform(-1, 1), "gain": rng.uniform(0.5, 4), "bias_std": rng.choice([0.0, 0.4])}
            found = vf.fixed_points(distribution=ATOMS, **case)
            assert found.complete
            assert found.resolution is None
            variances = [point.variance for point in found]
            starts = np.concatenate([np.geomspace(1e-4, 100, 500), [v for v in variances if v]])
            V = starts
            for _ in range(12):
                V, before = vf.variance_map(V, distribution=ATOMS, **case), V
            settled = np.unique(V[before == V])
            assert set(settled.tolist()) <= set(variances)
            for point in found:
                assert point.residual == 0
                assert point.stable == (point.multiplier == 0)

    def test_atoms_may_have_no_fixed_point_at_all(self):
        coin = scipy.stats.rv_discrete(values=([-1, 1], [0.5, 0.5]))()
        case = {"threshold": -1.0, "gain": 1.2, "distribution": coin}
        assert list(vf.fixed_points(**case)) == []  # V = 1.44 gives 0.72, and 0.72 gives 1.44
        assert vf.variance_map([0.72, 1.44], **case).tolist() == pytest.approx([1.44, 0.72])
        assert math.isnan(vf.stable_variance(**case))

    def test_a_sample_is_scanned(self):
        rng = np.random.default_rng(42)
        for distribution in (
            SAMPLE,
            vf.distributions.sample(rng.laplace(size=300)),
            vf.distributions.sample(rng.gamma(2.0, size=1000)),
        ):
            for gamma in (5.0, 8.0, 20.0, 200.0):
                g = math.sqrt(gamma)
                found = vf.fixed_points(threshold=1.0, gain=g, distribution=distribution)
                assert not found.complete
                V = np.geomspace((1 / distribution.upper) ** 2, gamma, 30_001)
                crossings = np.count_nonzero(np.diff(vf.variance_map(V, threshold=1.0, gain=g, distribution=distribution) >= V))
                assert len(found) - 1 == crossings
                assert all(abs(point.residual) <= 1e-12 * point.variance for point in found)

    def test_a_large_normal_sample_comes_close_to_the_normal_distribution(self):
        """Smoothing bias of the tail ``h²/6 (|f'| + z f)`` and the sampling error of 5000 draws, through 1/(1 - m)."""
        point = vf.fixed_points(threshold=0.3, gain=2.2, distribution=SAMPLE)[-1]
        exact = vf.fixed_points(threshold=0.3, gain=2.2)[-1]
        z, p, m = 0.3 / math.sqrt(exact.variance), exact.firing_rate, exact.multiplier
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        bound = (SAMPLE.bandwidth**2 / 3 * z * density + 5 * math.sqrt(p * (1 - p) / 5000)) / p / (1 - m)
        assert abs(point.variance / exact.variance - 1) < bound
        assert bound < 0.12
        skewed = vf.distributions.sample(np.random.default_rng(3).exponential(size=5000))
        other = vf.fixed_points(threshold=0.3, gain=2.2, distribution=skewed)[-1]
        assert abs(other.variance / exact.variance - 1) > bound


class TestBasins:
    @pytest.mark.parametrize(
        ("threshold", "gain", "bias", "distribution"),
        [
            (1.0, 2.51, 0.0, "normal"),
            (1.5, 4.5, 0.0, "laplace"),
            (1.0, 4.0, 0.0, DISTRIBUTIONS["student_t(3)"]),
            (1.0, 4.0, 0.0, OTHERS["mixture"]),
            (0.7, 2.5, 0.0, OTHERS["atoms"]),
            (0.7, 2.2, 0.0, SAMPLE),
            (1.0, 2.51, math.sqrt(0.05), "normal"),
            (1.0, 2.3, 0.3, "normal"),
        ],
        ids=["normal", "laplace", "student_t", "mixture", "atoms", "sample", "normal with bias", "more bias"],
    )
    def test_the_edge_divides_what_decays_from_what_lives(self, threshold, gain, bias, distribution):
        case = {"threshold": threshold, "gain": gain, "bias_std": bias, "distribution": distribution}
        found = vf.fixed_points(**case)
        assert 0 < found.basin_edge < math.inf
        V = found.basin_edge * np.array([1 - 1e-6, 1 + 1e-6])
        for _ in range(300):
            V = vf.variance_map(np.where(V > 1e-130, V, 0.0), **case)
        assert V[0] == pytest.approx(found[0].variance, rel=1e-9, abs=1e-200)
        assert V[1] > found.basin_edge

    def test_no_edge_where_silence_does_not_attract(self):
        assert vf.fixed_points(threshold=0.0, gain=2.0).basin_edge == 0
        assert vf.fixed_points(threshold=-1.0, gain=2.0).basin_edge == 0
        assert vf.fixed_points(threshold=1.0, gain=2.0, bias_std=1.0).basin_edge == 0
        assert vf.fixed_points(threshold=1.0, gain=2.0).basin_edge == math.inf


class TestGain:
    @EVERY_DISTRIBUTION
    @settings(deadline=None, max_examples=15)
    @given(
        threshold=thresholds(-3, 1.5, positive=False),
        v=st.floats(0.8, 50),
        bias=st.floats(0, 0.99),
        mean=st.one_of(st.just(0.0), st.floats(-3, 3)),
    )
    def test_makes_the_variance_a_fixed_point(self, distribution, threshold, v, bias, mean):
        assume(representable(bias) and representable(mean))
        case = {"threshold": threshold, "bias_std": bias * math.sqrt(v), "mean_gain": mean, "distribution": distribution}
        g = vf.gain(variance=v, **case)
        again = vf.variance_map(v, gain=g, **case)
        p = (v - case["bias_std"] ** 2) / g**2
        z = (threshold - mean * p) / math.sqrt(v)
        wobble = (abs(threshold) + 4 * abs(mean) * p / (1 - bias**2)) / math.sqrt(v) * distribution.hazard(z)
        assert abs(again - v) <= 8 * EPS * (1 + wobble) * v

    def test_the_fixed_points_at_that_gain_contain_it(self):
        for case in ({}, {"bias_std": 0.4}, {"mean_gain": 0.7}, {"mean_gain": -0.7, "bias_std": 0.2}):
            for v in (0.6, 1.0, 3.0):
                g = vf.gain(threshold=0.9, variance=v, **case)
                found = vf.fixed_points(threshold=0.9, gain=g, **case)
                errors = [abs(p.variance / v - 1) / conditioned(p.multiplier) for p in found]
                assert min(errors) <= 1

    @EVERY_DISTRIBUTION
    @pytest.mark.parametrize(
        "case", [{}, {"bias_std": 0.5}, {"mean_gain": 1.0}, {"mean_gain": -2.0, "bias_std": 0.3}], ids=repr
    )
    def test_agrees_with_the_reference(self, distribution, case):
        for threshold in (-1.0, 0.0, 0.4, 1.3):
            exact = vf.reference.gain(threshold=threshold, distribution=distribution, digits=25, **case)
            assert abs(vf.gain(threshold=threshold, distribution=distribution, **case) / exact - 1) <= 64 * EPS

    def test_far_beyond_the_tail_of_doubles(self):
        with mpmath.workdps(30):
            exact = 1 / mp.sqrt(mp.erfc(mpf(40) / mp.sqrt(2)) / 2)
        assert abs(vf.gain(threshold=40.0) / exact - 1) < 1e-12  # log S = -805, half of it times eps

    @pytest.mark.parametrize(
        ("threshold", "v", "mean"), [(3.5, 1.0, 300.0), (1.0, 0.01, 300.0), (5.0, 1.0, 1e4), (3.0, 1.0, 60.0)]
    )
    def test_of_several_self_consistent_rates_the_smallest_is_taken(self, threshold, v, mean):
        """For ``mean_gain > 0`` the rate map rises: iterated from 0 it climbs to its smallest fixed point."""
        p = 0.0
        for _ in range(100_000):
            p, before = vf.distribution("normal").sf((threshold - mean * p) / math.sqrt(v)), p
            if p == before:
                break
        assert vf.gain(threshold=threshold, variance=v, mean_gain=mean) == pytest.approx(math.sqrt(v / p), rel=1e-12)

    def test_uniform_is_infeasible_beyond_its_edge(self):
        assert vf.gain(threshold=1.7, distribution="uniform") > 0
        with pytest.raises(DomainError, match="threshold="):
            vf.gain(threshold=1.7321, distribution="uniform")
        with pytest.raises(DomainError, match="variance="):
            vf.gain(threshold=1.0, variance=0.25, bias_std=0.5)


VECTORISED = {
    vf.variance_map: {"variance": 1.3, "threshold": 0.8, "gain": 2.4, "bias_std": 0.2, "mean_gain": 0.3},
    vf.gain: {"threshold": 0.8, "variance": 1.3, "bias_std": 0.2, "mean_gain": 0.3},
    vf.critical_gain: {"threshold": 0.8},
    vf.stable_variance: {"threshold": 0.8, "gain": 2.4, "bias_std": 0.2},
}


def call(function, arguments):
    arguments = dict(arguments)
    positional = [arguments.pop("variance")] if function is vf.variance_map else []
    return function(*positional, **arguments)


@pytest.mark.parametrize("function", VECTORISED, ids=lambda f: f.__name__)
class TestVectorised:
    @pytest.mark.parametrize("distribution", ALL_DISTRIBUTIONS.values(), ids=ALL_DISTRIBUTIONS.keys())
    def test_scalars_in_give_floats_out(self, function, distribution):
        for kind in (float, np.float64, np.asarray):
            case = {name: kind(value) for name, value in VECTORISED[function].items()}
            assert type(call(function, case | {"distribution": distribution})) is float

    @pytest.mark.parametrize("distribution", [DISTRIBUTIONS["normal"], OTHERS["mixture"]], ids=["normal", "mixture"])
    def test_arrays_broadcast_and_equal_the_scalar_calls(self, function, distribution):
        names = list(VECTORISED[function])
        factors = np.array([1.0, 1.1, 0.95])
        for name in names:
            case = VECTORISED[function] | {"distribution": distribution}
            got = call(function, case | {name: case[name] * factors})
            assert isinstance(got, np.ndarray)
            assert got.shape == (3,)
            one_by_one = [call(function, case | {name: float(case[name] * factor)}) for factor in factors]
            np.testing.assert_allclose(got, one_by_one, rtol=1e-14)
        if len(names) > 1:
            case = VECTORISED[function] | {"distribution": distribution}
            case[names[0]] = case[names[0]] * factors[:, None]
            case[names[1]] = case[names[1]] * factors[None, :2]
            assert call(function, case).shape == (3, 2)

    def test_bad_input_is_refused_by_name(self, function):
        good = VECTORISED[function]
        for name in good:
            for bad in (math.nan, math.inf, "1", None, [1.0, math.nan], 1j, 1e200):
                with pytest.raises(DomainError, match=f"{name}="):
                    call(function, good | {name: bad})
        for name in set(good) & {"variance", "gain", "bias_std"}:
            with pytest.raises(DomainError, match=f"{name}="):
                call(function, good | {name: -1.0})
        with pytest.raises(DomainError, match="distribution="):
            call(function, good | {"distribution": "cauchy"})
        first, *others = good
        if others:
            with pytest.raises(DomainError, match="does not broadcast"):
                call(function, good | {first: [1.0, 1.0, 1.0], others[0]: [1.0, 1.0]})


@pytest.mark.parametrize("name", ["threshold", "gain", "bias_std", "mean_gain"])
def test_fixed_points_takes_one_number_each(name):
    good = {"threshold": 1.0, "gain": 2.5, "bias_std": 0.1, "mean_gain": 0.1}
    for bad in (math.nan, [1.0, 2.0], "1", None, math.inf):
        with pytest.raises(DomainError, match=f"{name}="):
            vf.fixed_points(**good | {name: bad})


def test_results_are_readable_and_json_has_no_nan():
    found = vf.fixed_points(threshold=0.0, gain=2.0)
    text = found.to_dict()
    assert text["fixed_points"][0]["multiplier"] is None  # infinite: F jumps at 0
    assert text["complete"] is True
    assert text["resolution"] is None
    assert "complete" in repr(found)
    assert vf.fixed_points(threshold=1.0, gain=2.0).to_dict()["basin_edge"] is None
    assert "scanned" in repr(vf.fixed_points(threshold=1.0, gain=4.0, distribution=MIXTURE))
    assert found[1] in list(found)
    assert len(found[:1]) == 1
