"""The exact distribution at finite width: the chain against full matrices and enumeration, its special cases, and its draws.

The chain is deterministic, so its tests are exact: total variation and relative survival against ``scipy.stats.binom``, and
an enumeration of the definition in mpmath that knows nothing of binomials. Draws are tested within ``K`` standard errors,
each beside a wrong distribution that must fail.
"""

from __future__ import annotations

import itertools
import json
import math
from functools import cache

import mpmath
import numpy as np
import pytest
import scipy.stats
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError
from varflow.theory.finite_width import sampling
from varflow.theory.finite_width.binomial import WHOLE_TAIL, Transition
from varflow.theory.finite_width.counts import count_grid
from varflow.theory.finite_width.firing import firing

K = 4.5  # standard errors: one honest test in 150 000 fails
NAMES = ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival")


def network(width=100, depth=5, gain=2.51, threshold=1.0, input_scale=1.0, strict=True, **options):
    neuron = vf.Neuron(threshold, input_scale=input_scale, strict=strict)
    return vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, **options)


@cache
def full_matrix_counts(described):
    """Distribution of the count of every layer, by whole matrices of ``scipy.stats.binom.pmf``."""
    n, theta = described.widths[0], described.neuron.threshold
    counts = np.arange(n + 1)
    with np.errstate(divide="ignore"):
        p = scipy.stats.norm.sf(theta / np.sqrt(described.gain**2 / n * counts))
    matrix = scipy.stats.binom.pmf(counts, n, p[:, None])
    distributions = [scipy.stats.binom.pmf(counts, n, scipy.stats.norm.sf(theta))]
    for _ in range(described.depth - 1):
        distributions.append(distributions[-1] @ matrix)
    return np.array(distributions)


IN_FULL = {
    "living": network(1000, 100, vf.gain(threshold=0.7), 0.7),
    "leaking": network(500, 100, vf.gain(threshold=1.0), 1.0),
    "dying": network(2000, 100, math.sqrt(2), 1.0),
    "dying slowly": network(2000, 100, math.sqrt(5.0), 1.0),
}


class TestAgainstTheFullMatrix:
    @pytest.mark.parametrize("described", IN_FULL.values(), ids=IN_FULL.keys())
    def test_total_variation_and_rare_survival(self, described):
        exact = full_matrix_counts(described)
        profile = vf.finite_width(described)
        counts = [distribution.mass for distribution in vf.SpikeChain(described).propagate()]
        distance = 0.5 * np.abs(np.array(counts) - exact).sum(axis=1)
        assert distance.max() <= 1e-12
        survival = exact[:, 1:].sum(axis=1)
        known = survival > 1e-290
        np.testing.assert_allclose(profile.survival[known], survival[known], rtol=1e-11, atol=0)
        if described is IN_FULL["dying"]:
            assert survival[known].min() < 1e-200
        if described is IN_FULL["dying slowly"]:
            assert 0 < survival[-1] < 1e-200

        n, k = described.width, np.arange(described.width + 1)
        rate = exact @ k / n
        np.testing.assert_allclose(profile.firing_rate[known], rate[known], rtol=1e-11)
        spread = np.sqrt(np.maximum(exact @ (k / n) ** 2 - rate**2, 0))
        np.testing.assert_allclose(profile.firing_rate_std[known], spread[known], rtol=1e-9)  # differences of squares here
        C = described.gain**2 / n * k
        mean, square = exact[:-1] @ C, exact[:-1] @ C**2
        np.testing.assert_allclose(profile.variance[1:][known[:-1]], mean[known[:-1]], rtol=1e-11)
        exact_std = np.sqrt(square * (1 + 2 / (n - 1)) - mean**2)
        np.testing.assert_allclose(profile.variance_std[1:][known[:-1]], exact_std[known[:-1]], rtol=1e-9)

    def test_a_wrong_gain_is_seen(self):
        described = network(500, 30, 2.5)
        wrong = full_matrix_counts(network(500, 30, 2.5 * (1 + 1e-9)))
        counts = [distribution.mass for distribution in vf.SpikeChain(described).propagate()]
        assert 0.5 * np.abs(np.array(counts) - wrong).sum(axis=1).max() > 1e-10

    def test_without_the_whole_tails_rare_survival_would_be_wrong(self):
        described = IN_FULL["dying"]
        exact = full_matrix_counts(described)[4, 1:].sum()
        counts = vf.SpikeChain(described, rare=0.0).masses()
        assert counts[4][1:].sum() < 0.1 * exact


