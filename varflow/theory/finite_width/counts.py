r"""Grids for the distribution of a spike count: every integer, or, in wide layers, few points of a smooth function.

In ``y = arcsin √(K/n)`` a binomial count has the same standard deviation everywhere, ``1/(2√n)``. Above some hundred spikes its
probability, extended to real ``K``, is smooth on that scale, so sums over ``K`` become integrals over ``y``, for which the
trapezoidal rule on a uniform grid has spectral accuracy. Near 0 and ``n`` the integers are kept; a smooth step joins the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from varflow._checks import frozen
from varflow._display import Listed
from varflow._memory import room

EXACT_WIDTH = 10_000  # largest width at which every count is kept: a matrix of 10⁸ entries, banded
STEP = 0.5  # of the grid in y, in standard deviations of a binomial count; up to 0.8 moments change by less than 1e-13
INTEGERS = 700  # counts kept individually at either end of a wide layer: 9 JOIN_WIDTH beyond √JOIN
JOIN, JOIN_WIDTH = 300.0, 1.0  # count at which the grid replaces the integers, and width of the step in √K


@dataclass(frozen=True, slots=True, eq=False)
class CountGrid:
    """Counts at which a distribution is stored, with weights such that ``Σ_K f(K) = Σ_i weights_i f(counts_i)``.

    Attributes
    ----------
    width : int
    counts, weights : ndarray
        Ascending from 0; integers of weight 1 where ``exact``.
    exact : bool
    """

    width: int
    counts: np.ndarray
    weights: np.ndarray
    exact: bool

    def __len__(self) -> int:
        return len(self.counts)


@lru_cache(maxsize=8)
def count_grid(width: int, step: float = STEP, exact_width: int = EXACT_WIDTH) -> CountGrid:
    """Every count of a layer, or the grid of a layer wider than ``exact_width``."""
    if width <= exact_width:
        return CountGrid(width, frozen(np.arange(width + 1)), frozen(np.ones(width + 1)), exact=True)
    from scipy.special import erfc

    room("width", width, 8 * 8 * np.pi * np.sqrt(width) / step, "the spike counts of a layer")
    integers = np.arange(INTEGERS + 1.0)
    low = 0.5 * erfc((np.sqrt(integers) - np.sqrt(JOIN)) / JOIN_WIDTH)
    dy = step / (2 * np.sqrt(width))
    y = dy * np.arange(1, int(np.pi / 2 / dy) + 1)
    smooth = width * np.sin(y) ** 2
    to_low = 0.5 * erfc((np.sqrt(smooth) - np.sqrt(JOIN)) / JOIN_WIDTH)
    to_high = 0.5 * erfc((np.sqrt(width) * np.cos(y) - np.sqrt(JOIN)) / JOIN_WIDTH)
    weights = dy * width * np.sin(2 * y) * np.maximum(1 - to_low - to_high, 0.0)
    counts = np.concatenate([integers, smooth, width - integers])
    weights = np.concatenate([low, weights, low])
    order = np.argsort(counts)
    counts, weights = counts[order], weights[order]
    significant = weights > 1e-20
    return CountGrid(width, frozen(counts[significant]), frozen(weights[significant]), exact=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CountLaw(Listed):
    """The distribution of a spike count: ``E[f(K)] = mass @ f(counts)``.

    Attributes
    ----------
    counts : ndarray
        Every count ``0 … n``; in layers wider than 10⁴ the points of a grid, not all integers.
    mass : ndarray
        Probability of each count, or of the cell around each grid point. Sums to 1.
    width : int
    """

    counts: np.ndarray
    mass: np.ndarray
    width: int
    listed: ClassVar = {"width": "", "firing_rate": ".6g", "survival": ".6g"}

    @property
    def firing_rate(self) -> float:
        return float(self.mass @ self.counts) / self.width

    @property
    def firing_rate_std(self) -> float:
        rates = self.counts / self.width
        return float(np.sqrt(self.mass @ (rates - self.mass @ rates) ** 2))

    @property
    def survival(self) -> float:
        """``P(K > 0)``."""
        return min(float(self.mass[1:].sum()), 1.0)
