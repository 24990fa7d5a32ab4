"""Distributions of weights that a user brings: every route from an object to its tails, its draws, and what is refused."""

import ast
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as st

import varflow as vf
from varflow.theory.finite_width.firing import firing
from varflow.theory.layer import layers

W = vf.weights
SHAPE = 1.5
GAMMA = st.gamma(SHAPE)


@dataclass(frozen=True)
class ByDensity(W.WeightDistribution):
    """Gamma weights known by their density alone."""

    scale: float = 1.0  # of the draws: not 1 is an error
    kurtosis: float = 6.0

    @property
    def support(self):
        return 0.0, math.inf

    def cumulants(self):
        return SHAPE, SHAPE, 2 * SHAPE, self.kurtosis * SHAPE

    def pdf(self, x):
        return GAMMA.pdf(x)

    def tails(self, x):
        return GAMMA.sf(x), GAMMA.cdf(x)

    def draw(self, variates):
        return self.scale * variates.gamma(SHAPE)


class ByCharacteristic(ByDensity):
    def characteristic(self, t):
        return (1 - 1j * t) ** -SHAPE


class ByGeneratingFunction(ByDensity):
    @property
    def cgf_strip(self):
        return -math.inf, 1.0

    def cgf(self, s):
        return -SHAPE * np.log(1 - s)

    def draw(self, variates):
        return variates.quantile(GAMMA.ppf)


class ByClosedForm(ByDensity):
    """Of whole numbers up to 10 and without bias; the density does the rest."""

    def sum_tails(self, number, x, bias):
        sums = st.gamma(SHAPE * number)
        known = (number <= 10) & (bias == 0)
        return np.where(known, sums.sf(x), np.nan), np.where(known, sums.cdf(x), np.nan)


@dataclass(frozen=True)
class Triplet(W.WeightDistribution):
    """-1, 0, 2 with probabilities 1/2, 1/4, 1/4."""

    lattice = (-1, 0, 2), (0.5, 0.25, 0.25)

    def cumulants(self):
        return 0.0, 1.5, 1.5, 4.5 - 3 * 1.5**2

    def __str__(self):
        return "normal"


ROUTES = {
    "density": (ByDensity(), 1e-10, 0),
    "characteristic function": (ByCharacteristic(), 1e-10, 0),
    "generating function": (ByGeneratingFunction(), 0, 1e-10),
    "closed form": (ByClosedForm(), 1e-10, 0),
}


def network(weights, **options):
    return vf.Network(**{"width": 20, "depth": 5, "gain": 2.5, "weights": weights} | options)


def tails(weights, **options):
    return firing(layers(network(weights, **options))[0], np.arange(21))


@pytest.mark.parametrize(
    "options", [{}, {"bias_std": 0.3, "mean_gain": -0.7}, {"mean_gain": 0.4}], ids=["plain", "bias", "mean"]
)
@pytest.mark.parametrize(("core", "absolute", "relative"), ROUTES.values(), ids=ROUTES.keys())
def test_every_route_leads_to_the_same_tails(core, absolute, relative, options):
    for own, known in zip(tails(core, **options), tails(st.gamma(SHAPE), **options), strict=True):
        np.testing.assert_allclose(own, known, atol=absolute, rtol=relative)


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: W.sparse(0.4, w), lambda w: W.fixed_in_degree(7, w)], ids=["all", "sparse", "in"]
)
def test_profiles_of_a_lattice_of_ones_own(wrap):
    own, known = (
        vf.finite_width(network(wrap(w))) for w in (Triplet(), st.rv_discrete(values=([-1, 0, 2], [0.5, 0.25, 0.25])))
    )
    for name in ("variance", "variance_std", "firing_rate", "survival"):
        np.testing.assert_allclose(getattr(own, name), getattr(known, name), rtol=1e-12)


@pytest.mark.parametrize("core", [*(core for core, *_ in ROUTES.values()), Triplet()], ids=[*ROUTES, "lattice"])
def test_draws_stand_against_the_tails(core):
    pytest.importorskip("torch")
    described = network(core, width=12, mean_gain=0.2)
    assert vf.compare(vf.finite_width(described), vf.simulate(described, repeats=200, seed=3), false_alarm=0.01).passed


def test_draws_that_are_wrong_fall():
    """The halves are independent: theory keeps what the tails say."""
    pytest.importorskip("torch")
    right, wrong = (network(ByDensity(scale), width=12, mean_gain=0.0) for scale in (1.0, 1.2))
    simulated = vf.simulate(wrong, repeats=200, seed=2)
    assert not vf.compare(vf.finite_width(right), simulated, false_alarm=0.01).passed
    assert not vf.compare(vf.finite_width(wrong), simulated, false_alarm=0.01).passed


def test_own_mean_and_fourth_cumulant():
    described = network(ByDensity())
    assert described.mean_gains[1] == pytest.approx(2.5 * math.sqrt(20 * SHAPE))
    assert np.isinf(vf.finite_width(network(ByDensity(kurtosis=math.inf))).variance_std[1:]).all()


def test_equality_is_the_object_s_own():
    assert W.weight_law(ByDensity()) == W.weight_law(ByDensity())
    assert W.weight_law(ByDensity()) != W.weight_law(ByCharacteristic())
    assert repr(network(ByDensity()).weights) == "ByDensity(scale=1.0, kurtosis=6.0)"