WIDE = {"living": (0.7, vf.gain(threshold=0.7)), "leaking": (1.0, 2.46), "dying": (1.0, 2.2)}


class TestCountGrid:
    """The grid that holds the distribution of wide layers, at a width where every count can still be held."""

    @pytest.mark.parametrize(("theta", "gain"), WIDE.values(), ids=WIDE.keys())
    def test_total_variation_against_every_count(self, monkeypatch, theta, gain):
        described = network(10_000, 100, gain, theta)
        exact = vf.SpikeChain(described).masses()
        monkeypatch.setattr(
            "varflow.theory.finite_width.chain.count_grid", lambda width, step: count_grid(width, step, exact_width=100)
        )
        coarse = vf.SpikeChain(described)
        assert not coarse.grids[0].exact
        onto_all = Transition(
            count_grid(10_000), *firing(coarse.layer, coarse.grids[0].counts)
        )  # one layer further, every count
        distance = [0.5 * np.abs(onto_all.push(coarse.masses()[l]) - exact[l + 1]).sum() for l in range(99)]
        assert max(distance) <= 1e-12
        case = {"living": (0.0, 1e-3), "leaking": (0.01, 0.99), "dying": (0.99, 1.0)}
        low, high = case[next(key for key, value in WIDE.items() if value == (theta, gain))]
        assert low <= exact[-1][0] <= high

    def test_a_grid_too_coarse_is_seen(self):
        described = network(50_000, 30, vf.gain(threshold=1.0), 1.0)
        fine, finer, rough = (vf.SpikeChain(described, step=step).propagate()[-1] for step in (0.5, 0.4, 1.0))
        assert abs(fine.mass.sum() - 1) < 1e-12
        assert abs(fine.firing_rate_std / finer.firing_rate_std - 1) < 1e-12
        assert abs(rough.firing_rate_std / finer.firing_rate_std - 1) > 1e-11


class TestTransition:
    @pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 63, 64, 65, 300])
    def test_rows_against_mpmath(self, n):
        p = np.array([0.0, 1e-300, 1e-20, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-12, 1.0])
        q = np.array([1.0, 1.0, 1.0, 1 - 1e-3, 0.9, 0.5, 0.1, 1e-12, 0.0])
        rows = Transition(count_grid(n), p, q, WHOLE_TAIL).dense()
        assert rows.shape == (len(p), n + 1)
        with mpmath.workdps(40):
            for row, a, b in zip(rows, p, q, strict=True):
                for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
                    small, large = (mpf(a), 1 - mpf(a)) if a < b else (1 - mpf(b), mpf(b))
                    exact = mp.binomial(n, k) * small**k * large ** (n - k)
                    if exact > 1e-290:
                        assert abs(row[k] / exact - 1) < 1e-12, (a, k)
                    else:
                        assert row[k] <= 1e-280

    def test_push_and_pull_are_adjoint(self):
        rng = np.random.default_rng(1)
        p = np.sort(rng.random(201))
        kernel = Transition(count_grid(150), p, 1 - p)
        mass, values = rng.dirichlet(np.ones(201)), rng.random((151, 2))
        np.testing.assert_allclose(kernel.push(mass) @ values, mass @ kernel.pull(values), rtol=1e-13)
        np.testing.assert_allclose(kernel.dense().sum(axis=1), 1.0, rtol=1e-13)


