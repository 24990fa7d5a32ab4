"""Two-cycles of the infinite-width map, in mpmath: two variances that alternate from layer to layer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from varflow._mpmath import mp, mpf
from varflow.reference.distributions import FURTHEST
from varflow.reference.layer import ReferenceLayer
from varflow.reference.roots import root_between
from varflow.results import Cycle

STEP = mpf("0.04")  # of the search, in ln V: cycles closer to each other than this are not told apart
STEEP = mpf("-0.9")  # a cycle has F' ≤ -1 between its variances; the bounds are loose by a step where z or z' turns


def two_cycles(layer: ReferenceLayer, low: Any, high: Any, digits: int) -> tuple[Cycle, ...]:
    """All two-cycles whose larger variance lies between ``low`` and ``high``, to within the step of the search."""
    if layer.mean_gain == 0 or (layer.mean_gain > 0 and layer.threshold >= 0):
        return ()  # F increases, or contracts in ln V: no cycle

    def secant(variance: Any) -> Any:
        """``1 + (F(F(V)) - F(V))/(F(V) - V)``: 0 on a cycle, but not at a fixed point unless ``F' = -1`` there."""
        following = _image(layer, variance)
        step = following - variance
        return 1 + ((_image(layer, following) - following) / step if step else layer.slope(variance))

    with mp.workdps(15):  # during the search only signs matter
        places = [low * mp.exp(STEP * i) for i in range(int(mp.log(high / low) / STEP) + 2)]
        steep = (i for i, ends in enumerate(pairwise(places)) if layer.slopes(*ends)[0] <= STEEP)
        places = places[next(steep, len(places)) :]  # the larger variance lies above a steep place
        signs = [secant(place) > 0 for place in places]
    turns = [ends for ends, (left, right) in zip(pairwise(places), pairwise(signs), strict=True) if left != right]
    upper = [root_between(secant, *ends, digits) for ends in turns]
    return tuple(_cycle(layer, variance) for variance in upper if layer.excess(variance) < 0)


def _rate(layer: ReferenceLayer, variance: Any) -> Any:
    """``P(u > θ)``: 0 or 1 for ``|z| ≥ FURTHEST``."""
    z = layer.z(variance)
    return mpf(z < 0) if abs(z) >= FURTHEST else layer.rate(variance)


def _image(layer: ReferenceLayer, variance: Any) -> Any:
    return layer.bias2 + layer.gain2 * _rate(layer, variance)


def _cycle(layer: ReferenceLayer, high: Any) -> Cycle:
    low = _image(layer, high)
    flat = abs(layer.z(low)) >= FURTHEST
    multiplier = mpf(0) if flat else layer.slope(low) * layer.slope(high)
    size = abs(multiplier)
    scale = mpf(0) if size == 0 else mp.inf if size == 1 else -2 / mp.log(size)
    residual = _image(layer, low) - high
    return Cycle((low, high), (_rate(layer, low), _rate(layer, high)), multiplier, bool(size < 1), scale, residual)
