r"""Exact distributions of sums of lattice weights, by convolution of positive terms, or of many levels by their polynomial.

A sum of ``J`` integer weights is an integer ``I``; its membrane ``λ (scale · I + shift · J)`` is computed in double precision,
as in a network, so ties with the threshold are decided in floating point. As every term is positive, tails keep their relative
accuracy: about ``J`` roundings, down to 1e-280.

Tails of many inputs with many levels, as of 8 bits, are coefficients of the polynomial ``W(z) = Σ_i p_i z^i``,

.. math:: P(i_1 + … + i_J \le d) = [z^d] \frac{W(z)^J}{1 - z} = \frac1N \sum_{|z_k| = r} \frac{W(z_k)^J}{z_k^d (1 - z_k)}

on a circle near the saddle point, where terms do not cancel; their error, aliasing, is ``r^N``. Numbers ``J`` that differ by
less than a tenth share one circle and one Fourier transform.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varflow.model.over_neurons import OverNeurons
from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.layer import CountedLayer
from varflow.theory.layer import tails as layer_tails

MANY = 2**14  # levels times inputs, from which polynomials are faster than convolutions
ROUNDING = 45.0  # -ln of what is left out, relative to a tail
OFF_ONE = 6.0  # moves the circle away from the pole at 1, for 20 instead of 45 nodes per standard deviation of a sum


def sums(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and probabilities of the sum of 0, 1, …, ``largest`` core variables."""
    lowest, step, base = _levels(core)
    first, mass = 0, np.ones(1)
    for number in range(largest + 1):
        yield lowest * number + step * (first + np.arange(len(mass))), mass
        mass = np.convolve(mass, base)
        significant = np.flatnonzero(mass > 1e-290)  # products of smaller ones would underflow
        first, mass = first + int(significant[0]), mass[significant[0] : significant[-1] + 1]


def _levels(core: WeightDistribution) -> tuple[int, int, np.ndarray]:
    """The lowest level, the distance of neighbouring ones, and the probabilities of all that lie so far apart."""
    values, probabilities = core.lattice or ((), ())
    levels = np.array(values)
    step = int(np.gcd.reduce(np.diff(levels)))
    base = np.zeros((levels[-1] - levels[0]) // step + 1)
    base[(levels - levels[0]) // step] = probabilities
    return int(levels[0]), step, base


def membranes(layer: CountedLayer, values: np.ndarray, number: int | np.ndarray) -> np.ndarray:
    """``λ (scale · I + shift · J)``, without bias, rounded as in a simulation."""
    return layer.input_scale * (layer.scale * values + layer.shift * number)


def tails(layer: CountedLayer, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """``P(u > θ)`` (``≥`` if not strict) and its complement for 0 … ``largest`` present inputs."""
    single = layer.bias_variance == 0 and not isinstance(layer.threshold, OverNeurons)
    if single and largest * len(_levels(layer.law.core)[2]) > MANY:
        return _of_many_levels(layer, largest)
    p, q = np.zeros(largest + 1), np.zeros(largest + 1)
    for number, (values, mass) in enumerate(sums(layer.law.core, largest)):
        u = membranes(layer, values, number)
        if layer.bias_variance > 0:  # normal, added to every membrane
            upper, lower = layer_tails(layer.threshold, u, np.full_like(u, layer.bias_variance), layer.strict)
            p[number], q[number] = np.sum(mass * upper), np.sum(mass * lower)
        elif isinstance(layer.threshold, OverNeurons):
            over = layer.threshold.frozen
            p[number], q[number] = np.sum(mass * over.cdf(u)), np.sum(mass * over.sf(u))
        else:
            silent = np.searchsorted(u, layer.threshold, side="right" if layer.strict else "left")
            p[number], q[number] = mass[silent:].sum(), mass[:silent].sum()
    return p, q


def _of_many_levels(layer: CountedLayer, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Both tails for 0 … ``largest`` inputs, without bias."""
    lowest, step, base = _levels(layer.law.core)
    numbers, top = np.arange(largest + 1), len(base) - 1
    with np.errstate(over="ignore"):
        level = ((layer.threshold / layer.input_scale - layer.shift * numbers) / layer.scale - lowest * numbers) / step
    near = np.clip(np.floor(level), -2, numbers * top + 1)[:, None] + np.arange(-1, 3)  # ties as in a simulation
    u = membranes(layer, lowest * numbers[:, None] + step * near, numbers[:, None])
    silent = (near[:, 0] + np.sum(u <= layer.threshold if layer.strict else u < layer.threshold, axis=1)).astype(int)
    p, q = (silent <= 0).astype(float), (silent > 0).astype(float)
    inside = (silent > 0) & (silent <= numbers * top)
    lower = inside & (silent <= numbers * (np.arange(top + 1) @ base))
    shared = np.floor(8 * np.log2(np.maximum(numbers, 1)))
    tilt, levels = np.geomspace(1e-6, 20.0, 256), np.arange(top + 1)  # any circle near the saddle point will do
    for rows, weights, below, tail in ((lower, base, silent - 1, q), (inside & ~lower, base[::-1], numbers * top - silent, p)):
        tilted = weights * np.exp(-np.outer(tilt, levels))
        mean = tilted @ levels / tilted.sum(axis=1)
        for name in np.unique(shared[rows]):
            at = np.flatnonzero(rows & (shared == name))
            low = np.sum(numbers[at].mean() * mean + OFF_ONE / np.expm1(tilt) > below[at].mean())
            circle = min(low, len(tilt) - 1)
            tail[at] = _partial_sums(tilted[circle], float(tilt[circle]), numbers[at], below[at])
    p[lower] = 1 - q[lower]
    q[inside & ~lower] = 1 - p[inside & ~lower]
    return p, q


def _partial_sums(tilted: np.ndarray, c: float, number: np.ndarray, last: np.ndarray) -> np.ndarray:
    """``P(i_1 + … + i_J ≤ d)`` for neighbouring ``J``, with ``d`` below the mean, from ``p_i e^{-ci}``."""
    levels, total = np.arange(len(tilted)), tilted.sum()
    peak = number * np.log(total) + last * c - np.log(-np.expm1(-c))
    variance = number.mean() * np.cov(levels, aweights=tilted, ddof=0) + OFF_ONE / (2 * np.cosh(c) - 2)
    least = max((ROUNDING - peak.min()) / c, 10 * np.sqrt(variance) + 4 * len(tilted))
    nodes = 2 ** int(np.ceil(np.log2(least)))
    phi = np.fft.fft(tilted / total, nodes)
    with np.errstate(divide="ignore"):
        at = np.flatnonzero(number.min() * np.log(np.abs(phi)) > -ROUNDING)
    angle = 2j * np.pi / nodes
    turns = np.exp(angle * (np.outer(last, at) % nodes) + np.outer(number, np.log(phi[at])))
    return np.exp(peak) * np.maximum((turns @ (np.expm1(-c) / np.expm1(-c - angle * at))).real, 0.0) / nodes
