r"""``P(X > h, Y > k)`` for many pairs of standard normal variables, by the integral over the correlation.

With ``∂P/∂ρ`` the joint density at the thresholds and ``|ρ| = -tanh s``, ``σ`` the sign of ``ρ``,

.. math:: P = Q(h)\, Q(k) + \frac{\sigma}{\pi} \int_{s_\rho}^0 \frac{e^{-A (1 + e^{-2s}) - B (1 + e^{2s})}}{2 \cosh s}\, ds,
          \qquad A = \frac{(h - \sigma k)^2}{8}, \quad B = \frac{(h + \sigma k)^2}{8}

The integrand is smooth unless ``|ρ|`` is close to 1, where ``responses.orthants`` has the formulas. Source: ``plackett1954``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from varflow.theory.responses.orthants import both_or_one, within

SMOOTH = 0.9  # correlations up to which 16 nodes have an error of 3e-16
NODES, WEIGHTS = (1 + np.polynomial.legendre.leggauss(16)[0]) / 2, np.polynomial.legendre.leggauss(16)[1] / 2
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
    for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        x = np.exp(node * s)
        square = x * x
        total += np.exp(-A / square - B * square) * x * (weight / (1 + square))
    apart = ndtr(-h) * ndtr(-k)
    return np.maximum(apart - sign / np.pi * s * np.exp(-A - B) * total, 0.0)
