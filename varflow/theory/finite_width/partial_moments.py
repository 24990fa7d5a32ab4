"""Partial moments of a potential about the threshold: ``E[(u - θ)^j 1(u > θ) | K]`` and the same for ``u ≤ θ``, j = 0 … 4.

A layer's sample variance and spike count come from the same potentials; these moments give the distribution of the variance
given the count. They are exact for normal and lattice weights and for most with a cumulant generating function; others use sums
binned in cells of 1/16 standard deviation and convolved: probabilities to about 1e-3, mean and variance of every sum exact.
They enter ensembles drawn from the chain and the calibration of ``vf.compare``, never a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from varflow._checks import frozen
from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.finite_width import contour, lattice
from varflow.theory.finite_width.firing import core_threshold, firing, mixed, sum_tails
from varflow.theory.layer import CountedLayer

CELL = 1 / 16  # in standard deviations of a weight
CELLS = 2**15  # the bins span 2048 standard deviations


def cell_sums(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centres of cells and their probabilities, for the sum of 0, 1, …, ``largest`` cores."""
    index = np.arange(-CELLS // 2, CELLS // 2)
    edges = core.mean + core.std * CELL * (np.append(index, CELLS // 2) - 0.5)
    upper, lower = sum_tails(core, np.ones(len(edges)), edges, 0.0)
    mass = np.maximum(np.where(index <= 0, np.diff(lower), -np.diff(upper)), 0.0)
    mass /= mass.sum()
    mean = float(mass @ index)
    std = float(np.sqrt(mass @ (index - mean) ** 2))
    spectrum = np.fft.rfft(np.fft.ifftshift(mass))
    power = np.ones_like(spectrum)
    for number in range(largest + 1):
        centre = round(number * mean)
        masses = np.roll(np.fft.irfft(power, CELLS), CELLS // 2 - centre)  # circular
        held = np.flatnonzero(masses > 1e-15)
        yield number * core.mean + core.std * (centre + index[held] - number * mean) / std, masses[held]
        power = power * spectrum


ORDERS = np.arange(5)
ORDINARY = 1e50  # potentials between 1/ORDINARY and this have fourth powers in range


@lru_cache(maxsize=32)
def partial_moments(layer: CountedLayer) -> tuple[np.ndarray, np.ndarray]:
    """``E[(u - θ)^j 1(u > θ) | K]`` and ``E[(u - θ)^j 1(u ≤ θ) | K]`` for every count, shape (5, fan_in + 1) each.

    Potentials are measured in ``unit(layer)``.
    """
    measured = _in_units(layer, unit(layer))
    sides = _present(measured, layer.law.in_degree or layer.fan_in)
    sides = sides if layer.law.always_present else mixed(measured, sides)
    sides[:, 0] = firing(layer, np.arange(layer.fan_in + 1))
    return frozen(sides[0]), frozen(sides[1])


def unit(layer: CountedLayer) -> float:
    """1, or a power of two near the size of potentials whose fourth powers would over- or underflow."""
    size = np.sqrt(layer.weight_variance * layer.fan_in + layer.bias_variance) + abs(layer.threshold)
    return 1.0 if 1 / ORDINARY < size < ORDINARY else float(2.0 ** np.round(np.log2(size)))


def _in_units(layer: CountedLayer, unit: float) -> CountedLayer:
    names = ("weight_mean", "threshold", "scale", "shift")
    lengths = {name: getattr(layer, name) / unit for name in names}
    variances = {name: getattr(layer, name) / unit**2 for name in ("weight_variance", "bias_variance")}
    return replace(layer, **lengths, **variances)


def normal_partial_moments(margin: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``E[y^j 1(y > 0)]`` of ``y ~ N(margin, std²)``, shape (5, …): ``m_j = margin m_{j-1} + (j-1) std² m_{j-2}``."""
    from scipy.special import ndtr

    z = margin / std
    moments = [ndtr(z), std * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + margin * ndtr(z)]
    for j in range(2, 5):
        moments.append(margin * moments[-1] + (j - 1) * std**2 * moments[-2])
    return np.maximum(np.array(moments), 0.0)


def _present(layer: CountedLayer, largest: int) -> np.ndarray:
    """Moments above and below the threshold for 0 … ``largest`` present connections, shape (2, 5, largest + 1)."""
    core, number = layer.law.core, np.arange(largest + 1.0)
    out, bias = np.full((2, 5, largest + 1), np.nan), np.sqrt(layer.bias_variance)
    if core.gives("cgf"):
        _on_contour(layer, number, out)
    missing = np.any(np.isnan(out[:, 1:]), axis=(0, 1))
    sums = _normal if core.sums_are_normal else cell_sums if core.lattice is None else lattice.sums
    for count, (values, mass) in enumerate(sums(core, int(np.max(number, where=missing, initial=-1)))):
        if missing[count]:
            spread = np.hypot(bias, layer.connection_std * np.sqrt(count)) if core.sums_are_normal else bias
            out[..., count] = _of_atoms(layer, lattice.membranes(layer, values, count) - layer.threshold, mass, spread)
    return out


def _normal(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The means of normal sums, as atoms."""
    return ((np.array([count * core.mean]), np.ones(1)) for count in range(largest + 1))


def _of_atoms(layer: CountedLayer, margin: np.ndarray, mass: np.ndarray, spread: float) -> np.ndarray:
    """Both sides for ``u - θ = margin + spread N`` with margins of probability ``mass`` and ``N`` standard normal."""
    if spread:
        upper, lower = (normal_partial_moments(side * margin, np.full_like(margin, spread)) @ mass for side in (1, -1))
        return np.array([upper, lower * (-1) ** ORDERS])
    fires = margin > 0 if layer.strict else margin >= 0
    powers = margin ** ORDERS[:, None] * mass
    return np.array([powers[:, fires].sum(axis=1), powers[:, ~fires].sum(axis=1)])


def _on_contour(layer: CountedLayer, number: np.ndarray, out: np.ndarray) -> None:
    """Orders 1 to 4 where the sum's density is smooth and the threshold inside its support (order 0 comes from ``firing``)."""
    core, (x, bias) = layer.law.core, core_threshold(layer, number)
    low, high = (np.maximum(number, 1) * end for end in core.support)
    # sums of fewer weights may have a rough density: they use cells
    inside = np.flatnonzero((number > 8) & ((bias > 0) | ((low < x) & (x < high))))
    unit = layer.input_scale * layer.scale
    for row, side in ((0, 1), (1, -1)):
        # 1e-5: a calibration needs no more
        moments = contour.tail_moments(core, side, number[inside], x[inside], bias, range(1, 5), 1e-5)
        out[row, 1:, inside] = (moments * (side * unit) ** ORDERS[1:, None]).T
