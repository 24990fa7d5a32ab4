r"""The layer map at infinite width: the variance of one layer from that of the layer below.

For memoryless neurons whose standardised potential has the given distribution, with the population mean due to a weight mean.
Fixed points are in ``fixed_points``, the gain that preserves a variance in ``init.gains``.

Thresholds that differ between neurons, ``θ = θ̄ r``, are the map of the variance with another distribution.

.. math:: E_r\, P(\sqrt V X > \bar\theta r) = P(X/r > \bar\theta/\sqrt V)

for ``r > 0``: the layer acts as one with the mean threshold ``θ̄`` and the potential ``X/r``. This is not a standardised
distribution, but the map needs its tail only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, non_negative, positive_scale, put, same_shape, scale, unwrap
from varflow.model.distributions import Distribution, standardised
from varflow.model.distributions import distribution as as_distribution
from varflow.model.over_neurons import OverNeurons, averaged, in_parts, over_neurons


def variance_map(
    variance: Any, *, threshold: Any, gain: Any, distribution: Any = "normal", bias_std: Any = 0.0, mean_gain: Any = 0.0
) -> Any:
    r"""Variance of the next layer's potentials, from this layer's.

    .. math::
        F(V) = \sigma_b^2 + g^2\, Q\!\left(\frac{\theta - m_g (V - \sigma_b^2)/g^2}{\sqrt{V}}\right)

    Parameters
    ----------
    variance : float or array
        ``V ≥ 0``, in squared units of the potential.
    threshold, gain, bias_std : float or array
        ``θ`` (any sign), ``g = σ_w √n > 0`` and ``σ_b ≥ 0``; all arrays broadcast. A frozen scipy.stats distribution is that of
        the thresholds over neurons, and ``F`` the average over them.
    distribution : str or object
        Of the standardised potential; see :func:`varflow.distribution`.
    mean_gain : float or array
        ``m_g = n E[w]``. ``V`` then belongs to a layer fed by the rate ``(V - σ_b²)/g²``.

    Returns
    -------
    float or ndarray
        ``F(V)``, in the shape of the broadcast arguments.

    Raises
    ------
    DomainError
        For values outside their domain, or shapes that do not broadcast.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons that spike at ``u > θ``.
    **Accuracy**: that of the tail, a few ulp.
    **Source**: ``micheli2024`` for ``σ_b = m_g = 0`` and the normal distribution; else derived from the layer's definition.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.variance_map(1.0, threshold=1.0, gain=vf.gain(threshold=1.0)), 12)
    1.0
    """
    theta, shape = thresholds(threshold)
    V, g, sigma_b, m_g, _ = same_shape(
        variance=non_negative("variance", scale("variance", variance)),
        gain=positive_scale("gain", gain),
        bias_std=non_negative("bias_std", scale("bias_std", bias_std)),
        mean_gain=scale("mean_gain", mean_gain),
        threshold=shape,
    )
    std = np.sqrt(V)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(m_g == 0, 0.0, m_g * ((std - sigma_b) / g) * ((std + sigma_b) / g))
    return unwrap(sigma_b**2 + g**2 * fired(as_distribution(distribution), theta, mean, std))


def thresholds(threshold: Any) -> tuple[Any, np.ndarray]:
    """Checked thresholds, or their distribution over neurons; and an array of the shape that other arguments broadcast with."""
    if over_neurons(threshold):
        return OverNeurons.of("threshold", threshold), np.zeros(())
    theta = scale("threshold", threshold)
    return theta, theta


def fired(law: Distribution, threshold: np.ndarray | OverNeurons, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``Q((θ - μ)/√V)``, averaged over neurons."""
    if isinstance(threshold, OverNeurons):
        return averaged(threshold, lambda theta: law.sf(standardised(theta - mean[..., None], std[..., None])))
    return np.asarray(law.sf(standardised(threshold - mean, std)))


def multiplier(law: Distribution, z: float, std: float, g: float) -> float:
    """``F'(V) = g² z f(z)/(2V)`` with ``√V = std > 0``, without weight mean."""
    return float(law.pdf(z)) * 0.5 * z * (g / std) * (g / std)


def depth_scale(multiplier: float) -> float:
    """Layers over which a deviation shrinks by a factor e, ``-1/ln|m|``; negative where it grows, 0 for ``m = 0``."""
    size = abs(multiplier)
    return math.inf if size == 1 else -1 / math.log(size) if size > 0 else 0.0


