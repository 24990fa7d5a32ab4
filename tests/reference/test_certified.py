"""Proven fixed points: published anchors, closed forms, other routes inside the bounds, and proofs that must fail."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from wording import NO_COUNT, NOT_SINGLE, NOT_WHOLE

import varflow as vf
from varflow import ConvergenceError, DomainError

flint = pytest.importorskip("flint")

from varflow import certified  # noqa: E402
from varflow.certified import distributions as certified_distributions  # noqa: E402

T5 = vf.distributions.student_t(5)
BUILT_IN = ["normal", "uniform", "laplace", "logistic"]
DISTRIBUTIONS = [*BUILT_IN, T5]
PAPER = 1 / math.sqrt(vf.distribution("normal").sf(1.0))

GAMMA_C = [
    ("normal", "6.034397946968073"),
    ("uniform", "4.5"),
    ("laplace", "7.38905609893065022723"),
    ("logistic", "6.813718279415934"),
    (T5, "7.630300648760476"),
]


@pytest.mark.parametrize(("distribution", "gamma"), GAMMA_C, ids=str)
def test_published_critical_gains_are_enclosed(distribution, gamma):
    for threshold in (1, 0.3, 1e-8, 30):
        lower, upper = certified.critical_gain(threshold=threshold, distribution=distribution)
        assert upper == math.nextafter(lower, math.inf)
        published = threshold * mp.sqrt(mpf(gamma))
        assert lower * (1 - 1e-15) <= published <= upper * (1 + 1e-15)
        assert vf.reference.critical_gain(threshold=threshold, distribution=distribution, digits=40) in certified.critical_gain(
            threshold=threshold, distribution=distribution
        )
    for threshold in (0, -1.0):
        assert certified.critical_gain(threshold=threshold, distribution=distribution) == (0, 0)


def test_closed_critical_gains_lie_in_the_bounds():
    with mpmath.workdps(40):
        assert mp.e in certified.critical_gain(threshold=1, distribution="laplace")
        assert mp.sqrt(mpf(9) / 2) in certified.critical_gain(threshold=1, distribution="uniform")
        assert mp.e * (1 + mpf(10) ** -15) not in certified.critical_gain(threshold=1, distribution="laplace")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_the_count_changes_between_neighbouring_doubles_at_the_critical_gain(distribution):
    for threshold in (1.0, 0.7):
        lower, upper = certified.critical_gain(threshold=threshold, distribution=distribution)
        below = certified.fixed_points(threshold=threshold, gain=lower, distribution=distribution)
        above = certified.fixed_points(threshold=threshold, gain=upper, distribution=distribution)
        assert [point.stable for point in below] == [True]
        assert below.basin_edge == math.inf
        assert [point.stable for point in above] == [True, False, True]
        assert above[1].enclosure.upper < above[2].enclosure.lower
        assert above[1].multiplier_enclosure.lower > 1 > above[2].multiplier_enclosure.upper


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("excess", [1e-14, 1e-9, 1e-3])
def test_barely_above_the_critical_gain_the_reference_lies_inside(distribution, excess):
    gain = certified.critical_gain(threshold=1, distribution=distribution).upper * (1 + excess / 2)
    found = certified.fixed_points(threshold=1, gain=gain, distribution=distribution)
    wanted = vf.reference.fixed_points(threshold=1, gain=gain, distribution=distribution, digits=40)
    assert len(found) == len(wanted) == 3
    for point, root in zip(found, wanted, strict=True):
        assert root.variance in point.enclosure
        assert point.enclosure.relative_width < 1e-15


def test_published_fixed_points():
    found = certified.fixed_points(threshold=1, gain=math.sqrt(6.303), bias_std=math.sqrt(0.05))
    np.testing.assert_allclose([point.variance for point in found], [0.0500, 0.3797, 1.1685], atol=1e-4)
    assert [point.stable for point in found] == [True, False, True]
    assert found.basin_edge == found[1].variance
    paper = certified.fixed_points(threshold=1, gain=PAPER)
    np.testing.assert_allclose([point.variance for point in paper], [0, 0.5143019, 1], atol=1e-7)
    assert paper[2].multiplier == pytest.approx(0.762568, abs=1e-6)
    assert len(certified.fixed_points(threshold=1, gain=math.sqrt(6.303), bias_std=math.sqrt(0.1534))) == 1


@pytest.mark.parametrize("gain", [3, 2.75, 1e3, 1e6])
def test_laplace_by_lambert(gain):
    found = certified.fixed_points(threshold=1, gain=gain, distribution="laplace")
    with mpmath.workdps(40):  # z² e^{-√2 z}/2 = 1/γ: z = -√2 W(-1/√γ)
        roots = sorted(1 / (2 * mp.lambertw(-1 / mpf(gain), branch).real ** 2) for branch in (0, -1))
        for point, root in zip(found[1:], roots, strict=True):
            assert root in point.enclosure
            assert root * (1 + mpf(10) ** -15) not in point.enclosure
            assert root * (1 - mpf(10) ** -15) not in point.enclosure


@pytest.mark.parametrize(("gain", "bias"), [(3, 0), (2.125, 0), (1e3, 0), (1e6, 0), (2, 0.5), (2.5, 0.25)])
def test_uniform_by_the_cubic(gain, bias):
    found = certified.fixed_points(threshold=1, gain=gain, bias_std=bias, distribution="uniform")
    with mpmath.workdps(60):  # s = √V: s³ - (σ_b² + g²/2) s + g²/(2√3) = 0 where s > 1/√3, and V = σ_b² below
        g2, b2 = mpf(gain) ** 2, mpf(bias) ** 2
        cubic = mp.polyroots([1, 0, -(b2 + g2 / 2), g2 / (2 * mp.sqrt(3))], maxsteps=500, extraprec=400)
        roots = [mp.re(s) ** 2 for s in cubic if abs(mp.im(s)) < mpf(10) ** -40 and mp.re(s) > 1 / mp.sqrt(3)]
        wanted = sorted(roots + ([b2] if b2 <= mpf(1) / 3 else []))
        assert len(found) == len(wanted)
        for point, root in zip(found, wanted, strict=True):
            assert root in point.enclosure


def drawn(distribution, number, seed):
    """Thresholds of both signs, gains from half the critical one to thirty times it, half of them with bias."""
    rng = np.random.default_rng(seed)
    critical = vf.critical_gain(threshold=1.0, distribution=distribution)
    for index in range(number):
        theta = float(10 ** rng.uniform(-2, 1.5) * (1 if rng.random() < 0.85 else -1))
        setting = {"threshold": theta, "gain": float(abs(theta) * critical * 10 ** rng.uniform(-0.3, 1.5))}
        bias = float(abs(theta) * 10 ** rng.uniform(-4, 0.5)) if index % 2 else 0.0
        yield setting | {"bias_std": bias, "distribution": distribution}


def agrees_with_theory(setting):
    found, fast = certified.fixed_points(**setting), vf.fixed_points(**setting)
    assert found.complete
    assert [point.stable for point in found] == [point.stable for point in fast]
    for point, other in zip(found, fast, strict=True):
        assert point.enclosure.relative_width <= 1e-15
        assert point.variance in point.enclosure
        assert point.firing_rate in point.firing_rate_enclosure
        assert point.multiplier in point.multiplier_enclosure
        gap = max(point.enclosure.lower - other.variance, other.variance - point.enclosure.upper, 0.0)
        assert gap <= 1e-12 * other.variance / min(1, abs(1 - point.multiplier))
    return found


def reference_is_inside(found, setting):
    wanted = vf.reference.fixed_points(**setting, digits=40)
    for point, root in zip(found, wanted, strict=True):
        assert root.variance in point.enclosure
        assert root.firing_rate in point.firing_rate_enclosure
        assert root.multiplier in point.multiplier_enclosure
        assert point.depth_scale == pytest.approx(float(root.depth_scale), rel=1e-12)
        assert point.stable == root.stable


@pytest.mark.parametrize(
    "distribution", [*DISTRIBUTIONS[:-1], pytest.param(DISTRIBUTIONS[-1], marks=pytest.mark.slow)], ids=str
)
def test_random_networks_agree_with_theory_and_hold_the_reference(distribution):
    for setting in drawn(distribution, 10, seed=3):
        reference_is_inside(agrees_with_theory(setting), setting)
    for setting in drawn(distribution, 30, seed=4):
        agrees_with_theory(setting)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_a_thousand_random_networks_agree_with_theory_and_hold_the_reference(distribution):
    for index, setting in enumerate(drawn(distribution, 1000, seed=5)):
        found = agrees_with_theory(setting)
        if index < 100:
            reference_is_inside(found, setting)


def test_a_wrong_root_lies_outside():
    setting = {"threshold": 1, "gain": 3}
    found = certified.fixed_points(**setting)
    wanted = vf.reference.fixed_points(**setting)
    for point, root in zip(found[1:], wanted[1:], strict=True):
        for wrong in (1 + mpf(10) ** -15, 1 - mpf(10) ** -15):
            assert root.variance * wrong not in point.enclosure
    assert found[2].variance not in certified.fixed_points(threshold=1, gain=math.nextafter(3, 4))[2].enclosure


def test_a_planted_wrong_tail_gives_disjoint_bounds(monkeypatch):
    right = certified.fixed_points(threshold=1, gain=3)
    normal = certified_distributions._normal
    small = mpf(10) ** -14

    def wrong():
        distribution = normal()
        return distribution._replace(tail=lambda z: distribution.tail(z) * (1 + certified_distributions.ball(float(small))))

    monkeypatch.setattr(certified_distributions, "_normal", wrong)
    planted = certified.fixed_points(threshold=1, gain=3)
    for point, other in zip(right[1:], planted[1:], strict=True):
        assert max(point.enclosure.lower, other.enclosure.lower) > min(point.enclosure.upper, other.enclosure.upper)


@pytest.mark.parametrize(
    "distribution", [*DISTRIBUTIONS, vf.distributions.student_t(2.3), vf.distributions.student_t(1e5)], ids=str
)
def test_tails_and_densities_hold_the_reference(distribution):
    made = certified_distributions.distribution_named(distribution)
    for z in (-7.5, -1.75, -0.5, 0.125, 0.5, 1.0, 1.5, 2.25, 6.0):
        with certified.distributions.precision(200):
            balls = made()
            tail, density = balls.tail(flint.arb(z)), balls.density(flint.arb(z))
            assert vf.reference.sf(distribution, z, digits=40) in certified.distributions.outward(tail)
            assert vf.reference.pdf(distribution, z, digits=40) in certified.distributions.outward(density)
            assert tail.rad() <= 1e-18 * tail.mid()


@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, vf.distributions.student_t(2.3)], ids=str)
def test_what_the_proof_assumes_of_a_distribution(distribution):
    """``f`` and ``z f'/f`` fall, ``z f/S`` rises, and ``beyond`` bounds ``z² S`` from there on."""
    with certified.distributions.precision(120):
        balls = certified_distributions.distribution_named(distribution)()
        grid = [flint.arb(z) for z in np.geomspace(0.01, 1.7 if distribution == "uniform" else 60, 60).tolist()]
        ratios = [z * balls.density(z) / balls.tail(z) for z in grid]
        assert all(not b < a for a, b in pairwise(ratios))
        for function in (balls.density, balls.log_slope):
            assert all(not function(b) > function(a) for a, b in pairwise(grid))
        for k in (1, 2, 4):
            start = balls.far(k)
            bound = balls.beyond(start)
            assert all(not z * z * balls.tail(z) > bound for z in [start, *grid] if not z < start)


