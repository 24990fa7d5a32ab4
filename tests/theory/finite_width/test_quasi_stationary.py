"""The quasi-stationary state against full matrices, linear solves and hand calculation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.special import ndtr

import varflow as vf

PAPER = {threshold: vf.gain(threshold=threshold) for threshold in (0.7, 0.85, 1.0)}


def chain(width: int, threshold: float, depth: int = 2, **parameters) -> vf.SpikeChain:
    gain = parameters.pop("gain", PAPER.get(threshold))
    return vf.SpikeChain(vf.Network(width=width, depth=depth, gain=gain, neuron=vf.Neuron(threshold), **parameters))


def full_matrix(width: int, threshold: float, bias_std: float = 0.0) -> np.ndarray:
    """``P(K' | K)`` from scipy's binomial."""
    counts = np.arange(width + 1)
    with np.errstate(divide="ignore"):
        p = ndtr(-threshold / np.sqrt(PAPER[threshold] ** 2 * counts / width + bias_std**2))
    return scipy.stats.binom.pmf(counts, width, p[:, None])


def iterated(P: np.ndarray, layers: int) -> tuple[np.ndarray, float]:
    """Distribution and escape rate of live networks after many layers: sums of positive terms keep their relative accuracy."""
    mass = np.full(len(P) - 1, 1.0 / (len(P) - 1))
    for _ in range(layers):
        following = mass @ P[1:]
        mass = following[1:] / following[1:].sum()
    return mass, float(mass @ P[1:, 0])


@pytest.mark.parametrize(("width", "threshold"), [(500, 0.7), (500, 1.0), (1000, 0.85), (60, 1.0)])
def test_escape_rate_against_the_full_matrix(width, threshold):
    mass, rate = iterated(full_matrix(width, threshold), {0.7: 50, 0.85: 75, 1.0: 140}[threshold])
    state = chain(width, threshold).quasi_stationary()
    assert state.escape_rate == pytest.approx(rate, rel=1e-9)
    assert np.abs(state.distribution.mass[1:] - mass).sum() < 1e-9
    assert state.firing_rate == pytest.approx(mass @ np.arange(1, width + 1) / width, rel=1e-9)


@pytest.mark.parametrize(("width", "threshold"), [(250, 0.85), (300, 1.0), (40, 1.0)])
def test_spectrum_by_dense_eigenvalues(width, threshold):
    sizes = np.sort(np.abs(scipy.linalg.eigvals(full_matrix(width, threshold)[1:, 1:])))
    state = chain(width, threshold).quasi_stationary()
    assert 1 - state.escape_rate == pytest.approx(sizes[-1], rel=1e-12)
    assert state.relaxation_depth == pytest.approx(-1 / np.log(sizes[-2] / sizes[-1]), rel=1e-7)


@pytest.mark.parametrize(("width", "threshold"), [(60, 1.0), (100, 0.85), (500, 1.0)])
def test_lifetime_against_a_linear_solve(width, threshold):
    """``E[layers alive] = Σ_l P(K_l > 0) = start (I - P)^-1 1`` over live states."""
    P = full_matrix(width, threshold)[1:, 1:]
    layers = np.linalg.solve(np.eye(width) - P, np.ones(width))
    start = scipy.stats.binom.pmf(np.arange(1, width + 1), width, ndtr(-threshold))
    model = chain(width, threshold)
    life, state = model.lifetime(), model.quasi_stationary()
    assert life.from_drive == pytest.approx(start @ layers, rel=1e-8)
    assert life.from_quasi_stationary == pytest.approx(state.distribution.mass[1:] @ layers, rel=1e-8)
    assert life.from_quasi_stationary == pytest.approx(1 / state.escape_rate, rel=1e-12)


def test_width_one_by_hand():
    """One neuron lives on with probability ``Q(θ/g)``."""
    state = chain(1, 0.8, gain=1.7).quasi_stationary()
    assert state.escape_rate == pytest.approx(ndtr(0.8 / 1.7), rel=1e-13)
    assert state.relaxation_depth == 0
    assert chain(1, 0.8, gain=1.7).lifetime().from_drive == pytest.approx(ndtr(-0.8) / ndtr(0.8 / 1.7), rel=1e-12)


def test_width_two_by_hand():
    """Two live states: eigenvalues of ``[[2pq, p²], [2PQ, P²]]`` from their trace and determinant."""
    p, P = ndtr(-0.8 / (1.7 * np.sqrt([0.5, 1.0])))
    a, b, c, d = 2 * p * (1 - p), p**2, 2 * P * (1 - P), P**2
    root = np.sqrt((a - d) ** 2 + 4 * b * c)
    first, second = (a + d + root) / 2, (a + d - root) / 2
    state = chain(2, 0.8, gain=1.7).quasi_stationary()
    assert state.escape_rate == pytest.approx(1 - first, rel=1e-12)
    assert state.relaxation_depth == pytest.approx(-1 / np.log(abs(second) / first), rel=1e-9)
    assert state.distribution.mass[2] / state.distribution.mass[1] == pytest.approx(b / (first - d), rel=1e-9)


def test_a_bias_brings_silent_networks_back():
    """With a bias silence is not final: survival settles at that of the full matrix's stationary distribution."""
    model, P = chain(60, 1.0, depth=2, bias_std=0.35), full_matrix(60, 1.0, 0.35)
    assert not model.network.silence_is_absorbing
    values, vectors = scipy.linalg.eig(P.T)
    stationary = np.abs(vectors[:, np.argmax(values.real)])
    assert model.survival(3000) == pytest.approx(1 - stationary[0] / stationary.sum(), rel=1e-9)


def test_trend_of_the_exponent():
    """``-ln r/n`` falls towards ``I``, from above by ``-ln A/n``."""
    theory = vf.escape_asymptotics(threshold=1.0, gain=PAPER[1.0])
    widths = np.array([10_000, 30_000, 100_000])
    rates = np.array([chain(int(width), 1.0).quasi_stationary().escape_rate for width in widths])
    above = -np.log(rates) / widths - theory.rate_per_neuron
    assert (np.diff(above) < 0).all()
    assert above * widths == pytest.approx(-np.log(theory.prefactor), abs=0.01)


@pytest.mark.parametrize("parameters", [{"width": [100, 200]}, {"gain": [2.5, 2.5, 2.6]}], ids=str)
def test_layers_that_differ_have_no_stationary_distribution(parameters):
    depth = len(next(iter(parameters.values())))
    model = vf.SpikeChain(vf.Network(**{"width": 100, "gain": 2.5, "depth": depth, **parameters}))
    for ask in (model.quasi_stationary, model.lifetime):
        with pytest.raises(vf.DomainError, match="equal widths"):
            ask()
