r"""A layer without reset: potentials are jointly normal, and second moments of spikes are bivariate orthant probabilities.

.. math:: M(t, t') = P(H_t > \theta, H_{t'} > \theta) = L(h_t, h_{t'}; \rho), \qquad h_t = (\theta - E[H_t])/\sigma_t

One step at several sequences takes ``P(X > h, Y > k)`` of many pairs of standard normal variables, by the integral over the
correlation.

With ``∂P/∂ρ`` the joint density at the thresholds and ``|ρ| = -tanh s``, ``σ`` the sign of ``ρ``,

.. math:: P = Q(h)\, Q(k) + \frac{\sigma}{\pi} \int_{s_\rho}^0 \frac{e^{-A (1 + e^{-2s}) - B (1 + e^{2s})}}{2 \cosh s}\, ds,
          \qquad A = \frac{(h - \sigma k)^2}{8}, \quad B = \frac{(h + \sigma k)^2}{8}

The integrand is smooth unless ``|ρ|`` is close to 1. Source: ``plackett1954``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import erf, ndtr, owens_t

from varflow.model.distributions import distribution
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons, values_of
from varflow.theory.layer import LAST_Z, standardised_threshold
from varflow.theory.responses.filters import exponential_filter, synapse
from varflow.theory.responses.layer_state import LayerState, mixed
from varflow.theory.responses.step import MEMBERS, averaging_error
from varflow.theory.signals.increments import Differences, Membranes, kernel_of_changes, membranes
from varflow.theory.signals.shared_scale import SharedScale

LAST_DIGITS = 8e-15  # relative change of 1 - ρ between the replicas, which shows the effect of rounding
NODES, WEIGHTS = (1 + np.polynomial.legendre.leggauss(40)[0]) / 2, np.polynomial.legendre.leggauss(40)[1] / 2  # on [0, 1]
REACH = 9.0  # standard deviations over which a tail is integrated: 1e-19 lies beyond


def within(h: np.ndarray) -> np.ndarray:
    """Thresholds in standard deviations, infinite ones replaced by ``LAST_Z``."""
    return np.minimum(np.maximum(h, -LAST_Z), LAST_Z)


def both_or_one(
    h: np.ndarray, k: np.ndarray, change: np.ndarray, one_minus_rho: np.ndarray, one_plus_rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""``P(X > h, Y > k)``, and the probability of exactly one of the two events.

    Arguments are ``k - h``, ``1 - ρ`` and ``1 + ρ``, so that nothing is lost for ``ρ → ±1``. By reflection let
    ``h, k ≥ 0``. With Owen's ``T``,

    .. math:: L = \bar T(h, a_h) + \bar T(k, a_k), \qquad \bar T(x, a) = \tfrac12 Q(x) - T(x, a), \qquad
              a_h = \frac{k - \rho h}{h \sqrt{1 - \rho^2}} = \frac{(k - h)/h + (1 - \rho)}{\sqrt{1 - \rho^2}},

    and ``a_k`` with ``h`` and ``k`` exchanged. Both terms are positive. Exactly one event has probability
    ``2 T(h, a_h) + 2 T(k, a_k)``, accurate however small it is.
    """
    if h.min(initial=0.0) >= 0 and k.min(initial=0.0) >= 0:
        return _quadrant(h, k, change, one_minus_rho, one_plus_rho)
    below_h, below_k = h < 0, k < 0
    same = below_h == below_k
    x, y = np.abs(h), np.abs(k)
    change = np.where(same, np.where(below_h, -change, change), y - x)
    both, one = _quadrant(
        x, y, change, np.where(same, one_minus_rho, one_plus_rho), np.where(same, one_plus_rho, one_minus_rho)
    )
    Qh, Qk = ndtr(-x), ndtr(-y)
    only_h, only_k = np.maximum(Qk - both, 0.0), np.maximum(Qh - both, 0.0)
    M = np.where(below_h, np.where(below_k, 1 - Qh - only_h, only_h), np.where(below_k, only_k, both))
    return M, np.where(same, one, 2 * both + (erf(x / np.sqrt(2)) + erf(y / np.sqrt(2))) / 2)


