r"""All fixed points of the layer map, with their stability, and the critical gain.

The unknown is the firing rate, ``p = Q((θ - m_g p)/√(σ_b² + g² p))``: with a large bias the variance hardly depends on it.
Without bias and weight mean everything follows from ``z² Q(z) = 1/γ``, ``γ = g²/θ²``. With a bias, and if ``z³ f(z)`` has a
single maximum (all built-in distributions), ``F'(V) = g² z³ f(z)/(2θ²)`` is unimodal: ``F - V`` is monotone on at most three
intervals, split where ``F' = 1``. Each is searched, which proves the list complete. All other cases are scanned.

Two-cycles: layers alternate between two variances, ``V₂ = F(V₁)`` and ``V₁ = F(V₂)``. A rising ``F`` has none. A unimodal
symmetric distribution without weight mean has none either: for ``θ < 0`` the slope of ``F`` in ``ln V`` is ``-g² |z|
f(z)/(2F)``, at most 1/2 in size since ``F ≥ g²/2`` and ``|z| f(z) ≤ 1/2``, so ``F`` contracts. Otherwise cycles are the points
where the secant of ``F`` through ``V`` and ``F(V)`` has slope -1 (at a fixed point, the tangent).
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, non_negative_number, positive_number, real_number, scale, unwrap
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.over_neurons import OverNeurons, over_neurons
from varflow.results import Cycle, FixedPoint, FixedPoints
from varflow.theory.memoryless.variance_map import RateMap, as_one_threshold, depth_scale, variance_map
from varflow.theory.roots import RESOLUTION, crossing, double_until, highest, scan

LARGEST_Z = 1e150  # above, z² overflows
SMALLEST = 1e-300  # rate or variance of a fixed point: below, its products underflow


def critical_gain(threshold: Any, distribution: Any = "normal") -> Any:
    """The gain below which only silence is stable; see :func:`varflow.critical_gain`."""
    if over_neurons(threshold):
        over = OverNeurons.of("threshold", threshold)
        if over.smallest < 0:
            return 0.0
        law, theta = as_one_threshold(as_distribution(distribution), over)
        return 0.0 if law.unbounded else theta * math.sqrt(saddle_node(law)[1])
    theta = scale("threshold", threshold)
    _, gamma = saddle_node(as_distribution(distribution))
    return unwrap(np.maximum(theta, 0.0) * np.sqrt(gamma))


@lru_cache(maxsize=64)
def saddle_node(law: Distribution) -> tuple[float, float]:
    """``z_c`` and ``γ_c``: the global maximum of ``z² Q(z)``, where the multiplier ``z f/(2Q)`` is 1."""
    if law.inflection is not None:
        # z f/Q reaches 2 once, rising; the maximum itself is flat and would give only half the digits.
        ratio = lambda z: z * law.hazard(np.minimum(z, law.upper)) - 2  # noqa: E731
        hi = double_until(lambda z: (ratio(z) >= 0) | (z >= law.upper), 1.0, law.upper if np.isfinite(law.upper) else LARGEST_Z)
        z = crossing(ratio, 1e-3, hi)
    else:
        z = _scanned_maximum(law)
    return z, float(1 / (z**2 * law.sf(z)))


def _scanned_maximum(law: Distribution) -> float:
    """The maximum of ``z² Q(z)``: on a grid, then refined in the best cell."""
    lo, hi = 1e-3, _last_z(law)
    grid = np.geomspace(lo, hi, max(int(2 * np.log(hi / lo) / RESOLUTION), 3))
    if law.levels is not None:
        # Q is a step function, so z² Q(z) is largest just below an atom.
        atoms = law.levels[law.levels > 0]
        grid = np.nextafter(atoms, 0) if len(atoms) else grid
    return highest(lambda z: z**2 * law.sf(z), grid, rounds=12 if law.levels is None else 0, points=65)


def _last_z(law: Distribution, log_gamma: float = -np.inf) -> float:
    """A ``z`` beyond which the tail underflows and ``γ z² Q(z) < 1``."""
    empty = lambda z: (law.sf(z) < SMALLEST) & (log_gamma + 2 * np.log(z) + law.log_sf(z) < 0)  # noqa: E731
    return min(double_until(empty, 1.0, LARGEST_Z), law.upper)


def fixed_points(
    threshold: Any, gain: Any, distribution: Any = "normal", bias_std: float = 0.0, mean_gain: float = 0.0
) -> FixedPoints:
    """Every variance that a layer reproduces; see :func:`varflow.fixed_points`."""
    law = as_distribution(distribution)
    if heterogeneous := over_neurons(threshold):
        law, theta = as_one_threshold(law, threshold)
    else:
        theta = real_number("threshold", threshold)
    g = positive_number("gain", gain)
    sigma_b = non_negative_number("bias_std", bias_std)
    m_g = real_number("mean_gain", mean_gain)
    if heterogeneous and m_g:
        raise DomainError("mean_gain", m_g, "must be 0 together with a distribution of thresholds")
    layer = RateMap(law, theta, g, sigma_b, m_g)
    lowest = _lowest(layer)
    rates, complete = _roots(layer, lowest)
    if sigma_b == 0 and theta >= 0:
        rates = [0.0, *rates]
    points = tuple(_described(layer, y) for y in sorted(set(rates)))
    cycles = two_cycles(layer, lowest) if may_cycle(layer) else ()
    map_ = partial(variance_map, threshold=threshold, gain=g, distribution=law, bias_std=sigma_b, mean_gain=m_g)
    return FixedPoints(points, complete, None if complete else RESOLUTION, _basin_edge(layer, points), cycles, map=map_)


def _roots(layer: RateMap, lowest: float) -> tuple[list[float], bool]:
    """All fixed points except silence, and whether the list is proven complete."""
    law, theta, unit = layer.law, layer.theta, layer.unit
    if law.levels is not None:
        rates = layer.on_levels(law.levels)  # the candidates
        return [float(y) for y in rates[layer(rates) == rates] if y > 0 or layer.sigma_b > 0], True
    if layer.m_g == 0 and theta == 0:
        return [unit * float(law.sf(0.0))], True
    excess = lambda y: layer(y) - y  # noqa: E731
    quiet = float(layer(0.0)) if layer.sigma_b else np.inf if theta <= 0 or law.unbounded else 0.0  # rate due to the bias alone
    if (excess(lowest) >= 0) != (quiet > SMALLEST):
        rule = f"gives a fixed point a rate or variance below {SMALLEST:g}, which underflows"
        raise DomainError("gain", layer.g, f"{rule}; choose a gain closer to the threshold")
    falls, unimodal = layer.m_g == 0 and theta < 0, layer.m_g == 0 and law.inflection is not None
    if falls or unimodal:  # at most one crossing between two of these
        ends = np.array([lowest, *([] if falls else _turns(layer, lowest)), 2 * unit])
        change = np.flatnonzero(np.diff(excess(ends) >= 0))
        crossings = [crossing(excess, float(ends[i]), float(ends[i + 1])) for i in change]
    else:
        crossings = scan(excess, lowest, unit)
    return [quiet, *crossings] if layer.sigma_b and quiet <= SMALLEST else crossings, falls or unimodal


def _turns(layer: RateMap, lowest: float) -> list[float]:
    """Rates at which ``F'(V) = g² z³ f(z)/(2θ²) = 1``, for ``θ > 0``; ``F - V`` is monotone between them."""
    law, theta, inflection = layer.law, layer.theta, layer.law.inflection
    assert inflection is not None
    log_half_gamma = 2 * np.log(layer.g / theta) - np.log(2.0)

    def steepness(z: Any) -> Any:
        f = law.pdf(z)
        with np.errstate(divide="ignore", invalid="ignore"):  # f may underflow before the rate
            return log_half_gamma + 3 * np.log(z) + np.where(f > 0, np.log(f), law.log_sf(z) + np.log(law.hazard(z)))

    turns = []
    if steepness(inflection) > 0:
        turns.append(crossing(steepness, min(theta / np.hypot(layer.g, layer.sigma_b), inflection) / 2, inflection))
        past_second_turn = double_until(lambda z: ~(steepness(z) >= 0), 2 * inflection, LARGEST_Z)
        turns.append(crossing(steepness, inflection, past_second_turn))
    root, sigma = layer.g / layer.root_unit, layer.sigma_b
    ends = [(theta / z - sigma) / root * ((theta / z + sigma) / root) for z in turns]
    return sorted(y for y in ends if lowest < y < layer.unit)


