r"""A layer without reset: potentials are normal in time, and two spikes coincide with the probability of an orthant.

.. math:: M(t, t') = P(H_t > \theta, H_{t'} > \theta) = L(h_t, h_{t'}; \rho), \qquad h_t = (\theta - E[H_t])/\sigma_t
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf, ndtr, owens_t

from varflow.model.neurons import Neuron
from varflow.theory.in_time.currents import exponential_filter
from varflow.theory.in_time.differences import Differences, Membranes, differences, membranes
from varflow.theory.in_time.responses import LayerState

__all__ = ["Orthants", "both_or_one", "orthant"]

FAR = 40.0  # standard deviations: beyond, a normal tail is 0 in double precision
ROUNDING = 1e-14  # relative, of what two potentials differ by
LAST_DIGITS = 8e-15  # the same, by which the replicas differ
LOST = 4.0  # two terms that cancel to less than a share of 1/LOST: another formula is taken
NODES, WEIGHTS = (1 + np.polynomial.legendre.leggauss(40)[0]) / 2, np.polynomial.legendre.leggauss(40)[1] / 2  # on [0, 1]
REACH = 9.0  # standard deviations over which a tail is integrated


def orthant(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """``P(X > h, Y > k)`` of two standard normal variables of correlation ``ρ``; arrays that broadcast, infinities included."""
    h, k, rho = np.clip(h, -FAR, FAR), np.clip(k, -FAR, FAR), np.asarray(rho)
    return both_or_one(h, k, k - h, 1 - rho, 1 + rho)[0]


def both_or_one(
    h: np.ndarray, k: np.ndarray, change: np.ndarray, apart: np.ndarray, alike: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""``P(X > h, Y > k)`` and the probability that exactly one of the two is true, from ``k - h``, ``1 - ρ`` and ``1 + ρ``.

    By reflection ``h, k ≥ 0``. Seen from the origin the quadrant is the sum of two regions,

    .. math:: L = \bar T(h, k - \rho h) + \bar T(k, h - \rho k), \qquad
              \bar T(x, y) = \tfrac12 Q(x) - T(x, a), \quad a = \frac{y}{x \sqrt{1 - \rho^2}}

    with Owen's ``T``; both terms are positive, so nothing cancels between them. Exactly one is true with probability
    ``2 T(h, ·) + 2 T(k, ·)``, which has all its digits however small it is.
    """
    if h.min(initial=0.0) >= 0 and k.min(initial=0.0) >= 0:
        return _quadrant(h, k, change, apart, alike)
    below_h, below_k = h < 0, k < 0
    same = below_h == below_k
    x, y = np.abs(h), np.abs(k)
    change = np.where(same, np.where(below_h, -change, change), y - x)
    both, one = _quadrant(x, y, change, np.where(same, apart, alike), np.where(same, alike, apart))
    Qh, Qk = ndtr(-x), ndtr(-y)
    only_h, only_k = np.maximum(Qk - both, 0.0), np.maximum(Qh - both, 0.0)
    M = np.where(below_h, np.where(below_k, 1 - Qh - only_h, only_h), np.where(below_k, only_k, both))
    return M, np.where(same, one, 2 * both + (erf(x / np.sqrt(2)) + erf(y / np.sqrt(2))) / 2)


