"""Normalisation over a batch of inputs: what it subtracts and multiplies by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.layers import BatchNorm
from varflow.theory.signals.moments import Currents, Grid, means_at
from varflow.theory.signals.pair_moments import Offset
from varflow.theory.signals.shared_scale import SharedScale

__all__ = ["Batch", "batch_means", "centred_over_batch", "standardising", "statistics_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a BatchNorm subtracts and multiplies by: the mean over a batch, the covariance of each entry with each neuron's own
    mean over the batch, and ``γ/std``, whose fluctuation is ``shared``; None of infinitely many inputs.
    """

    centre: np.ndarray
    row: np.ndarray
    whole: np.ndarray
    scale: np.ndarray
    shared: SharedScale | None = None

    def applied(self, layer: BatchNorm, signal: Currents) -> Currents:
        """Currents after the normalisation."""
        shifted = self.scale[..., None] * (signal.mean - self.centre) + layer.beta
        unit, whole = self.scale[..., None, None] ** 2, self.whole[..., None, None]

        def centred(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
            each = np.broadcast_shapes(self.row.shape, signal.mean.shape)
            row, other = means_at(np.broadcast_to(self.row, each), offset, signal.grid)
            return unit * (C - row[..., :, None] - other[..., None, :] + whole)

        pairs = None if signal.pairs is None else signal.pairs.then(centred)
        covariance = centred(signal.covariance)
        return replace(signal, mean=shifted, covariance=covariance, changes=None, pairs=pairs, shared=self.shared)


def statistics_of(layer: BatchNorm, signal: Currents, exchangeable: bool) -> Batch:
    """Statistics of a batch. Of infinitely many inputs the last two stand for all, by means over pairs of different ones."""
    mean, C = signal.mean, signal.covariance
    row, batch = batch_means(C, signal.grid, exchangeable)
    centre = mean[..., batch].mean(axis=-1, keepdims=True)
    whole = row[..., batch].mean(axis=-1)
    own = np.diagonal(C, axis1=-2, axis2=-1) - 2 * row + whole[..., None] + (mean - centre) ** 2
    scale = standardising(layer.gamma, own[..., batch].mean(axis=-1) + layer.eps)
    if exchangeable or not layer.gamma:
        return Batch(centre, row, whole, scale)
    unit = centred_over_batch(C, signal.grid, False) * (scale / layer.gamma)[..., None, None] ** 2
    return Batch(centre, row, whole, scale, shared_scale(unit))


def shared_scale(unit: np.ndarray) -> SharedScale:
    """From covariances of all entries of a batch that are normalised to 1 on average; averaged over replicas."""
    square, own = (unit**2).mean(axis=(0, -1))[None], np.diagonal(unit, axis1=-2, axis2=-1).mean(axis=0)[None]
    return SharedScale(np.divide(square, own, out=np.zeros_like(own), where=own > 0), float(square.mean()))


def batch_means(second: np.ndarray, grid: Grid, exchangeable: bool) -> tuple[np.ndarray, slice]:
    """Mean product of each entry with those of the batch, other inputs if they are exchangeable; and the entries of a batch."""
    one = grid.size // grid.inputs if exchangeable else grid.size
    row = second[..., -one:].mean(axis=-1)
    if exchangeable:
        row[..., -one:] = row[..., -2 * one : -one]
    return row, slice(-one, None)


def centred_over_batch(second: np.ndarray, grid: Grid, exchangeable: bool) -> np.ndarray:
    """Second moments about the mean over the batch."""
    row, batch = batch_means(second, grid, exchangeable)
    return second - row[..., :, None] - row[..., None, :] + row[..., batch].mean(axis=-1)[..., None, None]


def standardising(gamma: float, variance: np.ndarray) -> np.ndarray:
    """``γ/√variance``; 0 where nothing varies, since what is standardised is then 0."""
    return np.divide(gamma, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(variance), where=variance > 0)
