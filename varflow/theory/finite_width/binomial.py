"""Binomial transition kernels between spike counts, accurate to rounding and stored only where probabilities matter.

Row ``K`` is Binomial(n, p_K). Probabilities come from Loader's saddle-point form, which avoids the cancellation of log-gammas
(C. Loader, *Fast and accurate computation of binomial probabilities*, 2000).

Through a merge, ``K' ~ Bin(K, π_J)`` for ``and``, ``Bin(K, 1 - π_J)`` for ``iand``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from varflow.theory.finite_width.counts import CountGrid

BLOCK = 64  # rows that share one column window
TAIL = -math.log(1e-17)  # of the probability outside a row's window, on either side: below the rounding of 1
WHOLE_TAIL = 745.0  # -ln of the smallest double: rare survivors may come from far out in the tail
NEGLIGIBLE = 1e-18  # blocks that carry less than this fraction of the live mass are skipped

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


def log_pmf(k: Any, n: int, p: Any, q: Any) -> np.ndarray:
    """``ln P(Binomial(n, p) = k)`` for ``0 < p < 1``, also between integers; ``q = 1 - p`` is passed to full precision.

    ``k``, ``p`` and ``q`` broadcast.
    """
    k, p, q = np.asarray(k, dtype=float), np.asarray(p), np.asarray(q)
    inner = np.clip(k, 1, n - 1) if n > 1 else np.full_like(k, 0.5)
    failures = n - inner
    excess = inner - n * p
    stirling = _stirling_error(np.full_like(inner, n)) - _stirling_error(inner) - _stirling_error(failures)
    distance = deviance(inner, n * p, excess) + deviance(failures, n * q, -excess)
    middle = stirling + 0.5 * np.log(n / (2 * np.pi * inner * failures)) - distance
    return np.where(k == 0, n * _log_complement(q, p), np.where(k == n, n * _log_complement(p, q), middle))


def deviance(k: np.ndarray, mean: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """``k ln(k/mean) - excess`` with ``excess = k - mean``; a series where the two terms nearly cancel."""
    v = excess / (k + mean)
    near = np.abs(v) < 0.1
    if near.all():
        return _near_deviance(k, v, excess)
    with np.errstate(over="ignore"):  # a mean next to 0
        direct = k * np.log1p(excess / mean) - excess
    return np.where(near, _near_deviance(k, np.where(near, v, 0.0), excess), direct)


def _near_deviance(k: np.ndarray, v: np.ndarray, excess: np.ndarray) -> np.ndarray:
    square = v * v
    series = np.zeros_like(v)
    for j in range(9, 0, -1):
        series = (series + 1 / (2 * j + 1)) * square
    return excess * v + 2 * k * v * series


def _log_complement(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``ln p``, from ``p`` or ``q = 1 - p``, whichever is smaller."""
    with np.errstate(divide="ignore"):
        return np.where(p < 0.5, np.log(p), np.log1p(-q))


def window(n: int, p: np.ndarray, tail: float = TAIL) -> tuple[np.ndarray, np.ndarray]:
    """Counts ``lo … hi`` outside which Binomial(n, p) has less than ``e^-tail`` on either side (Bernstein's inequality)."""
    mean = n * p
    reach_up = tail / 3 + np.sqrt(tail**2 / 9 + 2 * tail * mean * (1 - p))
    reach_down = np.minimum(np.sqrt(2 * tail * mean), reach_up)
    return np.floor(np.maximum(mean - reach_down, 0)).astype(int), np.ceil(np.minimum(mean + reach_up, n)).astype(int)


class Transition:
    """The transition matrix between distributions on count grids; row ``i`` is Binomial(n, p_i).

    A distribution is its vector of masses, grid weights included. Rows are stored in dense blocks, each with one window of
    columns; a block is built when mass first reaches it.

    Parameters
    ----------
    target : CountGrid
        Counts of the next layer.
    p, q : ndarray
        Firing probability given each count of the layer below, and its complement to full relative precision.
    tail : float
        Each row omits less than ``e^-tail`` on either side.
    """

    def __init__(self, target: CountGrid, p: np.ndarray, q: np.ndarray, tail: float = TAIL):
        self.target, self.p, self.q, self.tail = target, p, q, tail
        self._starts = np.arange(0, len(p), BLOCK)
        self._blocks: dict[int, tuple[int, np.ndarray]] = {}

    def push(self, mass: np.ndarray) -> np.ndarray:
        """Distribution of the next count from that of this one: ``mass @ P``."""
        out = np.zeros(len(self.target))
        carried = np.add.reduceat(mass, self._starts)
        carries = carried > (NEGLIGIBLE if self.tail <= TAIL else 0.0) * mass[1:].sum()
        carries[0] |= mass[0] > 0
        for start in self._starts[carries].tolist():
            lo, block = self._block(start)
            out[lo : lo + block.shape[1]] += mass[start : start + BLOCK] @ block
        return out

    def pull(self, values: np.ndarray) -> np.ndarray:
        """Expectation of a function of the next count given this one: ``P @ values``; values of shape (len(target), …)."""
        out = np.zeros((len(self.p), *values.shape[1:]))
        for start in self._starts.tolist():
            lo, block = self._block(start)
            out[start : start + BLOCK] = block @ values[lo : lo + block.shape[1]]
        return out

    def dense(self) -> np.ndarray:
        """The whole matrix, shape (len(p), len(target))."""
        out = np.zeros((len(self.p), len(self.target)))
        for start in self._starts.tolist():
            lo, block = self._block(start)
            out[start : start + BLOCK, lo : lo + block.shape[1]] = block
        return out

    def with_tail(self, tail: float) -> Transition:
        """This kernel with windows for another ``tail``."""
        return Transition(self.target, self.p, self.q, tail)

    def _block(self, start: int) -> tuple[int, np.ndarray]:
        if start not in self._blocks:
            rows = slice(start, start + BLOCK)
            self._blocks[start] = _rows(self.target, self.p[rows], self.q[rows], self.tail)
        return self._blocks[start]