def enumerated(described):
    """Profile of a tiny network from the definition: every spike pattern of every layer, with its probability.

    A pattern's neurons are independent given the pattern before, whose weights add up to a normal number: nothing else.
    """
    neuron, scale = described.neuron, mpf(described.neuron.input_scale)
    theta = mpf(neuron.threshold)

    def fires(mean, variance):
        if variance == 0:
            return mpf(int(mean > theta or (mean == theta and not neuron.strict)))
        return mp.erfc((theta - mean) / mp.sqrt(2 * variance)) / 2

    def moments(distribution, variance_of, width):
        mean = mp.fsum(p * variance_of(k) for k, p in distribution.items())
        square = mp.fsum(p * variance_of(k) ** 2 for k, p in distribution.items())
        return mean, mp.sqrt(square - mean**2 + 2 * square / (width - 1)) if width > 1 else None

    drive = scale**2 * mpf(float(described.drive.current_variances[0]))
    rows, distribution = [], None
    for l, (n, gain) in enumerate(zip(described.widths, described.gains, strict=True)):
        n = int(n)
        if l == 0:
            sources, variance_of, mean_of = {(): mpf(1)}, lambda pattern: drive, lambda pattern: mpf(0)
        else:
            before = int(described.widths[l - 1])
            sources = distribution
            weight, bias = (scale * mpf(float(gain))) ** 2 / before, (scale * mpf(described.bias_std)) ** 2
            shift = scale * mpf(described.mean_gain) / before

            def variance_of(pattern, weight=weight, bias=bias):
                return weight * sum(pattern) + bias

            def mean_of(pattern, shift=shift):
                return shift * sum(pattern)

        variance, variance_std = moments(sources, variance_of, n)
        distribution = {}
        for pattern, probability in sources.items():
            p = fires(mean_of(pattern), variance_of(pattern))
            for image in itertools.product((0, 1), repeat=n):
                chance = mp.fprod(p if x else 1 - p for x in image)
                distribution[image] = distribution.get(image, mpf(0)) + probability * chance
        rate = mp.fsum(p * mpf(sum(x)) / n for x, p in distribution.items())
        rate_square = mp.fsum(p * (mpf(sum(x)) / n) ** 2 for x, p in distribution.items())
        alive = mp.fsum(p for x, p in distribution.items() if any(x))
        rows.append((variance, variance_std, rate, mp.sqrt(max(rate_square - rate**2, mpf(0))), alive))
    return rows


TINY = {
    "plain": network(3, 4, 2.0, 0.7),
    "dying": network(3, 5, 0.5, 1.0),
    "bias": network(3, 4, 1.2, 0.9, bias_std=0.6),
    "bias alone wakes the dead": network(3, 4, 0.4, 2.0, bias_std=0.5),
    "weight mean": network(3, 4, 1.5, 0.8, mean_gain=0.9),
    "negative weight mean and bias": network(3, 4, 1.5, 0.3, mean_gain=-1.4, bias_std=0.2),
    "threshold below zero": network(3, 4, 1.5, -0.4),
    "threshold zero": network(3, 4, 1.5, 0.0),
    "threshold zero, not strict": network(3, 4, 1.5, 0.0, strict=False),
    "widths and gains": network((3, 2, 4, 1, 3), 5, (9.0, 1.0, 2.0, 3.0, 1.5), 0.6, bias_std=0.1),
    "input scale": network(3, 4, 1.7, 0.8, input_scale=0.6, bias_std=0.3, mean_gain=0.5, drive=vf.drives.currents(1.4)),
    "width 1": network(1, 4, 2.0, 0.5),
    "depth 1": network(3, 1, 2.0, 0.5),
    "silent drive": network(3, 3, 2.0, 0.5, drive=vf.drives.currents(0.0)),
    "silent drive, threshold below zero": network(3, 3, 2.0, -0.5, drive=vf.drives.currents(0.0)),
    "silent drive and bias": network(3, 3, 2.0, 0.5, bias_std=0.7, drive=vf.drives.currents(0.0)),
}


