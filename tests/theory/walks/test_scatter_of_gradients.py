"""Scatter of gradient norms between networks of one step: layers of independent neurons, dense networks, and the deep limit."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

import varflow as vf
from varflow.theory.responses.back_propagation import surrogate_moments

BIAS = 0.1  # of the variance, from the next order in 1/n; the sampling error is 5 %


class Case(NamedTuple):
    threshold: float
    of_spikes: float  # fraction of the variance, 1 at the fixed point; the rest comes from biases
    width: int
    depth: int
    mean_gain: float = 0.0

    @property
    def gain(self):
        return math.sqrt(self.of_spikes / norm.sf(self.threshold))

    @property
    def bias_std(self):
        return math.sqrt(1 - self.of_spikes)

    @property
    def flow(self):
        neuron, size = vf.Neuron(self.threshold), {"width": self.width, "depth": self.depth}
        more = {"bias_std": self.bias_std, "mean_gain": self.mean_gain}
        return vf.gradient_flow(vf.Network(**size, gain=self.gain, neuron=neuron, **more), "atan")


CASES = [Case(1.5, 0.5, 1500, 10), Case(1.35, 0.7, 2000, 10), Case(1.5, 0.5, 2000, 10, mean_gain=1.0)]


def psi(x):
    return 1 / (1 + (np.pi * x) ** 2)


def logarithms(case, networks, seed):
    """``ln‖δ_l‖²`` of networks whose potentials are independent given the spike count below, shape (depth, networks)."""
    rng, n = np.random.default_rng(seed), case.width
    mean, variance, factors = np.zeros(networks), np.ones(networks), []
    for _ in range(case.depth):
        u = mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((networks, n), dtype=np.float32)
        back = psi(u - case.threshold) * rng.standard_normal((networks, n), dtype=np.float32)
        factors.append(np.log(case.gain**2 * np.mean(back**2, axis=1)))
        rate = np.mean(u > case.threshold, axis=1)
        mean, variance = case.mean_gain * rate, case.bias_std**2 + case.gain**2 * rate
    return np.cumsum(factors[::-1], axis=0)[::-1]


@pytest.mark.parametrize("case", CASES, ids=["rare spikes", "more spikes", "weights with a mean"])
def test_the_scatter_contains_the_fluctuation_of_activity(case):
    """That of the surrogate alone, ``Σ(3κ-1)/n``, is rejected; so is the mean of the logarithm that would go with it."""
    networks = 800
    found, flow = logarithms(case, networks, seed=case.width), case.flow
    allowed = 4 * math.sqrt(2 / (networks - 1)) + BIAS
    ratio = found.var(axis=1, ddof=1) / flow.spread**2
    assert np.all(np.abs(ratio - 1) < allowed)
    states = vf.mean_field(flow.network)
    below = np.concatenate([[0.0], states.firing_rate[:-1]])
    kurtosis = surrogate_moments(vf.surrogates.atan(), case.threshold - case.mean_gain * below, states.variance).kurtosis
    alone = np.cumsum((3 * kurtosis - 1)[::-1] / case.width)[::-1]
    assert (found.var(axis=1, ddof=1) / alone)[0] - 1 > allowed
    typical = np.log(flow.typical[0] / flow.typical[-1])
    error = (found[0] - found[-1]).std(ddof=1) / math.sqrt(networks)
    assert abs((found[0] - found[-1]).mean() - typical) < 4 * error + BIAS * abs(math.log(flow.typical[0] / flow.total[0]))


def dense(case, seed):
    """``ln‖δ_1‖²`` of a network of real matrices."""
    rng, n, back = np.random.default_rng(seed), case.width, []
    u, weights = rng.standard_normal(n), []
    for layer in range(case.depth):
        back.append(psi(u - case.threshold))
        if layer + 1 < case.depth:
            weights.append(rng.standard_normal((n, n), dtype=np.float32) * (case.gain / math.sqrt(n)))
            u = weights[-1] @ (u > case.threshold) + case.bias_std * rng.standard_normal(n)
    delta = back[-1] * rng.standard_normal(n)
    for slope, matrix in zip(back[-2::-1], weights[::-1], strict=True):
        delta = slope * (matrix.T @ delta)
    return math.log(delta @ delta)


@pytest.mark.slow
def test_dense_networks_scatter_as_much():
    """The surrogate alone, with four fifths of the deviation, is rejected."""
    case, networks = Case(1.5, 0.5, 250, 10), 300
    found = np.std([dense(case, seed) for seed in range(networks)], ddof=1)
    kurtosis = surrogate_moments(vf.surrogates.atan(), np.array(case.threshold), np.array(1.0)).kurtosis
    alone = math.sqrt(case.depth * (3 * kurtosis - 1) / case.width)
    allowed = 4 / math.sqrt(2 * (networks - 1)) + BIAS / 2
    assert abs(found / case.flow.spread[0] - 1) < allowed
    assert found / alone - 1 > allowed


def test_deep_layers_add_what_the_formula_says():
    """``3κ - 1 + b²(1-p)/(p(1-m)²) + 2b(w-p)/(p(1-m))`` over n, by quadratures of its own; without activity it is less."""
    case = Case(1.4, 0.55, 1000, 160)
    z, p, r = case.threshold, norm.sf(case.threshold), case.of_spikes

    def mean(f, low=-12.0):
        return integrate.quad(lambda u: f(u) * norm.pdf(u), low, 12, points=[z], epsabs=1e-14, epsrel=1e-12, limit=400)[0]

    square = mean(lambda u: psi(u - z) ** 2)
    kappa, w = mean(lambda u: psi(u - z) ** 4) / square**2, mean(lambda u: psi(u - z) ** 2, z) / square
    b = r * mean(lambda u: psi(u - z) ** 2 * (u**2 - 1) / 2) / square
    m = r * z * norm.pdf(z) / (2 * p)
    exact = 3 * kappa - 1 + b**2 * (1 - p) / (p * (1 - m) ** 2) + 2 * b * (w - p) / (p * (1 - m))
    added = -np.diff(case.flow.spread**2)[70:90] * case.width
    assert added == pytest.approx(exact, rel=1e-5)
    assert 3 * kappa - 1 < 0.8 * exact
