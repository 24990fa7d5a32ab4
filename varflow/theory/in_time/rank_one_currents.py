r"""A layer whose currents have a covariance of rank one, as under a constant drive: exact for every reset.

Currents ``c_t = μ_t + d_t z`` hold one standard normal number ``z`` per neuron, so membranes are piecewise linear in it,
``H_t = a_t + b_t z``. The ``z`` axis is cut wherever a membrane crosses the threshold, at ``z = (θ - a_t)/b_t``. Each piece has
one spike history, and its moments are those of a truncated normal:

.. math:: E[H_t] = \sum_{pieces} (a_t m_0 + b_t m_1), \qquad E[H_t^2] = \sum_{pieces} (a_t^2 m_0 + 2 a_t b_t m_1 + b_t^2 m_2),
          \qquad M(s, t) = \sum_{pieces} S_s S_t\, m_0, \qquad m_j = \int_{piece} z^j \varphi(z)\, dz
"""

from __future__ import annotations

import numpy as np
from scipy import special

from varflow.model.neurons import Neuron
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import Population, membrane, spikes

__all__ = ["rank_one", "rank_one_layer", "single_direction"]

END = 40.0  # standard deviations: beyond, a normal tail is 0 in double precision
ALIKE = 1e-12  # relative: a covariance within this of d dᵀ, well above rounding, has rank one
MOST_PIECES = 10_000  # of the z axis; sampling is then faster


def rank_one_layer(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, steps: int) -> LayerState | None:
    """The state of a layer of equal neurons whose currents have rank one for all inputs (one replica for all); else None."""
    if neuron.heterogeneous or neuron.reset_rule.lowest is not None or len(covariance) > 1 or len(mean) > 1:
        return None
    states = []
    for one_mean, one_covariance in zip(mean[0], covariance[0], strict=True):
        direction = single_direction(one_covariance)
        state = None if direction is None else rank_one(neuron, one_mean, direction, steps)
        if state is None:
            return None
        states.append(state)
    return LayerState(*(np.stack(column)[None] for column in zip(*states, strict=True)))


def single_direction(covariance: np.ndarray) -> np.ndarray | None:
    """``d`` with ``d dᵀ`` equal to the covariance (steps, steps), or None."""
    variance = covariance.diagonal()
    largest = int(np.argmax(variance))
    if variance[largest] <= 0:
        return np.zeros(len(variance)) if not covariance.any() else None
    direction = covariance[largest] / np.sqrt(variance[largest])
    rest = np.abs(covariance - np.multiply.outer(direction, direction)).max()
    return direction if rest <= ALIKE * variance[largest] else None


def rank_one(
    neuron: Neuron, mean: np.ndarray, direction: np.ndarray, steps: int | None = None
) -> tuple[np.ndarray, ...] | None:
    """Variance, mean, rate and second moments of spikes; None if there are too many pieces.

    Several probes follow each other, each from rest and of ``steps`` steps; by default there is one.
    """
    size, steps = len(mean), steps or len(mean)
    edges, fired = np.array([-END, END]), np.zeros((size, 1))
    a, b, s = np.zeros(1), np.zeros(1), np.zeros(1)
    linear = Population(0.0, neuron.decay, neuron.reset_rule, neuron.strict)  # of threshold 0: b has no constant part
    potential, second, (m0, m1, m2) = np.empty(size), np.empty(size), _moments(edges)
    for t in range(size):
        if t % steps == 0:
            a, b, s = np.zeros(len(a)), np.zeros(len(a)), np.zeros(len(a))
        a, b = membrane(neuron, a, s, mean[t]), membrane(linear, b, s, direction[t])
        potential[t] = a @ m0 + b @ m1
        second[t] = a**2 @ m0 + 2 * (a * b) @ m1 + b**2 @ m2
        crossings = _crossings(neuron, edges, a, b)
        if len(crossings):
            edges, origin = _cut(edges, crossings)
            if len(edges) > MOST_PIECES:
                return None
            a, b, fired, (m0, m1, m2) = a[origin], b[origin], fired[:, origin], _moments(edges)
        fired[t] = s = spikes(neuron, a + b * (edges[1:] + edges[:-1]) / 2)
    return second - potential**2, potential, fired @ m0, (fired * m0) @ fired.T


def _crossings(neuron: Neuron, edges: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``z`` inside a piece where ``a + b z`` equals the threshold, or a multiple of it for neurons that count."""
    lower, upper, multiple = edges[:-1], edges[1:], 1.0
    if neuron.reset_rule.counts:  # only those between the ends of a piece, and one more on each side
        ends = np.sort([a + b * lower, a + b * upper], axis=0) / neuron.threshold
        first, last = np.clip(np.floor(ends) + np.array([[0.0], [1.0]]), 1, MOST_PIECES)
        number = (last - first + 1).astype(int)
        piece = np.repeat(np.arange(len(a)), number)
        a, b, lower, upper = a[piece], b[piece], lower[piece], upper[piece]
        multiple = first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # infinite where a membrane is the same for all z
        z = (neuron.threshold * multiple - a) / b
    return z[(z > lower) & (z < upper)]


def _cut(edges: np.ndarray, crossings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refined edges, and the old piece that each new one lies in."""
    finer = np.sort(np.concatenate([edges, crossings]))
    return finer, np.searchsorted(edges, finer[:-1], side="right") - 1


def _moments(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``m_0``, ``m_1`` and ``m_2`` of each piece."""
    below, above = special.ndtr(edges), special.ndtr(-edges)
    mass = np.where(edges[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    first = edges * density
    return mass, density[:-1] - density[1:], mass - (first[1:] - first[:-1])