def test_slopes_are_bounded_by_the_values_at_the_ends():
    from varflow.certified.proof import CertifiedLayer

    with certified.distributions.precision(120):
        for distribution in DISTRIBUTIONS:
            for threshold in (1, -1):
                for bias in ("0", "0.04"):
                    parameters = (flint.arb(threshold), flint.arb(9), flint.arb(bias))
                    layer = CertifiedLayer(certified_distributions.distribution_named(distribution)(), *parameters)
                    for low, width in ((-1.0, 0.25), (-0.5, 2.0), (1.0, 0.01)):
                        least, most = layer.slope(layer.place(flint.arb(low)), layer.place(flint.arb(low + width)))
                        for fraction in (0.0, 0.21, 0.5, 0.83, 1.0):
                            place = layer.place(flint.arb(low + fraction * width))
                            exact = layer.multiplier(place, place.image) - 1
                            assert not exact < least
                            assert not exact > most


def test_an_exact_saddle_node_cannot_be_separated():
    """Uniform, θ = 9/4, g = 4, σ_b = 1: at V = 3 F(V) = V and F'(V) = 1 exactly, and V = 1 is a fixed point as well."""
    setting = {"threshold": 2.25, "gain": 4, "bias_std": 1, "distribution": "uniform"}
    for bits in (64, 200, 1024):
        with pytest.raises(ConvergenceError, match=rf"cannot separate .* max_precision={bits} bits") as caught:
            certified.fixed_points(**setting, max_precision=bits)
        partial = caught.value.partial
        assert not partial.complete
        assert math.isnan(partial.basin_edge)
        assert [point.enclosure for point in partial] == [(1.0, 1.0)]
        assert len(partial.unresolved) == 1
        assert 3.0 in partial.unresolved[0]
        assert partial.unresolved[0].relative_width < 1e-8
        assert "unresolved: 1" in repr(partial)
        assert partial.to_dict()["basin_edge"] is None
        assert pickle.loads(pickle.dumps(partial)).unresolved == partial.unresolved
    for gain, count in ((math.nextafter(4, 5), 3), (math.nextafter(4, 3), 1)):
        assert len(certified.fixed_points(**setting | {"gain": gain})) == count


