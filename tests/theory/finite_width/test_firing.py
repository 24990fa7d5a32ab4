"""Firing probabilities of every weight distribution from the definition: rational convolution, mpmath, quadrature."""

import itertools
import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st
from scipy.special import ndtr
from weight_distributions import DISTRIBUTIONS

import varflow as vf
from varflow.theory.finite_width.firing import firing, partial_moments
from varflow.theory.finite_width.sampling import potentials
from varflow.theory.layer import layers

W = vf.weights


def network(width=20, depth=8, gain=2.5, threshold=1.0, strict=True, input_scale=1.0, **options):
    neuron = vf.Neuron(threshold, strict=strict, input_scale=input_scale)
    return vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, **options)


def layer(width=20, **options):
    return layers(network(width, depth=2, **options))[0]


def tails(width=20, **options):
    return firing(layer(width, **options), np.arange(width + 1))


def irwin_hall(count, x):
    """``P(S > x)`` of uniform variables on (-1, 1), by its alternating sum in 120 digits."""
    with mp.workdps(120):
        y = (count - mp.mpf(x)) / 2
        if y >= count:
            return mp.mpf(1)
        terms = [(-1) ** j * mp.binomial(count, j) * (y - j) ** count for j in range(max(int(mp.floor(y)), -1) + 1)]
        return mp.fsum(terms) / mp.factorial(count)


def sign_tail(scale, count, threshold, bias):
    values = scale * (2 * np.arange(count + 1) - count)
    return float(st.binom.pmf(np.arange(count + 1), count, 0.5) @ ndtr((values - threshold) / bias))


