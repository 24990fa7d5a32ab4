r"""Derivatives of a neuron's spikes by its currents, through time and the surrogate: back-propagation at sampled currents.

With the derivatives ``D`` of one step (``responses.step``),

.. math:: J_{ts} = \frac{\partial S_t}{\partial c_s} = \psi_t\, D_{t-1} \cdots D_s\, (1 - g_S S_{s-1})

A synaptic filter ``c_t = α_s c_{t-1} + λ I_t`` gives ``∂S_t/∂I_s = λ J_ts + α_s ∂S_t/∂I_{s+1}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.theory.responses.step import Population, admitted, bounded, membrane, slopes, spikes

__all__ = ["NUMBERS", "carried_back", "carried_back_alone", "jacobians", "with_input"]

NUMBERS = 2**19  # of a Jacobian at a block of points: it then stays in the cache


def jacobians(
    neuron: Population, currents: np.ndarray, surrogate: Surrogate, *, detached: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``∂S_t/∂I_s`` (probes, t, s, points) and ``λ ψ`` (probes, t, points) at currents ``c`` (probes, t, points) past the
    synapse, block by block of points.
    """
    steps, points = currents.shape[-2:]
    size = max(NUMBERS // (len(currents) * steps**2), 1)
    for part in (slice(start, start + size) for start in range(0, points, size)):
        yield _jacobian(neuron.of_points(part), currents[..., part], surrogate, detached)


def with_input(neuron: Neuron, population: Population) -> Population:
    """With the input scale and synapse, which sampled currents have passed and gradients have not."""
    return replace(population, input_scale=neuron.input_scale, synaptic_decay=neuron.synaptic_decay)


def _jacobian(neuron: Population, c: np.ndarray, surrogate: Surrogate, detached: bool) -> tuple[np.ndarray, np.ndarray]:
    probes, steps, points = c.shape
    H, S, bound = _stepped(neuron, c)
    psi = surrogate(H - neuron.threshold)
    D = slopes(neuron, H, S, c, psi, bound, detached)
    J = np.zeros((probes, steps, steps, points), c.dtype)
    below = np.zeros((probes, steps, points), c.dtype)  # ∂S_t/∂H_s for all t ≥ s
    for s in range(steps - 1, -1, -1):
        if s < steps - 1:
            below[:, s + 1 :] *= D[:, s, None]
        below[:, s] = psi[:, s]
        entering = np.asarray(admitted(neuron, S[:, s - 1]) if s else 1.0, c.dtype)
        J[:, s:, s] = below[:, s:] * (neuron.input_scale * (entering[:, None] if entering.ndim else entering))
        if neuron.synaptic_decay and s < steps - 1:
            J[:, s + 1 :, s] += neuron.synaptic_decay * J[:, s + 1 :, s + 1]
    return J, neuron.input_scale * psi


def _stepped(neuron: Population, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Membranes, spikes, and where the bound on the next membrane holds."""
    H, S = np.empty_like(c), np.empty_like(c)
    lowest = neuron.reset_rule.lowest
    bound = None if lowest is None else np.empty(c.shape, bool)
    h = s = np.zeros_like(c[:, 0])
    for t in range(c.shape[1]):
        H[:, t] = h = membrane(neuron, h, s, c[:, t])
        S[:, t] = s = spikes(neuron, h)
        if bound is not None and lowest is not None:
            bound[:, t] = bounded(neuron, h, s, lowest)
    return H, S, bound


def carried_back_alone(J: np.ndarray, gradient: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_p K_p`` for each probe: shape of ``gradient``, (probes, steps, steps). ``K``: the other, or ``J``."""
    K, (probes, steps) = J if other is None else other, J.shape[:2]
    unit = np.abs(gradient).max(axis=(1, 2), keepdims=True)  # single precision
    G = np.divide(gradient, unit, out=np.zeros_like(gradient), where=unit > 0).astype(J.dtype)
    weighted = (G @ K.reshape(probes, steps, -1)).reshape(K.shape)  # (probes, t, s', points)
    return unit * np.matmul(J, weighted.swapaxes(-1, -2)).sum(axis=1, dtype=float)


def carried_back(J: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_pq J_q`` for all pairs of probes: shape of ``gradient``, (probes × steps, probes × steps)."""
    probes, steps, _, points = J.shape
    unit = float(np.abs(gradient).max()) or 1.0  # single precision
    G = (gradient / unit).reshape(probes, steps, probes, steps).astype(J.dtype)
    back = np.zeros((probes, steps, probes, steps))
    for q in range(probes):
        columns = J[q].reshape(steps, -1)
        for p in np.flatnonzero(G[: q + 1, :, q].any(axis=(1, 2))).tolist():
            weighted = (G[p, :, q] @ columns).reshape(steps, steps, points)  # (t, s', points)
            block = np.matmul(J[p], weighted.swapaxes(1, 2)).sum(axis=0, dtype=float)
            back[p, :, q], back[q, :, p] = block, block.T
    return unit * back.reshape(gradient.shape)
