"""Draws of a layer's potentials given the spikes below, one random number each, from the distribution of the sum of weights.

Lattice sums are drawn exactly, sums of other non-normal weights from ``cells``. The simulator's draws are not used.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.finite_width import cells, lattice
from varflow.theory.finite_width.standardised_rows import directions
from varflow.theory.layer import CountedLayer


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
        out += core.std * cells.CELL * (rng.random(len(out)) - 0.5) * (number.ravel() > 0)
    return out.reshape(number.shape)


@lru_cache(maxsize=4)
def _tables(core: WeightDistribution, largest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values of every sum, and its cumulative probabilities except the last."""
    sums = cells.sums if core.lattice is None else lattice.sums
    return [(values, np.cumsum(mass / mass.sum())[:-1]) for values, mass in sums(core, largest)]
