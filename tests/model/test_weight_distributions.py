"""Every weight distribution: its chain against the published anchors and against real matrices, in distribution.

Tests in distribution are chi-squares of spike counts over independent networks; each has normal weights as a control that must
be rejected. Seeds are fixed, so a verdict is one draw of a test whose level is stated.
"""

import math

import numpy as np
import pytest
import scipy.stats as st
from weight_distributions import DISTRIBUTIONS as WITHOUT_MIXTURES

import varflow as vf
from varflow.theory.layer import layers

W = vf.weights
PAPER = 2.5105725193805406  # preserves variance 1 at θ = 1
LEVEL = 1e-4  # of every chi-square

DISTRIBUTIONS = WITHOUT_MIXTURES | {
    "mixture": st.Mixture([st.Normal(), st.Normal(mu=0.0, sigma=6.0)], weights=[0.95, 0.05]),
}
# One of each way to find a firing probability. The others are held against real matrices at width 12 here, fully by slow tests.
EVERY_KIND = ("normal", "uniform", "sign", "lognormal", "ternary", "sparse exponential", "in-degree sign", "gamma", "binomial")


def network(width=20, depth=8, gain=2.5, threshold=1.0, strict=True, input_scale=1.0, **options):
    neuron = vf.Neuron(threshold, strict=strict, input_scale=input_scale)
    return vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, **options)


def layer(width=20, **options):
    return layers(network(width, depth=2, **options))[0]


def survival(**options):
    return vf.finite_width(network(**{"width": 100, "depth": 100, "gain": PAPER} | options)).survival[-1]


class TestAnchors:
    @pytest.mark.parametrize(("distribution", "alive"), [("normal", 0.01712), ("uniform", 0.0354), ("sign", 0.854)])
    def test_survival_at_the_paper_s_gain(self, distribution, alive):
        assert survival(weights=distribution) == pytest.approx(alive, abs=5e-4)

    def test_ties_decide_life_and_death(self):
        assert survival(weights="sign", gain=2.5) < 1e-15
        assert survival(weights="sign", gain=2.5, strict=False) == pytest.approx(0.854, abs=5e-4)

    def test_normal_approximation_is_the_normal_distribution(self):
        assert survival(weights=W.normal_approximation("sign")) == survival(weights="normal")

    @pytest.mark.parametrize("wide", [100, 101, 105, 120, 140, 160, 200])
    def test_lattice_rule(self, wide):
        """Sign weights beat normal ones where θ/s lies in the upper half between two whole numbers."""
        upper_half = (math.sqrt(wide) / PAPER) % 1 > 0.5
        assert (survival(width=wide, weights="sign") > survival(width=wide)) == upper_half


class TestMoments:
    @pytest.mark.parametrize(
        ("distribution", "mean_gain"),
        [
            *((distribution, None) for distribution in DISTRIBUTIONS),
            *((distribution, 0.6) for distribution in ("normal", "sign", "lognormal", "in-degree sign", "gamma")),
        ],
    )
    def test_variance_std_is_that_of_drawn_ensembles(self, distribution, mean_gain):
        profile = vf.finite_width(network(12, depth=4, weights=DISTRIBUTIONS[distribution], mean_gain=mean_gain))
        drawn = profile.sample(900, seed=4, ensembles=10)  # potentials, one by one
        spread = drawn.variance.var(axis=0)
        fourth = ((drawn.variance - drawn.variance.mean(axis=0)) ** 4).mean(axis=0)
        error = np.sqrt(np.maximum(fourth - spread**2, 0.0) / 9000)
        # the error of a log-normal's fourth moment is itself underestimated
        heavy = 8.0 if "lognormal" in distribution else 5.0
        assert (np.abs(spread - profile.variance_std**2) < heavy * error).all()
        error = np.sqrt(spread / 9000)
        assert (np.abs(drawn.variance.mean(axis=0) - profile.variance) < 5 * error).all()

    def test_infinite_fourth_moment(self):
        profile = vf.finite_width(network(12, depth=3, weights=st.t(3)))
        assert np.isinf(profile.variance_std[1:]).all()
        assert np.isfinite(profile.variance).all()

    def test_in_degree_mean_adds_to_the_variance(self):
        described = layer(weights=W.fixed_in_degree(5), mean_gain=2.0)
        count = np.arange(21)
        var = st.hypergeom.var(20, count[1:-1], 5)
        np.testing.assert_allclose(described.conditional_variance(count)[1:-1], 2.5**2 / 20 * count[1:-1] + 0.4**2 * var)

    @pytest.mark.parametrize("distribution", ["uniform", W.ternary(0.4), W.fixed_in_degree(6, "sign")], ids=str)
    def test_many_networks_drawn_by_moments_agree_with_potentials(self, distribution):
        profile = vf.finite_width(network(20, depth=5, weights=distribution))
        one, other = profile.sample(1000, seed=1, ensembles=10), profile.sample(900, seed=2, ensembles=11)
        for name in ("variance", "firing_rate"):
            a, b = getattr(one, name), getattr(other, name)
            error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
            assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error).all()
            assert np.allclose(a.std(axis=0), b.std(axis=0), rtol=0.06)