class TestAgainstEnumeration:
    @pytest.mark.parametrize("described", TINY.values(), ids=TINY.keys())
    def test_every_description(self, described):
        with mpmath.workdps(30):
            rows = enumerated(described)
        profile = vf.finite_width(described)
        for l, row in enumerate(rows):
            for name, exact in zip(NAMES, row, strict=True):
                got = getattr(profile, name)[l]
                if exact is None:
                    assert math.isnan(got)
                else:  # a spread of zero is a difference of equal numbers
                    assert got == pytest.approx(
                        float(exact), rel=1e-12, abs=1e-8 if name.endswith("std") and exact == 0 else 1e-300
                    )


class TestSpecialCases:
    def test_width_one_has_no_sample_variance(self):
        profile = vf.finite_width(network(1, 3, 2.0, 0.5))
        assert np.isnan(profile.variance_std).all()
        text = json.loads(json.dumps(profile.to_dict(), allow_nan=False))
        assert text["variance_std"] == [None, None, None]
        assert None not in text["variance"] + text["survival"]
        assert np.isnan(profile.sample(4).variance).all()

    def test_dead_layers_revive_only_where_the_resting_membrane_fires(self):
        silent = vf.drives.currents(0.0)
        for threshold, strict, revives in [(-0.3, True, True), (0.0, True, False), (0.0, False, True), (0.3, True, False)]:
            described = network(50, 4, 1.5, threshold, strict=strict, drive=silent)
            profile = vf.finite_width(described)
            assert described.silence_is_absorbing is not revives
            assert profile.survival[0] == float(revives)
            assert profile.variance[0] == 0
            if revives:
                assert profile.firing_rate[0] == 1
                assert profile.variance[1] == pytest.approx(1.5**2, rel=1e-14)
            else:
                assert not profile.survival.any()
                assert not profile.variance.any()

    def test_silent_drive_is_silent_for_good(self):
        profile = vf.finite_width(network(80, 6, drive=vf.drives.currents(0.0)))
        for name in NAMES:
            assert not getattr(profile, name).any()
        draw = profile.sample(3, seed=1)
        assert not draw.variance.any()
        assert not draw.firing_rate.any()

    def test_survival_is_monotone_without_bias(self):
        profile = vf.finite_width(network(60, 40))
        assert np.all(np.diff(profile.survival) <= 1e-15)
        assert profile.survival[-1] < 0.2

    def test_input_scale_is_a_change_of_the_gains(self):
        """(λ, g, σ_b, m_g, std) and (1, λg, λσ_b, λm_g, λ std) are the same network."""
        scaled = network(70, 8, 2.4, 0.8, 0.7, bias_std=0.3, mean_gain=0.4, drive=vf.drives.currents(1.3))
        plain = network(70, 8, 0.7 * 2.4, 0.8, bias_std=0.7 * 0.3, mean_gain=0.7 * 0.4, drive=vf.drives.currents(0.7 * 1.3))
        for theory in (vf.finite_width, vf.mean_field):
            one, other = theory(scaled), theory(plain)
            assert one.silent_variance == pytest.approx(other.silent_variance, rel=1e-14)
            for name in NAMES:
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
        one, other = (vf.finite_width(d).sample(20, seed=3) for d in (scaled, plain))
        np.testing.assert_array_equal(one.firing_rate, other.firing_rate)
        np.testing.assert_allclose(one.variance, other.variance, rtol=1e-12)

    def test_equal_values_per_layer_change_nothing(self):
        one = vf.finite_width(network(40, 6, 2.0))
        other = vf.finite_width(network((40,) * 6, 6, (2.0,) * 6))
        for name in NAMES:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))

    def test_results_are_read_only_and_shown(self):
        profile = vf.finite_width(network())
        with pytest.raises(ValueError, match="read-only"):
            profile.variance[0] = 2.0
        assert "Profile" in repr(profile)
        np.testing.assert_array_equal(profile.spikes, 100 * profile.firing_rate)


