"""Ensembles drawn from the exact chain, as an exact simulation of ``repeats`` networks would measure them.

Counts are exact draws. A layer's sample variance and spike count come from the same potentials and are correlated. In narrow
layers of few networks the potentials themselves are drawn. Otherwise the sample variance is a gamma variable with its exact
mean and variance given the count: nearly exact in wide layers, and sufficient for means over many networks.

Potentials are drawn given the spikes below, one random number each, from the distribution of the sum of weights: lattice sums
exactly, sums of other non-normal weights binned in cells. The simulator's draws are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from varflow._checks import frozen, integer
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.model.over_neurons import OverNeurons
from varflow.model.weight_distribution import WeightDistribution
from varflow.results import Ensemble
from varflow.theory.finite_width import lattice
from varflow.theory.finite_width.counts import counts_of
from varflow.theory.finite_width.firing import CELL, cell_sums, directions, partial_moments, unit
from varflow.theory.layer import LAST_Z, CountedLayer, standardised_threshold
from varflow.theory.signals.counted import Count, Gaussian

EXACT_WIDTH = 64  # up to here potentials are drawn; wider, a gamma variable is close enough


@dataclass(frozen=True, slots=True, eq=False)
class ExactLaw:
    """``law(repeats, seed)`` draws an Ensemble of the network; ``law(repeats, seed, ensembles=m)`` stacks m of them."""

    network: Network

    def __call__(self, repeats: int, seed: int = 0, ensembles: int = 1) -> Ensemble:
        network = self.network
        integer("repeats", repeats, minimum=1)
        integer("ensembles", ensembles, minimum=1)
        rng = np.random.default_rng(integer("seed", seed, minimum=0))
        start, counts, leaving = counts_of(network)
        kind = np.tile(np.arange(repeats), ensembles) % len(start.variance)
        # the mean of many networks hides the shape of a single sample variance
        driven, many = start._replace(mean=start.mean[kind], variance=start.variance[kind]), repeats >= 1000
        drawn = [_normal_layer(rng, counts[0].width, driven, many)]
        for count in counts[1:]:
            active = drawn[count.below][0]
            if count.layer is not None:
                drawn.append(_layer(rng, count.layer, active, many))
            else:
                drawn.append((_merged(rng, count, active, drawn[count.branch][0]), active))
        measured = [drawn[place] for place, count in enumerate(counts) if count.of_neurons]
        spikes, variances = np.moveaxis(np.array(measured), 0, 2)
        spikes[..., -1] = drawn[leaving][0]
        return Ensemble(network, variances, spikes / network.widths, seed=seed, engine="chain", device="cpu", dtype="float64")


def _merged(rng: np.random.Generator, count: Count, shortcut: np.ndarray, branch: np.ndarray) -> np.ndarray:
    """Number of spikes of the shortcut also in the branch (``and``), or not (``iand``): its neurons are exchangeable."""
    both = rng.hypergeometric(shortcut.astype(int), count.width - shortcut.astype(int), branch.astype(int)).astype(float)
    return both if count.merge == "and" else shortcut - both


class TailMoments(NamedTuple):
    """Potentials in some states of the layer below.

    Their unit, squared (of normal ones the variance), the probability to fire, and in this unit the first four moments of
    potentials above and below the threshold, shape (4, states).
    """

    square: np.ndarray
    chance: np.ndarray
    above: np.ndarray
    below: np.ndarray


def _layer(rng: np.random.Generator, layer: CountedLayer, active: np.ndarray, many: bool) -> tuple[np.ndarray, np.ndarray]:
    """Spike count and sample variance of a layer, given the count below."""
    if layer.is_normal:
        # layers with a smaller fan-in mostly share a table of the moments given every count
        if layer.fan_in <= 4096 and not _drawn(layer.width, many):
            return _of_states(rng, layer.width, _table(layer), active.astype(int))
        return _normal_layer(rng, layer.width, _normal(layer, active), many)
    differ = isinstance(layer.threshold, OverNeurons) or layer.rows == "standardised"
    # tables of weights that are not normal grow with the fan-in
    if differ or (layer.width <= EXACT_WIDTH and layer.fan_in <= 256 and not many):
        return _layer_of_potentials(rng, layer, active.astype(int))
    return _of_states(rng, layer.width, _table(layer), active.astype(int))


def _normal(layer: CountedLayer, counts: np.ndarray) -> Gaussian:
    return Gaussian(layer.threshold, layer.weight_mean * counts, layer.conditional_variance(counts), layer.strict)


@lru_cache(maxsize=128)
def _table(layer: CountedLayer) -> TailMoments:
    """The potentials of a layer for every count below."""
    if layer.is_normal:
        return TailMoments(*map(frozen, _moments_of_tails(_normal(layer, np.arange(layer.fan_in + 1.0)))))
    upper, lower = partial_moments(layer)
    with np.errstate(divide="ignore", invalid="ignore"):
        above, below = (np.where(side[0] > 1e-12, side[1:] / side[0], 0.0) for side in (upper, lower))
    return TailMoments(np.full(layer.fan_in + 1, unit(layer) ** 2), np.minimum(upper[0], 1.0), above, below)


def _drawn(width: int, many: bool) -> bool:
    """True if every potential is drawn."""
    return width <= EXACT_WIDTH and not (many and width > 1)


def _normal_layer(rng: np.random.Generator, width: int, normal: Gaussian, many: bool) -> tuple[np.ndarray, np.ndarray]:
    """Spike count and sample variance of ``width`` such potentials, for each network."""
    if _drawn(width, many):
        shape = (len(normal.mean), width)
        u = normal.mean[:, None] + np.sqrt(normal.variance)[:, None] * rng.standard_normal(shape)
        return _counted(u, _thresholds(rng, normal.threshold, shape), normal.strict)
    pairs = np.empty(len(normal.mean), complex)  # sorted several times faster than columns
    pairs.real, pairs.imag = normal.mean, normal.variance
    different, state = np.unique(pairs, return_inverse=True)
    given = _moments_of_tails(normal._replace(mean=np.real(different), variance=np.imag(different)))
    return _of_states(rng, width, given, state)


def _moments_of_tails(normal: Gaussian) -> TailMoments:
    threshold, mean, variance, strict = normal
    theta, weights = threshold.rule() if isinstance(threshold, OverNeurons) else (np.array([threshold]), np.ones(1))
    if len(mean) > 1 and len(mean) * len(theta) > 2**22:  # pairs of a state and a threshold, computed together
        states = zip(np.array_split(mean, 2), np.array_split(variance, 2), strict=True)
        halves = (_moments_of_tails(Gaussian(threshold, *half, strict)) for half in states)
        return TailMoments(*(np.concatenate(parts, axis=-1) for parts in zip(*halves, strict=True)))
    z = standardised_threshold(theta, mean, variance, strict)
    chance, above, below = _tail_moments(np.clip(z, -LAST_Z, LAST_Z), weights)
    return TailMoments(variance, np.minimum(np.where(variance > 0, chance, (z < 0) @ weights), 1.0), above, below)


def _of_states(rng: np.random.Generator, width: int, given: TailMoments, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spike count and sample variance of ``width`` potentials, for each network in its state."""
    counts = rng.binomial(width, given.chance[state])
    if width == 1:
        return counts, np.full(len(state), np.nan)
    return counts, given.square[state] * _given_counts(rng, width, counts, state, given.above, given.below)


