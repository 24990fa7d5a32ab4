r"""A layer with recurrent weights at infinite width, in one sweep over time.

.. math:: \mathrm{Cov}[I_t, I_{t'}] = C_{tt'} + g_r^2 M_{t-1, t'-1}, \qquad E[I_t] = \mu_t + m_r e_{t-1}

Row ``t`` of the Cholesky factor of these currents, before the synapse, needs spikes before ``t`` only, so that the moments
``M`` of the layer itself are known in time. The newest innovation is averaged exactly, as by ``quasi_monte_carlo``.
"""

from __future__ import annotations

import numpy as np

from varflow.model.layers import Spike
from varflow.theory.in_time.conditional_spikes import expected_spikes
from varflow.theory.in_time.quasi_monte_carlo import FLAT, QuasiMonteCarlo
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import Population, admitted, membrane, spikes

__all__ = ["recurrent_layer"]


def recurrent_layer(
    layer: Spike, mean: np.ndarray, covariance: np.ndarray, steps: int, sampling: QuasiMonteCarlo, number: int
) -> LayerState:
    """The state of layer ``number`` under currents from below with these moments; several probes follow each other."""
    signs = sampling.signs(number)
    replicas, groups = len(sampling.normals), mean.shape[1]
    means = np.broadcast_to(mean, (replicas, *mean.shape[1:]))
    covariances = np.broadcast_to(covariance, (replicas, *covariance.shape[1:]))
    found = [
        _swept(layer, means[at, group], covariances[at, group], steps, sampling.normals[at] * signs[at][:, None])
        for at in range(replicas)
        for group in range(groups)
    ]
    moments = (np.reshape(column, (replicas, groups, *column[0].shape)) for column in zip(*found, strict=True))
    return LayerState(*moments, point_fraction=1 / sampling.normals.shape[-1])


def _swept(layer: Spike, mean: np.ndarray, covariance: np.ndarray, steps: int, normals: np.ndarray) -> tuple[np.ndarray, ...]:
    """Variance, mean, rate and second moments of spikes over one set of points (i, points)."""
    size, points = len(mean), normals.shape[-1]
    neuron = Population.of(layer.neuron, normals[size:])
    back, forth = layer.neuron.input_scale * layer.recurrent_gain, layer.neuron.input_scale * layer.recurrent_mean_gain
    order = np.arange(size).reshape(-1, steps).T.ravel()  # step by step, all probes at each
    total, M, e = covariance.copy(), np.zeros((size, size)), np.zeros(size)
    L, fired, rests = np.zeros((size, size)), np.zeros((size, points)), np.zeros(points)
    H: dict[int, np.ndarray] = {}
    filtered: dict[int, np.ndarray] = {}  # currents past the synapse
    potential, second = np.zeros(size), np.zeros(size)
    known: list[int] = []
    for i in order.tolist():
        first = i % steps == 0
        here = [*known, i]
        if not first:
            later = [j for j in here if j % steps]
            total[i, later] += back**2 * M[i - 1, np.array(later) - 1]
            total[later, i] = total[i, later]
        row = _next_row(L, total, known, i)
        arriving = mean[i] + (0.0 if first else forth * e[i - 1]) + row @ normals[known]
        if not first:
            arriving += layer.neuron.synaptic_decay * filtered.pop(i - 1)
        h, s = (rests, rests) if first else (H.pop(i - 1), fired[i - 1])
        expected = membrane(neuron, h, s, arriving)
        std = L[i, i]
        filtered[i] = arriving + std * normals[i]
        H[i] = expected + admitted(neuron, s) * std * normals[i]
        fired[i] = spikes(neuron, H[i])
        chance, squares = expected_spikes(neuron, expected, std, s, fired[i])
        e[i] = chance.mean()
        M[i, known] = M[known, i] = fired[known] @ chance / points
        M[i, i] = squares.mean()
        potential[i] = expected.mean()
        second[i] = ((expected - potential[i]) ** 2).mean() + std**2 * np.mean(
            np.broadcast_to(admitted(neuron, s), points) ** 2
        )
        known.append(i)
    return second, potential, e, M


def _next_row(L: np.ndarray, covariance: np.ndarray, known: list[int], i: int) -> np.ndarray:
    """Row ``i`` of the Cholesky factor of the index in this order, by forward substitution; innovations of 0 stay 0."""
    row = np.zeros(len(known))
    for place, j in enumerate(known):
        if L[j, j] > 0:
            row[place] = (covariance[i, j] - L[j, known[:place]] @ row[:place]) / L[j, j]
    L[i, known] = row
    rest = covariance[i, i] - row @ row
    L[i, i] = np.sqrt(rest) if rest > FLAT**2 * covariance[i, i] else 0.0
    return row
