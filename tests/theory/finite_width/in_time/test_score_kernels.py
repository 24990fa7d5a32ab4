"""Derivatives of the layer map in time: one step in closed form, two by quadrature, more by causality."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.special import ndtr

import varflow as vf
from varflow.theory.finite_width.in_time.kernels import Trains, changes, curvature, fourth_moments, jacobian, matrix, vector
from varflow.theory.responses.quasi_monte_carlo import normal_points

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
NEURONS = {
    "zero": (vf.Neuron(1.0, decay=0.5, reset="zero"), 7.9805),
    "snnTorch": (vf.Neuron(1.0, decay=0.5, reset="delayed_subtract"), 8.0),
    "subtract": (vf.Neuron(1.0, decay=0.7, reset="subtract"), 9.0),
    "none": (vf.Neuron(1.0, decay=0.5), 7.0),
}
# shifts of M_11, M_12, M_22 times n, and variances of these, by differences of quadratures
ANCHORS = {
    "zero": ((-0.5861, -0.4991, -0.5499), (0.23228, 0.13792, 0.23642)),
    "snnTorch": ((-0.5812, -0.5984, -0.7738), None),
    "subtract": ((-0.4131, -0.3999, -0.2549), None),
    "none": ((-1.0581, -1.0016, -0.5718), None),
}


def after(name: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a first potential ``z`` leaves to the second, and the first spike."""
    beta, s = NEURONS[name][0].decay, (z > 1).astype(float)
    left = {"zero": beta * z * (1 - s), "snnTorch": beta * z - s, "subtract": beta * (z - s), "none": beta * z}
    return left[name], s


def two_steps(name: str, M: np.ndarray) -> np.ndarray:
    """``F``, entries 11, 12, 22, by quadrature over the first innovation, cut at the threshold."""
    (a, b), (_, d) = NEURONS[name][1] * matrix(M)
    first, slope, new = a**0.5, b / a**0.5, (d - b * b / a) ** 0.5
    moments = np.zeros(3)
    for low, high in ((-9.0, 1 / first), (1 / first, 9.0)):
        z = (low + high) / 2 + (high - low) / 2 * NODES
        weights = WEIGHTS * (high - low) / 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        left, s = after(name, first * z)
        Q = ndtr((left + slope * z - 1) / new)
        moments += [weights @ s, weights @ (s * Q), weights @ Q]
    return moments


@cache
def exact(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed point, shift and covariance of M, by iteration and differences."""
    M = np.array([0.3, 0.15, 0.3])
    for _ in range(300):
        M = two_steps(name, M)
    F, h, unit = (lambda x: two_steps(name, x)), 2e-3, np.eye(3)
    J = np.stack([(8 * (F(M + h * u) - F(M - h * u)) - F(M + 2 * h * u) + F(M - 2 * h * u)) / (12 * h) for u in unit], 1)
    a, b, c = M
    V = C = np.array([[a, b, b], [b, b, b], [b, b, c]]) - np.outer(M, M)
    for _ in range(500):
        V = J @ V @ J.T + C
    values, vectors = np.linalg.eigh(V)
    bends = [(F(M + h * v) - 2 * F(M) + F(M - h * v)) / h**2 for v in vectors.T]
    return M, np.linalg.solve(np.eye(3) - J, np.array(bends).T @ values / 2), V


def found(name: str, scramble: int) -> tuple[np.ndarray, np.ndarray]:
    """Shift and covariance by the kernels, at one scramble."""
    neuron, square = NEURONS[name]
    L = np.linalg.cholesky(square * matrix(exact(name)[0]))
    unit = changes(square**0.5 * np.linalg.inv(L))
    trains = Trains.of(neuron, L, normal_points(2, points=2**13, scrambles=8, seed=0)[scramble].astype(float), 2)
    F, J = vector(trains.second_moments), jacobian(trains, unit)
    V = C = fourth_moments(trains) - np.outer(F, F)
    for _ in range(200):
        V = J @ V @ J.T + C
    return np.linalg.solve(np.eye(3) - J, curvature(trains, unit, V)), V


@pytest.mark.parametrize("name", NEURONS)
def test_the_quadrature_gives_the_published_numbers(name):
    shift, variances = ANCHORS[name]
    assert exact(name)[1] == pytest.approx(shift, abs=1e-4)
    if variances:
        assert np.diag(exact(name)[2]) == pytest.approx(variances, abs=1e-5)


@pytest.mark.parametrize("name", NEURONS)
def test_two_steps_are_those_of_a_quadrature(name):
    shifts, spreads = zip(*(found(name, r) for r in range(8)), strict=True)
    for replicas, value in (
        (np.array(shifts), exact(name)[1]),
        (np.array([vector(V) for V in spreads]), vector(exact(name)[2])),
    ):
        error = replicas.std(axis=0, ddof=1) / 8**0.5
        z = lambda factor: (replicas.mean(axis=0) - factor * value) / (error + 2e-5)  # noqa: B023, E731
        assert np.abs(z(1.0)).max() < 5
        assert np.abs(z(1.02)).max() > 5


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85])
def test_one_step_is_the_series_of_one_step(threshold):
    gain = vf.gain(threshold=threshold)
    series = vf.expansion(vf.Network(width=10**6, depth=2, gain=gain, neuron=vf.Neuron(threshold)), order=1)
    L = gain * np.full((1, 1), series.fixed_point.firing_rate) ** 0.5
    trains, unit = Trains.of(vf.Neuron(threshold), L, np.zeros((1, 1)), 1), changes(gain / L)
    m, rate = jacobian(trains, unit)[0], trains.second_moments
    V = (fourth_moments(trains) - rate**2) / (1 - m**2)
    assert rate == pytest.approx(series.fixed_point.firing_rate, rel=1e-14)
    assert m == pytest.approx(series.fixed_point.multiplier, rel=1e-13)
    assert gain**4 * V == pytest.approx(series.variance_coefficients[0], rel=1e-13)
    assert gain**2 * curvature(trains, unit, V) / (1 - m) == pytest.approx(series.mean_coefficients[0], rel=1e-13)


def test_the_first_steps_do_not_know_of_later_ones():
    neuron, square = vf.Neuron(1.0, decay=0.9, reset="subtract"), 8.0
    A = np.random.default_rng(0).normal(size=(5, 9))
    M, V = 0.05 + 0.2 * np.corrcoef(A) ** 2, np.cov(np.random.default_rng(1).normal(size=(15, 40)))
    made = []
    for T in (5, 3):
        L, d = np.linalg.cholesky(square * M[:T, :T]), T * (T + 1) // 2
        trains = Trains.of(neuron, L, normal_points(5, points=2**8, scrambles=2, seed=0)[0, :T].astype(float), T)
        unit = changes(square**0.5 * np.linalg.inv(L))
        made.append([jacobian(trains, unit), fourth_moments(trains), curvature(trains, unit, V[:d, :d])])
    for longer, shorter in zip(*made, strict=True):
        assert longer[tuple(slice(n) for n in shorter.shape)] == pytest.approx(shorter, rel=1e-9, abs=1e-12)
    assert not made[0][0][:6, 6:].any()
    assert made[0][0][6:, :6].any()