def _quadrant(
    h: np.ndarray, k: np.ndarray, change: np.ndarray, one_minus_rho: np.ndarray, one_plus_rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Probabilities of both events and of exactly one for ``h, k ≥ 0``.

    ``T`` is odd in ``a``. Large ``a`` are reduced to ``1/a`` by

    .. math:: \bar T(x, a) = T(xa, 1/a) - \tfrac12 Q(xa)\,\mathrm{erf}(x/\sqrt2), \qquad a > 1
    """
    x = np.maximum(np.stack([h, k]), 1e-150)  # x = 0 by its limit
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = np.stack([change, -change]) / x + one_minus_rho  # (k - ρh)/h and (h - ρk)/k
        a = np.where(a == 0, 0.0, a / np.sqrt(one_minus_rho * one_plus_rho))
    negative, xa = a < 0, np.minimum(np.abs(a) * x, LAST_Z)
    large, small = np.maximum(x, xa), np.minimum(x, xa)
    T, tail, steep = owens_t(large, small / large), ndtr(-x), xa > x
    T_bar = np.maximum(np.where(steep, T - ndtr(-xa) * 0.5 * erf(x / np.sqrt(2)), 0.5 * tail - T), 0.0)
    each = np.where(negative, tail - T_bar, T_bar)
    both = np.minimum(np.maximum(each[0] + each[1], 0.0), np.minimum(tail[0], tail[1]))
    terms = np.where(negative, -1.0, 1.0) * np.where(steep, 0.5 * tail - T_bar, T)  # T(x, a)
    one = 2 * (terms[0] + terms[1])
    # where two terms cancel to less than a quarter the other formula is used
    cancels = np.maximum(*np.abs(terms)) > 4.0 * np.abs(one)
    if cancels.any():
        near = (np.broadcast_to(values, one.shape)[cancels] for values in (h, k, change, one_minus_rho, one_plus_rho))
        one[cancels] = _one_of_near(*near)
    return both, one


def _one_of_near(
    h: np.ndarray, k: np.ndarray, change: np.ndarray, one_minus_rho: np.ndarray, one_plus_rho: np.ndarray
) -> np.ndarray:
    r"""The probability of exactly one event if the thresholds differ by more than the potentials. For ``h ≤ k``,

    .. math:: P = Q(h) - Q(k) + 2 P(X \le h, Y > k), \qquad P(X \le h, Y > k) = w \int_0^\infty \varphi(k + w u)\,
              \Phi\Bigl(\frac{h - \rho k}{w} - \rho u\Bigr) du, \qquad w = \sqrt{1 - \rho^2}
    """
    h, k, change = np.where(change < 0, k, h), np.where(change < 0, h, k), np.abs(change)
    width, u = np.sqrt(one_minus_rho * one_plus_rho), REACH * NODES
    start = np.maximum((k * one_minus_rho - change) / np.maximum(width, 1e-300), -LAST_Z)
    integrand = density(k[:, None] + width[:, None] * u) * ndtr(start[:, None] - (1 - one_minus_rho)[:, None] * u)
    return tail_between(h, k, change) + 2 * width * (integrand @ (REACH * WEIGHTS))


def tail_between(h: np.ndarray, k: np.ndarray, change: np.ndarray) -> np.ndarray:
    """``Q(h) - Q(k) = ∫_h^k φ``, from ``change = k - h``; by quadrature if that is small."""
    near = change * (density(h[..., None] + change[..., None] * NODES) @ WEIGHTS)
    return np.where(np.abs(change) * (1 + np.abs(h)) < 1, near, ndtr(-h) - ndtr(-k))


def density(x: np.ndarray) -> np.ndarray:
    """Density of the standard normal distribution."""
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


class Orthants:
    """The response of neurons of one decay, without reset; their thresholds may differ.

    Increments between steps are propagated from layer to layer (``differences``). The two replicas differ in their last
    digits, and their distance shows how rounding errors grow with depth.
    """

    replicas = 2

    def __init__(self, neuron: Neuron, steps: int, sequences: int = 1):
        self.thresholds, self.weights = np.array(values_of(neuron.threshold, MEMBERS)).T
        self.strict = neuron.strict
        leak = exponential_filter(neuron.decay, steps, sequences)
        self.filter = leak @ synapse(neuron, steps, sequences) if neuron.filters else leak
        same_at_all_steps = sequences == 1 and np.ndim(neuron.kernel) < 2
        self.of_changes = None if same_at_all_steps else kernel_of_changes(self.filter)
        steps *= sequences
        self.pairs = np.triu_indices(steps, 1)
        self.places = np.diag(np.arange(steps))  # index of each matrix entry in (diagonal, pairs)
        self.places[self.pairs] = self.places.T[self.pairs] = np.arange(steps, steps * (steps + 1) // 2)

    def __call__(self, currents: Differences) -> LayerState:
        """The state of a layer, from the increments of its currents before the synapse."""
        H = membranes(self.filter, currents, self.of_changes)
        number = max(2**15 // H.increment_var.size, 1)  # of several thresholds if there are few steps
        parts = [self._spikes(H, slice(first, first + number)) for first in range(0, len(self.thresholds), number)]
        rates, rate_change, M, one = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
        changes = Differences(self._matrix(np.zeros_like(rates), one), rate_change, rate_change)
        return LayerState(H.variance, H.mean, rates, self._matrix(rates, M), changes=changes)

    def _spikes(self, H: Membranes, of: slice) -> tuple[np.ndarray, ...]:
        """Rates, their changes, and of all pairs of steps the probabilities of both spikes and of exactly one.

        Sums over some of the thresholds, which are the first axis here, with their weights.
        """
        h = within(np.moveaxis(standardised_threshold(self.thresholds[of], H.mean, H.variance, self.strict), -1, 0))
        change, one_minus_rho = self._changes(h, H)  # h_t - h_s and 1 - ρ
        earlier, later = self.pairs
        M, one = both_or_one(h[..., earlier], h[..., later], change[..., earlier, later], one_minus_rho, 2 - one_minus_rho)
        rates = np.broadcast_to(ndtr(-h), (*M.shape[:-1], h.shape[-1]))
        rate_change = np.array(rates)
        rate_change[..., 1:] = -tail_between(h[..., :-1], h[..., 1:], np.diagonal(change, 1, -2, -1))
        return tuple(np.einsum("m,m...->...", self.weights[of], values) for values in (rates, rate_change, M, one))

    def _changes(self, h: np.ndarray, H: Membranes) -> tuple[np.ndarray, np.ndarray]:
        r"""``h_t - h_s``, shape (…, s, t), and ``1 - ρ`` of all pairs, in both replicas.

        .. math:: h_t - h_s = -\frac{E[H_t - H_s] + h_s (\sigma_t - \sigma_s)}{\sigma_t}, \qquad
                  1 - \rho = \frac{\mathrm{Var}[H_t - H_s] - (\sigma_t - \sigma_s)^2}{2 \sigma_s \sigma_t}
        """
        std = np.sqrt(np.maximum(H.variance, 0.0))
        before, after = std[..., :, None], std[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            std_change = H.var_change / (before + after)
            change = -(H.mean_change + h[..., :, None] * std_change) / after
            rest = H.increment_var - std_change**2
            # relative error of the variance of an increment, about 50 roundings
            one_minus_rho = np.where(rest > 1e-14 * H.increment_var, rest, 0.0) / (2 * before * after)
        if not std.all():
            varies = (before > 0) & (after > 0)
            change = np.where(varies, change, h[..., None, :] - h[..., :, None])
            one_minus_rho = np.where(varies, one_minus_rho, 1.0)
        one_minus_rho = one_minus_rho[..., self.pairs[0], self.pairs[1]]
        odd = np.arange(max(len(one_minus_rho), 2)) % 2  # every second replica differs in its last digits
        one_minus_rho = one_minus_rho * (1 + LAST_DIGITS * odd).reshape(-1, *[1] * (one_minus_rho.ndim - 1))
        return change, np.minimum(one_minus_rho, 2.0)

    def _matrix(self, diagonal: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return np.take(np.concatenate([diagonal, pairs], axis=-1), self.places, axis=-1)


def of_decays(neuron: Neuron, steps: int, sequences: int = 1) -> list[tuple[float, Orthants]]:
    """Responses of neurons of one decay each, whose mixture with these weights is that of a layer."""
    decays = values_of(neuron.decay, MEMBERS)
    return [(weight, Orthants(replace(neuron, decay=decay), steps, sequences)) for decay, weight in decays]


SMOOTH = 0.9  # correlations up to which 16 nodes have an error of 3e-16
NODES_BETWEEN, WEIGHTS_BETWEEN = (1 + np.polynomial.legendre.leggauss(16)[0]) / 2, np.polynomial.legendre.leggauss(16)[1] / 2
BLOCK = 2**13  # pairs at a time, whose arrays fit the second-level cache


def orthant(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """``P(X > h, Y > k)`` at correlation ``ρ``, within 1e-15; arrays broadcast, infinite thresholds are allowed."""
    h, k, rho = np.broadcast_arrays(within(h), within(k), rho)
    x, y, r, probability = h.ravel(), k.ravel(), rho.ravel(), np.empty(h.size)
    for start in range(0, h.size, BLOCK):
        part = slice(start, start + BLOCK)
        probability[part] = _integrated(x[part], y[part], np.clip(r[part], -SMOOTH, SMOOTH))
    near = np.flatnonzero(np.abs(r) > SMOOTH)
    for start in range(0, len(near), BLOCK):
        part = near[start : start + BLOCK]
        probability[part] = both_or_one(x[part], y[part], y[part] - x[part], 1 - r[part], 1 + r[part])[0]
    return probability.reshape(h.shape)


def _integrated(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    sign = np.where(rho < 0, -1.0, 1.0)
    A, B, s = (h - sign * k) ** 2 / 8, (h + sign * k) ** 2 / 8, -np.arctanh(np.abs(rho))
    total = np.zeros_like(s)
    for node, weight in zip(NODES_BETWEEN.tolist(), WEIGHTS_BETWEEN.tolist(), strict=True):
        x = np.exp(node * s)
        square = x * x
        total += np.exp(-A / square - B * square) * x * (weight / (1 + square))
    apart = ndtr(-h) * ndtr(-k)
    return np.maximum(apart - sign / np.pi * s * np.exp(-A - B) * total, 0.0)


def one_step(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, shared: SharedScale | None = None) -> LayerState:
    r"""One step of neurons that spike at most once, at several sequences.

    .. math:: e_i = Q(h_i), \qquad M_{ij} = P(H_i > \theta, H_j > \theta) = L(h_i, h_j; \rho_{ij}), \qquad
              h_i = (\theta - \mu_i)/\sigma_i

    ``shared``: by which the currents were divided; ``h`` is then the threshold above which equally many normal ones lie.
    """
    variance, size = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0), mean.shape[-1]
    if size == 1 and shared is None:
        rate = _rate(neuron, mean, variance)
        return LayerState(variance, mean, rate, rate[..., None])
    if neuron.heterogeneous:
        memoryless = replace(neuron, decay=0.0)
        members = memoryless.members(MEMBERS)
        state = mixed([(weight, one_step(member, mean, covariance, shared)) for weight, member in members])
        return replace(state, point_fraction=averaging_error(memoryless))
    h = standardised_threshold(neuron.threshold, mean, variance, neuron.strict)
    h, std = within(h if shared is None else shared.passed(h)), np.sqrt(variance)
    rate = ndtr(-h)
    own = np.arange(size)
    M = rate[..., :, None] * rate[..., None, :]
    M[..., own, own] = rate
    i, j = np.triu_indices(len(own), 1)
    between = covariance[..., i, j]
    if between.any():  # else independent
        both = std[..., i] * std[..., j]
        rho = np.clip(np.divide(between, both, out=np.zeros(both.shape), where=both > 0), -1, 1)
        M[..., i, j] = M[..., j, i] = orthant(h[..., i], h[..., j], rho)
    return LayerState(variance, mean, rate, M)


def _rate(neuron: Neuron, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """``P(H > θ)``, averaged over neurons."""
    if not isinstance(neuron.threshold, OverNeurons):
        return distribution("normal").sf(standardised_threshold(neuron.threshold, mean, variance, neuron.strict))
    mean, rate = np.broadcast_to(mean, variance.shape), np.zeros(variance.shape)
    for which, values, weights in neuron.threshold.rules_for(np.sqrt(variance)):
        h = standardised_threshold(values, mean[which], variance[which], neuron.strict)
        rate[which] += distribution("normal").sf(h) @ weights
    return rate
