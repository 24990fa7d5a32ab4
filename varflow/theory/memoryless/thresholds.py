r"""Thresholds that differ between neurons, ``θ = θ̄ r``: the map of the variance with another distribution.

.. math:: E_r\, P(\sqrt V X > \bar\theta r) = P(X/r > \bar\theta/\sqrt V)

for ``r > 0``: the layer acts as one with the mean threshold ``θ̄`` and the potential ``X/r``. This is not a standardised
distribution, but the map needs its tail only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, put
from varflow.model.distributions import Distribution
from varflow.model.over_neurons import OverNeurons, in_parts


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
