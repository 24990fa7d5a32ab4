"""Stationary distribution of the spike count in numbers, to check the finite-width series.

The chain ``n x' ~ Binomial(n, π(x))``, ``x = K/n``, is iterated from its centre until it is stationary, over all counts within
nine standard deviations, in double precision and without an expansion. ``π(x) - p`` is given as a function of ``x - p``, which
avoids cancellation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from varflow._checks import ConvergenceError


def stationary_moments(
    n: int, p: float, slope: float, rise: Callable[[np.ndarray], np.ndarray], highest: int
) -> tuple[float, ...]:
    """``E[(x - p)^k]``, ``k = 1 … highest``.

    Parameters
    ----------
    n : int
        Neurons.
    p, slope : float
        The fixed point, ``π(p) = p``, and ``π'(p)``. The variance is about ``p (1 - p)/(n (1 - π'(p)²))``.
    above : callable
        ``π(p + ξ) - p`` for an ascending array of ``ξ``.
    highest : int
    """
    centre = round(n * p)
    # a normal distribution has 2e-19 beyond 9 standard deviations
    reach = int(9 * np.sqrt(n * p * (1 - p) / (1 - slope**2))) + 2
    K = np.arange(max(centre - reach, 1), min(centre + reach, n - 1) + 1)  # given that there are spikes
    xi = (K - n * p) / n
    chain = _rows(n, np.arange(K[0] - 1, K[-1] + 1), centre, p + rise(xi))[:, 1:]
    law = before = np.equal(K, centre).astype(float)
    for _ in range(int(-50 / np.log(abs(slope))) + 20):  # |slope|^steps < e^-50
        law, before = law @ chain, law
        law /= law.sum()
    if np.abs(law - before).max() > 1e-13 * law.max():
        raise ConvergenceError(f"the chain of {n} neurons did not converge: its slope at the fixed point is not {slope:.3g}")
    return tuple(float(law @ xi**k) for k in range(1, highest + 1))


def _rows(n: int, K: np.ndarray, centre: int, q: np.ndarray) -> np.ndarray:
    """Binomial probabilities of ``K`` for each probability ``q``: ratios to the central count, then normalised."""
    q = np.clip(q, 1e-200, 1 - 1e-15)
    start, odds = centre - int(K[0]), np.log(q / (1 - q))
    usual = np.median(odds)
    growth = np.log((n - K[:-1]) / (K[:-1] + 1)) + usual
    shape = np.concatenate([-np.cumsum(growth[:start][::-1])[::-1], [0.0], np.cumsum(growth[start:])])
    rows = shape + (odds - usual)[:, None] * (K - centre)
    rows = np.exp(rows - rows.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True)
