r"""A layer without reset: potentials are normal in time, and two spikes coincide with the probability of an orthant.

.. math:: M(t, t') = P(H_t > \theta, H_{t'} > \theta) = L(h_t, h_{t'}; \rho), \qquad h_t = (\theta - E[H_t])/\sigma_t
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf, ndtr, owens_t

from varflow.model.neurons import Neuron
from varflow.theory.currents import exponential_filter, filtered
from varflow.theory.responses import LayerState

__all__ = ["Orthants", "orthant"]

FAR = 40.0  # standard deviations: beyond, a normal tail is 0 in double precision
ROUNDING = 1e-15  # of correlations: one that is as near to ±1 may be ±1


def orthant(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    r"""``P(X > h, Y > k)`` of two standard normal variables of correlation ``ρ``; arrays that broadcast, infinities included.

    By reflection ``h, k ≥ 0``. Seen from the origin the quadrant is the sum of two regions,

    .. math:: L = \bar T(h, k - \rho h) + \bar T(k, h - \rho k), \qquad
              \bar T(x, y) = \tfrac12 Q(x) - T(x, a), \quad a = \frac{y}{x \sqrt{1 - \rho^2}}

    with Owen's ``T``; both terms are positive, so nothing cancels between them.
    """
    h, k = np.clip(h, -FAR, FAR), np.clip(k, -FAR, FAR)
    below_h, below_k = h < 0, k < 0
    h, k = np.abs(h), np.abs(k)
    rho = np.where(below_h == below_k, rho, -rho)
    both = _quadrant(h, k, rho)
    Qh, Qk = ndtr(-h), ndtr(-k)
    only_h, only_k = np.maximum(Qk - both, 0.0), np.maximum(Qh - both, 0.0)
    return np.where(below_h, np.where(below_k, 1 - Qh - only_h, only_h), np.where(below_k, only_k, both))


def _quadrant(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """``P(X > h, Y > k)`` for ``h, k ≥ 0``."""
    apart = 1 - rho
    x = np.maximum(np.stack(np.broadcast_arrays(h, k)), 1e-300)  # at 0 it is the limit
    y = x[::-1] - x + x * apart  # of the other less ρ of this
    with np.errstate(divide="ignore", invalid="ignore"):
        b = np.where(y == 0, 0.0, np.abs(y) / np.sqrt(apart * (1 + rho)))
    b = np.minimum(b, FAR)
    large, small = np.maximum(x, b), np.minimum(x, b)
    T = owens_t(large, small / large)
    tail = ndtr(-x)
    beyond = np.where(b > x, T - ndtr(-b) * 0.5 * erf(x / np.sqrt(2)), 0.5 * tail - T)
    beyond = np.maximum(beyond, 0.0)
    return np.clip(np.where(y < 0, tail - beyond, beyond).sum(axis=0), 0.0, tail.min(axis=0))


class Orthants:
    """The response of neurons without reset.

    Its two replicas differ in the last digit of their correlations. Where two steps are all but equal the next correlation
    moves like the root of that digit, and again in each layer below: their distance shows what is left of it.
    """

    replicas = 2

    def __init__(self, neuron: Neuron, steps: int):
        self.neuron = neuron
        self.leak = exponential_filter(neuron.decay, steps)
        self.pairs = np.triu_indices(steps, 1)

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int) -> LayerState:
        exact = _held(covariance) | (layer == 0) | self.neuron.memoryless
        mean, covariance = filtered(self.leak, mean, covariance)
        variance = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0)
        h = self._standardised(mean, variance)
        rho = self._correlation(variance, covariance, exact)
        rates, (earlier, later) = ndtr(-h), self.pairs
        M = orthant(h[..., earlier], h[..., later], rho)
        coincidences = np.zeros((*M.shape[:-1], *covariance.shape[-2:]))
        np.einsum("...tt->...t", coincidences)[...] = rates
        coincidences[..., earlier, later] = coincidences[..., later, earlier] = M
        return LayerState(variance, mean, rates, coincidences)

    def _standardised(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """``(θ - E[H])/√Var H``; where the membrane is a constant ``±inf``, by whether that constant fires."""
        margin = self.neuron.threshold - mean
        fires = (margin < 0) | ((margin == 0) & (not self.neuron.strict))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, margin / np.sqrt(variance), np.where(fires, -np.inf, np.inf))

    def _correlation(self, variance: np.ndarray, covariance: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """Of all pairs of steps, in both replicas; ``exact`` says for which kinds a correlation of ±1 is known to be that."""
        earlier, later = self.pairs
        before, after = variance[..., earlier], variance[..., later]
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = covariance[..., earlier, later] / before * np.sqrt(before / after)  # 1 to the last digit where all are alike
        rho = np.where((before > 0) & (after > 0), rho, 0.0)
        equal = np.abs(rho) >= 1 - ROUNDING
        rho = np.where(equal, np.sign(rho), rho)
        lowered = np.where(equal & exact[..., None], rho, (1 - ROUNDING) * rho)
        return np.concatenate([rho[:1], lowered[-1:]])


def _held(covariance: np.ndarray) -> np.ndarray:
    """Whether one and the same current flows at all steps but silent first ones; an array over the leading axes."""
    on = np.diagonal(covariance, axis1=-2, axis2=-1) > 0
    largest = covariance.max(axis=(-2, -1), keepdims=True)
    return np.all(covariance == largest * (on[..., :, None] & on[..., None, :]), axis=(-2, -1))