def test_a_name_is_only_a_name():
    """An object that prints as "normal" is not taken for normal weights."""
    assert network(Triplet()).weight_law.core == Triplet()
    assert tails(Triplet())[0][1] != tails("normal")[0][1]


class Bare(W.WeightDistribution):
    def cumulants(self):
        return 0.0, 1.0, 0.0, 0.0


class Constant(Triplet):
    def cumulants(self):
        return 1.0, 0.0, 0.0, 0.0


@dataclass
class Mutable(ByDensity.__bases__[0]):
    lattice = Triplet.lattice
    cumulants = Triplet.cumulants
    __hash__ = None


class OneWeightOnly(Bare):
    def tails(self, x):
        return st.norm.sf(x), st.norm.cdf(x)


def test_a_distribution_without_draws_serves_theory():
    pytest.importorskip("torch")
    described = network(OneWeightOnly(), depth=2, bias_std=0.0)
    with pytest.raises(vf.DomainError, match="must define draw"):
        vf.simulate(described, repeats=1)


class Drawn(OneWeightOnly):
    def __init__(self, scale):
        self.scale = scale

    def draw(self, variates):
        return variates.normal().mul_(self.scale)


def test_a_distribution_without_a_name_of_its_own_draws_the_same_numbers_again():
    pytest.importorskip("torch")
    one, again, other = (vf.simulate(network(Drawn(scale), bias_std=1.0), repeats=5).variance for scale in (1.0, 1.0, 1.5))
    np.testing.assert_array_equal(one, again)
    assert (one[:, 1:] != other[:, 1:]).all()


def test_sums_that_are_not_known():
    with pytest.raises(vf.ConvergenceError, match="sum of 2 weights: give the distribution a pdf"):
        vf.finite_width(network(OneWeightOnly()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: network(Bare()), "must have a lattice, tails or sum_tails"),
        (lambda: network(Constant()), "positive, finite variance"),
        (lambda: network(ByDensity(kurtosis=math.nan)), "positive, finite variance"),
        (lambda: network(Mutable()), "must be hashable"),
        (lambda: network(ByDensity), "must be one of normal, uniform"),
    ],
)
def test_bad_objects(make, words):
    with pytest.raises(vf.DomainError, match=words):
        make()


THEORY = {"sum_tails", "tails", "cgf", "cgf_strip", "pdf", "characteristic", "gives"}
DRAWS = {"draw_steps", "steps_std", "short_tails"}


def attributes(room):
    for path in (Path(vf.__file__).parent / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                yield node.attr, ast.unparse(node.value)


def test_theory_and_simulation_read_different_halves():
    read_by_theory = {name for name, owner in attributes("theory") if owner == "core" or owner.endswith(".core")}
    read_by_simulation = {name for name, _ in attributes("simulation")}
    assert THEORY - {"cgf_strip"} <= read_by_theory  # the probe sees what is read
    assert read_by_simulation >= DRAWS
    assert not (DRAWS | {"draw"}) & read_by_theory
    assert not THEORY & read_by_simulation


SPREAD = 0.3


class TwoPeaks(st.rv_continuous):
    """±1 and normal noise, by density and distribution function."""

    up = 0.5

    def _pdf(self, x):
        return (st.norm.pdf(x, -1, SPREAD) + st.norm.pdf(x, 1, SPREAD)) / 2

    def _cdf(self, x):
        return (1 - self.up) * st.norm.cdf(x, -1, SPREAD) + self.up * st.norm.cdf(x, 1, SPREAD)

    def _stats(self):
        variance = 1 + SPREAD**2
        return 0.0, variance, 0.0, (1 + 6 * SPREAD**2 + 3 * SPREAD**4) / variance**2 - 3


class Unequal(TwoPeaks):
    """Whose density is of another distribution."""

    up = 0.6


class Levels:
    """Equally spaced probabilities, in place of random ones."""

    chances = np.linspace(0.001, 0.999, 67)

    def quantile(self, function):
        return function(self.chances)


MIXTURE = st.Mixture([st.Normal(mu=mean, sigma=SPREAD) for mean in (-1, 1)], weights=[0.5, 0.5])


@pytest.mark.parametrize("law", [MIXTURE, TwoPeaks()()], ids=["mixture", "own"])
def test_sums_of_weights_of_two_peaks(law):
    """Their characteristic function changes its sign; given the number of +1 the sum is normal."""
    counts, up = np.arange(1, 21), np.arange(21)[:, None]
    theta = math.sqrt(20 * (1 + SPREAD**2)) / 2.5  # in units of these weights
    exact = (st.binom.pmf(up, counts, 0.5) * st.norm.sf(theta, 2 * up - counts, SPREAD * np.sqrt(counts))).sum(0)
    np.testing.assert_allclose(tails(law)[0][1:], exact, atol=1e-10)


@pytest.mark.parametrize("law", [MIXTURE, TwoPeaks()(), Unequal()()], ids=["mixture", "own", "density of another"])
def test_draws_follow_the_distribution_function(law):
    drawn = W.weight_law(law).core.draw(Levels())
    np.testing.assert_allclose(law.cdf(math.sqrt(1 + SPREAD**2) * drawn), Levels.chances, atol=1e-9)


def test_networks_of_own_weights_can_be_copied_after_their_first_draw():
    described = network(MIXTURE)
    vf.simulate(described, repeats=1, seed=0)
    assert pickle.loads(pickle.dumps(described)).weight_law.core.cumulants() == described.weight_law.core.cumulants()
