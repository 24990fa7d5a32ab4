r"""Two-cycles of the layer map: layers alternate between two variances, ``V₂ = F(V₁)`` and ``V₁ = F(V₂)``.

A rising ``F`` has none. A unimodal symmetric distribution without weight mean has none either: for ``θ < 0`` the slope of ``F``
in ``ln V`` is ``-g² |z| f(z)/(2F)``, at most 1/2 in size since ``F ≥ g²/2`` and ``|z| f(z) ≤ 1/2``, so ``F`` contracts.
Otherwise cycles are the points where the secant of ``F`` through ``V`` and ``F(V)`` has slope -1 (at a fixed point, the
tangent).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from varflow.results import Cycle
from varflow.theory.memoryless.variance_map import RateMap, depth_scale
from varflow.theory.roots import scan


def may_cycle(layer: RateMap) -> bool:
    """True if ``F`` may fall somewhere without contracting."""
    return layer.m_g < 0 or (layer.theta < 0 and (layer.m_g > 0 or layer.law.inflection is None))


def two_cycles(layer: RateMap, lowest: float) -> tuple[Cycle, ...]:
    """All cycles of a discrete distribution; for a continuous one, those found by a scan from ``lowest``.

    Below ``lowest`` all rates rise, or all fall, so there are no cycles.
    """
    if layer.law.levels is not None:
        upper = _on_rates(layer, layer.on_levels(layer.law.levels))
    else:
        upper = [y for y in scan(partial(_secant, layer), lowest, layer.unit) if layer(y) < y]
    cycles = (_described(layer, y) for y in upper)
    # a sign change with a larger residual is a jump of F
    return tuple(cycle for cycle in cycles if abs(cycle.residual) <= 1e-6 * cycle.variances[1])


def _secant(layer: RateMap, y: np.ndarray) -> np.ndarray:
    """``y (1 + slope)`` of the secant through ``y`` and its image."""
    following = layer(y)
    step = following - y
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = (layer(following) - following) / step
    return y * (1 + np.where(step == 0, 0.0, slope))


def _on_rates(layer: RateMap, rates: np.ndarray) -> list[float]:
    """The larger rate of each cycle of a layer that takes these rates only."""
    following = np.searchsorted(rates, layer(rates))
    places = np.arange(len(rates))
    return rates[(following < places) & (following[following] == places)].tolist()


def _described(layer: RateMap, y: float) -> Cycle:
    image = lambda y: float(layer(y))  # noqa: E731
    product = lambda y: layer.slope(y) * layer.slope(image(y))  # noqa: E731
    if abs(product(y)) < 0.5:
        y = image(image(y))  # two contracting layers remove the rounding error
    low, m = image(y), product(y)
    variances, rates = (layer.variance(low), layer.variance(y)), (image(low) / layer.unit, low / layer.unit)
    return Cycle(variances, rates, m, bool(abs(m) < 1), 2 * depth_scale(m) + 0.0, layer.residual(y, image(low)))
