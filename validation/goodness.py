"""Goodness of fit of a discrete distribution: Pearson's statistic over pooled cells, calibrated by draws from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Fit", "pooled"]

EXPECTED = 5.0  # smallest expected count of a cell: the usual rule for Pearson's statistic


@dataclass(frozen=True, eq=False)
class Fit:
    """A distribution on ``0 … m``, a sample size, and Pearson's statistic of ``draws`` samples from the distribution.

    The false-alarm rate of the p-value ``(exceedances + 1)/(draws + 1)`` is exact, for any cells.
    """

    distribution: np.ndarray
    sample: int
    draws: int

    @cached_property
    def cells(self) -> np.ndarray:
        return pooled(self.distribution, self.sample)

    @cached_property
    def null(self) -> np.ndarray:
        """The statistic of the drawn samples, ascending."""
        chances = self.expected / self.expected.sum()
        drawn = np.random.default_rng([2, self.sample]).multinomial(self.sample, chances, size=self.draws)
        return np.sort(_pearson(drawn, self.expected))

    def p_value(self, counts: np.ndarray) -> float:
        """p-value of observed counts of the values ``0 … m``; 0 if a value outside the support was observed."""
        if counts[len(self.distribution) :].any():
            return 1 / (self.draws + 1)
        seen = np.bincount(self.cells[: len(counts)], counts[: len(self.distribution)], minlength=self.cells[-1] + 1)
        beyond = self.draws - np.searchsorted(self.null, _pearson(seen, self.expected) * (1 - 1e-12))
        return float((beyond + 1) / (self.draws + 1))

    @cached_property
    def expected(self) -> np.ndarray:
        """Expected counts of the pooled cells."""
        return self.sample * np.bincount(self.cells, self.distribution)


def _pearson(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(expected > 0, (counts - expected) ** 2 / expected, np.where(counts > 0, np.inf, 0.0))
    return parts.sum(axis=-1)


def pooled(distribution: np.ndarray, sample: int) -> np.ndarray:
    """Cell of each value: neighbours are pooled until the expected count of every cell is at least five."""
    cells, filled, cell = np.empty(len(distribution), dtype=int), 0.0, 0
    for value, chance in enumerate(distribution):
        cells[value] = cell
        filled += sample * chance
        if filled >= EXPECTED:
            cell, filled = cell + 1, 0.0
    if filled < EXPECTED and cell:
        cells[cells == cell] = cell - 1  # the remainder joins the last full cell
    return cells
