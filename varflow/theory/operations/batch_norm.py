r"""BatchNorm: each neuron standardised over a batch of inputs, positions and steps.

.. math:: \mu' = \frac{\gamma}{\sigma} (\mu - \bar\mu) + \beta, \qquad C' = \frac{\gamma^2}{\sigma^2} H C H, \qquad
          \sigma^2 = \varepsilon + \frac1N \sum_i \bigl[(H C H)_{ii} + (\mu_i - \bar\mu)^2\bigr]

with ``H`` the matrix that subtracts the mean over the ``N`` numbers of a batch. A walk knows a batch in one of three ways
(``visit.Batching``): all its inputs are in the index, exact for the rows given; two inputs of the index are of infinitely many
(both :func:`in_index`); each input is followed alone, with the average overlap of two (:func:`by_overlap`), at a cost linear in
the number of inputs. All give a :class:`BatchStatistics`. Backwards, for a finite batch to the first order in 1/N, see
:func:`batch_back`. With running statistics it is affine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.graph import Node, Uncovered, enter
from varflow.model.layers import BatchNorm
from varflow.theory.operations.visit import BY_OVERLAP, INFINITE, Visit, WayBack
from varflow.theory.signals.counted import CountedCurrents, Counts, changed, no_chain
from varflow.theory.signals.gradients import BALANCED, Gradients
from varflow.theory.signals.moments import Currents, means_at
from varflow.theory.signals.places import Grid, Offset, Overlap, aligned, average_second
from varflow.theory.signals.shared_scale import SharedScale


@dataclass(frozen=True, slots=True, eq=False)
class BatchStatistics:
    """Statistics by which a BatchNorm subtracts and multiplies, of axes (replicas, groups or 1, entries of the index or 1). A
    batch in the index lies in one group; one known by overlaps has its inputs, or positions, in all groups.

    Attributes
    ----------
    mean : ndarray, shape (replicas, groups or 1, 1)
        The mean over the batch, averaged over neurons.
    cov_with_batch_mean : ndarray, shape (replicas, groups, entries)
        Covariance of each entry with the batch mean, which each neuron has of its own.
    variance_of_batch_mean : ndarray, shape (replicas, groups or 1)
    gain : ndarray, shape (replicas, groups or 1)
        ``γ/σ``.
    shared : SharedScale, optional
        How ``σ`` fluctuates over neurons. None of infinitely many inputs, and by overlaps: ``forward`` finds it in what is
        normalised.
    """

    mean: np.ndarray
    cov_with_batch_mean: np.ndarray
    variance_of_batch_mean: np.ndarray
    gain: np.ndarray
    shared: SharedScale | None = None

    def applied(self, layer: BatchNorm, currents: Currents) -> Currents:
        """Currents after the normalisation."""
        squared_gain, variance = self.gain[..., None, None] ** 2, self.variance_of_batch_mean[..., None, None]

        def about_mean(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
            each = np.broadcast_shapes(self.cov_with_batch_mean.shape, currents.mean.shape)
            one, other = means_at(np.broadcast_to(self.cov_with_batch_mean, each), offset, currents.grid)
            return squared_gain * (C - one[..., :, None] - other[..., None, :] + variance)

        mean = self.gain[..., None] * (currents.mean - self.mean) + layer.beta
        overlap = currents.overlap and currents.overlap.after(self.centred(currents.overlap.between))
        # without changes the layer above subtracts moments: steps that differ by less than 1e-15 then count as equal
        return currents.mapped(mean, about_mean, overlap=overlap, shared=self.shared)

    def centred(self, between: np.ndarray) -> np.ndarray:
        """The overlap of two inputs after the normalisation."""
        cov = self.cov_with_batch_mean.reshape(len(self.gain), -1, between.shape[-1]).mean(axis=1)
        about_mean = between - cov[..., :, None] - cov[..., None, :] + self.variance_of_batch_mean[..., None]
        return self.gain[..., None] ** 2 * about_mean


def forward(layer: BatchNorm, received: tuple[Currents], visit: Visit) -> Currents:
    """Currents normalised over a batch, or by running statistics."""
    (currents,), walk = received, visit.walk
    if not isinstance(currents, Currents):
        raise Uncovered("layers", layer, "normalises spikes")
    if layer.statistics is not None:
        return running(layer, currents, *layer.statistics)
    if walk.batching is not BY_OVERLAP:
        visit.kept["batch"] = batch = in_index(layer, currents, walk.batching is INFINITE)
        return batch.applied(layer, currents)
    overlap = currents.overlap
    if overlap is None:
        raise Uncovered("layers", layer, "normalises over a batch of which the overlap of two inputs is not known")
    visit.kept["batch"] = batch = by_overlap(layer, currents, overlap, walk.batch_size)
    after = batch.applied(layer, currents)
    if not layer.gamma:
        return after
    known = overlap.inverse_dof  # of measured numbers, whose inputs have variances of their own
    inverse_dof = _inverse_dof(after, walk.batch_size) / layer.gamma**4 if known is None else known()
    return replace(after, shared=SharedScale(np.full(1, inverse_dof), inverse_dof))  # every entry has the average a = 1/ν


def running(layer: BatchNorm, currents: Currents, mean: float, variance: float) -> Currents:
    """Currents after a normalisation by running statistics; increments are found by subtraction, as after a batch."""
    return replace(currents, changes=None).shifted(-mean).scaled(running_scale(layer, variance)).shifted(layer.beta)


def running_scale(layer: BatchNorm, variance: float) -> float:
    """``γ/√(variance + ε)``."""
    return layer.gamma / (variance + layer.eps) ** 0.5


def standardising(gamma: float, variance: np.ndarray) -> np.ndarray:
    """``γ/√variance``; 0 where nothing varies, since what is standardised is then 0."""
    return np.divide(gamma, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(variance), where=variance > 0)


# A batch in the index.


def in_index(layer: BatchNorm, currents: Currents, infinite: bool) -> BatchStatistics:
    """Statistics of a batch in the index; with ``infinite``, of infinitely many inputs, two of which are its last."""
    mean, C = currents.mean, currents.covariance
    cov, batch = _with_batch_mean(C, currents.grid, infinite)
    batch_mean = mean[..., batch].mean(axis=-1, keepdims=True)
    variance = cov[..., batch].mean(axis=-1)
    about_mean = np.diagonal(C, axis1=-2, axis2=-1) - 2 * cov + variance[..., None] + (mean - batch_mean) ** 2
    gain = standardising(layer.gamma, about_mean[..., batch].mean(axis=-1) + layer.eps)
    if infinite or not layer.gamma:
        return BatchStatistics(batch_mean, cov, variance, gain)
    normalised = centred_over_batch(C, currents.grid, False) * (gain / layer.gamma)[..., None, None] ** 2
    return BatchStatistics(batch_mean, cov, variance, gain, _shared_scale(normalised))


def _shared_scale(C: np.ndarray) -> SharedScale:
    """The shared scale, from covariances of all entries of a batch of mean variance 1; averaged over replicas."""
    square, variance = (C**2).mean(axis=(0, -1))[None], np.diagonal(C, axis1=-2, axis2=-1).mean(axis=0)[None]
    return SharedScale(np.divide(square, variance, out=np.zeros_like(variance), where=variance > 0), float(square.mean()))


def _with_batch_mean(second: np.ndarray, grid: Grid, infinite: bool) -> tuple[np.ndarray, slice]:
    """Mean product of each entry with those of the batch, and the entries of a batch.

    Of infinitely many inputs the mean product is that with the last one of the index. The product of an input with itself has
    no weight in it, so that the last one's is copied from the input before it, which is like it.
    """
    entries = grid.size // grid.inputs if infinite else grid.size
    products = second[..., -entries:].mean(axis=-1)
    if infinite:
        products[..., -entries:] = products[..., -2 * entries : -entries]
    return products, slice(-entries, None)


def centred_over_batch(second: np.ndarray, grid: Grid, infinite: bool) -> np.ndarray:
    """Second moments about the mean over the batch."""
    products, batch = _with_batch_mean(second, grid, infinite)
    variance = products[..., batch].mean(axis=-1)[..., None, None]
    return second - products[..., :, None] - products[..., None, :] + variance


# A batch known by overlaps.


def by_overlap(layer: BatchNorm, currents: Currents, overlap: Overlap, batch_size: int) -> BatchStatistics:
    """Statistics of a batch of so many such inputs."""
    C, cov = currents.covariance, overlap.with_batch_mean
    cov = _by_overlap_with_batch_mean(C, currents.grid, overlap.between, batch_size) if cov is None else cov
    of_batch_mean = cov.mean(axis=(1, 2))
    about_mean = np.diagonal(C, axis1=-2, axis2=-1).mean(axis=(1, 2)) - of_batch_mean + currents.mean.var(axis=(1, 2))
    gain = standardising(layer.gamma, np.maximum(about_mean, 0.0) + layer.eps)
    return BatchStatistics(currents.mean.mean(axis=(1, 2), keepdims=True), cov, of_batch_mean[:, None], gain[:, None])


def centred_by_overlap(second: np.ndarray, grid: Grid, between: np.ndarray, batch_size: int) -> np.ndarray:
    """Second moments about the mean over a batch of so many inputs, with this overlap of two."""
    products = _by_overlap_with_batch_mean(second, grid, between, batch_size)
    return second - products[..., :, None] - products[..., None, :] + products.mean(axis=(1, 2))[:, None, None, None]


def _by_overlap_with_batch_mean(second: np.ndarray, grid: Grid, between: np.ndarray, batch_size: int) -> np.ndarray:
    """The mean product of each entry with the batch: its overlap with other inputs, and where positions are not told apart with
    other positions, is taken to be proportional to its own second moment, as of spikes, and near a border.
    """
    each, average = (np.diagonal(x, axis1=-2, axis2=-1) for x in (second, average_second(second, grid)))
    sequences = each.shape[-1] // average.shape[-1]
    average, far = (np.tile(x, sequences)[:, None] for x in (average, between.mean(axis=-1)))
    same_input, far = second.mean(axis=-1), far * np.divide(each, average, out=np.ones_like(each), where=average > 0)
    if grid.per_position:  # other positions are like other inputs
        same_input = same_input / grid.positions + (1 - 1 / grid.positions) * far
    return same_input / batch_size + (1 - 1 / batch_size) * far


def _inverse_dof(currents: Currents, batch_size: int) -> float:
    """Mean square of the covariance of two numbers of a channel over a batch of so many inputs."""
    covariance, grid = currents.covariance, currents.grid
    assert currents.overlap is not None
    blocks = batch_size * (grid.positions if grid.per_position else 1)
    return float((covariance**2).mean() / blocks + (1 - 1 / blocks) * (currents.overlap.between**2).mean())


# Backwards.


def backward(layer: BatchNorm, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was normalised: ``(γ/σ)² E[P G P/s²]``, see :func:`batch_back`."""
    if layer.statistics is not None:
        return [gradients.times(running_scale(layer, layer.statistics[1]) ** 2)]
    batch, walk, after, squared_gamma = visit.kept["batch"], way.walk, visit.sent, layer.gamma**2 or 1.0  # of γ = 0, C is 0
    if walk.batching is INFINITE:  # P below is 1
        return [replace(gradients.times(batch.gain[..., None, None] ** 2), balanced=BALANCED)]
    if walk.batching is BY_OVERLAP:  # in this small correction the average overlap is enough, also of measured numbers
        inverse_dof = np.full_like(batch.gain, _inverse_dof(after, walk.batch_size) / squared_gamma**2)
        size = walk.batch_size * after.grid.positions * after.grid.steps
        return [batch_back(gradients, way.laid_out(after).covariance / squared_gamma, batch.gain, inverse_dof, size)]
    C = after.covariance / squared_gamma
    return [batch_back(gradients, C, batch.gain, (C**2).mean(axis=(-2, -1)), after.grid.size)]