def chi_square(counts, mass, repeats):
    """p-value of counts, cells with fewer than 8 expected joined to their neighbours."""
    expected, seen = repeats * mass, np.bincount(counts, minlength=len(mass)).astype(float)
    cells, total = [], np.zeros(2)
    for pair in zip(expected, seen, strict=True):
        total = total + pair
        if total[0] >= 8:
            cells.append(total)
            total = np.zeros(2)
    cells[-1:] = [cells[-1] + total]
    if len(cells) == 1:  # all but certainly silent
        return 1.0
    cells = np.array(cells)
    return st.chi2.sf(np.sum((cells[:, 1] - cells[:, 0]) ** 2 / cells[:, 0]), len(cells) - 1)


SETTINGS = {
    "plain": {},
    "mean": {"mean_gain": -0.6},
    "bias, scale": {"bias_std": 0.4, "mean_gain": 0.5, "input_scale": 0.7, "threshold": 0.8},
    "not strict": {"strict": False, "gain": math.sqrt(20) / 2},
}


class TestDense:
    """Real matrices against the chain."""

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def _torch():
        pytest.importorskip("torch")

    @pytest.mark.parametrize(
        ("distribution", "options", "width"),
        [
            pytest.param(
                distribution,
                options,
                width,
                marks=[pytest.mark.slow]
                * (distribution == "mixture" or (width == 20 and (options == "plain" or distribution not in EVERY_KIND))),
            )
            for distribution in DISTRIBUTIONS
            for options, width in [("plain", 12), *((options, 20) for options in SETTINGS)]
        ],
    )
    def test_counts_in_distribution(self, distribution, options, width):
        described = network(width, depth=6, weights=DISTRIBUTIONS[distribution], **SETTINGS[options])
        repeats = 600
        ensemble = vf.simulate(described, repeats=repeats, seed=11)
        distributions = vf.SpikeChain(described).propagate()
        assert distributions[1].survival > 0.2
        for depth in (1, 2, 5):
            assert chi_square(np.rint(ensemble.spikes[:, depth]).astype(int), distributions[depth].mass, repeats) > LEVEL

    @pytest.mark.parametrize("distribution", ["uniform", "sign", "exponential", W.ternary(0.4), W.sparse(0.3)], ids=str)
    def test_the_normal_distribution_is_rejected(self, distribution):
        described = network(20, depth=6, weights=distribution, mean_gain=0.0)
        ensemble = vf.simulate(described, repeats=20000 if distribution == "uniform" else 4000, seed=12)
        right, wrong = (
            vf.SpikeChain(network(20, depth=6, weights=w, mean_gain=0.0)).propagate()[5].mass for w in (distribution, "normal")
        )
        counts = np.rint(ensemble.spikes[:, 5]).astype(int)
        assert chi_square(counts, right, len(counts)) > LEVEL
        assert chi_square(counts, wrong, len(counts)) < LEVEL

    @pytest.mark.parametrize(
        "distribution",
        [
            pytest.param(distribution, marks=[pytest.mark.slow] * (distribution not in ("lognormal", "in-degree sign")))
            for distribution in DISTRIBUTIONS
        ],
    )
    def test_verdict(self, distribution):
        described = network(20, depth=10, weights=DISTRIBUTIONS[distribution], mean_gain=0.2)
        assert vf.compare(vf.finite_width(described), vf.simulate(described, repeats=100, seed=2)).passed

    def test_wide_verdicts(self):
        for distribution in ("sign", W.sparse(0.1, "exponential"), st.laplace()):
            described = network(100, depth=8, weights=distribution, mean_gain=0.0)
            assert vf.compare(vf.finite_width(described), vf.simulate(described, repeats=20, seed=2)).passed

    @pytest.mark.slow
    def test_many_networks(self):
        """20000 networks of 20 neurons, 30 layers: uniform weights stand, the chain of normal weights in their place falls."""
        described = network(20, depth=30, gain=3.5, weights="uniform")
        ensemble = vf.simulate(described, repeats=20000, seed=3)
        assert vf.compare(vf.finite_width(described), ensemble).passed
        assert not vf.compare(vf.finite_width(network(20, depth=30, gain=3.5)), ensemble).passed

    @pytest.mark.parametrize("distribution", ["exponential", W.sparse(0.3, "exponential"), W.fixed_in_degree(5), st.laplace()])
    def test_input_vectors_get_centred_weights(self, distribution):
        drive = vf.drives.inputs(np.random.default_rng(1).random((2, 30)), input_gain=1.3)
        ensemble = vf.simulate(network(200, depth=1, weights=distribution, drive=drive), repeats=400, seed=5)
        for row, expected in enumerate(drive.current_variances):
            seen = ensemble.variance[row::2, 0]
            assert abs(seen.mean() - expected) < 5 * seen.std() / math.sqrt(len(seen))

    def test_bit_reproducible(self):
        distributions = ["exponential", W.sparse(0.3), W.fixed_in_degree(5), W.ternary(0.3), st.logistic(), W.lognormal(0.5)]
        company = [network(30, depth=4, weights=distribution, mean_gain=0.3) for distribution in distributions]
        together = vf.simulate(company, repeats=5, seed=1, threads=2)
        for described, ensemble in zip(company, together, strict=True):
            alone = vf.simulate(described, repeats=3, seed=1, threads=1)
            assert np.array_equal(alone.firing_rate, ensemble.firing_rate[:3])
            assert np.array_equal(alone.variance, ensemble.variance[:3])