def _lowest(layer: RateMap) -> float:
    """The start of the search: the smallest rate or variance in range, below which all rates rise or all fall."""
    if layer.law.unbounded:
        return 1e-15 * layer.unit  # below this rate a distribution of thresholds is not resolved
    smallest = SMALLEST if layer.sigma_b else max(SMALLEST, SMALLEST / layer.g / layer.g)
    return min(max(layer.unit * _least_rate(layer), smallest), 0.5 * layer.unit)


def _least_rate(layer: RateMap) -> float:
    """A rate below which ``S > p`` everywhere; for ``θ > 0`` without bias, one below which ``S < p`` everywhere."""
    law, g, sigma_b, m_g = layer.law, layer.g, layer.sigma_b, layer.m_g
    if sigma_b == 0 and layer.theta > 0:
        # while the mean m_g p is below θ/2, two standard deviations do not reach the threshold
        s = layer.theta / g
        empty = s / (last := _last_z(law, -2 * np.log(s))) * s / last * (1 - 1e-9)
        return empty if m_g <= 0 else min(empty / 4, 0.5 * layer.theta / m_g)
    top = max(layer.theta / sigma_b, 0.0) if sigma_b else 0.0  # z at p = 0, or a bound on it
    if m_g >= 0:
        return 0.5 * float(law.sf(top))
    room = min(1.0, 0.5 * (law.upper - top))  # the mean raises z by at most this while |m_g| p/√V does not exceed it
    if room <= 0:
        return 0.0
    return 0.5 * min(float(law.sf(top + room)), max(room * sigma_b / -m_g, (room * g / m_g) * (room * g / m_g)))