class TestInputs:
    X = np.array([[0.1, 0.2, 0.1], [1.0, 0.5, 2.0], [3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])

    @pytest.mark.parametrize("width", [40, (40, 60, 30, 50)], ids=str)
    @pytest.mark.parametrize("bias", [0.0, 0.4])
    def test_each_row_is_a_network_of_its_own(self, width, bias):
        drive = vf.drives.inputs(self.X, input_gain=1.2)
        together = vf.finite_width(network(width, 4, 2.3, 0.9, 0.8, bias_std=bias, drive=drive))
        alone = [
            vf.finite_width(network(width, 4, 2.3, 0.9, 0.8, bias_std=bias, drive=vf.drives.inputs(row[None], input_gain=1.2)))
            for row in self.X
        ]
        for name in ("variance", "firing_rate", "survival"):
            rows = np.array([getattr(profile, name) for profile in alone])
            assert together.per_input[name].shape == (4, 4)
            np.testing.assert_allclose(together.per_input[name], rows, rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(getattr(together, name), rows.mean(axis=0), rtol=1e-11)
        assert np.ptp(together.per_input["survival"][:, 0]) > 0.5
        # the distribution over networks is the mixture over inputs: second moments are means of second moments
        for name in ("variance", "firing_rate"):
            squares = np.array([getattr(p, name + "_std") ** 2 + getattr(p, name) ** 2 for p in alone])
            mixed = np.sqrt(squares.mean(axis=0) - getattr(together, name) ** 2)
            np.testing.assert_allclose(getattr(together, name + "_std"), mixed, rtol=1e-9)

    def test_a_row_has_the_variance_of_its_energy(self):
        drive = vf.drives.inputs(self.X, input_gain=1.2)
        profile = vf.finite_width(network(40, 2, drive=drive))
        np.testing.assert_allclose(profile.per_input["variance"][:, 0], 1.44 * (self.X**2).mean(axis=1))

    def test_draws_follow_the_rows_in_turn(self):
        drive = vf.drives.inputs(self.X, input_gain=1.2)
        described = network(400, 2, 2.3, 0.9, drive=drive)
        profile = vf.finite_width(described)
        draw = profile.sample(400, seed=2, ensembles=2)
        assert draw.repeats == 800
        for row in range(4):
            rates = draw.firing_rate[:, 0][row::4]
            p = profile.per_input["firing_rate"][row, 0]
            assert abs(rates.mean() - p) <= K * math.sqrt(p * (1 - p) / 400 / len(rates)) + 1e-12
        short = profile.sample(3, seed=2, ensembles=2)  # each ensemble starts again with the first row
        assert short.variance[:, 0].argmin() in (0, 3)
        assert (short.variance[[1, 4], 0] > 0.5).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "argument"),
        [({"steps": 3}, "steps")],
    )
    def test_what_the_chain_does_not_describe(self, options, argument):
        with pytest.raises(DomainError, match=f"{argument}="):
            vf.finite_width(network(**options))

    def test_neurons_it_does_not_describe(self):
        for neuron, argument in [(vf.Neuron(1.0, reset="multi_spike"), "reset"), (vf.Neuron(1.0, delay=1), "delay")]:
            described = vf.Network(width=10, depth=2, gain=1.0, neuron=neuron)
            for theory in (vf.finite_width, vf.mean_field):
                with pytest.raises(DomainError, match=f"{argument}="):
                    theory(described)

    def test_bad_draws(self):
        sample = vf.finite_width(network()).sample
        for arguments, name in [((0,), "repeats"), ((2.5,), "repeats"), ((3, -1), "seed")]:
            with pytest.raises(DomainError, match=f"{name}="):
                sample(*arguments)


