"""Thresholds that differ between neurons, by quadrature over their density: ``Q̄(z) = E[Q(z θ)]`` for ``E[θ] = 1``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.model.over_neurons import OverNeurons
from varflow.reference.distributions import ExactPotential
from varflow.reference.quadrature import integral


def averaged_over(law: OverNeurons, potential: ExactPotential, digits: int) -> tuple[ExactPotential, Any]:
    """The averaged tail and density as functions of ``E[θ]/√V``, and ``E[θ]``."""
    density, ends, mean = _of_thresholds(law, digits)

    def average(function: Callable[[Any], Any]) -> Any:
        return integral(lambda theta: density(theta) * function(theta / mean), ends, digits)

    return ExactPotential(
        tail=lambda z: average(lambda r: potential.tail(z * r)),
        density=lambda z: average(lambda r: r * potential.density(z * r)),
        slope=potential.slope,
    ), mean


def _of_thresholds(law: OverNeurons, digits: int) -> tuple[Callable[[Any], Any], list[Any], Any]:
    """Density, ends of the integrals and mean."""
    low, scale = mpf(law.location), mpf(law.scale)
    if law.name == "uniform" and low >= 0:
        return lambda theta: 1 / scale, [low, low + scale], low + scale / 2
    if law.name == "gamma" and low >= 0:
        shape = mpf(law.shapes[0])
        norm = mp.gamma(shape) * scale**shape
        # 3 digits' worth of scale lengths beyond its mode a gamma density is negligible
        ends = [low, low + shape * scale, low + (shape + 3 * (digits + mp.sqrt(digits * shape))) * scale]
        return lambda theta: (theta - low) ** (shape - 1) * mp.exp(-(theta - low) / scale) / norm, ends, low + shape * scale
    raise DomainError("threshold", law, "must be a number, or a uniform or gamma distribution of positive values")
