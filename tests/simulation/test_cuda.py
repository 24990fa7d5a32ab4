"""Both engines on a CUDA device, by tests that hold on a CPU too: precision, batching, and what the distribution must be."""

import numpy as np
import pytest

import varflow as vf

pytest.importorskip("torch")

K = 4.5  # standard errors
NETWORK = vf.Network(width=100, depth=5, gain=2.51, neuron=vf.Neuron(0.7))
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
ENGINES = ["dense", "conditional"]

pytestmark = [pytest.mark.parametrize("device", DEVICES), pytest.mark.parametrize("engine", ENGINES)]


def scaled(gain):
    return vf.Network(width=100, depth=5, gain=gain * 2.51, neuron=vf.Neuron(0.7))


def z(one, other):
    """Difference of the variance, mean over layers, in standard errors over independent networks."""
    means = [ensemble.variance.mean(axis=1) for ensemble in (one, other)]
    return (means[0].mean() - means[1].mean()) / np.sqrt(sum(mean.var(ddof=1) / len(mean) for mean in means))


def test_float32_and_float64_agree(engine, device):
    """The weights' variance is exact in both, so that no bias is allowed; a gain 10 % larger is told apart."""
    shape = {"repeats": 100, "engine": engine, "device": device}
    single = vf.simulate(NETWORK, seed=1, dtype="float32", **shape)
    double = vf.simulate(NETWORK, seed=2, dtype="float64", **shape)
    wrong = vf.simulate(scaled(1.1), seed=2, dtype="float64", **shape)
    assert abs(z(single, double)) < K < abs(z(single, wrong))


def test_the_exact_theory_holds_and_a_wrong_gain_does_not(engine, device):
    ensemble = vf.simulate(NETWORK, repeats=100, seed=3, engine=engine, device=device)
    assert vf.compare(vf.finite_width(NETWORK), ensemble).passed
    assert not vf.compare(vf.finite_width(scaled(1.1)), ensemble).passed


def test_a_sweep_and_fewer_networks_are_the_same_networks(engine, device):
    """Spikes to the bit; variances too on a CPU, while on a GPU the order of sums may differ."""
    shape = {"seed": 7, "engine": engine, "device": device}
    together = vf.simulate([NETWORK, scaled(0.8)], repeats=11, **shape)
    alone = vf.simulate(NETWORK, repeats=5, **shape)
    assert np.array_equal(alone.firing_rate, together[0].firing_rate[:5])
    np.testing.assert_allclose(alone.variance, together[0].variance[:5], rtol=0 if device == "cpu" else 1e-12)
    assert not np.array_equal(together[1].variance, together[0].variance)