class TestMeanField:
    @pytest.mark.parametrize(
        "options",
        [{"threshold": 0.5, "gain": 2.0}, {"threshold": 0.7, "gain": 2.2, "bias_std": 0.3}, {"threshold": -0.4, "gain": 1.5}],
        ids=repr,
    )
    def test_it_is_the_limit_and_the_error_shrinks_like_one_over_n(self, options):
        widths = np.array([500, 1000, 2000, 4000])
        limit = vf.mean_field(network(8, 12, **options))
        for name in ("variance", "firing_rate"):
            gap = np.array(
                [getattr(vf.finite_width(network(int(n), 12, **options)), name) - getattr(limit, name) for n in widths]
            )
            worst = np.abs(gap[:, 2:]).max(axis=1)
            orders = np.log2(worst[:-1] / worst[1:])
            # the next order of the expansion, 1/n², shifts the measured order by as much as it shrinks with n
            assert np.all(np.abs(orders - 1) < 40 / widths[:-1])
            assert np.all(np.diff(np.abs(orders - 1)) < 1e-3)
            extrapolated = 2 * gap[-1] - gap[-2]  # Richardson: the limit itself is right, not only the rate
            assert np.abs(extrapolated).max() < 0.02 * worst[-1]

    def test_it_iterates_the_variance_map(self):
        described = network(8, 6, 2.2, 0.7, bias_std=0.3)
        V = [1.0]
        for _ in range(5):
            V.append(vf.variance_map(V[-1], threshold=0.7, gain=2.2, bias_std=0.3))
        np.testing.assert_allclose(vf.mean_field(described).variance, V, rtol=1e-14)

    def test_with_weight_mean_the_population_mean_is_carried_along(self):
        profile = vf.mean_field(network(8, 6, 2.2, 0.7, mean_gain=0.5))
        wide = vf.finite_width(network(20_000, 6, 2.2, 0.7, mean_gain=0.5))
        p = profile.firing_rate
        z = (0.7 - 0.5 * p[:-1]) / np.sqrt(profile.variance[1:])
        np.testing.assert_allclose(p[1:], scipy.stats.norm.sf(z), rtol=1e-13)
        np.testing.assert_allclose(wide.firing_rate, p, rtol=20 / 20_000)

    def test_inputs_and_silence(self):
        drive = vf.drives.inputs([[0.0, 0.0], [3.0, 1.0]], input_gain=1.0)
        profile = vf.mean_field(network(8, 5, 2.51, 1.0, drive=drive))
        assert profile.survival.tolist() == [0.5] * 5
        assert not profile.per_input["variance"][0].any()
        assert profile.sample is None


def deviations(draw, profile, repeats):
    """Mean and spread of the draws, in standard errors, for every layer that can be judged so."""
    z = []
    for name in ("variance", "firing_rate"):
        values, mean, std = getattr(draw, name), getattr(profile, name), getattr(profile, name + "_std")
        centred = values - mean
        z.append(centred.mean(axis=0) / (std / math.sqrt(repeats)))
        square = centred**2  # its standard error from the draws themselves
        z.append((square.mean(axis=0) - std**2) / (square.std(axis=0) / math.sqrt(repeats)))
    alive = profile.survival
    judged = (alive > 1e-3) & (alive < 1 - 1e-3)
    binomial = np.sqrt(alive * (1 - alive) / repeats)
    z.append(((draw.survival.mean(axis=0) - alive)[judged]) / binomial[judged])
    return np.concatenate(z)


DRAWN = {
    "potentials": network(40, 8, 2.3, 0.7),
    "moments": network(150, 8, 2.3, 0.7),
    "leaking": network(150, 12, 2.45, 1.0),
    "bias": network(100, 6, 1.5, 1.0, bias_std=0.6),
    "weight mean": network(100, 6, 2.0, 0.8, mean_gain=-0.7, bias_std=0.2),
    "threshold below zero": network(100, 6, 1.5, -0.4),
    "rare spikes": network(150, 4, 6.0, 2.0),
    "widths": network((200, 30, 120, 64, 65), 5, 2.5, 0.6),
}