class TestDescription:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: W.ternary(0.0), "density"),
            (lambda: W.sparse(1.5), "density"),
            (lambda: W.sparse(float("nan")), "density"),
            (lambda: W.sparse(0.5, "cauchy"), "law='cauchy' is unknown"),
            (lambda: W.fixed_in_degree(0), "k=0"),
            (lambda: W.fixed_in_degree(3, W.sparse(0.5)), "absent connections"),
            (lambda: W.sparse(0.5, W.fixed_in_degree(3)), "fixes the in-degree"),
            (lambda: W.sparse(0.5, W.normal_approximation("sign")), "approximation"),
            (lambda: network(weights=W.fixed_in_degree(21)), "smallest fan-in is 20"),
            (lambda: W.fixed_in_degree(3).present(2), "fan_in=2 must be a whole number, at least 3"),
            (lambda: W.fixed_in_degree(3).present([4]), "fan_in"),
            (lambda: W.weight_law("normal").present(None), "fan_in"),
            (lambda: network(weights=st.cauchy()), "variance"),
            (lambda: network(weights=st.t(2)), "variance"),
            (lambda: network(weights=st.rv_discrete(values=([0, 1, 2], [0, 1, 0]))), "variance 0"),
            (lambda: network(weights=np.array([1.0])), "must be one of"),
            (lambda: network(weights="gaussian"), "is unknown"),
            (lambda: network(weights=W.sparse(0.01), mean_gain=50.0), "mean_gain"),
            (lambda: W.lognormal(9.0), "sigma"),
            (lambda: vf.finite_width(network(weights="sign", drive=vf.drives.inputs(np.ones((1, 4))))), "drive"),
        ],
    )
    def test_bad_input(self, make, words):
        with pytest.raises(vf.DomainError, match=words):
            make()

    def test_atoms_off_any_lattice(self):
        distribution = st.rv_discrete(values=([0, 1, 10**7], [0.3, 0.3, 0.4]))
        with pytest.raises(vf.DomainError, match="lattice"):
            network(weights=distribution)

    def test_equal_distributions_are_one(self):
        assert W.sparse(0.3, "sign") == W.sparse(0.3, "sign")
        assert hash(W.ternary(0.3)) == hash(W.ternary(0.3))
        assert W.weight_law(st.laplace(0, 2)) == W.weight_law(st.laplace(0, 2))
        assert W.ternary(0.3) != W.ternary(0.4)
        assert repr(network(weights=W.sparse(0.3, "sign"))).endswith("weights=sparse(0.3, sign))")
        assert network(weights=W.exponential()).weights == "exponential"

    def test_own_means(self):
        assert network(weights="exponential").mean_gains[1] == pytest.approx(2.5 * math.sqrt(20))
        assert network(weights="exponential", mean_gain=0.0).mean_gains[1] == 0
        assert network(weights=W.sparse(0.2, "exponential")).mean_gains[1] == pytest.approx(
            0.2 * 20 * 2.5 / math.sqrt(20 * 0.2 * 1.8)
        )
        np.testing.assert_array_equal(network(weights="sign").mean_gains, np.zeros(8))

    def test_error_that_carries_its_result(self):
        with pytest.raises(vf.ConvergenceError, match="normal_approximation") as caught:
            vf.finite_width(network(weights=W.lognormal(3.0)))
        assert len(caught.value.partial) == 2
