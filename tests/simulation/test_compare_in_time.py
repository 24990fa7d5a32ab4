"""The verdict in time: its false-alarm rate holds for entries that move together and for rare spikes, and it sees errors.

Profiles are made by hand, from distributions whose every moment is known, so that the theory judged is true by construction.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

import varflow as vf
from varflow import DomainError

DEPTH, STEPS, REPEATS = 4, 5, 10
NETWORK = vf.Network(width=200, depth=DEPTH, gain=2.0, neuron=vf.Neuron(1.0, decay=0.5), steps=STEPS)
SHAPE = (DEPTH, STEPS)
MEAN = {"variance": 1 + np.arange(20.0).reshape(SHAPE) / 10, "firing_rate": np.linspace(0.2, 0.4, 20).reshape(SHAPE)}


def profile(network=NETWORK, rate=None, **options):
    rate = MEAN["firing_rate"] if rate is None else rate
    none = np.zeros(rate.shape)
    options = {"variance": MEAN["variance"], "potential_mean": none} | options
    return vf.Profile(
        network, variance_std=none, firing_rate=rate, firing_rate_std=none, survival=np.ones(rate.shape), **options
    )


def correlated(rho, seed, repeats=REPEATS, relative=0.05, shift=0.0):
    """An ensemble whose entries all move together with correlation ``rho``, about the profile's values."""
    rng = np.random.default_rng(seed)

    def noise():
        common, own = rng.normal(size=(repeats, 1, 1)), rng.normal(size=(repeats, *SHAPE))
        return relative * (np.sqrt(rho) * common + np.sqrt(1 - rho) * own)

    variance, rate = (MEAN[name] * (1 + shift + noise()) for name in MEAN)
    return vf.Ensemble(NETWORK, variance, rate, potential_mean=noise())


def rejections(rho, number=300, alpha=0.05):
    """Of ensembles that scatter by 30 %, more than binomial counts must: by less, no standard error is believed."""
    truth = profile()
    return sum(not vf.compare(truth, correlated(rho, seed, relative=0.3), false_alarm=alpha).passed for seed in range(number))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_a_true_theory_is_rejected_no_more_often_than_stated(rho):
    rejected = rejections(rho)
    assert binom.sf(rejected - 1, 300, 0.05) > 1e-4, rejected
    if rho == 0:
        assert binom.cdf(rejected, 300, 0.05) > 1e-4, (
            f"{rejected}: where entries are independent little of the rate is given away"
        )


def test_rare_spikes_raise_no_false_alarms():
    """Binomial counts of rates down to a spike in ten thousand networks; a driven layer of independent neurons."""
    rates = np.geomspace(1e-6, 0.3, 20).reshape(SHAPE)
    truth, rng, number = profile(rate=rates), np.random.default_rng(2), 400
    rejected = 0
    for _ in range(number):
        counts = rng.binomial(NETWORK.width, rates, size=(REPEATS, *SHAPE))
        variance = MEAN["variance"] * (1 + 0.1 * rng.normal(size=(REPEATS, *SHAPE)))
        ensemble = vf.Ensemble(NETWORK, variance, counts / NETWORK.width)
        rejected += not vf.compare(truth, ensemble, false_alarm=0.05).passed
    assert binom.sf(rejected - 1, number, 0.05) > 1e-4, rejected


def test_a_variance_carried_by_rare_spikes_raises_no_false_alarms():
    """From layer 2 on ``V_t = g² K/n`` of the very counts before: skewed, and often exactly 0."""
    rates = np.full(SHAPE, 0.002)
    truth = profile(rate=rates, variance=np.vstack([np.ones(STEPS), 4 * rates[1:]]))
    rng, number, rejected = np.random.default_rng(4), 400, 0
    for _ in range(number):
        rate = rng.binomial(NETWORK.width, rates, size=(REPEATS, *SHAPE)) / NETWORK.width
        driven = 1 + 0.1 * rng.normal(size=(REPEATS, 1, STEPS))
        ensemble = vf.Ensemble(NETWORK, np.concatenate([driven, 4 * rate[:, :-1]], axis=1), rate)
        rejected += not vf.compare(truth, ensemble, false_alarm=0.05).passed
    assert binom.sf(rejected - 1, number, 0.05) > 1e-4, rejected


def test_rates_that_are_not_rare_and_silent_all_the_same_are_rejected():
    truth = profile(rate=np.full(SHAPE, 0.05))
    ensemble = vf.Ensemble(NETWORK, np.tile(MEAN["variance"], (REPEATS, 1, 1)), np.zeros((REPEATS, *SHAPE)))
    verdict = vf.compare(truth, ensemble)
    assert not verdict.passed
    assert verdict.worst["survival"][-1] < -100


