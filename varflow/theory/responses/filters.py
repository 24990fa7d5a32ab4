"""Linear filters (synapse, leak) of currents over time; leading axes of arrays are free."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import toeplitz

from varflow._checks import DomainError, frozen
from varflow.model.neurons import Neuron


@lru_cache(maxsize=4)  # that of one neuron is asked for in every layer
def exponential_filter(decay: float, steps: int, sequences: int = 1) -> np.ndarray:
    """The matrix of ``y_t = decay · y_{t-1} + x_t`` from ``y_0 = 0``: ``decay^(t-t')`` below the diagonal; (steps, steps).

    Several sequences, each from rest, are the diagonal blocks of one matrix.
    """
    return frozen(np.kron(np.eye(sequences), np.tril(toeplitz(decay ** np.arange(steps)))))


@lru_cache(maxsize=4)
def synapse(neuron: Neuron, steps: int, sequences: int = 1) -> np.ndarray:
    """The matrix of a neuron's synaptic filter, without the input scale, of several sequences as above."""
    if neuron.kernel is None:
        delayed = np.kron(np.eye(sequences), np.eye(steps, k=-neuron.synaptic_delay))
        exponential = exponential_filter(neuron.synaptic_decay, steps, sequences)
        return frozen(delayed @ exponential) if neuron.synaptic_delay else exponential
    kernel = np.array(neuron.kernel)
    if kernel.ndim == 1:
        kernel = np.tril(toeplitz(np.pad(kernel, (0, steps))[:steps]))
    if steps > len(kernel):
        raise DomainError("steps", steps, f"must be at most {len(kernel)}, the steps of the neuron's kernel")
    return frozen(np.kron(np.eye(sequences), kernel[:steps, :steps]))


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
