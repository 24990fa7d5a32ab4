r"""BatchNorm: each neuron standardised over a batch of inputs, positions and steps.

.. math:: C' = \frac{\gamma^2}{\sigma^2} H C H, \qquad
          \sigma^2 = \frac1N \sum_i \bigl[(H C H)_{ii} + (\mu_i - \bar\mu)^2\bigr]

with ``H`` subtracting the mean over the ``N`` numbers of a batch. A batch is known in two ways. *Jointly*: all its inputs are
in the index, exact for the rows given; of infinitely many inputs the last two stand for all (``joint``). *By overlaps*: each
input alone, and the average overlap of two (``by_overlap``), linear in the number of inputs. Both give a :class:`Batch`.
Backwards, for a finite batch to the first order in 1/N, see :func:`batch_back`. With running statistics it is affine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.graph import Node
from varflow.model.layers import BatchNorm
from varflow.theory.operations.table import Uncovered, register
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.counted import CountedCurrents, Counts, changed, no_chain
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import Grid, aligned
from varflow.theory.signals.moments import Currents, means_at
from varflow.theory.signals.overlap import Overlap, average_mean, average_second, told_apart
from varflow.theory.signals.pair_moments import Offset
from varflow.theory.signals.shared_scale import SharedScale

__all__ = ["Batch", "batch_back", "by_overlap", "centred_by_overlap", "centred_over_batch", "joint", "running", "standardising"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Statistics by which a BatchNorm subtracts and multiplies.

    Attributes
    ----------
    centre : ndarray
        The mean over the batch.
    row : ndarray
        Covariance of each entry with each neuron's own mean over the batch.
    whole : ndarray
        Variance of that mean.
    scale : ndarray
        ``γ/σ``.
    shared : SharedScale, optional
        How ``σ`` fluctuates over neurons; None of infinitely many inputs.
    """

    centre: np.ndarray
    row: np.ndarray
    whole: np.ndarray
    scale: np.ndarray
    shared: SharedScale | None = None

    def applied(self, layer: BatchNorm, currents: Currents) -> Currents:
        """Currents after the normalisation."""
        unit, whole = self.scale[..., None, None] ** 2, self.whole[..., None, None]

        def about_mean(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
            each = np.broadcast_shapes(self.row.shape, currents.mean.shape)
            row, other = means_at(np.broadcast_to(self.row, each), offset, currents.grid)
            return unit * (C - row[..., :, None] - other[..., None, :] + whole)

        return currents.with_moments(
            self.scale[..., None] * (currents.mean - self.centre) + layer.beta,
            about_mean(currents.covariance),
            changes=None,
            pairs=None if currents.pairs is None else currents.pairs.then(about_mean),
            overlap=None if currents.overlap is None else currents.overlap.after(self.centred(currents.overlap.between)),
            sampled=None,
            shared=self.shared,
        )

    def centred(self, between: np.ndarray) -> np.ndarray:
        """The overlap of two inputs after the normalisation."""
        row = self.row.reshape(len(self.row), -1, between.shape[-1]).mean(axis=1)
        return self.scale[..., None] ** 2 * (between - row[..., :, None] - row[..., None, :] + self.whole[..., None])


def forward(layer: BatchNorm, inputs: tuple[Currents], visit: Visit) -> Currents:
    (currents,), batching = inputs, visit.walk.batching
    if not isinstance(currents, Currents):
        raise Uncovered("layers", layer, "normalises spikes")
    if layer.statistics is not None:
        return running(layer, currents, *layer.statistics)
    overlap = currents.overlap if batching.overlaps else None
    if overlap is None:
        visit.kept["batch"] = batch = joint(layer, currents, batching.exchangeable)
        return batch.applied(layer, currents)
    visit.kept["batch"] = batch = by_overlap(layer, currents, overlap, batching.inputs)
    after = batch.applied(layer, currents)
    if not layer.gamma:
        return after
    square = _mean_square(after, batching.inputs) / layer.gamma**4 if overlap.mean_square is None else overlap.mean_square()
    return replace(after, shared=SharedScale(np.full(1, square), square))


def running(layer: BatchNorm, currents: Currents, mean: float, variance: float) -> Currents:
    """Currents after a normalisation by running statistics."""
    return replace(currents, changes=None).shifted(-mean).scaled(running_scale(layer, variance)).shifted(layer.beta)


def running_scale(layer: BatchNorm, variance: float) -> float:
    """``γ/√(variance + ε)``."""
    return layer.gamma / (variance + layer.eps) ** 0.5


def standardising(gamma: float, variance: np.ndarray) -> np.ndarray:
    """``γ/√variance``; 0 where nothing varies, since what is standardised is then 0."""
    return np.divide(gamma, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(variance), where=variance > 0)


# A batch known jointly.


def joint(layer: BatchNorm, currents: Currents, exchangeable: bool) -> Batch:
    """Statistics of a batch in the index; of exchangeable inputs by means over pairs of different ones."""
    mean, C = currents.mean, currents.covariance
    row, batch = _means_over_batch(C, currents.grid, exchangeable)
    centre = mean[..., batch].mean(axis=-1, keepdims=True)
    whole = row[..., batch].mean(axis=-1)
    about_centre = np.diagonal(C, axis1=-2, axis2=-1) - 2 * row + whole[..., None] + (mean - centre) ** 2
    scale = standardising(layer.gamma, about_centre[..., batch].mean(axis=-1) + layer.eps)
    if exchangeable or not layer.gamma:
        return Batch(centre, row, whole, scale)
    unit = centred_over_batch(C, currents.grid, False) * (scale / layer.gamma)[..., None, None] ** 2
    return Batch(centre, row, whole, scale, _shared_scale(unit))


def _shared_scale(unit: np.ndarray) -> SharedScale:
    """From covariances of all entries of a batch that are normalised to 1 on average; averaged over replicas."""
    square, variance = (unit**2).mean(axis=(0, -1))[None], np.diagonal(unit, axis1=-2, axis2=-1).mean(axis=0)[None]
    return SharedScale(np.divide(square, variance, out=np.zeros_like(variance), where=variance > 0), float(square.mean()))


def _means_over_batch(second: np.ndarray, grid: Grid, exchangeable: bool) -> tuple[np.ndarray, slice]:
    """Mean product of each entry with those of the batch, other inputs if they are exchangeable; and the entries of a batch."""
    one = grid.size // grid.inputs if exchangeable else grid.size
    row = second[..., -one:].mean(axis=-1)
    if exchangeable:
        row[..., -one:] = row[..., -2 * one : -one]
    return row, slice(-one, None)


def centred_over_batch(second: np.ndarray, grid: Grid, exchangeable: bool) -> np.ndarray:
    """Second moments about the mean over the batch."""
    row, batch = _means_over_batch(second, grid, exchangeable)
    return second - row[..., :, None] - row[..., None, :] + row[..., batch].mean(axis=-1)[..., None, None]


# A batch known by overlaps.


def by_overlap(layer: BatchNorm, currents: Currents, overlap: Overlap, inputs: int) -> Batch:
    """Statistics of a batch of so many such inputs."""
    mean, C = average_mean(currents.mean, currents.grid), currents.covariance
    variance = np.diagonal(average_second(C, currents.grid), axis1=-2, axis2=-1)
    row = _row(C, currents.grid, overlap.between, inputs) if overlap.row is None else overlap.row
    centre, whole = mean.mean(axis=-1), row.mean(axis=(1, 2))
    scale = standardising(layer.gamma, np.maximum(variance.mean(axis=-1) - whole + mean.var(axis=-1), 0.0) + layer.eps)
    return Batch(centre[:, None, None], row, whole[:, None], scale[:, None])


def centred_by_overlap(second: np.ndarray, grid: Grid, between: np.ndarray, inputs: int) -> np.ndarray:
    """Second moments about the mean over a batch of so many inputs, with this overlap of two."""
    row = _row(second, grid, between, inputs)
    return second - row[..., :, None] - row[..., None, :] + row.mean(axis=(1, 2))[:, None, None, None]


def _row(second: np.ndarray, grid: Grid, between: np.ndarray, inputs: int) -> np.ndarray:
    """The mean product of each entry with the batch. Where positions are not told apart, the overlap of one position with
    all others is taken to be proportional to its own variance, as of spikes, and near a border.
    """
    same_input, far = second.mean(axis=-1), between.mean(axis=-1)[:, None]
    if not told_apart(grid):
        probes = grid.size // grid.steps
        each, average = (np.diagonal(x, axis1=-2, axis2=-1) for x in (second, average_second(second, grid)))
        typical = np.tile(average, probes)[:, None]
        far = np.tile(far, probes) * np.divide(each, typical, out=np.ones_like(each), where=typical > 0)
    if grid.per_position:  # other positions are like other inputs
        same_input = same_input / grid.positions + (1 - 1 / grid.positions) * far
    return same_input / inputs + (1 - 1 / inputs) * far


def _mean_square(currents: Currents, inputs: int) -> float:
    """Mean square of the covariance of two numbers of a channel over a batch of so many inputs."""
    covariance, grid = currents.covariance, currents.grid
    assert currents.overlap is not None
    blocks = inputs * (grid.positions if grid.per_position else 1)
    return float((covariance**2).mean() / blocks + (1 - 1 / blocks) * (currents.overlap.between**2).mean())


# Backwards.


def backward(layer: BatchNorm, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    if layer.statistics is not None:
        return [gradients.times(running_scale(layer, layer.statistics[1]) ** 2)]
    batch, batching, after, unit = visit.kept["batch"], way.walk.batching, visit.sent, layer.gamma**2 or 1.0
    if batching.exchangeable:
        return [replace(gradients.times(batch.scale[..., None, None] ** 2), balanced=True)]
    if batching.overlaps:
        square = np.full_like(batch.scale, _mean_square(after, batching.inputs) / unit**2)
        size = batching.inputs * after.grid.positions * after.grid.steps
        return [batch_back(gradients, way.laid_out(after).covariance / unit, batch.scale, square, size)]
    C = after.covariance / unit
    return [batch_back(gradients, C, batch.scale, (C**2).mean(axis=(-2, -1)), after.grid.size)]


def batch_back(
    gradients: Gradients, covariance: np.ndarray, scale: np.ndarray, mean_square: np.ndarray, size: int
) -> Gradients:
    r"""Gradients by the input of a BatchNorm ``y = γ (x - m)/σ`` over ``size`` numbers of each channel, to the first order in
    1/size.

    With ``P = 1 - 1 1^T/N - y y^T/N`` and ``y`` (for γ = 1) normal with covariance ``C``, and ``s² = σ²/E[σ²]``,

    .. math:: G^x = \frac{\gamma^2}{E[\sigma^2]}\, E[P G P / s^2], \qquad E[1/s^2] = 1 + \frac{2}{N^2} \sum_{ij} C_{ij}^2

    Parameters
    ----------
    gradients : Gradients
        Blocks of a batch, uncorrelated with each other: its inputs, or positions, or the whole batch in one.
    covariance : ndarray
        ``C`` of each block.
    scale : ndarray
        ``γ/σ``, of shape (replicas, groups or 1).
    mean_square : ndarray
        Of ``C_ij`` over all pairs in the batch, the same shape.
    size : int
        ``N``.
    """
    n = covariance.shape[-1]
    G, C, s, m = aligned(gradients.moments, covariance, *(values[..., None, None] for values in (scale, mean_square)))
    rows, turned = G.sum(axis=-1), C @ G
    removed = rows[..., :, None] + rows[..., None, :] + turned + turned.swapaxes(-1, -2)
    mean, along = (x.mean(axis=1)[:, None, None, None] for x in (rows.sum(axis=-1), (C * G).sum(axis=(-2, -1))))
    projected = (1 + 2 * m) * G - removed / size + (mean + along * C) / (size * n)
    return gradients.with_moments(s**2 * projected, pairs={}, balanced=True)


# Counts.


def count(layer: BatchNorm, inputs: tuple[CountedCurrents], counts: Counts, node: Node) -> CountedCurrents:
    """``γ (u - mean)/√(variance + ε) + β`` with given statistics."""
    if layer.statistics is None:
        raise no_chain(node, "gives all inputs one normaliser, so that they depend on each other")
    mean, variance = layer.statistics
    scale = layer.gamma / (variance + layer.eps) ** 0.5
    return changed(inputs[0], scale, layer.beta - scale * mean)


register(BatchNorm, forward=forward, backward=backward, count=count)
