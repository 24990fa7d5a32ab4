r"""A layer with recurrent weights at infinite width, in one sweep over time.

.. math:: \mathrm{Cov}[I_t, I_{t'}] = C_{tt'} + g_r^2 M_{t-1, t'-1}, \qquad E[I_t] = \mu_t + m_r e_{t-1}

Row ``t`` of the Cholesky factor of these currents, before the synapse, needs spikes before ``t`` only, so that the moments
``M`` of the layer itself are known in time. The newest innovation is averaged exactly, as by ``quasi_monte_carlo``.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from varflow.model.layers import Spike
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.quasi_monte_carlo import FLAT, QuasiMonteCarlo, over_innovation
from varflow.theory.responses.step import NeuronState, Population, gate, step


def recurrent_layer(
    layer: Spike, mean: np.ndarray, covariance: np.ndarray, steps: int, sampling: QuasiMonteCarlo, number: int
) -> LayerState:
    """The state of layer ``number`` under currents from below with these moments; several sequences follow each other."""
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
    size, points, decay = len(mean), normals.shape[-1], layer.neuron.synaptic_decay
    neuron = Population.of(layer.neuron, normals[size:])
    back, forth = layer.neuron.input_scale * layer.recurrent_gain, layer.neuron.input_scale * layer.recurrent_mean_gain
    order = np.arange(size).reshape(-1, steps).T.ravel()  # step by step, all sequences at each
    total, M, sums = covariance.copy(), np.zeros((size, size)), np.zeros((size, 4))
    L, fired = np.zeros((size, size)), np.zeros((size, points))
    rest = np.zeros(points)
    states = dict.fromkeys(
        range(size // steps), (NeuronState(rest, rest), rest)
    )  # of each sequence, with currents past the synapse
    for number, i in enumerate(order.tolist()):
        known, first = order[:number], i % steps == 0
        if not first:
            later = order[: number + 1]
            later = later[later % steps > 0]
            total[i, later] += back**2 * M[i - 1, later - 1]
            total[later, i] = total[i, later]
        before, current = states[i // steps]
        row, std = _next_row(L[np.ix_(known, known)], total[i, known], total[i, i])
        L[i, known], L[i, i] = row, std[0]
        newest = std * normals[i]
        mean_input = mean[i] + (0.0 if first else forth * sums[i - 1, 2] / points)
        current = decay * current + mean_input + row @ normals[known] + newest
        state = step(neuron, before, current)
        fired[i] = state.s
        chance, sums[i] = over_innovation(neuron, state.h, newest, std, gate(neuron, before), state.s)
        states[i // steps] = state, current
        M[i, known] = M[known, i] = fired[known] @ chance / points
        M[i, i] = sums[i, 3] / points
    potential, second, rate, _ = sums.T / points
    return second - potential**2, potential, rate, M


def _next_row(L: np.ndarray, covariances: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """The next row of a Cholesky factor, from its covariances with the rows so far; innovations of 0 stay 0."""
    own = L.diagonal()
    row = (own > 0) * solve_triangular(L + np.diag(own == 0), covariances, lower=True, check_finite=False)
    rest = variance - row @ row
    return row, np.sqrt([rest if rest > FLAT**2 * variance else 0.0])
