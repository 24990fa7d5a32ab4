r"""Currents between layers at infinite width, and the linear filters (synapse, leak) applied to them.

Currents are i.i.d. copies of a Gaussian process in time with ``Cov[I_t, I_t'] = g² M(t-d, t'-d) + σ_b²`` and mean
``m_g r(t-d)``. Everything here is linear in them and includes the input scale ``λ``; leading axes of arrays are free.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import toeplitz

from varflow.model.neurons import Neuron
from varflow.theory.in_time.differences import Differences
from varflow.theory.in_time.responses import LayerState
from varflow.theory.layers import Layer

__all__ = ["arriving", "exponential_filter", "filtered", "past_synapse", "received"]


def received(layer: Layer, firing_rate: np.ndarray, coincidences: np.ndarray, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the currents ``λ I_t`` into a layer, from the spikes of the layer below."""
    r, M = _delayed(firing_rate, delay, 1), _delayed(coincidences, delay, 2)
    n, c = layer.fan_in, layer.law.in_degree
    mean = layer.weight_mean * n * r
    covariance = layer.weight_variance * n * M + layer.bias_variance
    if c is not None and layer.connection_mean != 0:  # variance of the number of active inputs (hypergeometric)
        spread = layer.connection_mean**2 * c * (n - c) / max(n - 1, 1)
        covariance = covariance + spread * (M - r[..., :, None] * r[..., None, :])
    return mean, covariance


def _delayed(values: np.ndarray, delay: int, axes: int) -> np.ndarray:
    """Shifted by ``delay`` steps along the last axes; 0 before."""
    if delay == 0:
        return values
    shifted, steps = np.zeros_like(values), values.shape[-1]
    late, early = (slice(delay, None),) * axes, (slice(0, max(steps - delay, 0)),) * axes
    shifted[(..., *late)] = values[(..., *early)]
    return shifted


def exponential_filter(decay: float, steps: int, probes: int = 1) -> np.ndarray:
    """The matrix of ``y_t = decay · y_{t-1} + x_t`` from ``y_0 = 0``: ``decay^(t-t')`` below the diagonal; (steps, steps).

    Several probes, each from rest, are the diagonal blocks of one matrix.
    """
    return np.kron(np.eye(probes), np.tril(toeplitz(decay ** np.arange(steps))))


def filtered(matrix: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of ``matrix @ current``.

    The covariance common to all steps (except silent first ones) is split off: constant currents then stay perfectly
    correlated to the last digit, which matters because second moments have infinite slope at correlation 1.
    """
    on = np.diagonal(covariance, axis1=-2, axis2=-1) > 0
    both = on[..., :, None] & on[..., None, :]
    common = np.where(both, covariance, np.inf).min(axis=(-2, -1), keepdims=True)
    common = np.where(common < np.inf, np.maximum(common, 0.0), 0.0)
    answer = on @ matrix.T
    rest = matrix @ (covariance - common * both) @ matrix.T
    return mean @ matrix.T, common * (answer[..., :, None] * answer[..., None, :]) + rest


def past_synapse(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, probes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance after the synaptic filter, which starts from rest in every probe."""
    if neuron.synaptic_decay == 0:
        return mean, covariance
    return filtered(exponential_filter(neuron.synaptic_decay, mean.shape[-1] // probes, probes), mean, covariance)


def arriving(layer: Layer, below: LayerState, delay: int) -> Differences | None:
    """Increments of the currents ``λ I_t`` into a layer, or None if the layer below does not track its own.

    .. math:: \\mathrm{Var}[I_t - I_{t'}] = g^2 E[(S_{t-d} - S_{t'-d})^2]
    """
    if below.square_change is None or below.rate_change is None:
        return None
    n, c = layer.fan_in, layer.law.in_degree
    moment = np.diagonal(below.coincidences, axis1=-2, axis2=-1)
    square_change, rate_change = _arriving_square_change(below.square_change, moment, delay), np.zeros_like(below.rate_change)
    rate_change[..., delay:] = below.rate_change[..., : max(rate_change.shape[-1] - delay, 0)]
    increment_var, var_change = layer.weight_variance * n * square_change, layer.weight_variance * n * rate_change
    var_change[..., 0] += layer.bias_variance
    if c is not None and layer.connection_mean != 0:
        spread = layer.connection_mean**2 * c * (n - c) / max(n - 1, 1)
        rate = np.cumsum(rate_change, axis=-1)
        increment_var = increment_var + spread * (square_change - (rate[..., :, None] - rate[..., None, :]) ** 2)
        var_change = var_change + spread * rate_change * (1 - 2 * rate + rate_change)  # of r (1 - r)
    return Differences(increment_var, var_change, layer.weight_mean * n * rate_change)


def _arriving_square_change(square_change: np.ndarray, moment: np.ndarray, delay: int) -> np.ndarray:
    """``E[(S_{t-d} - S_{t'-d})²]`` with ``S = 0`` before the first step."""
    if delay == 0:
        return square_change
    shifted, left = np.zeros_like(square_change), max(square_change.shape[-1] - delay, 0)
    shifted[..., delay:, delay:] = square_change[..., :left, :left]
    shifted[..., :delay, delay:] = moment[..., None, :left]
    shifted[..., delay:, :delay] = moment[..., :left, None]
    return shifted
