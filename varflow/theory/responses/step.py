r"""One step of a neuron, its derivatives, and those of spikes by currents through time: back-propagation at sampled currents.

.. math:: H' = \beta (1 - kS) H - \varrho a \theta S + (1 - g_S S) c, \qquad S = 1(H > \theta), \qquad
          D_t = \frac{\partial H_{t+1}}{\partial H_t} = \beta (1 - k S_t) - \psi_t\, (\beta k H_t + \varrho a \theta +
          g_S c_{t+1})

with ``ψ_t = ψ(H_t - θ)`` in place of the derivative of the spikes. A detached reset has the first term of ``D`` only. Where the
bound ``lowest`` holds, the membrane part of ``D`` is 0. Through time

.. math:: J_{ts} = \frac{\partial S_t}{\partial c_s} = \psi_t\, D_{t-1} \cdots D_s\, (1 - g_S S_{s-1})

and with a synaptic filter ``c_t = α_s c_{t-1} + λ I_t`` also ``∂S_t/∂I_s = λ J_ts + α_s ∂S_t/∂I_{s+1}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.model.resets import Reset
from varflow.model.surrogate import Surrogate

NUMBERS = 2**19  # of a Jacobian at a block of points: it then stays in the cache


@dataclass(frozen=True, slots=True)
class Population:
    """Neurons with a threshold and a decay each: the sampling points of a layer. One number if all are equal."""

    threshold: Any
    decay: Any
    reset_rule: Reset
    strict: bool
    input_scale: float = 1.0
    synaptic_decay: float = 0.0

    @classmethod
    def of(cls, neuron: Neuron, normals: np.ndarray) -> Population:
        """Without input scale and synaptic filter. ``normals``: a row of sampling points for each parameter that differs."""
        rows = iter(ndtr(normals.astype(np.float64)))

        def drawn(parameter: float | OverNeurons) -> Any:
            return parameter.quantile(next(rows)).astype(normals.dtype) if isinstance(parameter, OverNeurons) else parameter

        return cls(drawn(neuron.threshold), drawn(neuron.decay), neuron.reset_rule, neuron.strict)

    def of_points(self, points: slice) -> Population:
        def kept(parameter: Any) -> Any:
            return parameter[..., points] if np.shape(parameter)[-1:] > (1,) else parameter

        return replace(self, threshold=kept(self.threshold), decay=kept(self.decay))


def membrane(neuron: Neuron | Population, h: np.ndarray, s: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The next membrane at the spike test, ``β (1 - kS) H - ϱ a θ S + (1 - g_S S) c`` (see :class:`varflow.resets.Reset`)."""
    rule, left = neuron.reset_rule, neuron.decay * h
    if rule.membrane:
        left *= _left(rule.membrane, s)
    if rule.threshold:
        left -= (1.0 if rule.delayed else neuron.decay) * rule.threshold * neuron.threshold * s
    if rule.lowest is not None:
        left = np.maximum(left, neuron.decay * rule.lowest * neuron.threshold)
    left += _left(rule.input, s) * c if rule.input else c
    return left


def _left(fraction: float, s: np.ndarray) -> np.ndarray:
    return 1 - s if fraction == 1 else 1 - fraction * s


def admitted(neuron: Neuron | Population, s: np.ndarray) -> Any:
    """``1 - gS``: the fraction of the next current that enters after spikes ``s``."""
    return _left(neuron.reset_rule.input, s) if neuron.reset_rule.input else 1.0


def spikes(neuron: Neuron | Population, h: np.ndarray) -> np.ndarray:
    """Spikes of a membrane, in the same floating-point type."""
    if neuron.reset_rule.counts:
        return np.maximum(np.floor(h / neuron.threshold), 0.0)
    return (h > neuron.threshold if neuron.strict else h >= neuron.threshold).astype(h.dtype)


def slopes(neuron: Population, H: np.ndarray, S: np.ndarray, c: np.ndarray, psi: np.ndarray, detached: bool) -> np.ndarray:
    """``D_t``, shape (sequences, t, points)."""
    rule, beta, theta = neuron.reset_rule, neuron.decay, neuron.threshold
    D = beta * (1 - rule.membrane * S)
    if not detached:
        D -= psi * (beta * rule.membrane * H + (1.0 if rule.delayed else beta) * rule.threshold * theta)
    if rule.lowest is not None:  # 0 where this bound on the next membrane holds
        D[(1 - rule.membrane * S) * H - rule.threshold * theta * S < rule.lowest * theta] = 0
    if rule.input and not detached:
        D[:, :-1] -= rule.input * psi[:, :-1] * c[:, 1:]
    return D