class TestFiring:
    """``π_K`` from the definition."""

    @pytest.mark.parametrize("strict", [True, False])
    @pytest.mark.parametrize(
        ("distribution", "levels"),
        [("sign", {-1: 0.5, 1: 0.5}), (W.ternary(0.25), {-1: 0.125, 0: 0.75, 1: 0.125})],
        ids=["sign", "ternary"],
    )
    def test_lattice(self, distribution, levels, strict):
        """Exact rational convolution; at gain 2.5, θ = 1 lies on the sign lattice."""
        described = layer(100, weights=distribution, strict=strict)
        p, q = firing(described, np.arange(101))
        mass = {0: Fraction(1)}
        for count in range(101):
            fires = [m for i, m in mass.items() if described.scale * i > 1 or (described.scale * i == 1 and not strict)]
            expected = sum(fires, Fraction(0))
            assert p[count] == pytest.approx(float(expected), rel=1e-13)
            assert q[count] == pytest.approx(float(1 - expected), rel=1e-13)
            following: dict[int, Fraction] = {}
            for i, m in mass.items():
                for level, chance in levels.items():
                    following[i + level] = following.get(i + level, Fraction(0)) + m * Fraction(chance)
            mass = following

    def test_lattice_tails_keep_their_digits(self):
        p, _ = tails(1000, weights="sign", threshold=70.0)  # 886 of 1000 signs
        least = math.floor(70 / (2.5 / math.sqrt(1000))) + 1
        expected = sum(math.comb(1000, b) for b in range(-(-(1000 + least) // 2), 1001))
        assert p[1000] == pytest.approx(float(Fraction(expected, 2**1000)), rel=1e-11)
        assert p[1000] < 1e-140

    @pytest.mark.parametrize("count", [1, 2, 5, 15, 16, 17, 60])
    def test_uniform(self, count):
        for threshold in (-2.0, 0.3, 1.0, 2.0, 2.6):
            described = layer(60, weights="uniform", threshold=threshold)
            p, q = firing(described, np.arange(61))
            x = threshold / described.scale
            assert p[count] == pytest.approx(float(irwin_hall(count, x)), rel=2e-11)
            assert q[count] == pytest.approx(float(irwin_hall(count, -x)), rel=2e-11)

    def test_uniform_beyond_its_reach(self):
        p, q = tails(60, weights="uniform", threshold=100.0)
        assert not p.any()
        assert (q == 1).all()

    @pytest.mark.parametrize("mean_gain", [None, 0.5])
    def test_exponential(self, mean_gain):
        described = layer(50, weights="exponential", mean_gain=mean_gain)
        p, q = firing(described, np.arange(51))
        for count in (1, 7, 50):
            x = max((1 - described.shift * count) / described.scale, 0.0)
            with mp.workdps(40):
                assert p[count] == pytest.approx(float(mp.gammainc(count, x, mp.inf, regularized=True)), rel=1e-12)
                assert q[count] == pytest.approx(float(mp.gammainc(count, 0, x, regularized=True)), rel=1e-12)

    @pytest.mark.parametrize("bias_std", [0.05, 0.3])
    @pytest.mark.parametrize(
        ("distribution", "count", "density", "breaks"),
        [
            ("uniform", 1, st.uniform(-1, 2).pdf, [-1, 1]),
            ("uniform", 2, st.triang(0.5, -2, 4).pdf, [-2, 0, 2]),
            ("exponential", 1, st.expon().pdf, [0, 4, 10, 40]),
            ("exponential", 9, st.gamma(9).pdf, [0, 5, 15, 30, 90]),
            ("lognormal", 1, st.lognorm(1.0).pdf, [0, 0.02, 0.2, 1, 3, 10, 40, 400, 8000]),
            (st.laplace(), 1, st.laplace(scale=math.sqrt(0.5)).pdf, [-40, -10, -3, 0, 3, 10, 40]),
        ],
    )
    def test_bias(self, distribution, count, density, breaks, bias_std):
        """``E[Q((θ - u)/b)]`` by quadrature over the core's sum."""
        described = layer(weights=distribution, bias_std=bias_std, mean_gain=-0.5)
        p, q = firing(described, np.arange(21))
        nodes, weights = np.polynomial.legendre.leggauss(400)
        above, below = 0.0, 0.0
        for low, high in itertools.pairwise(breaks):
            y, w = low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
            z = (1 - described.scale * y - described.shift * count) / bias_std
            above, below = above + w @ (density(y) * ndtr(-z)), below + w @ (density(y) * ndtr(z))
        assert p[count] == pytest.approx(above, abs=1e-10)
        assert q[count] == pytest.approx(below, abs=1e-10)

    def test_sparse_is_a_binomial_mixture(self):
        p, q = tails(30, weights=W.sparse(0.3, "sign"), bias_std=0.2)
        described = layer(30, weights=W.sparse(0.3, "sign"), bias_std=0.2)
        present = np.arange(31)
        base = np.array([sign_tail(described.scale, j, 1.0, 0.2) for j in present])
        for count in (0, 1, 13, 30):
            mixture = st.binom.pmf(present, count, 0.3)
            assert p[count] == pytest.approx(mixture @ base, rel=1e-11)
            assert q[count] == pytest.approx(mixture @ (1 - base), rel=1e-11)

    def test_fixed_in_degree_is_a_hypergeometric_mixture(self):
        described = layer(30, weights=W.fixed_in_degree(7, "sign"), bias_std=0.2)
        p, _ = firing(described, np.arange(31))
        present = np.arange(8)
        base = np.array([sign_tail(described.scale, j, 1.0, 0.2) for j in present])
        for count in (0, 1, 13, 30):
            assert p[count] == pytest.approx(st.hypergeom.pmf(present, 30, count, 7) @ base, rel=1e-11)

    @pytest.mark.parametrize(
        "distribution", ["lognormal", st.laplace(), st.triang(0.3), st.t(5)], ids=["lognormal", "laplace", "triang", "t"]
    )
    def test_general_distributions_by_quadrature(self, distribution):
        """One weight from scipy's tail, two by mpmath's quadrature of the definition."""
        described = layer(weights=distribution, mean_gain=0.0)
        p, _ = firing(described, np.arange(21))
        raw = st.lognorm(1.0) if distribution == "lognormal" else distribution
        mean, std = raw.mean(), raw.std()
        x = 1.0 / (2.5 / math.sqrt(20)) * std
        assert p[1] == pytest.approx(raw.sf(mean + x), rel=1e-13)
        low, high = raw.support()
        total = 2 * mean + x
        kinks = {low, high, mean, total / 2, total - low, total - high, total - mean, 0.3, total - 0.3, 0.0, total}
        ends = (max(low, -1e5), min(high, 1e5))
        breaks = sorted({*ends, *(b for b in kinks | {-60.0, 60.0, 2000.0} if ends[0] <= b <= ends[1])})
        value = mp.quad(lambda y: float(raw.pdf(float(y))) * float(raw.sf(total - float(y))), breaks, maxdegree=8)
        assert p[2] == pytest.approx(float(value), abs=1e-9)

    def test_general_inversion_against_a_closed_form(self):
        """Sums of Laplace weights are differences of gamma variables: P = ∫ gamma density × gamma tail."""
        described = layer(60, weights=st.laplace())
        p, _ = firing(described, np.arange(61))
        x = math.sqrt(2) / (2.5 / math.sqrt(60))  # the core's scale is 1/√2
        for count in (3, 4, 10, 60):
            gamma = st.gamma(count)
            value = mp.quad(lambda y: float(gamma.pdf(float(y))) * float(gamma.sf(float(y) + x)), [0, 5, 20, 60, 150])  # noqa: B023
            assert p[count] == pytest.approx(float(value), abs=1e-10)

    def test_exponential_by_inversion(self):
        """A distribution that the inversion does not know to be exponential, its jump included."""

        class Unknown(st.rv_continuous):
            def _pdf(self, x):
                return np.exp(-x)

            def _cdf(self, x):
                return -np.expm1(-x)

            def _sf(self, x):
                return np.exp(-x)

            def _stats(self):
                return 1.0, 1.0, 2.0, 6.0

        unknown, _ = tails(100, weights=Unknown(a=0.0, name="unknown")())
        known, _ = tails(100, weights="exponential")
        np.testing.assert_allclose(unknown, known, atol=1e-10)

    @pytest.mark.parametrize(
        ("distribution", "options"),
        [
            *((name, {"bias_std": 0.3, "mean_gain": -0.7, "input_scale": 0.8}) for name in DISTRIBUTIONS),
            *(
                (name, {})
                for name in ("normal", "sign", "lognormal", "sparse", "in-degree exponential", "triangular", "binomial")
            ),
        ],
    )
    def test_monte_carlo_and_moments(self, distribution, options):
        """Potentials drawn from the definition: rate, variance and the moments beyond the threshold."""
        described = layer(weights=DISTRIBUTIONS[distribution], **options)
        above, below = partial_moments(described)
        rng = np.random.default_rng(3)
        p, q = firing(described, np.arange(21))
        np.testing.assert_allclose(p + q, 1, atol=1e-12)
        for count in (1, 4, 20):
            u = potentials(rng, described, np.full(4000, count)).ravel() - described.threshold
            for j in range(3):
                for chosen, expected in ((u > 0, above), (u <= 0, below)):
                    seen = np.where(chosen, u, 0.0) ** j if j else chosen.astype(float)
                    assert abs(seen.mean() - expected[j, count]) < 5 * seen.std() / math.sqrt(u.size) + 1e-4
            squares = (u - u.mean()) ** 2
            assert (
                abs(squares.mean() - described.conditional_variance(np.array(count)))
                < 5 * squares.std() / math.sqrt(u.size) + 1e-9
            )

    def test_coarse_grids(self):
        """A wide layer of uniform weights on the coarse grid is the exact one; what has no continuation refuses."""
        from varflow.theory.finite_width.counts import count_grid

        grid = count_grid(3000, exact_width=2000)
        described = layer(3000, weights="uniform")
        p, _ = firing(described, grid.counts)
        whole = grid.counts == np.rint(grid.counts)
        exact, _ = firing(described, np.arange(3001))
        np.testing.assert_allclose(p[whole], exact[np.rint(grid.counts[whole]).astype(int)], rtol=1e-9)
        between = np.interp(grid.counts[~whole], np.arange(3001), exact)
        np.testing.assert_allclose(p[~whole], between, rtol=1e-4)
        with pytest.raises(vf.DomainError, match="normal_approximation"):
            vf.finite_width(network(20000, depth=2, weights="sign"))
        assert vf.finite_width(network(20000, depth=3, weights="exponential", mean_gain=0.0)).survival[-1] == pytest.approx(1)
