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
from varflow.theory.layer import LAST_Z
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.step import Population, membrane, spikes
from varflow.theory.signals.shared_scale import SharedScale

MOST_PIECES = 10_000  # of the z axis; sampling is then faster
TOGETHER = 64  # inputs or positions whose pieces are held at a time


def rank_one_layer(
    neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, steps: int, shared: SharedScale | None = None
) -> LayerState | None:
    """The state of a layer of equal neurons whose currents have rank one for all inputs; else None.

    ``shared``: the scale that they were divided by, the same for all.
    """
    rule = neuron.reset_rule
    bounded, uneven = rule.lowest is not None or rule.most is not None or rule.spacing != 1, neuron.heterogeneous
    if uneven or bounded or rule.lasting or (shared is not None and shared.fraction.size > 1):
        return None
    replicas, size = max(len(mean), len(covariance)), mean.shape[-1]
    directions, states = _directions(np.broadcast_to(covariance, (replicas, *covariance.shape[1:])).reshape(-1, size, size)), []
    if directions is None:
        return None
    mean = np.broadcast_to(mean, (replicas, *mean.shape[1:])).reshape(-1, size)
    for start in range(0, len(directions), TOGETHER):
        some = slice(start, start + TOGETHER)
        state = rank_one(neuron, mean[some], directions[some], steps, shared)
        if state is None:
            return None
        states.append(state)
    columns = map(np.concatenate, zip(*states, strict=True))
    return LayerState(*(each.reshape(replicas, -1, *each.shape[1:]) for each in columns))


def _directions(covariance: np.ndarray) -> np.ndarray | None:
    """``d`` with ``d dᵀ`` equal to each covariance (inputs, steps, steps), or None."""
    variance, inputs = np.diagonal(covariance, axis1=1, axis2=2), np.arange(len(covariance))
    step = np.argmax(variance, axis=1)
    largest = np.maximum(variance[inputs, step], 0.0)
    direction = covariance[inputs, step] / np.sqrt(np.where(largest > 0, largest, 1.0))[:, None]
    rest = np.abs(covariance - direction[:, :, None] * direction[:, None, :]).max(axis=(1, 2))
    return direction if np.all(rest <= 1e-12 * largest) else None  # well above rounding


def rank_one(
    neuron: Neuron, mean: np.ndarray, direction: np.ndarray, steps: int, shared: SharedScale | None = None
) -> tuple[np.ndarray, ...] | None:
    """Variance, mean, rate and second moments of spikes of each input; None if there are too many pieces.

    ``mean`` and ``direction`` have shape (inputs, size). Sequences follow each other, each from rest and of ``steps`` steps.
    """
    inputs, size = mean.shape
    of, lower, upper = np.arange(inputs), np.full(inputs, -LAST_Z), np.full(inputs, LAST_Z)  # pieces: whose, from, to
    potential, second = np.empty((inputs, size)), np.empty((inputs, size))
    history: list[tuple[np.ndarray, np.ndarray | None]] = []  # per step: spikes of the pieces, and of which old ones they are
    linear = Population(0.0, neuron.decay, neuron.reset_rule, neuron.strict)  # of threshold 0: b has no constant part
    a = b = s = np.zeros(inputs)
    m0, m1, m2 = _moments(lower, upper)
    for t in range(size):
        if t % steps == 0:
            a = b = s = np.zeros(len(of))
        a, b = membrane(neuron, a, s, mean[of, t]), membrane(linear, b, s, direction[of, t])
        potential[:, t] = np.bincount(of, a * m0 + b * m1, inputs)
        second[:, t] = np.bincount(of, a**2 * m0 + 2 * (a * b) * m1 + b**2 * m2, inputs)
        piece, z = _crossings(neuron, lower, upper, a, b)
        origin = None
        if len(z):
            origin, lower, upper = _cut(lower, upper, piece, z)
            of, a, b = of[origin], a[origin], b[origin]
            if len(of) > MOST_PIECES and np.bincount(of).max() > MOST_PIECES:
                return None
            m0, m1, m2 = _moments(lower, upper)
        s = spikes(neuron, a + b * (lower + upper) / 2)
        history.append((s, origin))
    fired = _of_last_pieces(history)
    if shared is not None:
        m0 = _moments(*(np.clip(shared.passed(end), -LAST_Z, LAST_Z) for end in (lower, upper)))[0]
    own = np.split(np.arange(len(of)), np.flatnonzero(np.diff(of)) + 1)
    moments = np.stack([(fired[:, each] * m0[each]) @ fired[:, each].T for each in own])
    rate = np.stack([fired[:, each] @ m0[each] for each in own])
    return second - potential**2, potential, rate, moments


def _of_last_pieces(history: list[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """Spikes of every final piece at every step, shape (steps, pieces)."""
    at, fired = np.arange(len(history[-1][0])), np.empty((len(history), len(history[-1][0])))
    for t, (spikes_of_pieces, origin) in reversed(list(enumerate(history))):
        fired[t] = spikes_of_pieces[at]
        at = at if origin is None else origin[at]
    return fired


def _crossings(
    neuron: Neuron, lower: np.ndarray, upper: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces, and ``z`` inside them where ``a + b z`` equals the threshold, or a multiple of it for neurons that count; both
    ascend.
    """
    piece, multiple = np.arange(len(a)), 1.0
    if neuron.reset_rule.counts:  # only those between the ends of a piece, and one more on each side
        ends = np.sort([a + b * lower, a + b * upper], axis=0) / neuron.threshold
        first, last = np.clip(np.floor(ends) + np.array([[0.0], [1.0]]), 1, MOST_PIECES)
        number = (last - first + 1).astype(int)
        piece = np.repeat(piece, number)
        a, b, lower, upper = a[piece], b[piece], lower[piece], upper[piece]
        multiple = first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # infinite where a membrane is the same for all z
        z = (neuron.threshold * multiple - a) / b
    inside = np.flatnonzero((z > lower) & (z < upper))
    if neuron.reset_rule.counts:
        inside = inside[np.lexsort((z[inside], piece[inside]))]
    return piece[inside], z[inside]


def _cut(lower: np.ndarray, upper: np.ndarray, piece: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The old piece that each new one lies in, and the ends of the new ones."""
    origin = np.repeat(np.arange(len(lower)), np.bincount(piece, minlength=len(lower)) + 1)
    starts, ends, same = lower[origin], upper[origin], np.flatnonzero(origin[1:] == origin[:-1])
    starts[same + 1] = ends[same] = z
    return origin, starts, ends


def _moments(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``m_0``, ``m_1`` and ``m_2`` of each piece."""
    sign = np.where(lower > 0, -1.0, 1.0)  # differences of the smaller tails
    mass = sign * (special.ndtr(sign * upper) - special.ndtr(sign * lower))
    below, above = (np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (lower, upper))
    return mass, below - above, mass - (upper * above - lower * below)
