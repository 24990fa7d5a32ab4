"""Moments of a potential beyond the threshold, ``E[(u - θ)^j 1(u > θ) | K]`` for j = 0 … 4.

The sample variance of a layer and its spike count come from the same potentials; given the count, these moments say how the
variance is distributed. They are exact for normal and lattice weights and for most with a cumulant generating function, and
else taken from ``cells``: they serve the spread of a calibration, never a prediction.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from varflow._checks import frozen
from varflow.model.weight_distribution import WeightDistribution
from varflow.theory import cells, contour, lattice
from varflow.theory.firing import core_threshold, firing, mixed
from varflow.theory.layers import Layer

__all__ = ["beyond", "normal_beyond"]

ORDERS = np.arange(5)
TOLERANCE = 1e-5  # of moments on the contour, relative


@lru_cache(maxsize=32)
def beyond(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """``E[(u - θ)^j 1(u > θ) | K]`` and ``E[(u - θ)^j 1(u ≤ θ) | K]`` for every count, shape (5, fan_in + 1) each."""
    largest = layer.law.in_degree or layer.fan_in
    above, below = _present(layer, largest, 1), _present(layer, largest, -1)
    if not layer.law.always_present:
        above, below = mixed(layer, above), mixed(layer, below)
    above[0], below[0] = firing(layer, np.arange(layer.fan_in + 1))
    return frozen(above), frozen(below)


def normal_beyond(margin: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``E[y^j 1(y > 0)]`` of ``y ~ N(margin, std²)``, shape (5, …): ``m_j = margin m_{j-1} + (j-1) std² m_{j-2}``."""
    from scipy.special import ndtr

    z = margin / std
    moments = [ndtr(z), std * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + margin * ndtr(z)]
    for j in range(2, 5):
        moments.append(margin * moments[-1] + (j - 1) * std**2 * moments[-2])
    return np.maximum(np.array(moments), 0.0)


def _present(layer: Layer, largest: int, side: int) -> np.ndarray:
    """Moments on one side of the threshold for 0 … ``largest`` present connections, signs of odd ones included."""
    core, number = layer.law.core, np.arange(1.0, largest + 1)
    if core.lattice is not None:
        return _of_atoms(layer, largest, side)
    x, bias = core_threshold(layer, number)
    if core.sums_are_normal:
        moments = normal_beyond(-side * x, np.sqrt(number + bias**2))
    else:
        moments = core.sum_moments(number, x, bias, side)
    if np.isnan(moments).any() and core.gives("cgf"):
        moments = _on_contour(core, number, x, bias, side)
    if np.isnan(moments).any():
        return _of_atoms(layer, largest, side)
    unit = side * layer.input_scale * layer.scale
    return np.column_stack([_at_rest(layer, side), moments * unit ** ORDERS[:, None]])


def _of_atoms(layer: Layer, largest: int, side: int) -> np.ndarray:
    out, bias = np.zeros((5, largest + 1)), np.sqrt(layer.bias_variance)
    sums = cells.sums if layer.law.core.lattice is None else lattice.sums
    for number, (values, mass) in enumerate(sums(layer.law.core, largest)):
        margin = lattice.membranes(layer, values, number) - layer.threshold
        if bias:
            out[:, number] = normal_beyond(side * margin, np.full_like(margin, bias)) @ mass * side**ORDERS
            continue
        chosen = (margin > 0 if layer.strict else margin >= 0) == (side > 0)
        out[:, number] = margin[chosen] ** ORDERS[:, None] @ mass[chosen]
    return out


def _at_rest(layer: Layer, side: int) -> np.ndarray:
    if layer.bias_variance:
        bias = np.array(np.sqrt(layer.bias_variance))
        return normal_beyond(np.array(-side * layer.threshold), bias) * side**ORDERS
    return (-layer.threshold) ** ORDERS * float(layer.fires_at_rest == (side > 0))


def _on_contour(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float, side: int) -> np.ndarray:
    """Moments of ``y = side · (S_J + b N - x)`` where it is positive; orders 1 to 4, ``firing`` has the probability."""
    ends = sorted(side * end for end in core.support)
    reach = [side * x < number * ends[1], side * x <= number * ends[0]]  # P(y > 0) > 0, P(y > 0) = 1
    inside = np.full(len(x), True) if bias else reach[0] & ~reach[1]
    whole = reach[1] & ~inside
    out = np.zeros((5, len(x)))
    out[1:, inside] = contour.tail_moments(core, side, number[inside], x[inside], bias, range(1, 5), TOLERANCE)
    _, variance, third, fourth = core.cumulants()
    cumulants = (number[whole] * cumulant for cumulant in (variance, side * third, fourth))
    out[:, whole] = _about(side * (x[whole] - number[whole] * core.mean), *cumulants)
    return out


def _about(x: np.ndarray, variance: np.ndarray, third: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """``E[(S - x)^j]`` of a variable of mean 0 with these cumulants."""
    m = -x
    moments = [np.ones_like(m), m, variance + m**2, third + 3 * m * variance + m**3]
    return np.array([*moments, fourth + 3 * variance**2 + 4 * m * third + 6 * m**2 * variance + m**4])
