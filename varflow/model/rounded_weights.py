r"""Weights rounded to a lattice: the exact distribution of the integers that a chip stores.

A weight ``y``, in units of its standard deviation, becomes the integer nearest to ``y/Δ`` among ``-M … M``. With
``e_j = (j + ½)Δ``,

.. math:: P(i) = P(e_{i-1} < y \le e_i), \qquad E[(y - Δ i)^2] \text{ is smallest where }
          \sum_{j<M} \Bigl[\int_{e_j}^\infty P(|y| > x)\,dx - e_j P(|y| > e_j)\Bigr] = 0
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from varflow.model.densities import integral
from varflow.model.weight_distribution import Lattice, Pair


def largest_integer(bits: int) -> int:
    """``M = 2^(bits-1) - 1``: the integers of so many bits are ``-M … M``."""
    return 2 ** (bits - 1) - 1


def rounded(base: Any, largest: int, step: float) -> Lattice:
    """The integers that weights of this distribution become, with their probabilities."""
    integers = np.arange(-largest, largest + 1)
    upper, lower = _tails(base, (integers[:-1] + 0.5) * step)
    # of the two tails the smaller one, whose differences keep their digits
    mass = np.where(integers > 0, -np.diff(upper, prepend=1.0, append=0.0), np.diff(lower, prepend=0.0, append=1.0))
    present = mass > 0
    return tuple(integers[present].tolist()), tuple(mass[present].tolist())


@lru_cache(maxsize=64)
def least_error_clip(base: Any, largest: int) -> float:
    """The clip with the smallest mean squared error of rounding, in standard deviations."""
    from scipy.optimize import brentq

    end = max(abs(x + base.offset) for x in base.core.support) / base.std

    def beyond(x: np.ndarray) -> np.ndarray:
        """``P(|y| > x)``."""
        flat = x.ravel()
        return (_tails(base, flat)[0] + _tails(base, -flat)[1]).reshape(x.shape)

    def slope(clip: float) -> float:
        edges = np.minimum((np.arange(largest) + 0.5) * (clip / largest), end)
        return float(np.sum(integral(beyond, edges, end) - edges * beyond(edges)))

    clip = 1.0
    while slope(clip) > 0:
        clip *= 1.5
    return float(brentq(slope, clip / 1.5, clip, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def _tails(base: Any, y: np.ndarray) -> Pair:
    """``P(y' > y)`` and ``P(y' ≤ y)`` of weights in units of their standard deviation."""
    low, high = base.core.support
    x = np.clip(y * base.std - base.offset, low, high)
    upper, lower = base.core.tails(x)
    return np.where(x == high, 0.0, np.where(x == low, 1.0, upper)), np.where(x == high, 1.0, np.where(x == low, 0.0, lower))
