r"""Overlap of different inputs, and of far positions of a map, as one number for each pair of steps.

.. math:: B_{tt'} = E[x_{at}\, x_{bt'}], \qquad a \ne b \text{ drawn from the batch and its positions}

A BatchNorm over a batch needs no more of all the pairs of a batch than this mean. It is carried along beside the signals of
single inputs; through a layer of neurons, as the overlap of two probes that have the average covariance. The error is that of
an average over pairs taken before instead of after the neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from varflow.model.layers import BatchNorm, Spike
from varflow.theory.flow.batches import Batch, standardising
from varflow.theory.flow.neurons import Neurons
from varflow.theory.flow.signals import Currents, Grid, Window
from varflow.theory.flow.steps import Signal

__all__ = ["averages", "batch_of", "centred", "fired", "inside_both"]


def averages(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance (of spikes the second moments) of one probe over steps, averaged over groups and positions."""
    grid = signal.grid
    second = signal.covariance if isinstance(signal, Currents) else signal.moments
    mean = signal.mean.reshape(len(signal.mean), -1, grid.steps).mean(axis=1)
    probes = grid.size // grid.steps
    whole = second.reshape(len(second), -1, probes, grid.steps, probes, grid.steps)
    return mean, np.einsum("rgxsxt->rst", whole) / (whole.shape[1] * probes)


def fired(neurons: Neurons, layer: Spike, currents: Currents, between: np.ndarray, number: int) -> np.ndarray:
    """Overlap of the spikes of a layer, from the overlap of its currents."""
    mean, own = averages(currents)
    own, between = np.broadcast_arrays(own, between)
    mean = np.broadcast_to(mean, (len(own), mean.shape[1]))
    covariance = np.block([[own, between], [between, own]])[:, None]
    pair = Currents(np.tile(mean, 2)[:, None], covariance, Grid(2, 1, 1, currents.grid.steps), currents.channels)
    steps = currents.grid.steps
    return neurons.fire(layer, pair, number)[1].moments[:, 0, :steps, steps:]


def inside_both(window: Window, area: Sequence[int]) -> float:
    """The mean fraction of taps that lie inside the map at two independent positions."""
    height, width = (1, *area)[-2:]
    grid = Grid(1, height, width, 1)
    ones = np.ones(grid.size)
    return float(np.mean([window.at(tap, ones, grid, -1).mean() ** 2 for tap in window.taps]))


def batch_of(layer: BatchNorm, signal: Currents, between: np.ndarray, inputs: int) -> Batch:
    """What a BatchNorm over a batch of ``inputs`` such inputs subtracts and multiplies by.

    The overlap of one position with all others is taken to be proportional to its own variance, as it is near a border.
    """
    mean, own = averages(signal)
    grid, probes = signal.grid, signal.grid.size // signal.grid.steps
    variance = np.diagonal(own, axis1=-2, axis2=-1)
    each = np.diagonal(signal.covariance, axis1=-2, axis2=-1)
    typical = np.tile(variance, probes)[:, None]
    far = np.tile(between.mean(axis=-1), probes)[:, None] * np.divide(each, typical, out=np.ones_like(each), where=typical > 0)
    alike = signal.covariance.mean(axis=-1)
    if grid.apart:  # other positions are like other inputs
        alike = alike / grid.positions + (1 - 1 / grid.positions) * far
    row = alike / inputs + (1 - 1 / inputs) * far
    centre, whole = mean.mean(axis=-1), row.mean(axis=(1, 2))
    variance = variance.mean(axis=-1) - whole + mean.var(axis=-1)
    scale = standardising(layer.gamma, np.maximum(variance, 0.0) + layer.eps)
    return Batch(centre[:, None, None], row, whole[:, None], scale[:, None])


def centred(batch: Batch, between: np.ndarray, steps: int) -> np.ndarray:
    """The overlap after such a BatchNorm."""
    row = batch.row.reshape(len(batch.row), -1, steps).mean(axis=1)
    return batch.scale[..., None] ** 2 * (between - row[..., :, None] - row[..., None, :] + batch.whole[..., None])
