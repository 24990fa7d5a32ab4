"""Potentials of one layer drawn given the spikes below: one random number each, from the distribution of the sum of weights.

Sums on a lattice are drawn exactly, those of other weights that are not normal from ``cells``; never by the simulator's draws.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from varflow.model.weight_distribution import WeightDistribution
from varflow.theory import cells, lattice
from varflow.theory.layers import Layer

__all__ = ["potentials"]


def potentials(rng: np.random.Generator, layer: Layer, counts: np.ndarray) -> np.ndarray:
    """Membranes of every neuron given the count below, shape (len(counts), width)."""
    shape = (len(counts), layer.width)
    present = np.broadcast_to(counts[:, None], shape)
    if layer.law.in_degree is not None:
        present = rng.hypergeometric(present, layer.fan_in - present, layer.law.in_degree)
    elif layer.law.density < 1:
        present = rng.binomial(present, layer.law.density)
    u = layer.input_scale * (layer.scale * _core_sums(rng, layer, present) + layer.shift * present)
    if layer.bias_variance:
        u = u + np.sqrt(layer.bias_variance) * rng.standard_normal(shape)
    return u


def _core_sums(rng: np.random.Generator, layer: Layer, number: np.ndarray) -> np.ndarray:
    core = layer.law.core
    if core.sums_are_normal:
        return np.sqrt(number) * rng.standard_normal(number.shape)
    quantile = _on_lattice if core.lattice is not None else np.interp
    tables, out = _tables(core, layer.law.in_degree or layer.fan_in), np.zeros(number.size)
    order = np.argsort(number, axis=None, kind="stable")
    counts, first = np.unique(number.ravel()[order], return_index=True)
    for count, chosen in zip(counts.tolist(), np.split(order, first[1:]), strict=True):
        if count:
            out[chosen] = quantile(rng.random(len(chosen)), *tables[count])
    return out.reshape(number.shape)


def _on_lattice(chance: np.ndarray, cumulative: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values[np.searchsorted(cumulative[:-1], chance, side="right")]


@lru_cache(maxsize=4)
def _tables(core: WeightDistribution, largest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Distribution function of every sum, with the values it belongs to."""
    if core.lattice is not None:
        return [(np.cumsum(mass) / mass.sum(), values) for values, mass in lattice.sums(core, largest)]
    return [_edges(core, number, *cells_of) for number, cells_of in enumerate(cells.sums(core, largest))]


def _edges(core: WeightDistribution, number: int, values: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread evenly over its cell, a sum gains the cell's variance: taken back, so that the variance is exact."""
    spread = cells.CELL * core.std
    edges = np.append(values - spread / 2, values[-1] + spread / 2)
    shrunk = np.sqrt(number / (number + cells.CELL**2 / 12))
    middle = number * core.mean
    return np.append(0.0, np.cumsum(mass)) / mass.sum(), middle + shrunk * (edges - middle)