def _thresholds(rng: np.random.Generator, threshold: float | OverNeurons, shape: tuple[int, ...]) -> np.ndarray | float:
    """The threshold of every neuron."""
    return threshold.quantile(rng.random(shape)) if isinstance(threshold, OverNeurons) else threshold


def _counted(u: np.ndarray, threshold: np.ndarray | float, strict: bool = True) -> tuple[np.ndarray, np.ndarray]:
    counts = np.count_nonzero(u > threshold if strict else u >= threshold, axis=1)
    return counts, u.var(axis=1, ddof=1) if u.shape[1] > 1 else np.full(len(u), np.nan)


def _layer_of_potentials(rng: np.random.Generator, layer: CountedLayer, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts, variances = np.empty(len(active)), np.empty(len(active))
    size = max(1, 2**20 // (layer.width * (int(active.max(initial=0)) + 1)))
    for start in range(0, len(active), size):
        rows = slice(start, start + size)
        u = potentials(rng, layer, active[rows])
        counts[rows], variances[rows] = _counted(u, _thresholds(rng, layer.threshold, u.shape), layer.strict)
    return counts, variances


def _given_counts(
    rng: np.random.Generator, width: int, counts: np.ndarray, state: np.ndarray, above: np.ndarray, below: np.ndarray
) -> np.ndarray:
    """Sample variances given the number of potentials above threshold: gamma variables with the exact mean and variance.

    ``above`` and ``below`` hold the first four moments on either side of the threshold for every state of the layer below,
    shape (4, states). Networks with the same state and count share the arithmetic.
    """
    pairs, which = _distinct(state * (width + 1) + counts, above.shape[1] * (width + 1))
    state, fraction = pairs // (width + 1), pairs % (width + 1) / width
    above, below = above[:, state], below[:, state]
    centre = fraction * above[0] + (1 - fraction) * below[0]
    (d, v, excess_above), (e, w, excess_below) = (_about(centre, side, 1 - 1 / width) for side in (above, below))
    within = fraction * v + (1 - fraction) * w
    # uᵀAu with A = 1 - 11ᵀ/n: its mean is tr(AΣ) + μᵀAμ, its variance 2 tr(AΣAΣ) + 4 μᵀAΣAμ + 4 ΣA_ii (Aμ)_i μ₃ + ΣA_ii² κ₄
    mean = within + (fraction * d**2 + (1 - fraction) * e**2) * width / (width - 1)
    between = 2 * (within**2 - (fraction * v**2 + (1 - fraction) * w**2) / width) / width
    variance = np.maximum(fraction * excess_above + (1 - fraction) * excess_below + between, 0.0) * width / (width - 1) ** 2
    varies = (mean > 0) & (variance > 1e-12 * mean**2)  # on a lattice the count may fix the variance
    safe = np.where(varies, variance, 1.0)
    shape, size = np.where(varies, mean**2 / safe, 1.0), np.where(varies, safe / np.where(varies, mean, 1.0), 0.0)
    return rng.standard_gamma(shape[which]) * size[which] + np.where(varies, 0.0, mean)[which]


def _distinct(keys: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The different keys, ascending, and the index of each among them; by marking instead of sorting where there is room."""
    if limit > 4 * len(keys):  # beyond, sorting is as fast as marking
        return np.unique(keys, return_inverse=True)
    there = np.zeros(limit, bool)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def _tail_moments(z: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``P(N > z)`` of a standard normal ``N``, and its first four moments given ``N > z`` and ``N ≤ z``.

    ``z`` has shape (states, thresholds), the results (states,) and (4, states).
    """
    normal = distribution("normal")

    def side(x: np.ndarray, hazard: np.ndarray) -> np.ndarray:
        log = normal.log_sf(x)
        mass = weights * np.exp(log - log.max(axis=-1, keepdims=True))
        moments = hazard, 1 + z * hazard, (z**2 + 2) * hazard, 3 + (z**3 + 3 * z) * hazard
        return np.array([np.sum(mass * moment, axis=-1) for moment in moments]) / mass.sum(axis=-1)

    return normal.sf(z) @ weights, side(z, normal.hazard(z)), side(-z, -normal.hazard(-z))


def _about(c: np.ndarray, moments: np.ndarray, left: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments of potentials: their mean from ``c``, their variance ``v``, and ``A² (2v² + κ₄) + 4Aμμ₃ + 4μ²v`` with
    ``A = left`` and ``μ`` their mean from ``c``.
    """
    m1, m2, m3, m4 = moments
    v, third = m2 - m1**2, m3 - m1 * (3 * m2 - 2 * m1**2)
    fourth = m4 - m1 * (4 * m3 - m1 * (6 * m2 - 3 * m1**2))
    return m1 - c, v, left**2 * (fourth - v**2) + 4 * (m1 - c) * (left * third + (m1 - c) * v)


def potentials(rng: np.random.Generator, layer: CountedLayer, counts: np.ndarray) -> np.ndarray:
    """Membranes of every neuron given the count below, shape (len(counts), width)."""
    shape = (len(counts), layer.width)
    if layer.rows == "standardised":
        length = np.sqrt(layer.conditional_variance(counts) * (layer.fan_in - 1))
        return length[:, None] * directions(rng, layer, shape)
    present = np.broadcast_to(counts[:, None], shape)
    if layer.law.in_degree is not None:
        present = rng.hypergeometric(present, layer.fan_in - present, layer.law.in_degree)
    elif layer.law.density < 1:
        present = rng.binomial(present, layer.law.density)
    u = layer.input_scale * (layer.scale * _core_sums(rng, layer, present) + layer.shift * present)
    if layer.bias_variance:
        u = u + np.sqrt(layer.bias_variance) * rng.standard_normal(shape)
    return u


def _core_sums(rng: np.random.Generator, layer: CountedLayer, number: np.ndarray) -> np.ndarray:
    core = layer.law.core
    if core.sums_are_normal:
        return np.sqrt(number) * rng.standard_normal(number.shape)
    tables, out = _tables(core, layer.law.in_degree or layer.fan_in), np.zeros(number.size)
    order = np.argsort(number, axis=None, kind="stable")
    counts, first = np.unique(number.ravel()[order], return_index=True)
    for count, places in zip(counts.tolist(), np.split(order, first[1:]), strict=True):
        values, cumulative = tables[count]
        out[places] = values[np.searchsorted(cumulative, rng.random(len(places)), side="right")]
    if core.lattice is None:  # uniform within the cell
        out += core.std * CELL * (rng.random(len(out)) - 0.5) * (number.ravel() > 0)
    return out.reshape(number.shape)


@lru_cache(maxsize=4)
def _tables(core: WeightDistribution, largest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values of every sum, and its cumulative probabilities except the last."""
    sums = cell_sums if core.lattice is None else lattice.sums
    return [(values, np.cumsum(mass / mass.sum())[:-1]) for values, mass in sums(core, largest)]
