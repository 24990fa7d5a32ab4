"""Exact distributions of sums of lattice weights, by convolution of positive terms.

A sum of ``J`` integer weights is an integer ``I``; its membrane ``λ (scale · I + shift · J)`` is computed in double precision,
as in a network, so ties with the threshold are decided in floating point. As every term is positive, tails keep their relative
accuracy: about ``J`` roundings, down to 1e-280.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varflow._checks import frozen
from varflow.model.over_neurons import OverNeurons
from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.layer import CountedLayer
from varflow.theory.layer import tails as layer_tails


def sums(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and probabilities of the sum of 0, 1, …, ``largest`` core variables."""
    values, probabilities = core.lattice or ((), ())
    levels = np.array(values)
    step = int(np.gcd.reduce(np.diff(levels)))
    base = np.zeros((levels[-1] - levels[0]) // step + 1)
    base[(levels - levels[0]) // step] = probabilities
    first, mass = 0, np.ones(1)
    for number in range(largest + 1):
        yield levels[0] * number + step * (first + np.arange(len(mass))), mass
        mass = _convolved(mass, base)
        significant = np.flatnonzero(mass > 1e-290)  # products of smaller ones would underflow
        first, mass = first + int(significant[0]), mass[significant[0] : significant[-1] + 1]


def _convolved(mass: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Convolution; atom by atom if there are few, else ``np.convolve``."""
    atoms = np.flatnonzero(base)
    if len(atoms) > 8:
        return np.convolve(mass, base)
    out = np.zeros(len(mass) + len(base) - 1)
    for atom in atoms.tolist():
        out[atom : atom + len(mass)] += base[atom] * mass
    return out


def membranes(layer: CountedLayer, values: np.ndarray, number: int) -> np.ndarray:
    """``λ (scale · I + shift · J)``, without bias, rounded as in a simulation."""
    return layer.input_scale * (layer.scale * values + layer.shift * number)


def tails(layer: CountedLayer, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """``P(u > θ)`` (``≥`` if not strict) and its complement for 0 … ``largest`` present inputs."""
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
    return frozen(p), frozen(q)
