r"""All fixed points of the layer map, with their stability, and the critical gain.

The unknown is the firing rate, ``p = Q((θ - m_g p)/√(σ_b² + g² p))``: with a large bias the variance hardly depends on it.
Without bias and weight mean everything follows from ``z² Q(z) = 1/γ``, ``γ = g²/θ²``. With a bias, and if ``z³ f(z)`` has a
single maximum (all built-in distributions), ``F'(V) = g² z³ f(z)/(2θ²)`` is unimodal: ``F - V`` is monotone on at most three
intervals, split where ``F' = 1``. Each is searched, which proves the list complete. All other cases are scanned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, non_negative, positive_scale, scalar, scale, unwrap
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.over_neurons import OverNeurons, over_neurons
from varflow.model.signals import Layer
from varflow.results import FixedPoint, FixedPoints
from varflow.theory.memoryless.cycles import may_cycle, two_cycles
from varflow.theory.memoryless.thresholds import as_one_threshold
from varflow.theory.memoryless.variance_map import RateMap, depth_scale, variance_map
from varflow.theory.roots import RESOLUTION, crossing, double_until, scan

__all__ = ["critical_gain", "fixed_points", "saddle_node"]

LARGEST_Z = 1e150  # above, z² overflows
SMALLEST = 1e-300  # rate or variance of a fixed point: below, its products underflow


def critical_gain(*, threshold: Any = None, distribution: Any = "normal", block: Sequence[Layer] | None = None) -> Any:
    r"""The gain below which only silence is stable, at infinite width.

    .. math:: g_c = \sqrt{\gamma_c}\,\theta, \qquad 1/\gamma_c = \max_z z^2 Q(z)

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution
        ``θ``; for ``θ ≤ 0`` activity never dies and the result is 0. A distribution is one over neurons: ``Q(z)`` becomes the
        average over them; 0 if some thresholds are negative, or if their density does not vanish fast enough at 0.
    distribution : str or object
        Of the standardised potential.
    block : sequence of vf.layers, optional
        In place of a threshold: the critical gain of the block's last layer with weights, its other gains unchanged; 0 if
        activity never dies, infinite if it always does. Where activity falls with this gain, as in an ``iand`` branch, it is
        the gain *above* which only silence is stable. See :func:`varflow.fixed_points`.

    Returns
    -------
    float or ndarray

    Raises
    ------
    DomainError
        For a threshold that is not finite.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: full precision for the built-in distributions (γ_c = 6.034397946968073, 9/2, e², 6.813718279415934 for
    normal, uniform, Laplace and logistic); for others the maximum is found by a scan and refined.
    **Source**: derived here; at ``γ_c`` the two non-zero fixed points meet in a saddle-node.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.critical_gain(threshold=1.0), 6)
    2.456501

    Thresholds that differ between neurons lower it, by a factor of about ``1 - 0.71 CV²`` of their coefficient of variation:

    >>> import scipy.stats
    >>> round(vf.critical_gain(threshold=scipy.stats.uniform(0.8, 0.4)) ** 2, 3)
    5.919

    A membrane shortcut lowers it, to ``√(γ_c (1 - α²)) θ``:

    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=1.0)
    >>> round(vf.critical_gain(block=[vf.layers.Residual(spike, linear, keep=0.9)]), 6)
    1.070764
    """
    _block_or_layer(block, threshold=threshold)
    if block is not None:
        from varflow.theory.deep.block import critical_gain_of_block  # loads scipy.special, which takes 0.2 s

        return critical_gain_of_block(block)
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
        return float(grid[np.argmax(grid**2 * law.sf(grid))])
    for _ in range(12):
        best = int(np.argmax(grid**2 * law.sf(grid)))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 65)
    return float(grid[np.argmax(grid**2 * law.sf(grid))])


def _last_z(law: Distribution, log_gamma: float = -np.inf) -> float:
    """A ``z`` beyond which the tail underflows and ``γ z² Q(z) < 1``."""
    empty = lambda z: (law.sf(z) < SMALLEST) & (log_gamma + 2 * np.log(z) + law.log_sf(z) < 0)  # noqa: E731
    return min(double_until(empty, 1.0, LARGEST_Z), law.upper)


def fixed_points(
    *,
    threshold: Any = None,
    gain: float | None = None,
    distribution: Any = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    block: Sequence[Layer] | None = None,
) -> FixedPoints:
    r"""Every variance that a layer reproduces, ``F(V) = V``, with its stability.

    .. math:: V = \sigma_b^2 + g^2 Q(z), \qquad z = \frac{\theta - m_g (V-\sigma_b^2)/g^2}{\sqrt V}, \qquad
              m = F'(V) = f(z)\left(\frac{g^2 z}{2V} + \frac{m_g}{\sqrt V}\right)

    Parameters
    ----------
    threshold, gain, bias_std, mean_gain : float
        As in :func:`varflow.variance_map`, one number each. A threshold may be a frozen scipy.stats distribution over neurons,
        of positive values and with ``mean_gain=0``.
    distribution : str or object
        Of the standardised potential.
    block : sequence of vf.layers, optional
        In place of all others: the layers between two like signals, repeated over depth, for one time step. The variance is
        that of the currents which enter the block, the rate that of the neurons which read them; for a block of spikes, the
        variance is that of its last neurons, the rate that of the spikes which leave it, behind its merges. With a BatchNorm,
        the multiplier is that of a difference between one input and all others.

    Returns
    -------
    FixedPoints
        Ascending in variance, including silence (``V = 0``) if it is a fixed point. ``complete`` says whether the list is
        proven complete; after a scan, ``resolution`` is the step in ``ln V``. ``cycles`` holds the two-cycles, stable and
        unstable.

    Raises
    ------
    DomainError
        For values that are not finite single numbers in their domain, and if a fixed point has a rate or variance below
        1e-300.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons.
    **Complete** for the built-in distributions with any threshold and bias (see the module), for any continuous one at
    ``θ ≤ 0`` without weight mean, and for discrete ones (finitely many candidates). Otherwise scanned.
    **Cycles** need a map that falls: none without weight mean for the built-in distributions (proven), and none for ``θ ≥ 0``
    with ``m_g ≥ 0``. They are found by a scan in ``ln p`` (step 0.004), or for discrete distributions from a complete list. A
    cycle so close to absorbing silence that its smaller variance underflows is missed. A map that only falls (``θ ≤ 0``,
    ``m_g ≤ 0``) has no longer cycles. If it rises and then falls, at small ``θ > 0`` with a bias and ``m_g < 0``, longer cycles
    and chaos occur and are not listed. Of 400 000 random networks (θ uniform in ±2g, σ_b log-uniform in 0.01 … 3g, -m_g in
    0.1 … 100g) 134 174 ended in two-cycles, 84 in cycles of 3 to 32 layers and 52 in chaos; the last two kinds all had
    ``0 < θ < 0.07 g``, ``σ_b < 0.04 g`` and ``m_g < -7 g``.
    **Blocks** assume one time step and infinite width. They are scanned in the logarithm of the state (step 0.02, refined at
    extrema), roots to adjacent floats; the multiplier is a central difference, within 1e-7. ``note`` says how activity grows
    where no fixed point holds it.
    **Accuracy**: 6e-16 relative, times ``1/|1 - m|`` near the saddle-node, against 50-digit roots over θ from 1e-8 to 30 and
    γ up to 1e12 (``docs/accuracy.md``); ``vf.certified`` proves it case by case.
    **Source**: ``poole2016`` and ``schoenholz2017`` for multiplier and depth scale with smooth activations; for a threshold
    derived here. ``micheli2024`` name only the fixed point ``V = 1``.

    Examples
    --------
    At θ = 1.5 the fixed point of the paper's gain, ``V = 1``, is unstable:

    >>> import varflow as vf
    >>> for point in vf.fixed_points(threshold=1.5, gain=vf.gain(threshold=1.5)):
    ...     print(f"{point.variance:.5f} {point.stable}")
    0.00000 True
    1.00000 False
    2.71228 True

    A membrane shortcut with ``keep = α`` has the fixed points of the gain ``g/√(1 - α²)``:

    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=vf.gain(threshold=1.0) * 0.19**0.5)
    >>> [round(point.variance, 5) for point in vf.fixed_points(block=[vf.layers.Residual(spike, linear, keep=0.9)])]
    [0.0, 0.5143, 1.0]
    """
    _block_or_layer(block, threshold=threshold, gain=gain)
    if block is not None:
        from varflow.theory.deep.block import fixed_points_of_block

        return fixed_points_of_block(block)
    law = as_distribution(distribution)
    if heterogeneous := over_neurons(threshold):
        law, theta = as_one_threshold(law, threshold)
    else:
        theta = scalar("threshold", scale("threshold", threshold))
    g = scalar("gain", positive_scale("gain", gain))
    sigma_b = scalar("bias_std", non_negative("bias_std", scale("bias_std", bias_std)))
    m_g = scalar("mean_gain", scale("mean_gain", mean_gain))
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


def _block_or_layer(block: Any, **others: Any) -> None:
    """DomainError if a block is given beside the arguments it replaces, or neither is."""
    for name, value in others.items():
        if (value is None) == (block is None):
            rule = "must be given, or block=[…]" if block is None else "cannot be given with block=[…], which has its own"
            raise DomainError(name, value, rule)


def _roots(layer: RateMap, lowest: float) -> tuple[list[float], bool]:
    """All fixed points except silence, and whether the list is proven complete."""
    law, theta, unit = layer.law, layer.theta, layer.unit
    if law.levels is not None:
        return _on_the_levels(layer), True
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


def _on_the_levels(layer: RateMap) -> list[float]:
    """Fixed points of a discrete distribution: its tail takes finitely many values, each a candidate rate."""
    assert layer.law.levels is not None
    tails = layer.unit * np.unique(layer.law.sf(np.concatenate([[-np.inf], layer.law.levels])))
    return [float(y) for y in tails[layer(tails) == tails] if y > 0 or layer.sigma_b > 0]


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