class TestSampling:
    REPEATS = 20_000

    @pytest.mark.parametrize("described", DRAWN.values(), ids=DRAWN.keys())
    def test_moments(self, described):
        """Means and variances of 20 000 draws; the control is a gain 1.5 % off."""
        profile = vf.finite_width(described)
        draw = profile.sample(self.REPEATS, seed=7)
        assert np.abs(deviations(draw, profile, self.REPEATS)).max() < K + 0.5  # the largest of about 40
        off = tuple(1.015 * g for g in described.gains)
        options = {"mean_gain": described.mean_gain, "bias_std": described.bias_std}
        wrong = vf.finite_width(network(described.width, described.depth, off, described.neuron.threshold, **options))
        assert np.abs(deviations(draw, wrong, self.REPEATS)).max() > K + 0.5

    def test_seeds(self):
        sample = vf.finite_width(network()).sample
        one, again, other = sample(5, seed=1), sample(5, seed=1), sample(5, seed=2)
        np.testing.assert_array_equal(one.variance, again.variance)
        assert not np.array_equal(one.variance, other.variance)
        assert one.engine == "chain"

    def test_silent_layers_of_sign_weights(self):
        """Silence has mean and variance 0; nothing is divided by them (warnings are errors here)."""
        described = vf.Network(width=100, depth=10, gain=2.2, neuron=vf.Neuron(0.7), weights="sign")
        draw = vf.finite_width(described).sample(20, seed=0, ensembles=200)
        assert (draw.firing_rate == 0).any()
        assert np.isfinite(draw.variance).all()

    def test_thresholds_beyond_every_tail(self):
        """Potentials 100 orders of magnitude below the threshold: silence, and no overflow on the way."""
        for gain in (1e-60, 1e-100, 1e-135):
            draw = vf.finite_width(network(100, 4, gain)).sample(5)
            assert np.isfinite(draw.variance).all()
            assert not draw.firing_rate[:, 1:].any()
            draw = vf.finite_width(network(100, 4, gain, threshold=-1.0)).sample(5)
            assert (draw.firing_rate[:, 1:] == 1).all()
            np.testing.assert_allclose(draw.variance[:, 2:] / gain**2, 1.0, atol=1.0)

    @pytest.mark.parametrize("width", [65, 100, 200])
    @pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, 2.0, -0.5, -2.0])
    def test_variance_given_the_count_against_real_potentials(self, monkeypatch, width, threshold):
        """Layer 1, where potentials are plain normals. The gamma distribution has the exact mean and variance given the
        count; its shape is not exact: Kolmogorov and Smirnov compare it at a size where that does not show.
        """
        described = network(width, 1, 1.0, threshold)
        sample = vf.finite_width(described).sample
        fast = sample(self.REPEATS, seed=1)
        monkeypatch.setattr(sampling, "EXACT_WIDTH", 10_000)
        exact = sample(self.REPEATS, seed=2)

        def moments(draw):
            V, spikes = draw.variance[:, 0] - 1, draw.spikes[:, 0] - width * scipy.stats.norm.sf(threshold)
            return np.array([V, V**2, spikes, spikes**2, V * spikes, V * spikes**2])

        one, other = moments(fast), moments(exact)
        error = np.sqrt((one.var(axis=1) + other.var(axis=1)) / self.REPEATS)
        assert np.abs((one.mean(axis=1) - other.mean(axis=1)) / error).max() < K
        V, W = fast.variance[:, 0], exact.variance[:, 0]
        assert scipy.stats.ks_2samp(V[:4000], W[:4000]).pvalue > 1e-4
        assert scipy.stats.ks_2samp(V[:4000], 1.05 * W[:4000]).pvalue < 1e-4
        correlation = [np.corrcoef(d.variance[:, 0], d.spikes[:, 0])[0, 1] for d in (fast, exact)]
        error = math.sqrt(2 / self.REPEATS)
        assert abs(correlation[0] - correlation[1]) < K * error
        if abs(threshold) >= 0.5:  # without the dependence of V on K the draws would be visibly wrong
            assert abs(correlation[1]) > 2 * K * error

    @pytest.mark.parametrize(("width", "given", "wrong"), [(70, (8, 15, 22), 1.6), (8, (1, 2, 4), 1.2)])
    def test_given_the_count_the_mean_and_variance_are_exact(self, width, given, wrong):
        """By rejection: potentials whose count happens to be k. A variance that is wrong by a factor is seen."""
        rng = np.random.default_rng(9)
        z = 0.8
        potentials = rng.standard_normal((200_000, width))
        counts = (potentials > z).sum(axis=1)
        fast = vf.finite_width(network(width, 1, 1.0, z)).sample(200_000, seed=10)
        for k in given:
            real, drawn = potentials[counts == k].var(axis=1, ddof=1), fast.variance[fast.spikes[:, 0].round() == k, 0]
            assert min(len(real), len(drawn)) > 800
            error = math.sqrt(real.var() / len(real) + drawn.var() / len(drawn))
            assert abs(real.mean() - drawn.mean()) < K * error
            fourth = [scipy.stats.kurtosis(x, fisher=False) - 1 for x in (real, drawn)]
            error = math.sqrt(fourth[0] / len(real) + fourth[1] / len(drawn))
            assert abs(math.log(real.var() / drawn.var())) < K * error < abs(math.log(wrong * real.var() / drawn.var()))


