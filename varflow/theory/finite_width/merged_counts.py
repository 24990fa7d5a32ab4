r"""Transitions of the spike count through a merge: ``K' ~ Bin(K, π_J)`` for ``and``, ``Bin(K, 1 - π_J)`` for ``iand``."""

from __future__ import annotations

import numpy as np

from varflow.theory.finite_width.binomial import TAIL, log_pmf, window


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
