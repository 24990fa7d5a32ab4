"""Potentials of one layer drawn given the spikes below: as few random numbers as a law allows.

Sums of normal and exponential weights are one draw each, sums on a lattice one draw from their exact law; others are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from varflow.model.weights import WeightLaw
from varflow.theory import lattice
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
    law = layer.law
    if law.kind == "normal":
        return np.sqrt(number) * rng.standard_normal(number.shape)
    if law.kind == "gamma":
        return rng.standard_gamma(law.parameters[0] * number)
    out = np.empty(number.shape)
    for some in np.unique(number).tolist():
        chosen = number == some
        size = int(np.count_nonzero(chosen))
        if law.kind == "lattice":
            values, cumulative = _lattice_laws(law, layer.law.in_degree or layer.fan_in)[some]
            out[chosen] = values[np.searchsorted(cumulative, rng.random(size) * cumulative[-1], side="right")]
        else:
            out[chosen] = _core(law, rng)((size, some)).sum(axis=1)
    return out


@lru_cache(maxsize=4)
def _lattice_laws(law: WeightLaw, largest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(values, np.cumsum(mass)) for values, mass in lattice.sums(law, largest)]


def _core(law: WeightLaw, rng: np.random.Generator) -> Callable[[tuple[int, int]], np.ndarray]:
    if law.kind == "uniform":
        return lambda shape: rng.uniform(-1, 1, shape)
    if law.kind == "lognormal":
        return lambda shape: np.exp(law.parameters[0] * rng.standard_normal(shape))
    obj, _, mean, std = law.source
    if hasattr(obj, "rvs"):
        return lambda shape: (obj.rvs(shape, random_state=rng) - mean) / std
    return lambda shape: (obj.sample(shape, rng=rng) - mean) / std