def test_a_ball_too_wide_for_stability_or_digits_is_no_answer():
    from varflow.certified.proof import CertifiedLayer, _point

    def point(gain, width, accuracy):
        with certified.distributions.precision(120):
            layer = CertifiedLayer(
                certified_distributions.distribution_named("normal")(), flint.arb(1), flint.arb(gain) ** 2, flint.arb(0)
            )
            root = flint.arb(vf.fixed_points(threshold=1, gain=gain)[1].variance).log().mid()
            return _point(layer, layer.place(flint.arb(root, width)), flint.arb(accuracy))

    saddle = certified.critical_gain(threshold=1).upper
    assert point(saddle, "1e-3", "1") is None  # |m| may be 1
    assert point(3, "1e-3", "1").stable is False
    assert point(3, "1e-9", "1e-9") is None  # too few digits
    assert point(3, "1e-9", "1e-8").stable is False


def test_precision_rises_by_itself():
    """Uniform, g/θ = 10¹⁰⁰: the second root is 1e-200 away from the edge of the support, which 96 bits cannot tell from it."""
    setting = {"threshold": 1, "gain": 1e100, "distribution": "uniform"}
    found = certified.fixed_points(**setting)
    assert found.precision > 700
    assert len(found) == 3
    assert 3 * Fraction(found[1].enclosure.lower) < 1 < 3 * Fraction(found[1].enclosure.upper)
    with pytest.raises(ConvergenceError, match="cannot separate"):
        certified.fixed_points(**setting, max_precision=400)
    assert certified.fixed_points(threshold=1, gain=3).precision == 96


