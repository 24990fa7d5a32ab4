r"""Overlap of different inputs of a batch: all that a BatchNorm needs to know besides each input's own moments.

.. math:: B_{ij} = E[x_{ai}\, x_{bj}], \qquad a \ne b \text{ drawn from the batch}

with ``i, j`` positions and steps (``fine``), or steps alone, averaged over pairs of positions of a large map. It is carried
along beside the signals of single inputs; through a layer of neurons, as that of two inputs which have the average moments.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from varflow.model.layers import BatchNorm, Spike
from varflow.theory.operations.batch_norm import Batch, standardising
from varflow.theory.operations.neurons import Neurons
from varflow.theory.signals.moments import Currents, Grid, Signal, Window

__all__ = ["averages", "batch_of", "centred", "fine", "fired", "over_windows", "weighted_sum"]

FINE = 256  # positions × steps up to which positions are told apart


def fine(grid: Grid) -> bool:
    """Whether positions are told apart."""
    return not grid.apart and grid.size <= FINE


def averages(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance (of spikes the second moments) of one input, averaged over inputs, and over positions if not fine."""
    grid = signal.grid
    second = signal.covariance if isinstance(signal, Currents) else signal.moments
    if fine(grid):
        return signal.mean.mean(axis=1), second.mean(axis=1)
    mean = signal.mean.reshape(len(signal.mean), -1, grid.steps).mean(axis=1)
    probes = grid.size // grid.steps
    whole = second.reshape(len(second), -1, probes, grid.steps, probes, grid.steps)
    return mean, np.einsum("rgxsxt->rst", whole) / (whole.shape[1] * probes)


def fired(neurons: Neurons, layer: Spike, currents: Currents, between: np.ndarray, number: int) -> np.ndarray:
    """Overlap of the spikes of a layer, from the overlap of its currents."""
    mean, own = averages(currents)
    own, between = np.broadcast_arrays(own, between)
    mean = np.broadcast_to(mean, (len(own), mean.shape[1]))
    covariance = np.block([[own, between], [between.swapaxes(-1, -2), own]])[:, None]
    grid = currents.grid
    grid = replace(grid, inputs=2) if fine(grid) else Grid(2, 1, 1, grid.steps)
    pair = Currents(np.tile(mean, 2)[:, None], covariance, grid, currents.channels)
    size = mean.shape[1]
    return neurons.fire(layer, pair, number)[1].moments[:, 0, :size, size:]


def weighted_sum(window: Window | None, between: np.ndarray, grid: Grid) -> np.ndarray:
    """The mean over a neuron's inputs, the same for both factors. ``window``: of a convolution; ``grid``: of the inputs."""
    steps, positions = grid.steps, grid.positions
    known = fine(grid)
    if window is None:
        if not known or positions == 1:
            return between
        whole = between.reshape(len(between), positions, steps, positions, steps)
        return np.einsum("rxsxt->rst", whole) / positions
    if known:
        return window.under_same_tap(between[:, None], grid)[:, 0]
    if not fine(replace(window.smaller(grid), apart=grid.apart)):
        return window.inside(grid) * between
    inside = window.inside_map(grid).T.astype(float)
    return np.kron(inside.T @ inside / len(inside), between)  # the fraction of taps that lie on the map at both positions


def over_windows(window: Window, between: np.ndarray, grid: Grid) -> np.ndarray:
    """The mean over two windows; of a map whose positions are not told apart, the same for all of them."""
    if fine(grid):
        return window.mean(window.mean(between, grid, -1), grid, -2)
    smaller = window.smaller(grid)
    return np.tile(between, (smaller.positions, smaller.positions)) if fine(smaller) else between


def batch_of(layer: BatchNorm, signal: Currents, between: np.ndarray, inputs: int, row: np.ndarray | None = None) -> Batch:
    """What a BatchNorm over a batch of ``inputs`` such inputs subtracts and multiplies by.

    ``row``: the mean covariance of each entry with the batch, if known. Else, where positions are not told apart, the overlap
    of one position with all others is taken to be proportional to its own variance, as of spikes, and near a border.
    """
    mean, own = averages(signal)
    variance = np.diagonal(own, axis1=-2, axis2=-1)
    row = _row(signal, variance, between, inputs) if row is None else row
    centre, whole = mean.mean(axis=-1), row.mean(axis=(1, 2))
    scale = standardising(layer.gamma, np.maximum(variance.mean(axis=-1) - whole + mean.var(axis=-1), 0.0) + layer.eps)
    return Batch(centre[:, None, None], row, whole[:, None], scale[:, None])


def _row(signal: Currents, variance: np.ndarray, between: np.ndarray, inputs: int) -> np.ndarray:
    grid, alike = signal.grid, signal.covariance.mean(axis=-1)
    far = between.mean(axis=-1)[:, None]
    if not fine(grid):
        probes = grid.size // grid.steps
        each = np.diagonal(signal.covariance, axis1=-2, axis2=-1)
        typical = np.tile(variance, probes)[:, None]
        far = np.tile(far, probes) * np.divide(each, typical, out=np.ones_like(each), where=typical > 0)
    if grid.apart:  # other positions are like other inputs
        alike = alike / grid.positions + (1 - 1 / grid.positions) * far
    return alike / inputs + (1 - 1 / inputs) * far


def centred(batch: Batch, between: np.ndarray) -> np.ndarray:
    """The overlap after such a BatchNorm."""
    row = batch.row.reshape(len(batch.row), -1, between.shape[-1]).mean(axis=1)
    return batch.scale[..., None] ** 2 * (between - row[..., :, None] - row[..., None, :] + batch.whole[..., None])