def _described(layer: RateMap, y: float) -> FixedPoint:
    image = lambda y: float(layer(y))  # noqa: E731
    while layer.law.upper <= layer.z(y) < np.inf and image(y) < y * (1 - 1e-9):
        y = float(np.nextafter(y, np.inf))  # a root next to the edge of a bounded support, rounded onto the edge
    m = layer.slope(y)
    if abs(m) < 0.5:
        y = image(y)  # a contracting layer removes the rounding error
    return FixedPoint(layer.variance(y), y / layer.unit, m, bool(abs(m) < 1), depth_scale(m) + 0.0, layer.residual(y))


def _basin_edge(layer: RateMap, points: tuple[FixedPoint, ...]) -> float:
    """The smallest variance from which activity does not decay to silence, or to the quiet state with a bias."""
    law, theta, g = layer.law, layer.theta, layer.g
    if layer.sigma_b > 0 or theta <= 0 or law.unbounded:
        return next((point.variance for point in points[1:] if point.multiplier >= 1), 0.0)
    if law.levels is not None and layer.m_g == 0:
        jumps = np.sort((theta / law.levels[law.levels > 0]) ** 2)
        # F jumps just above each of these variances
        holds = g**2 * law.sf(np.nextafter(theta / np.sqrt(jumps), 0)) >= jumps
        return float(jumps[holds][0]) if holds.any() else np.inf
    return points[1].variance if len(points) > 1 else np.inf


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
    cycles = (_described_cycle(layer, y) for y in upper)
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


def _described_cycle(layer: RateMap, y: float) -> Cycle:
    image = lambda y: float(layer(y))  # noqa: E731
    product = lambda y: layer.slope(y) * layer.slope(image(y))  # noqa: E731
    if abs(product(y)) < 0.5:
        y = image(image(y))  # two contracting layers remove the rounding error
    low, m = image(y), product(y)
    variances, rates = (layer.variance(low), layer.variance(y)), (image(low) / layer.unit, low / layer.unit)
    return Cycle(variances, rates, m, bool(abs(m) < 1), 2 * depth_scale(m) + 0.0, layer.residual(y, image(low)))
