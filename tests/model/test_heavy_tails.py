"""Stable weights, without a variance: tails of their sums, draws, chains, and the rates at which they live."""

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st
import torch
from scipy.optimize import brentq

import varflow as vf
from varflow.simulation.streams import Variates
from varflow.theory.finite_width.firing import firing
from varflow.theory.layer import layers

W = vf.weights
RATE, GAIN = 0.1, np.tan(0.1 * np.pi) / 0.1  # of Cauchy weights at infinite width
AT_RATE = vf.drives.currents(-1 / st.norm.ppf(RATE))


def tail(law, z):
    return law.core.tails(np.array([z]))[0][0]


def cauchy(width, depth=100, gain=GAIN, **options):
    return vf.Network(width=width, depth=depth, gain=gain, weights=W.cauchy(), **options)


def series(alpha, z):
    """``P(x > z)`` by the series in ``z`` for ``α > 1``, in ``1/z`` for ``α < 1``."""
    with mp.workdps(60):
        a, z, k = mp.mpf(alpha), mp.mpf(z), range(300)
        if alpha > 1:
            terms = [(-1) ** j * mp.gamma((2 * j + 1) / a) / mp.factorial(2 * j + 1) * z ** (2 * j + 1) for j in k]
            return float(0.5 - mp.fsum(terms) / (mp.pi * a))
        terms = [(-1) ** (j + 1) * mp.gamma(a * j) * mp.sin(mp.pi * a * j / 2) / mp.factorial(j) * z ** (-a * j) for j in k[1:]]
        return float(mp.fsum(terms) / mp.pi)


@pytest.mark.parametrize("alpha", [0.5, 0.8, 0.99, 1.01, 1.3, 1.7, 1.99])
def test_tails_are_those_of_series(alpha):
    for z in (0.01, 0.3, 0.8) if alpha > 1 else (1.5, 2.0, 40.0):
        assert tail(W.stable(alpha), z) == pytest.approx(series(alpha, z), abs=3e-14)
        assert tail(W.stable(min(alpha + 1e-3, 1.99)), z) != pytest.approx(series(alpha - 1e-3, z), abs=1e-8)


def test_cauchy_is_the_stable_distribution_of_index_one():
    z = np.array([-1e9, -2.0, 0.0, 0.3, 7.0, 1e12])
    upper, lower = W.cauchy().core.tails(z)
    np.testing.assert_allclose(upper, st.cauchy.sf(z), rtol=1e-14)
    np.testing.assert_allclose(lower, st.cauchy.cdf(z), rtol=1e-14)
    np.testing.assert_allclose(W.stable(1 + 1e-12).core.tails(z)[0], upper, atol=3e-13)


@pytest.mark.parametrize("strict", [True, False])
def test_a_sum_is_as_wide_as_its_index_says(strict):
    count = np.arange(65)
    for alpha in (0.7, 1.0, 1.5):
        network = vf.Network(width=64, depth=2, gain=1.8, weights=W.stable(alpha), neuron=vf.Neuron(0.9, strict=strict))
        p, q = firing(layers(network)[0], count)
        scale = 1.8 / 64 ** (1 / alpha)
        expected = [0.0, *(tail(W.stable(alpha), 0.9 / (scale * k ** (1 / alpha))) for k in count[1:])]
        np.testing.assert_allclose(p, expected, atol=1e-15)
        np.testing.assert_allclose(p + q, 1.0, rtol=1e-15)


@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.5])
def test_draws_have_these_tails(alpha):
    block = torch.empty(4000, dtype=torch.float64)
    drawn = W.stable(alpha).core.draw(Variates(block, torch.Generator().manual_seed(5))).numpy()
    assert st.kstest(drawn, lambda z: W.stable(alpha).core.tails(z)[1]).pvalue > 1e-3
    assert st.kstest(drawn, lambda z: W.stable(alpha).core.tails(2 * z)[1]).pvalue < 1e-6


@pytest.mark.parametrize(
    ("law", "gain"),
    [(W.cauchy(), 3.6), (W.stable(1.5), 2.6), (W.stable(0.6), 5.0), (W.sparse(0.4, W.cauchy()), 3.6)],
    ids=str,
)
def test_real_networks_have_the_counts_of_the_chain(law, gain):
    network = vf.Network(width=40, depth=6, gain=gain, weights=law)
    rates = vf.simulate(network, repeats=1000, seed=1).firing_rate[:, 1:]
    error = rates.std(axis=0) / np.sqrt(len(rates))
    for weights, agrees in ((law, True), ("normal", False)):
        chain = vf.SpikeChain(vf.Network(width=40, depth=6, gain=gain, weights=weights))
        expected = np.array([count.firing_rate for count in chain.propagate()[1:]])
        assert (np.abs(rates.mean(axis=0) - expected) < 4.5 * error).all() == agrees