def refractory(neuron: Neuron) -> bool:
    """True if a neuron cannot spike twice in a row: a spike removes membrane and next input, and the rest does not fire."""
    neuron = neuron.members(1)[0][1]
    gated = neuron.reset_rule.input == neuron.reset_rule.membrane == 1
    return gated and not spikes(neuron, membrane(neuron, np.zeros(1), np.ones(1), np.zeros(1))).any()


# Through time.


def jacobians(
    neuron: Population, currents: np.ndarray, surrogate: Surrogate, *, detached: bool
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """``∂S_t/∂I_s`` (sequences, t, s, points) and ``λ ψ`` (sequences, t, points) at currents ``c`` (sequences, t, points) past
    the synapse, block by block of points: which, first.
    """
    steps, points = currents.shape[-2:]
    size = max(NUMBERS // (len(currents) * steps**2), 1)
    for part in (slice(start, start + size) for start in range(0, points, size)):
        yield part, *_jacobian(neuron.of_points(part), currents[..., part], surrogate, detached)


def with_input(neuron: Neuron, population: Population) -> Population:
    """Neurons with the input scale and synapse, which sampled currents have passed and gradients have not."""
    return replace(population, input_scale=neuron.input_scale, synaptic_decay=neuron.synaptic_decay)


def _jacobian(neuron: Population, c: np.ndarray, surrogate: Surrogate, detached: bool) -> tuple[np.ndarray, np.ndarray]:
    sequences, steps, points = c.shape
    H, S = np.empty_like(c), np.empty_like(c)
    h = s = np.zeros_like(c[:, 0])
    for t in range(steps):
        H[:, t] = h = membrane(neuron, h, s, c[:, t])
        S[:, t] = s = spikes(neuron, h)
    psi = surrogate(H - neuron.threshold)
    D = slopes(neuron, H, S, c, psi, detached)
    J = np.zeros((sequences, steps, steps, points), c.dtype)
    below = np.zeros((sequences, steps, points), c.dtype)  # ∂S_t/∂H_s for all t ≥ s
    for s in range(steps - 1, -1, -1):
        if s < steps - 1:
            below[:, s + 1 :] *= D[:, s, None]
        below[:, s] = psi[:, s]
        entering = np.asarray(admitted(neuron, S[:, s - 1]) if s else 1.0, c.dtype)
        J[:, s:, s] = below[:, s:] * (neuron.input_scale * (entering[:, None] if entering.ndim else entering))
        if neuron.synaptic_decay and s < steps - 1:
            J[:, s + 1 :, s] += neuron.synaptic_decay * J[:, s + 1 :, s + 1]
    return J, neuron.input_scale * psi


def carried_back_alone(J: np.ndarray, gradient: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_p K_p`` for each sequence, (sequences, steps, steps) as ``gradient``. ``K``: the other, or ``J``."""
    K, (sequences, steps) = J if other is None else other, J.shape[:2]
    unit = np.abs(gradient).max(axis=(1, 2), keepdims=True)  # single precision
    G = np.divide(gradient, unit, out=np.zeros_like(gradient), where=unit > 0).astype(J.dtype)
    weighted = (G @ K.reshape(sequences, steps, -1)).reshape(K.shape)  # (sequences, t, s', points)
    return unit * np.matmul(J, weighted.swapaxes(-1, -2)).sum(axis=1, dtype=float)


def carried_back(J: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_pq J_q`` for all pairs of sequences: shape of ``gradient``, (sequences × steps, sequences × steps)."""
    sequences, steps, _, points = J.shape
    unit = float(np.abs(gradient).max()) or 1.0  # single precision
    G = (gradient / unit).reshape(sequences, steps, sequences, steps).astype(J.dtype)
    back = np.zeros((sequences, steps, sequences, steps))
    for q in range(sequences):
        columns = J[q].reshape(steps, -1)
        for p in np.flatnonzero(G[: q + 1, :, q].any(axis=(1, 2))).tolist():
            weighted = (G[p, :, q] @ columns).reshape(steps, steps, points)  # (t, s', points)
            block = np.matmul(J[p], weighted.swapaxes(1, 2)).sum(axis=0, dtype=float)
            back[p, :, q], back[q, :, p] = block, block.T
    return unit * back.reshape(gradient.shape)
