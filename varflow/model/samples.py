"""A distribution of the standardised membrane potential estimated from a sample.

The empirical tail, interpolated linearly between order statistics, is smoothed with a box of half-width ``h``. The density is
then of bounded variation, so that the layer map has few fixed points and meaningful multipliers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, positive, put, real_array, scalar
from varflow.model.builtin import Distribution

_FEWEST, _FEWEST_DISTINCT = 20, 5  # the default bandwidth of 20 normal draws, 0.86, is near its limit of 1


class Sample(Distribution):
    """A smoothed sample; made by :func:`sample`. ``bandwidth`` is the half-width of the box, in standard deviations."""

    __slots__ = ("_area", "_knots", "_slope", "bandwidth", "name", "upper")
    bandwidth: float
    _knots: np.ndarray
    _slope: np.ndarray
    _area: np.ndarray

    def __init__(self, x: np.ndarray, bandwidth: float):
        knots = _standardised(np.sort(x), bandwidth)
        gaps, intervals = np.diff(knots), x.size - 1
        put(self, bandwidth=bandwidth, name=f"sample of {x.size}", upper=float(knots[-1] + bandwidth), _knots=frozen(knots))
        put(self, _slope=frozen(np.divide(1.0, intervals * gaps, out=np.zeros_like(gaps), where=gaps > 0)))  # ties: a jump
        # ∫ S from each knot to the last, summed from the right: small tails keep their digits
        panels = gaps * (np.arange(intervals - 1, -1, -1) + 0.5) / intervals
        put(self, _area=frozen(np.append(np.cumsum(panels[::-1])[::-1], 0.0)))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        lower_area, upper_area = self._area_above(z - self.bandwidth), self._area_above(z + self.bandwidth)
        smeared = (lower_area - upper_area) / (2 * self.bandwidth)
        ends = [z <= self._knots[0] - self.bandwidth, z >= self.upper]
        return np.clip(np.select(ends, [1.0, 0.0], smeared), 0.0, 1.0)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        fall = self._joined_tail(z - self.bandwidth) - self._joined_tail(z + self.bandwidth)
        return fall / (2 * self.bandwidth)

    def _panel(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index of the knot right of ``y`` and the distance to it; ``y`` is clipped to the knots."""
        right = np.clip(np.searchsorted(self._knots, y, side="right"), 1, self._knots.size - 1)
        return right, self._knots[right] - np.clip(y, self._knots[0], self._knots[-1])

    def _joined_tail(self, y: np.ndarray) -> np.ndarray:
        """``Q_n``: the empirical tail, linear between order statistics, 1 at the smallest and 0 at the largest."""
        right, distance = self._panel(y)
        intervals = self._knots.size - 1
        inside = (intervals - right) / intervals + distance * self._slope[right - 1]
        return np.where(y < self._knots[0], 1.0, inside)

    def _area_above(self, y: np.ndarray) -> np.ndarray:
        """``∫_y^∞ Q_n``, exact."""
        right, distance = self._panel(y)
        intervals = self._knots.size - 1
        inside = self._area[right] + distance * ((intervals - right) / intervals + 0.5 * distance * self._slope[right - 1])
        return inside + np.maximum(self._knots[0] - y, 0.0)

    def __repr__(self) -> str:
        return f"distribution({self.name}, bandwidth={self.bandwidth:.4g})"


def _standardised(ordered: np.ndarray, bandwidth: float) -> np.ndarray:
    """The order statistics, shifted and scaled so that the smoothed distribution has mean 0 and variance 1 exactly.

    Between neighbours ``a`` and ``b`` it is uniform and adds ``(b - a)²/12`` to the variance; the box adds ``h²/3``.
    """
    scaled = (ordered - np.mean(ordered)) / np.std(ordered)
    middle, gaps = 0.5 * (scaled[1:] + scaled[:-1]), np.diff(scaled)
    mean = np.mean(middle)
    variance = np.mean((middle - mean) ** 2 + gaps**2 / 12)
    return (scaled - mean) * np.sqrt((1 - bandwidth**2 / 3) / variance)


def sample(x: Any, *, bandwidth: float | None = None) -> Sample:
    r"""A smoothed distribution from a one-dimensional sample of the membrane potential.

    .. math:: Q(z) = \frac{1}{2h} \int_{z-h}^{z+h} Q_n(y)\, dy, \qquad f(z) = \frac{Q_n(z-h) - Q_n(z+h)}{2h}

    with :math:`Q_n` the empirical tail, linear between order statistics, which are shifted and scaled so that the result
    has mean 0 and variance 1.

    Parameters
    ----------
    x : array, shape (n,)
        At least 20 finite numbers, at least 5 of them distinct.
    bandwidth : float, optional
        ``h``, in standard deviations, between 0 and 1. By default Silverman's rule of thumb, adapted to a box:
        ``1.566 min(1, IQR/1.349 σ) n^{-1/5}``.

    Returns
    -------
    Distribution
        With ``.bandwidth``; ``.upper`` is the largest value plus ``h``, above which nothing spikes.

    Raises
    ------
    DomainError
        For a sample that is too small, (nearly) constant, or not a list of finite numbers.

    Notes
    -----
    **Assumes** independent draws (for the rule of thumb). Smoothing biases the tail by ``h²/6 (|f'| + |z| f)`` to leading
    order, at most 0.4 % for 10⁴ normal draws. **Accuracy**: mean 0 and variance 1 to rounding; ``f = -S'`` exactly.
    **Source**: derived here; Silverman 1986, equation 3.31, and the canonical bandwidths of Marron and Nolan 1988.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> law = vf.distributions.sample(np.random.default_rng(0).normal(size=10_000))
    >>> law
    distribution(sample of 10000, bandwidth=0.2482)
    """
    return smoothed("x", x, bandwidth)


def smoothed(name: str, x: Any, bandwidth: float | None = None) -> Sample:
    """:func:`sample` for an argument of another name."""
    array = real_array(name, x)
    if array.ndim != 1 or array.size < _FEWEST:
        raise DomainError(name, x, f"must be a one-dimensional sample of at least {_FEWEST} numbers")
    if np.unique(array).size < _FEWEST_DISTINCT:
        raise DomainError(name, x, f"has fewer than {_FEWEST_DISTINCT} distinct values; give its distribution instead")
    array = array / np.max(np.abs(array))  # squares stay in range
    if not np.std(array) > 1e-12:
        raise DomainError(name, x, "is constant to rounding: it cannot be scaled to variance 1")
    if bandwidth is None:
        return Sample(array, _rule_of_thumb(array))
    number = scalar("bandwidth", positive("bandwidth", bandwidth))
    if number > 1:
        raise DomainError("bandwidth", bandwidth, "must be at most 1 standard deviation")
    return Sample(array, number)


def _rule_of_thumb(x: np.ndarray) -> float:
    low, high = np.quantile(x, [0.25, 0.75])
    robust = (high - low) / 1.349 / np.std(x)
    spread = min(1.0, robust) if robust > 0 else 1.0
    return float(0.9 * 1.7400 * spread * x.size**-0.2)  # 1.74: a box as wide as a Gaussian of standard deviation 1