def _rows(target: CountGrid, p: np.ndarray, q: np.ndarray, tail: float) -> tuple[int, np.ndarray]:
    """First column and dense rows Binomial(n, p_i) of one block.

    Only the middle row is evaluated in full; the others follow from it by :func:`_log_rows`.
    """
    n = target.width
    lo, hi = window(n, p, tail)
    first, last = np.searchsorted(target.counts, [lo.min(), hi.max() + 1])
    counts, weights = target.counts[first:last], target.weights[first:last]
    certain = (p == 0) | (q == 0)
    block = np.zeros((len(p), len(counts)))
    block[p == 0, :1] = 1.0  # a window that contains p = 0 starts at 0, one with q = 0 ends at n
    block[q == 0, -1:] = 1.0
    if not certain.all():
        random = np.flatnonzero(~certain)
        block[random] = np.exp(_log_rows(n, counts, p[random], q[random], len(random) // 2)) * weights
        if not target.exact:
            block[random] /= block[random].sum(axis=1, keepdims=True)  # rows sum to 1 up to rounding
    return int(first), block


def _log_rows(n: int, k: np.ndarray, p: np.ndarray, q: np.ndarray, middle: int) -> np.ndarray:
    """``ln P(Binomial(n, p_i) = k_j)``: that of the row ``p₀`` plus ``k ln(p/p₀) + (n - k) ln(q/q₀)``."""
    p0, q0 = float(p[middle]), float(q[middle])
    up = _log_ratio(p, p0, q0 - q if p0 > 0.5 else p - p0)
    down = _log_ratio(q, q0, p0 - p if q0 > 0.5 else q - q0)
    row = log_pmf(k, n, p0, q0)
    if max(np.abs(up).max(), np.abs(down).max()) > 0.1:
        return row + (np.outer(up, k) + np.outer(down, n - k))
    # In nearby rows of wide layers the two products nearly cancel, so they are taken relative to one count k₀.
    k0 = np.round(n * p0)
    return (row - log_pmf(k0, n, p0, q0)) + log_pmf(k0, n, p, q)[:, None] + np.outer(up - down, k - k0)


def _log_ratio(a: np.ndarray, b: float, difference: np.ndarray) -> np.ndarray:
    """``ln(a/b)`` from ``difference = a - b``, accurate also for ``a ≈ b``."""
    change = difference / b
    near = np.abs(change) < 0.5
    return np.where(near, np.log1p(np.where(near, change, 0.0)), np.log(a / b))


class DenseTransition:
    """A transition matrix kept whole, with the methods of a :class:`varflow.theory.finite_width.binomial.Transition`."""

    def __init__(self, whole: np.ndarray):
        self._whole = whole

    def push(self, mass: np.ndarray) -> np.ndarray:
        return mass @ self._whole

    def pull(self, values: np.ndarray) -> np.ndarray:
        return self._whole @ values

    def dense(self) -> np.ndarray:
        return self._whole


def merged(p: np.ndarray, q: np.ndarray, reach: np.ndarray | None, width: int, tail: float = TAIL) -> DenseTransition:
    """The transition from ``K`` to ``K' ~ Bin(K, p_J)``, ``q = 1 - p``.

    ``reach[K, J]`` is the probability of ``J`` given ``K``; None means ``J = K``.
    """
    matrix = np.zeros((width + 1, width + 1))
    matrix[0, 0] = 1.0
    for count in range(1, width + 1):
        if reach is None:
            inner, mass = np.array([count]), np.ones(1)
        else:
            inner = np.flatnonzero(reach[count] > np.exp(-tail))
            mass = reach[count, inner]
        matrix[count, : count + 1] = _mixture(count, p[inner], q[inner], mass, tail)
    return DenseTransition(matrix)


def _mixture(n: int, p: np.ndarray, q: np.ndarray, mass: np.ndarray, tail: float) -> np.ndarray:
    """``Σ_i mass_i P(Bin(n, p_i) = k)`` for ``k = 0 … n``."""
    out = np.zeros(n + 1)
    out[0], out[-1] = mass[p == 0].sum(), mass[q == 0].sum()
    random = (p > 0) & (q > 0)
    if random.any():
        p, q = p[random], q[random]
        lo, hi = window(n, p, tail)
        k = np.arange(lo.min(), hi.max() + 1)
        out[k] += mass[random] @ np.exp(log_pmf(k, n, p[:, None], q[:, None]))
    return out
