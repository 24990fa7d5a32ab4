r"""Tails of sums whose moment generating function is known, by an integral through the saddle point.

.. math::
    P(u > θ) = \frac{1}{2\pi i} \int_{c - i\infty}^{c + i\infty} \frac{e^{J \kappa(s) + b^2 s^2/2 - s x}}{s}\, ds, \qquad c > 0

with ``κ`` the cumulant generating function of one core, and ``x`` the threshold and ``b`` the bias in its units. On the
vertical line through the saddle point the integrand does not oscillate near its maximum, so the trapezoidal rule keeps relative
accuracy in any tail; below the mean the complement is computed. ``j!/s^{j+1}`` instead of ``1/s`` gives ``E[(u-x)^j 1(u>x)]``.
``J`` may be any positive real number. The result is NaN if the rule would need too many nodes: for few weights whose density
jumps, with little or no bias. Source: Daniels 1954; the trapezoidal rule is derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np

from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.roots import bisect

STEP = 0.12  # of the trapezoidal rule, in units of the integrand's width
BLOCK = 64  # nodes at a time
TOLERANCE = 1e-11  # relative to the value at the saddle point: bounds the truncation and the squared coarse error


def tails(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """``P(S_J + b N > x)`` and its complement, for every ``J`` in ``number``; ``x`` inside the support."""
    upper = x > number * core.mean
    p = np.empty(len(x))
    p[upper] = tail_moments(core, 1, number[upper], x[upper], bias, range(1))[0]
    q = tail_moments(core, -1, number[~upper], x[~upper], bias, range(1))[0]
    p[~upper] = 1 - q
    complement = 1 - p
    complement[~upper] = q
    return p, complement


def tail_moments(
    core: WeightDistribution,
    side: int,
    number: np.ndarray,
    x: np.ndarray,
    bias: float,
    orders: range,
    tolerance: float = TOLERANCE,
) -> np.ndarray:
    """``E[y^j 1(y > 0)]`` of ``y = side · (S_J + b N - x)`` for j in ``orders``; shape (len(orders), len(x))."""
    x, cgf = side * x, lambda s: core.cgf(side * s)
    c, curvature = _saddle(cgf, core.cgf_strip[1] if side > 0 else -core.cgf_strip[0], core.std, number, x, bias)
    width = 1 / np.sqrt(number * curvature + bias**2 + 1 / c**2)
    peak = number * cgf(c + 0j).real + bias**2 * c**2 / 2 - c * x
    total = np.zeros((2, len(orders), len(x)))  # the rule on all nodes, and on every other node
    active, left = np.arange(len(x)), np.zeros(len(x))
    for start in range(0, 2**16, BLOCK):  # nodes on one line; NaN if it needs more
        if not len(active):
            break
        index = np.arange(start, start + BLOCK)
        s = c[active, None] + 1j * STEP * width[active, None] * index
        exponent = number[active, None] * cgf(s) + bias**2 * s**2 / 2 - s * x[active, None] - peak[active, None]
        values = np.exp(exponent) * np.where(index == 0, 0.5, 1.0)
        ratio = c[active, None] / s
        terms = values * ratio ** orders[0]
        for row, j in enumerate(orders):
            terms = terms * ratio
            total[0, row, active] += factorial(j) * terms.real.sum(axis=1)
            total[1, row, active] += 2 * factorial(j) * terms.real[:, ::2].sum(axis=1)
        decay = np.abs(s[:, -1] / c[active]) ** (orders[0] + 1)
        left[active] = np.abs(values[:, -1]) / decay * (start + BLOCK)  # the remainder, if the integrand falls as a power
        active = active[left[active] > 1e-3 * tolerance]
    total *= STEP * width / np.pi * np.exp(peak) / c ** (np.array(orders) + 1.0)[:, None]
    error = np.abs(total[0, 0] - total[1, 0])  # of the coarse rule; that of the fine rule is about its square (relative errors)
    failed = (left > tolerance) | (error**2 > tolerance * total[0, 0] ** 2)
    return np.where(failed, np.nan, np.maximum(total[0], 0.0))


def _saddle(
    cgf: Callable[[Any], Any], end: float, std: float, number: np.ndarray, x: np.ndarray, bias: float
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of ``J κ(s) + b² s²/2 - s x - ln s`` over ``s > 0``, by bisection in ``ln s``, and ``κ''`` there."""

    def slope(s: np.ndarray) -> np.ndarray:
        return cgf(s + 1e-30j).imag / 1e-30  # complex-step derivative: no cancellation

    low = 1e-3 / (np.sqrt(number * std**2 + bias**2) + np.abs(x))
    high = np.full_like(low, 1e6 if np.isinf(end) else end * (1 - 1e-12))  # here, or before κ leaves double precision, it rises
    # of an interval of 25 in ln s: any line near the saddle point will do
    c = bisect(lambda s: x + 1 / s - number * slope(s) - bias**2 * s, low, high, rounds=30)
    return c, (slope(c) - slope(c * (1 - 1e-6))) / (1e-6 * c)
