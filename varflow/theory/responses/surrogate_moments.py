r"""Moments of a surrogate over normal potentials: ``E[ψ(u - θ)²]`` and its kurtosis, ``u ~ N(0, V)``.

One quadrature for all surrogates: Gauss–Legendre on panels that shrink geometrically towards each kink of ``ψ`` and are shorter
than a standard deviation elsewhere, so narrow and wide surrogates need no cases. The closed forms that some shapes have are in
``symbolic``; tests compare.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from varflow.model.surrogate import Surrogate
from varflow.theory.threads import in_threads

MARGIN = 10.0  # standard deviations beyond the mean and the kinks
FARTHEST = 38.5  # standard deviations: farther out the density underflows
CHUNK = 256  # configurations at once


class SurrogateMoments(NamedTuple):
    """``E[ψ²]``, ``κ = E[ψ⁴]/E[ψ²]²`` and the fraction of ``E[ψ²]`` above threshold (NaN where ψ vanishes)."""

    second: np.ndarray
    kurtosis: np.ndarray
    above: np.ndarray


def surrogate_moments(surrogate: Surrogate, threshold: np.ndarray, variance: np.ndarray) -> SurrogateMoments:
    """Moments for arrays of the same shape; ``variance`` must be positive."""
    theta, std = np.ravel(threshold), np.sqrt(np.ravel(variance))
    chunks = [slice(first, first + CHUNK) for first in range(0, len(theta), CHUNK)]
    parts = in_threads(lambda at: _moments(surrogate, theta[chunks[at]], std[chunks[at]]), len(chunks)) if chunks else []
    moments = np.concatenate(parts, axis=1) if parts else np.empty((3, 0))
    return SurrogateMoments(*(moment.reshape(np.shape(threshold)) for moment in moments))


def _moments(surrogate: Surrogate, theta: np.ndarray, std: np.ndarray) -> np.ndarray:
    # far from the mean positions are measured from the threshold
    origin = np.where(np.abs(theta) > 64.0 * std, theta, 0.0)[:, None]  # positions are x = v + origin
    ends = _panels(surrogate, theta[:, None], std[:, None], origin)
    nodes, weights = _rule()
    half = np.diff(ends, axis=1)[..., None] / 2
    x = (ends[:, :-1, None] + half * (1 + nodes)).reshape(len(theta), -1)
    z = (x + (theta[:, None] - origin)) / std[:, None]
    mass = (half / std[:, None, None] * weights).reshape(x.shape) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    psi = surrogate(x - origin)
    peak = np.abs(psi).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        square = np.where(peak > 0, psi / peak, 0.0) ** 2
        second, fourth = np.vecdot(square, mass), np.vecdot(square**2, mass)
        above = np.vecdot(np.where(x > origin, square, 0.0), mass)
        return np.array([peak[:, 0] ** 2 * second, fourth / second**2, above / second])


def _panels(surrogate: Surrogate, theta: np.ndarray, std: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Ends of the panels, ascending; those outside the range are empty."""
    own = surrogate.family == "own"
    kinks = [0.0, *surrogate.kinks] if own else [0.0, -surrogate.width, surrogate.width]
    at = theta + np.array(kinks)
    lo, hi = np.minimum(at.min(axis=1), 0.0) / std[:, 0], np.maximum(at.max(axis=1), 0.0) / std[:, 0]
    lo, hi = np.clip(lo - MARGIN, -FARTHEST, None)[:, None], np.clip(hi + MARGIN, None, FARTHEST)[:, None]
    even = std * (lo + (hi - lo) * np.linspace(0, 1, 65)) + (origin - theta)
    smallest = 1e-8 * std if own else surrogate.width / 8
    near = np.broadcast_to(smallest * 3.0 ** np.arange(18), (len(theta), 18))  # panels that shrink towards a kink
    around = [k + sign * near + origin for k in (kinks if own else kinks[:1]) for sign in (-1, 1)]
    ends = np.concatenate([even, *around, np.array(kinks) + origin], axis=1)
    return np.sort(np.clip(ends, even[:, :1], even[:, -1:]), axis=1)


@cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(16)