def _quadrant(
    h: np.ndarray, k: np.ndarray, change: np.ndarray, apart: np.ndarray, alike: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same for ``h, k ≥ 0``."""
    x = np.maximum(np.stack([h, k]), 1e-150)  # at 0 it is the limit
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = np.stack([change, -change]) / x + apart  # of the other less ρ of this, in units of this
        a = np.where(a == 0, 0.0, a / np.sqrt(apart * alike))
    behind, b = a < 0, np.minimum(np.abs(a) * x, FAR)
    large, small = np.maximum(x, b), np.minimum(x, b)
    T = owens_t(large, small / large)
    tail = ndtr(-x)
    beyond = np.maximum(np.where(b > x, T - ndtr(-b) * 0.5 * erf(x / np.sqrt(2)), 0.5 * tail - T), 0.0)
    both = np.clip(np.where(behind, tail - beyond, beyond).sum(axis=0), 0.0, tail.min(axis=0))
    terms = np.where(behind, -1.0, 1.0) * np.where(b > x, 0.5 * tail - beyond, T)
    one = 2 * terms.sum(axis=0)
    cancels = np.abs(terms).max(axis=0) > LOST * np.abs(one)
    if cancels.any():
        each = (np.broadcast_to(values, one.shape)[cancels] for values in (h, k, change, apart, alike))
        one[cancels] = _one_of_near(*each)
    return both, one


def _one_of_near(h: np.ndarray, k: np.ndarray, change: np.ndarray, apart: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """The probability of exactly one where thresholds differ by more than potentials do.

    ``|Q(h) - Q(k)|``, and twice the rarer of both ways, ``P(Y > k, X ≤ h)`` for ``h ≤ k``, integrated over ``Y = k + w u``.
    """
    h, k, change = np.where(change < 0, k, h), np.where(change < 0, h, k), np.abs(change)
    width, u = np.sqrt(apart * alike), REACH * NODES
    start = np.maximum((k * apart - change) / np.maximum(width, 1e-300), -FAR)
    rarer = density(k[:, None] + width[:, None] * u) * ndtr(start[:, None] - (1 - apart)[:, None] * u)
    return tail_between(h, k, change) + 2 * width * (rarer @ (REACH * WEIGHTS))


def tail_between(h: np.ndarray, k: np.ndarray, change: np.ndarray) -> np.ndarray:
    """``Q(h) - Q(k)`` from ``k - h``."""
    near = change * (density(h[..., None] + change[..., None] * NODES) @ WEIGHTS)
    return np.where(np.abs(change) * (1 + np.abs(h)) < 1, near, ndtr(-h) - ndtr(-k))


def density(x: np.ndarray) -> np.ndarray:
    """Of the standard normal law."""
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


class Orthants:
    """The response of neurons without reset.

    What two steps differ by is carried from layer to layer (``differences``). The two replicas differ in its last digits: their
    distance shows what depth makes of them.
    """

    replicas = 2

    def __init__(self, neuron: Neuron, steps: int):
        self.neuron = neuron
        self.leak = exponential_filter(neuron.decay, steps)
        self.both_filters = self.leak @ exponential_filter(neuron.synaptic_decay, steps)
        self.pairs = np.triu_indices(steps, 1)
        self.places = np.diag(np.arange(steps))  # of a matrix's entries, in its diagonal followed by its pairs
        self.places[self.pairs] = self.places.T[self.pairs] = np.arange(steps, steps * (steps + 1) // 2)

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int, currents: Differences | None = None) -> LayerState:
        """``currents`` are before the synapse. Without them differences are what rounding left of them in the moments."""
        kernel = self.leak if currents is None else self.both_filters
        H = membranes(kernel, differences(mean, covariance) if currents is None else currents)
        h = self._standardised(H.mean, H.variance)
        change, apart = self._changes(h, H)
        earlier, later = self.pairs
        M, one = both_or_one(h[..., earlier], h[..., later], change[..., earlier, later], apart, 2 - apart)
        rates = np.broadcast_to(ndtr(-h), (*M.shape[:-1], h.shape[-1]))
        grown = np.array(rates)
        grown[..., 1:] = -tail_between(h[..., :-1], h[..., 1:], np.diagonal(change, 1, -2, -1))
        mismatch = self._matrix(np.zeros_like(rates), one)
        return LayerState(H.variance, H.mean, rates, self._matrix(rates, M), mismatch=mismatch, grown=grown)

    def _standardised(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """``(θ - E[H])/√Var H``; where the membrane is a constant ``±FAR``, by whether that constant fires."""
        margin = self.neuron.threshold - mean
        fires = (margin < 0) | ((margin == 0) & (not self.neuron.strict))
        with np.errstate(divide="ignore", invalid="ignore"):
            h = np.where(variance > 0, margin / np.sqrt(variance), np.where(fires, -np.inf, np.inf))
        return np.clip(h, -FAR, FAR)

    def _changes(self, h: np.ndarray, H: Membranes) -> tuple[np.ndarray, np.ndarray]:
        """``h_t - h_s``, shape (…, s, t), and of all pairs, in both replicas, ``1 - ρ``."""
        std = np.sqrt(np.maximum(H.variance, 0.0))
        before, after = std[..., :, None], std[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            wider = H.wider / (before + after)
            change = -(H.moved + h[..., :, None] * wider) / after
            rest = H.apart - wider**2
            apart = np.where(rest > ROUNDING * H.apart, rest, 0.0) / (2 * before * after)  # else one is a multiple of the other
        if not std.all():
            move = (before > 0) & (after > 0)
            change = np.where(move, change, h[..., None, :] - h[..., :, None])
            apart = np.where(move, apart, 1.0)
        apart = apart[..., self.pairs[0], self.pairs[1]]
        apart = np.concatenate([apart[:1], apart[-1:] * (1 + LAST_DIGITS)])
        return change, np.minimum(apart, 2.0)

    def _matrix(self, diagonal: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return np.take(np.concatenate([diagonal, pairs], axis=-1), self.places, axis=-1)
