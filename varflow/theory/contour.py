r"""Tails of sums whose moment generating function is known, by an integral through the saddle point.

.. math::
    P(u > θ) = \frac{1}{2\pi i} \int_{c - i\infty}^{c + i\infty} \frac{e^{J \kappa(s) + b^2 s^2/2 - s x}}{s}\, ds, \qquad c > 0

with ``κ`` the cumulant generating function of one core variable, ``x`` the threshold and ``b`` the bias in its units. On the
vertical line through the saddle point the integrand does not oscillate near its maximum, so the trapezoidal rule keeps relative
accuracy in any tail; below the mean the complement is computed. ``j!/s^{j+1}`` in place of ``1/s`` gives ``E[(u-x)^j 1(u>x)]``.
``J`` may be any positive real number. Source: Daniels 1954; the trapezoidal rule on it, derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError

__all__ = ["GAMMA", "UNIFORM", "Cumulants", "tail_moments", "tails"]

STEP = 0.12  # of the trapezoidal rule, in units of the integrand's width
BLOCK = 64  # nodes at a time
MOST = 2**16  # nodes on one line
TOLERANCE = 1e-11  # relative to the saddle point's value; what is left beyond the last node is smaller


@dataclass(frozen=True, slots=True)
class Cumulants:
    """``κ(s)`` for complex ``s``, ``κ'`` and ``κ''`` for real ``s``, and the largest ``s`` at which it exists."""

    cgf: Callable[[Any], Any]
    slope: Callable[[np.ndarray], np.ndarray]
    curvature: Callable[[np.ndarray], np.ndarray]
    end: float

    def reflected(self, end: float) -> Cumulants:
        """Of the negated variable."""
        return Cumulants(lambda s: self.cgf(-s), lambda s: -self.slope(-s), lambda s: self.curvature(-s), end)


def _uniform_cgf(s: Any) -> Any:
    """``ln(sinh s / s)``, even; ``Re s`` of one sign."""
    s = np.where(s.real < 0, -s, s)
    return s + np.log(-np.expm1(-2 * s) / (2 * s))


def _uniform_slope(s: np.ndarray) -> np.ndarray:
    near = np.abs(s) < 1e-2
    far = np.where(near, 1.0, s)
    return np.where(near, s / 3 - s**3 / 45, 1 / np.tanh(far) - 1 / far)


def _uniform_curvature(s: np.ndarray) -> np.ndarray:
    near = np.abs(s) < 1e-2
    far = np.clip(np.where(near, 1.0, np.abs(s)), None, 300)
    return np.where(near, 1 / 3 - s**2 / 15, 1 / np.where(near, 1.0, s) ** 2 - 1 / np.sinh(far) ** 2)


UNIFORM = Cumulants(_uniform_cgf, _uniform_slope, _uniform_curvature, np.inf)
GAMMA = Cumulants(lambda s: -np.log1p(-s), lambda s: 1 / (1 - s), lambda s: 1 / (1 - s) ** 2, 1.0)  # of shape 1


def tails(law: Cumulants, number: np.ndarray, x: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """``P(S_J + b N > x)`` and its complement, for every ``J`` in ``number``; ``x`` inside the support."""
    upper = x > number * law.slope(np.zeros(1))
    p = np.empty(len(x))
    p[upper] = tail_moments(law, number[upper], x[upper], bias, range(1))[0]
    below = law.reflected(np.inf)
    q = tail_moments(below, number[~upper], -x[~upper], bias, range(1))[0]
    p[~upper] = 1 - q
    whole = 1 - p
    whole[~upper] = q
    return p, whole


def tail_moments(
    law: Cumulants, number: np.ndarray, x: np.ndarray, bias: float, orders: range, tolerance: float = TOLERANCE
) -> np.ndarray:
    """``E[(S - x)^j 1(S > x)]`` for j in ``orders``; shape (len(orders), len(x))."""
    c = _saddle(law, number, x, bias)
    width = 1 / np.sqrt(number * law.curvature(c) + bias**2 + 1 / c**2)
    peak = number * law.cgf(c + 0j).real + bias**2 * c**2 / 2 - c * x
    total = np.zeros((2, len(orders), len(x)))  # the rule, and the rule on every other node
    active, left = np.arange(len(x)), np.zeros(len(x))
    for start in range(0, MOST, BLOCK):
        if not len(active):
            break
        index = np.arange(start, start + BLOCK)
        s = c[active, None] + 1j * STEP * width[active, None] * index
        exponent = number[active, None] * law.cgf(s) + bias**2 * s**2 / 2 - s * x[active, None] - peak[active, None]
        values = np.exp(exponent) * np.where(index == 0, 0.5, 1.0)
        for row, j in enumerate(orders):
            terms = (factorial(j) * values / (s / c[active, None]) ** (j + 1)).real
            total[0, row, active] += terms.sum(axis=1)
            total[1, row, active] += 2 * terms[:, ::2].sum(axis=1)
        decay = np.abs(s[:, -1] / c[active]) ** (orders[0] + 1)
        left[active] = np.abs(values[:, -1]) / decay * (start + BLOCK)  # of a power law that begins here
        active = active[left[active] > 1e-3 * tolerance]
    total *= STEP * width / np.pi * np.exp(peak) / c ** (np.array(orders) + 1.0)[:, None]
    error = np.abs(total[0, 0] - total[1, 0])  # of the coarse rule; the fine one has about its square, relative to 1
    if np.any(left > tolerance) or np.any(error**2 > tolerance * total[0, 0] ** 2):
        hint = "a bias this small beside few weights needs more nodes than the rule may take; leave the bias out"
        raise ConvergenceError(f"the tail integral of a sum of weights did not converge: {hint}", total[0])
    return np.maximum(total[0], 0.0)


def _saddle(law: Cumulants, number: np.ndarray, x: np.ndarray, bias: float) -> np.ndarray:
    """Where ``J κ(s) + b² s²/2 - s x - ln s`` is least, by bisection in ``ln s``: the rule need not know it to many digits."""
    spread = np.sqrt(number * law.curvature(np.zeros(1)) + bias**2)
    low = np.log(1e-3 / (spread + np.abs(x)))
    high = np.full_like(low, np.log(1e6)) if np.isinf(law.end) else np.full_like(low, np.log(law.end * (1 - 1e-12)))
    for _ in range(48):
        middle = 0.5 * (low + high)
        s = np.exp(middle)
        rising = number * law.slope(s) + bias**2 * s - x - 1 / s > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    return np.exp(0.5 * (low + high))
