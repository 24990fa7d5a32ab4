r"""Potentials of neurons with standardised rows: a row is a random direction, uniform among those of mean 0.

.. math:: u = \lambda g \sqrt{K (1 - K/n)}\; T, \qquad
          P(T > t) = \tfrac12 P\bigl(\mathrm{Beta}(\tfrac12, \tfrac{n-2}2) > t^2\bigr), \quad t \ge 0

with ``T`` the coordinate of a uniform point on the unit sphere in ``n - 1`` dimensions, and ``√(K(1 - K/n))`` the length of the
centred spikes. Source: derived here.
"""

from __future__ import annotations

import numpy as np

from varflow.model.over_neurons import averaged
from varflow.theory.layer import CountedLayer, standardised_threshold


def standardised_tails(layer: CountedLayer, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``P(u > θ)`` and its complement, over all neurons."""
    length = layer.conditional_variance(counts) * (layer.fan_in - 1)
    zero = np.zeros_like(length)
    t = lambda theta: standardised_threshold(theta, zero, length, layer.strict)  # noqa: E731
    upper = averaged(layer.threshold, lambda theta: _upper_tail(t(theta), layer.fan_in))
    return upper, averaged(layer.threshold, lambda theta: _upper_tail(-t(theta), layer.fan_in))


def _upper_tail(t: np.ndarray, n: int) -> np.ndarray:
    """``P(T > t)``; for two inputs ``T = ±1``."""
    from scipy.special import betainc

    orthogonal = np.clip((1 - np.abs(t)) * (1 + np.abs(t)), 0.0, 1.0)
    tail = 0.5 * betainc((n - 2) / 2, 0.5, orthogonal) if n > 2 else 0.5 * (orthogonal > 0)
    return np.where(t < 0, 1 - tail, tail)


def directions(rng: np.random.Generator, layer: CountedLayer, shape: tuple[int, ...]) -> np.ndarray:
    """Draws of ``T``."""
    normal = rng.standard_normal(shape)
    other_squares = rng.chisquare(layer.fan_in - 2, shape) if layer.fan_in > 2 else 0.0
    return normal / np.sqrt(normal**2 + other_squares)
