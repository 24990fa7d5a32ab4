"""Binomial transition kernels between spike counts, accurate to rounding and no larger than the mass they carry.

Row ``K`` is the law Binomial(n, p_K). Probabilities come from Loader's saddle-point form, which keeps the digits that
differences of log-gammas lose (C. Loader, *Fast and accurate computation of binomial probabilities*, 2000).
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Kernel", "log_pmf", "window"]

BLOCK = 64  # rows that share one column window
TAIL = -math.log(1e-17)  # mass left outside a row's window, on either side
NEGLIGIBLE = 1e-18  # of the mass still alive: blocks that carry less are not multiplied
WHOLE_TAIL = 745.0  # down to the smallest double: what few survivors there are may come from far out

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_STIRLING_TABLE = np.array(
    [0.0] + [math.lgamma(k + 1) - (k + 0.5) * math.log(k) + k - 0.5 * math.log(2 * math.pi) for k in range(1, 16)]
)


def _stirling_error(k: np.ndarray) -> np.ndarray:
    """``ln k! - ln(√(2πk) kᵏ e⁻ᵏ)`` for ``k ≥ 1``."""
    large = np.maximum(k, 16.0)
    series = np.zeros_like(large)
    for coefficient in reversed(_STIRLING):
        series = series / large**2 + coefficient
    return np.where(k < 16, _STIRLING_TABLE[np.minimum(k, 15).astype(int)], series / large)


def log_pmf(k: np.ndarray, n: int, p: float, q: float) -> np.ndarray:
    """``ln P(Binomial(n, p) = k)`` for ``0 < p < 1``, with ``q = 1 - p`` given for its own digits."""
    k = np.asarray(k, dtype=float)
    inner = np.clip(k, 1, n - 1) if n > 1 else np.full_like(k, 0.5)
    rest = n - inner
    deviance = inner * np.log1p((inner - n * p) / (n * p)) + rest * np.log1p((n * p - inner) / (n * q))
    stirling = _stirling_error(np.full_like(inner, n)) - _stirling_error(inner) - _stirling_error(rest)
    middle = stirling - deviance + 0.5 * np.log(n / (2 * np.pi * inner * rest))
    return np.where(k == 0, n * _log_complement(q, p), np.where(k == n, n * _log_complement(p, q), middle))


def _log_complement(p: float, q: float) -> float:
    """``ln p`` where ``p = 1 - q``, from whichever of the two is small."""
    return math.log(p) if p < 0.5 else math.log1p(-q)


def window(n: int, p: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts ``lo … hi`` outside which Binomial(n, p) has less than ``e^-tail`` on either side (Bernstein's inequality)."""
    mean = n * p
    above = tail / 3 + np.sqrt(tail**2 / 9 + 2 * tail * mean * (1 - p))
    below = np.minimum(np.sqrt(2 * tail * mean), tail / 3 + np.sqrt(tail**2 / 9 + 2 * tail * mean * (1 - p)))
    return np.floor(np.maximum(mean - below, 0)).astype(int), np.ceil(np.minimum(mean + above, n)).astype(int)


class Kernel:
    """The stochastic matrix with rows Binomial(n, p_K): dense blocks of rows, each built when mass first reaches it.

    Parameters
    ----------
    n : int
        Neurons of the next layer.
    p, q : ndarray, shape (m + 1,)
        Firing probability given ``K = 0 … m`` spikes below, and its complement with its own digits.
    whole : bool
        Whether to keep every entry that double precision holds, not just all but 1e-17 of a row.
    """

    def __init__(self, n: int, p: np.ndarray, q: np.ndarray, *, whole: bool = False):
        self.n, self.p, self.q = n, p, q
        self._tail, self._negligible = (WHOLE_TAIL, 0.0) if whole else (TAIL, NEGLIGIBLE)
        self._starts = range(0, len(p), BLOCK)
        self._blocks: dict[int, tuple[int, np.ndarray]] = {}

    def push(self, mass: np.ndarray) -> np.ndarray:
        """Law of the next count from the law of this one: ``mass @ P``."""
        out = np.zeros(self.n + 1)
        alive = mass[1:].sum()
        for start in self._starts:
            rows = mass[start : start + BLOCK]
            if rows.sum() > self._negligible * alive or (start == 0 and rows[0] > 0):
                lo, block = self._block(start)
                out[lo : lo + block.shape[1]] += rows @ block
        return out

    def pull(self, values: np.ndarray) -> np.ndarray:
        """Expectation of a function of the next count given this one: ``P @ values``; values of shape (n + 1, …)."""
        out = np.zeros((len(self.p), *values.shape[1:]))
        for start in self._starts:
            lo, block = self._block(start)
            out[start : start + BLOCK] = block @ values[lo : lo + block.shape[1]]
        return out

    def dense(self) -> np.ndarray:
        """The whole matrix, shape (m + 1, n + 1)."""
        out = np.zeros((len(self.p), self.n + 1))
        for start in self._starts:
            lo, block = self._block(start)
            out[start : start + BLOCK, lo : lo + block.shape[1]] = block
        return out

    def _block(self, start: int) -> tuple[int, np.ndarray]:
        if start not in self._blocks:
            part = slice(start, start + BLOCK)
            self._blocks[start] = _rows(self.n, self.p[part], self.q[part], self._tail)
        return self._blocks[start]


def _rows(n: int, p: np.ndarray, q: np.ndarray, tail: float) -> tuple[int, np.ndarray]:
    """First column and dense rows Binomial(n, p_i) of one block.

    Only the middle row is evaluated in full; the others follow from it by ``k ln(p/p₀) + (n-k) ln(q/q₀)``, two products
    and an exponential an entry.
    """
    lo, hi = window(n, p, tail)
    columns = np.arange(lo.min(), hi.max() + 1)
    sure = (p == 0) | (q == 0)
    block = np.zeros((len(p), len(columns)))
    block[p == 0, :1] = 1.0  # a window that holds p = 0 starts at 0, one that holds q = 0 ends at n
    block[q == 0, -1:] = 1.0
    if not sure.all():
        random = np.flatnonzero(~sure)
        middle = random[len(random) // 2]
        p0, q0 = float(p[middle]), float(q[middle])
        up = _log_ratio(p[random], p0, q0 - q[random] if p0 > 0.5 else p[random] - p0)
        down = _log_ratio(q[random], q0, p0 - p[random] if q0 > 0.5 else q[random] - q0)
        log_rows = np.outer(up, columns) + np.outer(down, n - columns)
        log_rows += log_pmf(columns, n, p0, q0)
        block[random] = np.exp(log_rows)
    return int(columns[0]), block


def _log_ratio(a: np.ndarray, b: float, difference: np.ndarray) -> np.ndarray:
    """``ln(a/b)``, with ``a - b`` given where it has digits that ``a/b`` has lost."""
    change = difference / b
    near = np.abs(change) < 0.5
    return np.where(near, np.log1p(np.where(near, change, 0.0)), np.log(a / b))