@dataclass(frozen=True, slots=True)
class RateMap:
    r"""The map in terms of the firing rate: ``p' = Q(z)``, ``z = (θ - m_g p)/√V``, ``V = σ_b² + g² p``.

    It acts on ``y = unit · p`` with ``unit`` a power of two: 1 for small gains, about ``g²`` for large ones, where ``p`` may
    underflow though the variance does not.
    """

    law: Distribution
    theta: float
    g: float
    sigma_b: float
    m_g: float

    @property
    def root_unit(self) -> float:
        return 2.0 ** max(math.ceil(math.log2(self.g)), 0)

    @property
    def unit(self) -> float:
        return self.root_unit**2

    def std(self, y: Any) -> Any:
        """``√V``, without squares that could overflow."""
        return np.hypot(self.sigma_b, self.g / self.root_unit * np.sqrt(y))

    def z(self, y: Any) -> Any:
        return standardised(self.theta - self.m_g / self.unit * y, self.std(y))

    def __call__(self, y: Any) -> Any:
        z = self.z(y)
        image = np.asarray(self.unit * self.law.sf(z))
        rare = image < 1e-290 * self.unit  # smaller tails use their logarithm
        if self.unit > 1 and rare.any():
            image[rare] = np.exp(math.log(self.unit) + np.asarray(self.law.log_sf(z[rare])))
        return image

    def on_levels(self, levels: np.ndarray) -> np.ndarray:
        """All rates of a discrete distribution with these levels, ascending: its tail takes finitely many values."""
        return self.unit * np.unique(self.law.sf(np.concatenate([[-np.inf], levels])))

    def variance(self, y: float) -> float:
        return self.sigma_b**2 + (self.g / self.root_unit) ** 2 * y

    def residual(self, y: float, image: float | None = None) -> float:
        """``F(V) - V`` at ``y``; with ``image``, the variance at ``image`` minus that at ``y``."""
        return (self.g / self.root_unit) ** 2 * (float(self(y) if image is None else image) - y)

    def slope(self, y: float) -> float:
        """``F'(V) = f(z) (g² z/(2V) + m_g/√V)``; at ``V = 0``, 0 if all neurons agree and ``inf`` at a jump."""
        z, std, image = float(self.z(y)), float(self.std(y)), float(self(y))
        if std == 0:
            return 0.0 if self.theta and not self.law.unbounded else np.inf
        if image == 0:
            return 0.0
        hazard, ratio = float(self.law.hazard(z)), self.g / self.root_unit / std  # f may underflow before its products
        return 0.5 * (hazard * z) * (image * ratio) * ratio + hazard * (self.m_g / self.unit) * (image / std)


class Quotient(Distribution):
    """The distribution of ``X/r``, ``X`` of a standardised distribution and ``r > 0`` with a quadrature rule."""

    __slots__ = ("_law", "_relative", "_weights", "name", "unbounded", "upper")

    def __init__(self, law: Distribution, relative: np.ndarray, weights: np.ndarray):
        put(self, name=f"{law.name}, over thresholds", _law=law, _relative=relative, _weights=weights)
        put(self, upper=law.upper / max(float(relative.min()), np.finfo(float).tiny))
        z = 1e8 * np.array([1e-2, 1.0])  # beyond z = 1e8 the quadrature has few values
        put(self, unbounded=bool(np.diff(z**2 * self.sf(z))[0] > 0))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        parts = in_parts(self._relative, self._weights)
        return np.asarray(sum(self._law.sf(z[..., None] * relative) @ weights for relative, weights in parts))

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return self._law.pdf(z[..., None] * self._relative) @ (self._weights * self._relative)

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        log, top = self._log_tails(z)
        return top + np.log(np.exp(log - top[..., None]) @ self._weights)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        log, top = self._log_tails(z)
        tails = np.exp(log - top[..., None]) * self._weights
        hazards = np.where(tails > 0, self._law.hazard(z[..., None] * self._relative), 0.0)
        return np.sum(tails * hazards * self._relative, axis=-1) / tails.sum(axis=-1)

    def _log_tails(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log = self._law.log_sf(z[..., None] * self._relative)
        top = log.max(axis=-1)
        return log, np.where(np.isfinite(top), top, 0.0)


def as_one_threshold(law: Distribution, threshold: Any) -> tuple[Distribution, float]:
    """The distribution and the threshold of equal neurons with the same map."""
    over = OverNeurons.of("threshold", threshold)
    if over.smallest < 0:
        rule = "has values below 0, which fire without input: use block=[vf.layers.Spike(vf.Neuron(threshold)), …]"
        raise DomainError("threshold", over, rule)
    if law.levels is not None:
        raise DomainError("distribution", law, "must be continuous together with a distribution of thresholds")
    values, weights = over.rule()
    return Quotient(law, values / over.mean, weights), over.mean