def batch_back(gradients: Gradients, covariance: np.ndarray, gain: np.ndarray, inverse_dof: np.ndarray, size: int) -> Gradients:
    r"""Gradients by the input of a BatchNorm ``y = γ (x - m)/σ`` over ``size`` numbers of each channel, to the first order in
    1/size.

    With ``P = 1 - 1 1^T/N - y y^T/N`` and ``y`` (for γ = 1) normal with covariance ``C``, and ``r = σ²/E[σ²]``,

    .. math:: G^x = \frac{\gamma^2}{E[\sigma^2]}\, E[P G P / r], \qquad E[1/r] = 1 + \frac{2}{N^2} \sum_{ij} C_{ij}^2

    Means of ``y`` that differ between entries, as after weights with a mean, are left out.

    Parameters
    ----------
    gradients : Gradients
        Blocks of a batch, uncorrelated with each other: its inputs, or positions, or the whole batch in one.
    covariance : ndarray
        ``C`` of each block.
    gain : ndarray
        ``γ/σ``, with ``σ²`` its mean over neurons, of shape (replicas, groups or 1).
    inverse_dof : ndarray
        Mean of ``C_ij²`` over all pairs in the batch, the same shape.
    size : int
        ``N``.
    """
    n = covariance.shape[-1]
    G, C, gain, inverse_dof = aligned(gradients.moments, covariance, *(x[..., None, None] for x in (gain, inverse_dof)))
    # E[P G P] = G - (1 1ᵀG + G 1 1ᵀ)/N - (C G + G C)/N + 1 (1ᵀG 1) 1ᵀ/N² + tr(C G) C/N². The batch has N/n blocks, so that its
    # 1ᵀG 1 and tr(C G) are N/n times their means over blocks: N/n/N² = 1/(size n).
    sums_of_G, CG = G.sum(axis=-1), C @ G
    removed = sums_of_G[..., :, None] + sums_of_G[..., None, :] + CG + CG.swapaxes(-1, -2)
    sum_of_G, trace_CG = (x.mean(axis=1)[:, None, None, None] for x in (sums_of_G.sum(axis=-1), (C * G).sum(axis=(-2, -1))))
    projected = (1 + 2 * inverse_dof) * G - removed / size + (sum_of_G + trace_CG * C) / (size * n)
    return gradients.with_moments(gain**2 * projected, pairs={}, balanced=BALANCED)


# Counts.


def count(layer: BatchNorm, received: tuple[CountedCurrents], counts: Counts, node: Node) -> CountedCurrents:
    """``γ (u - mean)/√(variance + ε) + β`` with given statistics."""
    if layer.statistics is None:
        raise no_chain(node, "gives all inputs one normaliser, so that they depend on each other")
    mean, variance = layer.statistics
    scale = layer.gamma / (variance + layer.eps) ** 0.5
    return changed(received[0], scale, layer.beta - scale * mean)


enter(BatchNorm, forward=forward, backward=backward, count=count)
