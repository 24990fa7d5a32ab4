"""Distributions of sums of continuous weights, binned in cells of 1/16 standard deviation and convolved.

Probabilities are accurate to about 1e-3; mean and variance of every sum are exact. They enter ensembles drawn from the chain
and the calibration of ``vf.compare``, never a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.finite_width.firing import sum_tails

CELL = 1 / 16  # in standard deviations of a weight
CELLS = 2**15  # the bins span 2048 standard deviations


def sums(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
