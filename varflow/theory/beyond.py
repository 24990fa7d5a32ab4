"""Moments of a potential beyond the threshold, ``E[(u - θ)^j 1(u > θ) | K]`` for j = 0 … 4.

The sample variance of a layer and its spike count come from the same potentials; given the count, these moments say how the
variance is distributed. Normal, lattice, uniform and gamma laws are exact; any other law is laid out on cells of a sixteenth
of its standard deviation and convolved, which serves the spread of a calibration, never a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import comb

import numpy as np

from varflow._checks import frozen
from varflow.model.weights import WeightLaw
from varflow.theory import contour, lattice
from varflow.theory.firing import core_threshold, firing, mixed
from varflow.theory.layers import Layer

__all__ = ["beyond", "normal_beyond"]

CELL = 1 / 16  # of a core law without closed form, in standard deviations
CELLS = 2**15
ORDERS = np.arange(5)


@lru_cache(maxsize=32)
def beyond(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """``E[(u - θ)^j 1(u > θ) | K]`` and ``E[(u - θ)^j 1(u ≤ θ) | K]`` for every count, shape (5, fan_in + 1) each."""
    largest = layer.law.in_degree or layer.fan_in
    above, below = _present(layer, largest, 1.0), _present(layer, largest, -1.0)
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


def _present(layer: Layer, largest: int, side: float) -> np.ndarray:
    """Moments on one side of the threshold for 0 … ``largest`` present connections, signs of odd ones included."""
    law = layer.law
    if law.kind == "lattice":
        return _of_lattice(layer, largest, side)
    number = np.arange(1.0, largest + 1)
    x, bias = core_threshold(layer, number)
    if law.kind == "normal":
        moments = normal_beyond(-side * x, np.sqrt(number + bias**2))
    elif law.kind == "uniform" or (law.kind == "gamma" and bias):
        moments = _on_contour(law, number, x, bias, side)
    elif law.kind == "gamma":
        moments = _gamma(number * law.parameters[0], x, side)
    else:
        moments = np.array([_of_cells(cells, layer, side) for cells in _convolved(law, largest)]).T[:, 1:]
    unit = side * layer.input_scale * layer.scale
    out = np.empty((5, largest + 1))
    out[:, 1:] = moments if law.kind in ("lognormal", "scipy") else moments * unit ** ORDERS[:, None]
    out[:, 0] = _at_rest(layer, side)
    return out


def _of_lattice(layer: Layer, largest: int, side: float) -> np.ndarray:
    out, bias = np.zeros((5, largest + 1)), np.sqrt(layer.bias_variance)
    for number, (values, mass) in enumerate(lattice.sums(layer.law, largest)):
        margin = lattice.membranes(layer, values, number) - layer.threshold
        if bias:
            out[:, number] = normal_beyond(side * margin, np.full_like(margin, bias)) @ mass * side**ORDERS
            continue
        chosen = (margin > 0 if layer.strict else margin >= 0) == (side > 0)
        out[:, number] = margin[chosen] ** ORDERS[:, None] @ mass[chosen]
    return out


def _at_rest(layer: Layer, side: float) -> np.ndarray:
    if layer.bias_variance:
        bias = np.array(np.sqrt(layer.bias_variance))
        return normal_beyond(np.array(-side * layer.threshold), bias) * side**ORDERS
    return (-layer.threshold) ** ORDERS * float(layer.fires_at_rest == (side > 0))


def _on_contour(law: WeightLaw, number: np.ndarray, x: np.ndarray, bias: float, side: float) -> np.ndarray:
    """Above by the law's own generating function, below by that of its mirror image."""
    known = contour.UNIFORM if law.kind == "uniform" else contour.GAMMA
    known = known if side > 0 else known.reflected(np.inf)
    shape = number * (law.parameters[0] if law.kind == "gamma" else 1.0)
    reach = np.where(np.abs(x) < number, 1, 0) if law.kind == "uniform" and not bias else np.ones(len(x), dtype=int)
    out = np.zeros((5, len(x)))
    inside, whole = reach == 1, (reach == 0) & (side * x < 0)
    out[1:, inside] = contour.tail_moments(known, shape[inside], side * x[inside], bias, range(1, 5), tolerance=1e-5)
    out[:, whole] = _about(side * x[whole], number[whole] / 3, np.zeros(whole.sum()), -0.4 * number[whole] / 3)
    return out


def _about(x: np.ndarray, variance: np.ndarray, third: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """``E[(S - x)^j]`` of a variable of mean 0 with these cumulants."""
    m = -x
    moments = [np.ones_like(m), m, variance + m**2, third + 3 * m * variance + m**3]
    return np.array([*moments, fourth + 3 * variance**2 + 4 * m * third + 6 * m**2 * variance + m**4])


def _gamma(shape: np.ndarray, x: np.ndarray, side: float) -> np.ndarray:
    """``E[(side (G - x))^j]`` on one side of ``x``, from ``E[G^i 1(G > x)] = a (a + 1) … Q(a + i, x)``."""
    from scipy.special import gammainc, gammaincc, poch

    reached = np.maximum(x, 0.0)
    share = gammaincc if side > 0 else gammainc
    raw = np.array([poch(shape, i) * share(shape + i, reached) for i in ORDERS])
    moments = [sum(comb(j, i) * (-x) ** (j - i) * raw[i] for i in range(j + 1)) for j in ORDERS]
    return np.maximum(np.array(moments) * side ** ORDERS[:, None], 0.0)


def _cells(law: WeightLaw) -> tuple[np.ndarray, int]:
    """Masses of cells of the standardised core and the first cell; matched to mean 0 and variance 1 by the caller."""
    from varflow.theory.characteristic import core_tail

    edges = CELL * (np.arange(-CELLS // 8, CELLS // 2 + 1) - 0.5)
    above, below = core_tail(law, edges)
    mass = np.where(edges[:-1] < 0, np.diff(below), -np.diff(above))
    return np.maximum(mass, 0.0), -CELLS // 8


def _convolved(law: WeightLaw, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Values, in core units about the mean of the sum, and masses of 0 … ``largest`` cells convolved (circularly)."""
    mass, first = _cells(law)
    index = first + np.arange(len(mass))
    mass = mass / mass.sum()
    mean = mass @ index
    std = np.sqrt(mass @ (index - mean) ** 2)
    spectrum = np.fft.rfft(np.roll(np.pad(mass, (0, CELLS - len(mass))), first))
    power = np.ones_like(spectrum)
    for number in range(largest + 1):
        lowest = round(number * mean) - CELLS // 4
        masses = np.roll(np.fft.irfft(power, CELLS), -lowest)
        yield (lowest + np.arange(CELLS) - number * mean) / std, np.where(masses > 1e-15, masses, 0.0), number
        power = power * spectrum


def _of_cells(cells: tuple[np.ndarray, np.ndarray, int], layer: Layer, side: float) -> np.ndarray:
    values, mass, number = cells
    kept = np.flatnonzero(mass)
    u = number * layer.connection_mean + layer.connection_std * values[kept]
    margin, bias = u - layer.threshold, np.sqrt(layer.bias_variance)
    if bias:
        return normal_beyond(side * margin, np.full_like(margin, bias)) @ mass[kept] * side**ORDERS
    chosen = side * margin > 0
    return margin[chosen] ** ORDERS[:, None] @ mass[kept][chosen]