def test_two_fixed_points_beside_the_kink():
    """Uniform, σ_b² just below θ²/3: one root on the flat side of the kink and one on the steep side, 1e-16 apart."""
    found = certified.fixed_points(threshold=3, gain=5, bias_std=math.sqrt(3), distribution="uniform")
    assert [point.stable for point in found] == [True, False, True]
    assert found[0].multiplier_enclosure == (0.0, 0.0)
    assert found[0].firing_rate_enclosure == (0.0, 0.0)
    assert found[1].enclosure.lower >= found[0].enclosure.upper
    assert found[1].firing_rate_enclosure.lower > 0
    above = certified.fixed_points(threshold=3, gain=5, bias_std=math.nextafter(math.sqrt(3), 2), distribution="uniform")
    assert len(above) == 1


EXTREMES = [
    {"threshold": 1, "gain": 1e6},
    {"threshold": 1e-8, "gain": 3e-8},
    {"threshold": 30, "gain": 100},
    {"threshold": 1e-100, "gain": 1e40},
    {"threshold": 1e140, "gain": 1e140},
    {"threshold": 1e140, "gain": 1e-140},
    {"threshold": 1e140, "gain": 1e-140, "bias_std": 1e-140},
    {"threshold": 1, "gain": 3, "bias_std": 1e140},
    {"threshold": 1, "gain": 3, "bias_std": 1e-140},
    {"threshold": -1e140, "gain": 1, "bias_std": 1e-140},
    {"threshold": -1e-140, "gain": 1},
    {"threshold": -30, "gain": 1e-3},
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("setting", EXTREMES, ids=str)
def test_extremes_are_decided(distribution, setting):
    found = certified.fixed_points(**setting, distribution=distribution)
    critical = certified.critical_gain(threshold=setting["threshold"], distribution=distribution)
    one = setting["threshold"] < 0 or setting.get("bias_std") == 1e140 or setting["gain"] < critical.lower
    assert [point.stable for point in found] == ([True] if one else [True, False, True])
    ends = [end for point in found for end in point.enclosure]
    assert ends == sorted(ends)
    assert all(p.enclosure.relative_width <= 1e-15 or p.enclosure == (0, 5e-324) for p in found)  # the latter underflows
    bias2, gain2 = (mpf(setting.get("bias_std", 0)) ** 2, mpf(setting["gain"]) ** 2)
    assert all(bias2 * (1 - 1e-15) <= point.enclosure.upper <= (bias2 + gain2) * (1 + 1e-15) for point in found)


def test_threshold_zero_and_below():
    for distribution in DISTRIBUTIONS:
        zero = certified.fixed_points(threshold=0, gain=1.5, distribution=distribution)
        assert [point.enclosure for point in zero] == [(0.0, 0.0), (1.125, 1.125)]
        assert [point.stable for point in zero] == [False, True]
        assert zero[0].multiplier == math.inf
        assert zero.basin_edge == 0
        assert [
            point.enclosure for point in certified.fixed_points(threshold=0, gain=2, bias_std=1, distribution=distribution)
        ] == [(3, 3)]
        below = certified.fixed_points(threshold=-1, gain=1.5, distribution=distribution)
        assert len(below) == 1
        assert below[0].stable
        assert below[0].multiplier_enclosure.upper < 0
    saturated = certified.fixed_points(threshold=-2, gain=1, distribution="uniform")  # θ² ≥ 3 g²: every neuron fires
    assert saturated[0].enclosure == (1.0, 1.0)
    assert saturated[0].firing_rate_enclosure == (1.0, 1.0)


def test_floats_mean_their_exact_value():
    tenth = certified.fixed_points(threshold=0, gain=0.1)[1].enclosure
    assert 2 * Fraction(tenth.lower) <= Fraction(0.1) ** 2 <= 2 * Fraction(tenth.upper)
    odd = 2**53 + 1  # not a double
    assert Fraction(odd**2, 2) in certified.fixed_points(threshold=0, gain=odd)[1].enclosure
    single = certified.fixed_points(threshold=np.float32(0.1), gain=1)[1].enclosure
    assert single == certified.fixed_points(threshold=float(np.float32(0.1)), gain=1)[1].enclosure
    assert single != certified.fixed_points(threshold=0.1, gain=1)[1].enclosure
    if np.finfo(np.longdouble).eps < 1e-17:
        with pytest.raises(DomainError, match="must be a double or an integer"):
            certified.fixed_points(threshold=np.longdouble(1) / 3, gain=3)


def test_digits_precision_and_shape():
    before = (flint.ctx.prec, mp.prec)
    found = certified.fixed_points(threshold=1, gain=3, bias_std=0.1)
    assert (flint.ctx.prec, mp.prec) == before
    with pytest.raises(DomainError):
        certified.fixed_points(threshold=1, gain=-1)
    assert (flint.ctx.prec, mp.prec) == before
    row = found.to_dict()["fixed_points"][0]
    assert row["enclosure"] == list(found[0].enclosure)
    assert row["multiplier_enclosure"] == list(found[0].multiplier_enclosure)
    assert "enclosure" not in vf.fixed_points(threshold=1, gain=3).to_dict()["fixed_points"][0]
    assert isinstance(found, vf.FixedPoints)
    assert "96 bits" in repr(found)
    assert len(repr(found).splitlines()) == 2 + len(found)
    assert abs(found[-1].residual) < 1e-14


GOOD = {"threshold": 1.0, "gain": 3.0}
BAD = [
    ("threshold", math.nan, "must be finite"),
    ("threshold", 5e-324, "must lie within"),
    ("threshold", 1e200, "must lie within"),
    ("threshold", "1", "must be a real number"),
    ("threshold", True, "must be a real number"),
    ("threshold", [1.0, 2.0], NOT_SINGLE),
    ("gain", 0.0, "must be positive"),
    ("gain", -1.0, "must be positive"),
    ("gain", math.inf, "must be finite"),
    ("bias_std", -0.5, "must not be negative"),
    ("bias_std", 1e-200, "must lie within"),
    ("digits", 0, NO_COUNT),
    ("digits", 16, "must be at most 15"),
    ("digits", 3.0, NOT_WHOLE),
    ("max_precision", 32, "must be a whole number, at least 64"),
    ("distribution", "cauchy", "is unknown; choose one of normal"),
    ("distribution", [float(x) for x in range(30)], "choose normal, uniform, laplace, logistic"),
    ("distribution", vf.distributions.student_t(1e9), "above 1e+06"),
]


@pytest.mark.parametrize(("argument", "value", "rule"), BAD, ids=lambda v: str(v)[:20])
def test_bad_input_names_argument_value_and_rule(argument, value, rule):
    with pytest.raises(DomainError) as caught:
        certified.fixed_points(**GOOD | {argument: value})
    assert caught.value.argument == argument
    assert str(caught.value).startswith(f"{argument}=")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_input_to_the_critical_gain():
    for argument, value in (("threshold", math.nan), ("threshold", None), ("distribution", "gauss")):
        with pytest.raises(DomainError, match=f"{argument}="):
            certified.critical_gain(**{"threshold": 1.0} | {argument: value})


def test_without_flint_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flint", None)
    with pytest.raises(vf.MissingExtraError, match=r"pip install 'python-flint>=0\.7'$"):
        certified.fixed_points(threshold=1, gain=3)