def test_a_chain_says_what_it_is_of():
    network = vf.Network(width=20, depth=5, gain=2.0)
    chain = vf.SpikeChain(network)
    assert repr(chain) == f"SpikeChain of 5 layers of width 20: alive at layer 5 with probability {chain.survival():.4g}"
    assert repr(vf.SpikeChain(vf.Network(width=[20, 30], depth=2, gain=2.0))).startswith(
        "SpikeChain of 2 layers of widths 20 to 30:"
    )
    assert repr(vf.SpikeChain(vf.Network(width=9, depth=1, gain=2.0))).startswith("SpikeChain of 1 layer of width 9:")


@pytest.mark.parametrize(("threshold", "width", "gain"), [(1.0, 100, 3.25), (1.0, 100, 2.7), (0.7, 12, 2.0), (0.3, 40, 0.9)])
def test_survival_over_a_million_layers(threshold, width, gain):
    """Beyond its own layers a chain follows powers of the full matrix restricted to living counts."""
    counts = np.arange(1, width + 1)
    p = scipy.stats.norm.sf(threshold / gain * np.sqrt(width / counts))
    matrix = scipy.stats.binom.pmf(counts, width, p[:, None])
    first = scipy.stats.binom.pmf(counts, width, scipy.stats.norm.sf(threshold))
    chain = vf.SpikeChain(network(width, 1, gain, threshold))
    for depth in (2, 40, 3000, 900_000):
        expected = float(first @ np.linalg.matrix_power(matrix, depth - 1).sum(axis=1))
        assert chain.survival(depth) == pytest.approx(expected, rel=1e-9, abs=1e-290)
    if 0.01 < expected < 0.999:
        assert chain.survival(890_000) != pytest.approx(expected, rel=1e-6)


def test_neurons_that_fire_at_rest_do_not_die_in_a_million_layers():
    alive = [vf.SpikeChain(network(5, 1, 2.0, -0.2)).survival(depth) for depth in (300, 900_000)]
    assert alive[0] == pytest.approx(alive[1], rel=1e-11)
    assert 0.5 < alive[1] < 0.999


def test_a_survival_that_would_take_minutes_is_refused():
    with pytest.raises(DomainError, match=r"depth=900000 is too large at width 2000000000: take fewer layers or neurons"):
        vf.SpikeChain(network(2 * 10**9, 1)).survival(900_000)