def test_networks_live_below_the_least_rate_of_normal_weights():
    assert vf.SpikeChain(cauchy(512, drive=AT_RATE)).survival() == pytest.approx(0.83, abs=0.005)
    chain = vf.SpikeChain(cauchy(1500, drive=AT_RATE))
    assert chain.survival() == pytest.approx(0.999, abs=5e-4)
    assert chain.propagate()[-1].firing_rate < RATE < vf.sparsest_rate(width=10**5, depth=100)


@pytest.mark.parametrize("law", [W.cauchy(), W.stable(1.5), "uniform"], ids=str)
def test_the_sparsest_rate_reaches_its_target(law):
    rate = vf.sparsest_rate(width=120, depth=20, survival_target=0.9, weights=law)
    core = W.weight_law("normal" if law == "uniform" else law).core
    for factor, enough in ((1.001, True), (0.999, False)):
        wanted = factor * rate
        z = brentq(lambda z, p=wanted: core.tails(np.array([z]))[0][0] - p, 0.1, 10.0, xtol=1e-13)
        drive = vf.drives.currents(-1 / st.norm.ppf(wanted))
        network = vf.Network(width=120, depth=20, gain=1 / (z * wanted ** (1 / core.index)), weights=law, drive=drive)
        assert (vf.SpikeChain(network).survival() >= 0.9) == enough


@pytest.mark.parametrize(("alpha", "least"), [(1.05, 0.0331), (1.2, 0.0924), (1.5, 0.12327), (1.99, 0.11717)])
def test_above_index_one_rates_have_a_least_one(alpha, least):
    """Where the gain ``1/(z p^{1/α})`` of a rate ``p = P(x > z)`` is smallest."""
    z = np.linspace(1.5, 10, 2000)
    rates = W.stable(alpha).core.tails(z)[0]
    smallest = np.argmin(1 / (z * rates ** (1 / alpha)))
    assert rates[smallest] == pytest.approx(least, abs=2e-4)
    assert 0 < smallest < len(z) - 1


def test_wide_networks_reach_the_least_rate():
    assert vf.sparsest_rate(width=10**5, depth=10, weights=W.stable(1.2)) == pytest.approx(0.0924, abs=2e-5)


NEEDS_VARIANCE = [
    lambda: vf.finite_width(cauchy(9, 3)),
    lambda: vf.mean_field(cauchy(9, 3)),
    lambda: vf.fixed_points(cauchy(9, 3)),
    lambda: vf.gradient_flow(cauchy(9, 3)),
    lambda: vf.kernel(cauchy(9, 3), np.eye(2) + 1),
    lambda: vf.trainability(cauchy(9, 3)),
    lambda: vf.SpikeChain(cauchy(9, 3)).quasi_stationary(),
    lambda: vf.gain_for_mean_variance(threshold=1.0, width=9, depth=3, weights=W.cauchy()),
    lambda: W.normal_approximation(W.cauchy()),
    lambda: vf.reference.mean_field_in_time(cauchy(9, 3, steps=2)),
]


@pytest.mark.parametrize("number", range(len(NEEDS_VARIANCE)))
def test_answers_that_rest_on_a_variance_say_so(number):
    with pytest.raises(vf.DomainError, match="have no variance"):
        NEEDS_VARIANCE[number]()


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: W.stable(2.0), "alpha"),
        (lambda: W.stable(0.4), "alpha"),
        (lambda: W.stable("one"), "alpha"),
        (lambda: W.quantised(4, base=W.cauchy()), "clip"),
        (lambda: vf.Network(width=9, depth=3, gain=2.0, weights=W.sparse(0.5, W.cauchy()), mean_gain=0.5), "mean_gain"),
        (lambda: vf.expansion(cauchy(9, 3)), "weights"),
        (lambda: vf.simulate(cauchy(9, 3), engine="conditional", repeats=2), "weights"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(vf.DomainError) as caught:
        call()
    assert caught.value.argument == argument


def test_a_bias_has_no_exact_tail():
    with pytest.raises(vf.ConvergenceError, match="bias to 0"):
        vf.SpikeChain(cauchy(9, 3, bias_std=0.1))


def test_a_scale_is_a_gain_over_a_power_of_the_fan_in():
    assert W.stable(0.8).connection(2.0, 100) == pytest.approx((2.0 / 100**1.25, 0.0))
    assert W.fixed_in_degree(10, W.cauchy()).connection(2.0, 100) == pytest.approx((0.2, 0.0))
    gain = vf.corrected_gain(threshold=1.0, width=200, depth=10, weights=W.cauchy())
    assert vf.SpikeChain(cauchy(200, 10, gain)).survival() == pytest.approx(0.99, abs=1e-9)
