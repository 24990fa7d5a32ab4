r"""Scatter between networks of ``ln‖δ‖²`` in plain chains of one step, to the first order in 1/width.

With ``K = n p e^y`` spikes in a layer of ``n`` neurons, the next layer has ``ln p(y)``, and multiplies ``‖δ‖²`` by a mean of
``ψ² ε²`` over its neurons, ``ε`` normal:

.. math:: \ln\|\delta_l\|^2 = \sum_{k \ge l} (b_k y_{k-1} + \eta_k), \qquad y_k = m_k y_{k-1} + \xi_k, \qquad
          n \mathrm{Var}\,\eta = 3\kappa - 1, \quad n \mathrm{Var}\,\xi = \tfrac{1 - p}{p}, \quad
          n \mathrm{Cov}(\xi, \eta) = \tfrac wp - 1

with ``b = d ln E[ψ²]/dy``, ``m = d ln p/dy`` and ``w`` the fraction of ``E[ψ²]`` above threshold. Second derivatives give
the means of ``y`` and of the logarithm. In deep layers the variance grows per layer by ``1/n`` times
``3κ - 1 + b²(1-p)/(p(1-m)²) + 2b(w-p)/(p(1-m))``. Source: derived here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.theory.responses.stepping import MEMBERS
from varflow.theory.responses.surrogate_moments import surrogate_moments

STEP = 1e-3  # of y, in differences
NARROWEST = 1e-280  # variance of a potential that does not vary


class Fluctuations(NamedTuple):
    """``Var η``, ``Var ξ`` and ``Cov(ξ, η)`` of a layer; first and second derivatives of ``ln p`` and ``ln E[ψ²]`` by ``y``."""

    excess: np.ndarray
    of_count: np.ndarray
    covariance: np.ndarray
    rate: tuple[np.ndarray, np.ndarray]
    slope: tuple[np.ndarray, np.ndarray]


def fluctuations(
    neuron: Neuron, mean: np.ndarray, variance: np.ndarray, constant: float, width: int, surrogate: Surrogate
) -> Fluctuations:
    """Fluctuations to potentials of these means and variances, of which ``constant`` does not depend on the count below."""
    factors = np.exp(STEP * np.array([-1.0, 0.0, 1.0]))[:, None]
    means, variances = factors * mean, np.maximum(constant + factors * (variance - constant), NARROWEST)
    rate, second, fourth, above = np.zeros((4, 3, len(mean)))
    for weight, member in neuron.members(MEMBERS):
        found = surrogate_moments(surrogate, member.threshold - means, variances)
        rate += weight * ndtr((means - member.threshold) / np.sqrt(variances))
        second += weight * found.second
        fourth += weight * found.kurtosis * found.second**2
        above += weight * found.above * found.second
    fires = rate.min(axis=0) > 0
    p = np.where(fires, rate, 1.0)  # silent layers do not fluctuate
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = 3 * fourth[1] / second[1] ** 2 - 1
        covariance = np.where(fires, above[1] / second[1] / p[1] - 1, 0.0)
        slope = _derivatives(second)
    return Fluctuations(excess / width, (1 - p[1]) / (p[1] * width), covariance / width, _derivatives(p), slope)


def _derivatives(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    below, here, above = np.log(values)
    return (above - below) / (2 * STEP), (above - 2 * here + below) / STEP**2


def scattered(layers: list[Fluctuations]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of ``ln‖δ_l‖²`` between networks, and its mean less the logarithm at infinite width, the first layer first."""
    counts, y = [], np.zeros((2, *layers[0].excess.shape))  # mean and variance of y; the drive is the same for all networks
    for layer in layers:
        counts.append(y)
        (m, bend), noise = layer.rate, layer.of_count
        y = np.array([m * y[0] + bend * y[1] / 2 - noise / 2, m**2 * y[1] + noise])
    found, later, variance, mean = [], 0.0, 0.0, 0.0
    for layer, (shift, of_y) in zip(layers[::-1], counts[::-1], strict=True):
        b, bend = layer.slope
        variance = variance + layer.excess + 2 * later * layer.covariance + later**2 * layer.of_count
        later = b + layer.rate[0] * later  # the derivative of ln‖δ‖² by y of the layer below
        mean = mean + b * shift + bend * of_y / 2 - layer.excess / 2
        found.append((variance + later**2 * of_y, mean))
    variance, mean = np.swapaxes(found[::-1], 0, 1)
    return variance, mean