@pytest.mark.parametrize("rho", [0.0, 0.95])
def test_a_theory_wrong_by_a_tenth_is_rejected(rho):
    """A tenth is about 20 standard errors of 100 networks that scatter by 5 %."""
    verdict = vf.compare(profile(), correlated(rho, seed=1, repeats=100, shift=0.1))
    assert not verdict.passed
    assert verdict.calibration == "normal errors"


@pytest.mark.parametrize("bias", [0.1, {"variance": 0.1 * MEAN["variance"], "firing_rate": 0.04}])
def test_a_stated_bias_is_granted_and_no_more(bias):
    assert vf.compare(profile(), correlated(0.5, seed=1, repeats=100, shift=0.1), bias=bias).passed
    assert not vf.compare(profile(), correlated(0.5, seed=1, repeats=100, shift=0.2), bias=bias).passed


def test_the_numerical_error_of_the_profile_adds_to_that_of_the_ensemble():
    ensemble, rate = correlated(0.0, seed=3, repeats=100), np.ones(SHAPE)  # no scatter of rare spikes is added
    plain = vf.compare(profile(rate=rate), ensemble)
    error = {"variance": np.full(SHAPE, 0.02)}
    wide = vf.compare(profile(rate=rate, error=error), ensemble)
    own = ensemble.stderr().variance
    assert wide.z["variance"] == pytest.approx(plain.z["variance"] * own / np.hypot(own, 0.02), rel=1e-4)
    assert np.array_equal(wide.z["firing_rate"], plain.z["firing_rate"])


def test_worst_names_layer_and_step():
    ensemble = correlated(0.5, seed=1)
    for name in ("variance", "potential_mean"):
        changed = getattr(ensemble, name).copy()
        changed[:, 2, 4] += 3
        verdict = vf.compare(profile(), replace(ensemble, **{name: changed}))
        layer, step, z = verdict.worst[name]
        assert (layer, step) == (3, 5)
        assert z > 10
        assert verdict.deviation == z
        assert not verdict.passed
        written = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert written["worst"][name]["step"] == 5
        assert np.shape(written["z"][name]) == SHAPE
        assert "at layer, step" in repr(verdict)
        assert "3, 5" in repr(verdict)


def test_without_mean_potentials_they_are_not_judged():
    assert "potential_mean" not in vf.compare(profile(potential_mean=None), correlated(0.0, seed=1)).z


def test_what_single_precision_rounds_is_no_deviation():
    exact = np.tile(MEAN["variance"], (3, 1, 1))
    rate = np.tile(MEAN["firing_rate"], (3, 1, 1))
    assert vf.compare(profile(), vf.Ensemble(NETWORK, exact * (1 + 1e-7), rate)).passed
    assert not vf.compare(profile(), vf.Ensemble(NETWORK, exact * (1 + 1e-3), rate)).passed


@pytest.mark.parametrize(
    ("bias", "rule"),
    [
        (-0.1, "must not be negative"),
        ("2 %", "must be a real number"),
        ([0.1, 0.2], "must be one fraction"),
        ({"rate": 0.1}, "is not one of the quantities variance, firing_rate, survival, potential_mean"),
        ({"variance": np.ones(3)}, "must be one number or fit layers and steps"),
    ],
)
def test_bad_biases(bias, rule):
    with pytest.raises(DomainError, match="bias=") as caught:
        vf.compare(profile(), correlated(0.0, seed=1), bias=bias)
    assert rule in str(caught.value)


def test_an_exact_distribution_needs_no_bias():
    exact = vf.finite_width(vf.Network(width=20, depth=3, gain=2.5))
    with pytest.raises(DomainError, match="without an exact distribution"):
        vf.compare(exact, exact.sample(5), bias=0.1)


def test_infinite_width_at_one_step_stands_within_its_bias():
    network = vf.Network(width=300, depth=10, gain=vf.gain(threshold=0.85), neuron=vf.Neuron(0.85))
    exact = vf.finite_width(network)
    draw, bias = exact.sample(3000, seed=1), {"variance": 1 - exact.variance, "firing_rate": 0.02, "survival": 0.01}
    assert 0.01 < bias["variance"].max() < 0.1
    assert not vf.compare(vf.mean_field(network), draw).passed
    assert vf.compare(vf.mean_field(network), draw, bias=bias | {"variance": np.abs(bias["variance"])}).passed


def test_shapes_that_differ_are_refused():
    one_step = vf.finite_width(vf.Network(width=20, depth=DEPTH, gain=2.5))
    with pytest.raises(DomainError, match="give both networks the same depth and steps"):
        vf.compare(one_step, correlated(0.0, seed=1))
