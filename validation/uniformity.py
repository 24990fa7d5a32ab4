"""Uniformity of p-values: the band within which their whole distribution function lies, at a stated probability.

The number of ``n`` uniform p-values at or below a level is binomial. Intervals of one pointwise coverage at all levels hold
together with a probability found exactly, since the numbers form a Markov chain over the levels
(Säilynoja, Bürkner and Vehtari 2022, Graphical test for discrete uniformity, section 3).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gammaln
from scipy.stats import binom

__all__ = ["COVERAGE", "LEVELS", "band", "inside"]

COVERAGE = 0.999  # of the band: a right statistic leaves it once in a thousand claims
LEVELS = np.array([0.001, 0.002, 0.005, *np.arange(1, 100) / 100])


@lru_cache(maxsize=8)
def band(draws: int, coverage: float = COVERAGE) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest number of p-values at or below each of ``LEVELS``; all hold together with ``coverage``."""
    wide, narrow = 0.0, 1.0  # pointwise probabilities of leaving: the first holds, the second does not
    while narrow - wide > 1e-3 * narrow:
        tried = (wide + narrow) / 2 if wide else narrow / 2
        wide, narrow = (tried, narrow) if inside(draws, *_intervals(draws, tried)) >= coverage else (wide, tried)
    return _intervals(draws, wide)


def _intervals(draws: int, outside: float) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed binomial intervals, each left with probability ``outside`` at most."""
    return binom.ppf(outside / 2, draws, LEVELS).astype(int), binom.isf(outside / 2, draws, LEVELS).astype(int)


def inside(draws: int, lower: np.ndarray, upper: np.ndarray) -> float:
    """``P(lower ≤ R ≤ upper at all levels)``, ``R`` the number of uniform values at or below a level.

    Given ``R = r`` at level ``z``, the number between ``z`` and ``z'`` is binomial of ``n - r`` and ``(z' - z)/(1 - z)``.
    """
    chance, counts, level = np.ones(1), np.zeros(1, dtype=int), 0.0
    for z, low, high in zip(LEVELS, lower, upper, strict=True):
        following = np.arange(low, high + 1)
        chance = chance @ _binomial(following - counts[:, None], draws - counts[:, None], (z - level) / (1 - level))
        counts, level = following, z
    return float(chance.sum())


def _binomial(k: np.ndarray, n: np.ndarray, p: float) -> np.ndarray:
    """``P(k of n)``, 0 for impossible ``k``; many times as fast as scipy's."""
    possible, logs = (k >= 0) & (k <= n), _log_factorials(int(n.max()))
    k = np.where(possible, k, 0)
    return np.where(possible, np.exp(logs[n] - logs[k] - logs[n - k] + k * np.log(p) + (n - k) * np.log1p(-p)), 0.0)


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> np.ndarray:
    """``ln k!`` for ``k`` up to ``most``."""
    return gammaln(np.arange(most + 1) + 1.0)
