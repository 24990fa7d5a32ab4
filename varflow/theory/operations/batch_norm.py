r"""BatchNorm: each neuron standardised over a batch of inputs, positions and steps.

.. math:: \mu' = \frac{\gamma}{\sigma} (\mu - \bar\mu) + \beta, \qquad C' = \frac{\gamma^2}{\sigma^2} H C H, \qquad
          \sigma^2 = \varepsilon + \frac1N \sum_i \bigl[(H C H)_{ii} + (\mu_i - \bar\mu)^2\bigr]

with ``H`` the matrix that subtracts the mean over the ``N`` numbers of a batch: of all steps, or, with statistics of their own,
of each step, or of the steps up to each. A walk knows a batch in one of three ways
(``visit.Batching``): all its inputs are in the index, exact for the rows given; two inputs of the index are of infinitely many
(both :func:`in_index`); each input is followed alone, with the average overlap of two (:func:`by_overlap`), at a cost linear in
the number of inputs. All give a :class:`BatchStatistics`. Backwards, for a finite batch to the first order in 1/N, see
:func:`batch_back`. With running statistics it is affine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from varflow.model.graph import Node, Uncovered, enter
from varflow.model.layers import ALL_STEPS, EACH_STEP, PAST_STEPS, BatchNorm
from varflow.theory.operations.visit import BY_OVERLAP, INFINITE, Visit, WayBack
from varflow.theory.signals.counted import CountedCurrents, Counts, changed, no_chain
from varflow.theory.signals.gradients import BALANCED, Gradients
from varflow.theory.signals.moments import Currents, means_at, outer
from varflow.theory.signals.places import Grid, Offset, Overlap, aligned, average_second
from varflow.theory.signals.shared_scale import SharedScale


@dataclass(frozen=True, slots=True, eq=False)
class BatchStatistics:
    """The ``k`` statistics by which a BatchNorm subtracts and multiplies: one, or one of each step.

    A batch in the index lies in one group; one known by overlaps has its inputs, or positions, in all groups.

    Attributes
    ----------
    mean : ndarray, shape (replicas, groups or 1, k)
        The mean over the batch, averaged over neurons.
    cov_with_batch_mean : ndarray, shape (replicas, groups, entries, k)
        Covariance of each entry with the batch mean, which each neuron has of its own.
    cov_of_batch_means : ndarray, shape (replicas, groups or 1, k, k)
    gain : ndarray, shape (replicas, groups or 1, k)
        ``γ/σ``.
    shared : SharedScale, optional
        How ``σ`` fluctuates over neurons, the same at all steps. None of infinitely many inputs, and by overlaps: ``forward``
        finds it in what is normalised.
    """

    mean: np.ndarray
    cov_with_batch_mean: np.ndarray
    cov_of_batch_means: np.ndarray
    gain: np.ndarray
    shared: SharedScale | None = None

    def applied(self, layer: BatchNorm, currents: Currents) -> Currents:
        """Currents after the normalisation."""
        size = currents.mean.shape[-1]
        gain, cov = _of_entries(self.gain, size), np.moveaxis(self.cov_with_batch_mean, -1, 0)

        def about_mean(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
            at_both = zip(*(means_at(each, offset, currents.grid) for each in cov), strict=True)
            one, other = (np.stack(each, axis=-1) for each in at_both)
            return outer(gain, gain) * _about(C, one, other, self.cov_of_batch_means)

        mean = gain * (currents.mean - _of_entries(self.mean, size)) + layer.beta
        overlap = currents.overlap and currents.overlap.after(self.centred(currents.overlap.between))
        # without changes the layer above subtracts moments: steps that differ by less than 1e-15 then count as equal
        return currents.mapped(mean, about_mean, overlap=overlap, shared=self.shared)

    def centred(self, between: np.ndarray) -> np.ndarray:
        """The overlap of two inputs after the normalisation."""
        size, gain = between.shape[-1], _of_entries(self.gain[:, 0], between.shape[-1])
        cov = self.cov_with_batch_mean.reshape(len(gain), -1, size, self.gain.shape[-1]).mean(axis=1)
        return outer(gain, gain) * _about(between, cov, cov, self.cov_of_batch_means[:, 0])


def _of_entries(statistics: np.ndarray, size: int) -> np.ndarray:
    """The statistic of each entry's step, for so many entries on the last axis."""
    k = statistics.shape[-1]
    return statistics if k == 1 else np.tile(statistics, size // k)


def _of_pairs(statistics: np.ndarray, size: int) -> np.ndarray:
    """The statistic of both steps of each two entries, on the last two axes."""
    return _of_entries(_of_entries(statistics, size).swapaxes(-1, -2), size).swapaxes(-1, -2)


def _about(second: np.ndarray, one: np.ndarray, other: np.ndarray, of_means: np.ndarray) -> np.ndarray:
    """Second moments about batch means, from those of both entries with the means, (…, i, k), and of the means, (…, k, k)."""
    size = second.shape[-1]
    return second - _of_entries(one, size) - _of_entries(other, size).swapaxes(-1, -2) + _of_pairs(of_means, size)


def pooled(values: np.ndarray, steps: int, over: str) -> np.ndarray:
    """Means over the entries of a batch, which stand on the last axis: ``k`` of them."""
    if over == ALL_STEPS:
        return values.mean(axis=-1, keepdims=True)
    each = values.reshape(*values.shape[:-1], -1, steps).mean(axis=-2)
    return each if over == EACH_STEP else each.cumsum(axis=-1) / np.arange(1, 1 + steps)


def forward(layer: BatchNorm, received: tuple[Currents], visit: Visit) -> Currents:
    """Currents normalised over a batch, or by running statistics."""
    (currents,), walk = received, visit.walk
    if not isinstance(currents, Currents):
        raise Uncovered("layers", layer, "normalises spikes")
    if layer.statistics is not None and not layer.follows_batch:
        return running(layer, currents, *layer.statistics[:2])
    if walk.batching is not BY_OVERLAP:
        batch = in_index(layer, currents, walk.batching is INFINITE)
        visit.kept["batch"] = batch = _followed(layer, batch) if layer.follows_batch else batch
        return batch.applied(layer, currents)
    overlap = currents.overlap
    if overlap is None:
        raise Uncovered("layers", layer, "normalises over a batch of which the overlap of two inputs is not known")
    visit.kept["batch"] = batch = by_overlap(layer, currents, overlap, walk.batch_size)
    if layer.follows_batch:
        return _followed(layer, batch).applied(layer, currents)
    after = batch.applied(layer, currents)
    if not layer.gamma:
        return after
    known = overlap.inverse_dof  # of measured numbers, whose inputs have variances of their own
    inverse_dof = _inverse_dof(after, walk.batch_size).item() / layer.gamma**4 if known is None else known()
    return replace(after, shared=SharedScale(np.full(1, inverse_dof), inverse_dof))  # every entry has the average a = 1/ν


def running(layer: BatchNorm, currents: Currents, mean: float, variance: float) -> Currents:
    """Currents after a normalisation by running statistics; increments are found by subtraction, as after a batch."""
    return replace(currents, changes=None).shifted(-mean).scaled(running_scale(layer, variance)).shifted(layer.beta)


def _followed(layer: BatchNorm, batch: BatchStatistics) -> BatchStatistics:
    """Running statistics whose means are the fraction ``a`` of the batch's own: ``a² Var = spread²``, at most 1."""
    assert layer.statistics is not None
    mean, variance, spread = layer.statistics
    V = batch.cov_of_batch_means
    a = np.minimum(standardising(spread, np.diagonal(V, axis1=-2, axis2=-1)), 1.0)
    return BatchStatistics(
        np.full_like(batch.mean, mean),
        a[..., None, :] * batch.cov_with_batch_mean,
        outer(a, a) * V,
        np.full_like(batch.gain, running_scale(layer, variance)),
    )


def running_scale(layer: BatchNorm, variance: float) -> float:
    """``γ/√(variance + ε)``."""
    return layer.gamma / (variance + layer.eps) ** 0.5


def standardising(gamma: float, variance: np.ndarray) -> np.ndarray:
    """``γ/√variance``; 0 where nothing varies, since what is standardised is then 0."""
    return np.divide(gamma, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(variance), where=variance > 0)


def _statistics(
    layer: BatchNorm, steps: int, mean: np.ndarray, variance: np.ndarray, cov: np.ndarray, cov_of_all: np.ndarray
) -> BatchStatistics:
    """Statistics of a batch whose entries have these moments and covariances with its means, for every entry of the index."""
    of_batch = partial(pooled, steps=steps, over=layer.over)
    batch_mean, of_means = of_batch(mean), of_batch(cov.swapaxes(-1, -2))
    spread = of_batch((mean[..., None, :] - batch_mean[..., :, None]) ** 2)
    about_mean = of_batch(variance) + np.diagonal(spread - of_means, axis1=-2, axis2=-1)
    gain = standardising(layer.gamma, np.maximum(about_mean, 0.0) + layer.eps)
    return BatchStatistics(batch_mean, cov_of_all, of_means, gain)


# A batch in the index.


def in_index(layer: BatchNorm, currents: Currents, infinite: bool) -> BatchStatistics:
    """Statistics of a batch in the index; with ``infinite``, of infinitely many inputs, two of which are its last."""
    mean, C, grid = currents.mean, currents.covariance, currents.grid
    cov, batch = _with_batch_mean(C, grid, infinite, layer.over)
    variance = np.diagonal(C, axis1=-2, axis2=-1)
    found = _statistics(layer, grid.steps, mean[..., batch], variance[..., batch], cov[..., batch, :], cov)
    if infinite or not layer.gamma:
        return found
    each = _of_entries(found.gain, grid.size) / layer.gamma
    return replace(found, shared=_shared_scale(outer(each, each) * _about(C, cov, cov, found.cov_of_batch_means)))


def _shared_scale(C: np.ndarray) -> SharedScale:
    """The shared scale, from covariances of all entries of a batch of mean variance 1; averaged over replicas."""
    square, variance = (C**2).mean(axis=(0, -1))[None], np.diagonal(C, axis1=-2, axis2=-1).mean(axis=0)[None]
    return SharedScale(np.divide(square, variance, out=np.zeros_like(variance), where=variance > 0), float(square.mean()))


def _with_batch_mean(second: np.ndarray, grid: Grid, infinite: bool, over: str) -> tuple[np.ndarray, slice]:
    """Mean products of each entry with those of the batch, and the entries of a batch.

    Of infinitely many inputs the mean product is that with the last one of the index. The product of an input with itself has
    no weight in it, so that the last one's is copied from the input before it, which is like it.
    """
    entries = grid.size // grid.inputs if infinite else grid.size
    products = pooled(second[..., -entries:], grid.steps, over)
    if infinite:
        products[..., -entries:, :] = products[..., -2 * entries : -entries, :]
    return products, slice(-entries, None)


def centred_over_batch(second: np.ndarray, grid: Grid, infinite: bool, over: str) -> np.ndarray:
    """Second moments about the means over the batch."""
    products, batch = _with_batch_mean(second, grid, infinite, over)
    return _about(second, products, products, pooled(products[..., batch, :].swapaxes(-1, -2), grid.steps, over))


# A batch known by overlaps.


def by_overlap(layer: BatchNorm, currents: Currents, overlap: Overlap, batch_size: int) -> BatchStatistics:
    """Statistics of a batch of so many such inputs."""
    C, grid, over = currents.covariance, currents.grid, layer.over
    if overlap.with_batch_mean is None:
        cov = _by_overlap_with_batch_mean(C, grid, overlap.between, batch_size, over)
    else:  # of an input that is constant in time there is one step
        cov, k = overlap.with_batch_mean(over), 1 if over == ALL_STEPS else grid.steps
        cov = np.broadcast_to(cov, (*np.broadcast_shapes(cov.shape[:-1], currents.mean.shape), k))
        rows = C.shape[1]
        if not grid.per_position and 1 < rows < batch_size:  # some inputs of the batch, each with a smaller part in its mean
            others = (1 - 1 / batch_size) / (1 - 1 / rows)
            cov = others * cov + (1 / batch_size - others / rows) * pooled(C, grid.steps, over)
    variance = np.diagonal(C, axis1=-2, axis2=-1)
    of_batch = (_as_one_batch(each) for each in (currents.mean[..., None], variance[..., None]))
    mean, variance = (each[..., 0] for each in of_batch)
    return _statistics(layer, grid.steps, mean, variance, _as_one_batch(cov), cov)


def _as_one_batch(values: np.ndarray) -> np.ndarray:
    """Values of the entries of all groups, (replicas, groups, entries, k), in one group."""
    return values.reshape(len(values), 1, -1, values.shape[-1])


def centred_by_overlap(second: np.ndarray, grid: Grid, between: np.ndarray, batch_size: int, over: str) -> np.ndarray:
    """Second moments about the means over a batch of so many inputs, with this overlap of two."""
    products = _by_overlap_with_batch_mean(second, grid, between, batch_size, over)
    return _about(second, products, products, pooled(_as_one_batch(products).swapaxes(-1, -2), grid.steps, over))


def _by_overlap_with_batch_mean(second: np.ndarray, grid: Grid, between: np.ndarray, batch_size: int, over: str) -> np.ndarray:
    """Mean products of each entry with the batch: its overlap with other inputs, and where positions are not told apart with
    other positions, is taken to be proportional to its own second moment, as of spikes, and near a border.
    """
    each, average = (np.diagonal(x, axis1=-2, axis2=-1) for x in (second, average_second(second, grid)))
    sequences = each.shape[-1] // average.shape[-1]
    average, far = np.tile(average, sequences)[:, None], np.tile(pooled(between, grid.steps, over), (1, sequences, 1))[:, None]
    same_input = pooled(second, grid.steps, over)
    far = far * np.divide(each, average, out=np.ones_like(each), where=average > 0)[..., None]
    if grid.per_position:  # other positions are like other inputs
        same_input = same_input / grid.positions + (1 - 1 / grid.positions) * far
    return same_input / batch_size + (1 - 1 / batch_size) * far


def _inverse_dof(currents: Currents, batch_size: int, over: str = ALL_STEPS) -> np.ndarray:
    """Mean squares of the covariances of two numbers of a channel over a batch of so many inputs, (k, k)."""
    grid = currents.grid
    assert currents.overlap is not None
    blocks = batch_size * (grid.positions if grid.per_position else 1)
    each, far = (_mean_squares(C, grid.steps, over) for C in (currents.covariance, currents.overlap.between))
    return each.mean(axis=(0, 1)) / blocks + (1 - 1 / blocks) * far.mean(axis=0)


def _mean_squares(C: np.ndarray, steps: int, over: str) -> np.ndarray:
    """Mean squares of the entries of covariances, (…, k, k)."""
    return pooled(pooled(C**2, steps, over).swapaxes(-1, -2), steps, over)


# Backwards.


def backward(layer: BatchNorm, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was normalised: ``(γ/σ)² E[P G P/s²]``, see :func:`batch_back`."""
    if layer.statistics is not None:
        return [gradients.times(running_scale(layer, layer.statistics[1]) ** 2)]
    batch, walk, after, squared_gamma = visit.kept["batch"], way.walk, visit.sent, layer.gamma**2 or 1.0  # of γ = 0, C is 0
    if walk.batching is INFINITE or layer.over == PAST_STEPS:  # P below is 1
        gain, at = _of_entries(batch.gain, gradients.grid.size), EACH_STEP if layer.over == EACH_STEP else ALL_STEPS
        return [replace(gradients.times(outer(gain, gain)), balanced=BALANCED, balanced_at=at)]
    over = layer.over
    if walk.batching is BY_OVERLAP:  # in this small correction the average overlap is enough, also of measured numbers
        inverse_dof = _inverse_dof(after, walk.batch_size, over)[None, None] / squared_gamma**2
        size = walk.batch_size * after.grid.positions * after.grid.steps
        return [batch_back(gradients, way.laid_out(after).covariance / squared_gamma, batch.gain, inverse_dof, size, over)]
    C = after.covariance / squared_gamma
    return [batch_back(gradients, C, batch.gain, _mean_squares(C, after.grid.steps, over), after.grid.size, over)]


def batch_back(
    gradients: Gradients, covariance: np.ndarray, gain: np.ndarray, inverse_dof: np.ndarray, size: int, over: str = ALL_STEPS
) -> Gradients:
    r"""Gradients by the input of a BatchNorm ``y = γ (x - m)/σ`` over ``size`` numbers of each channel, to the first order in
    1/size.

    With ``P = 1 - 1 1^T/N - y y^T/N`` and ``y`` (for γ = 1) normal with covariance ``C``, and ``r = σ²/E[σ²]``,

    .. math:: G^x = \frac{\gamma^2}{E[\sigma^2]}\, E[P G P / r], \qquad E[1/r] = 1 + \frac{2}{N^2} \sum_{ij} C_{ij}^2

    With statistics of each step, ``P`` acts within each, ``N`` is ``size/steps``, and between steps ``s, t`` with mean squares
    ``ν`` of ``C`` it is :math:`E[(r_s r_t)^{-1/2}] = 1 + \tfrac34 (\nu_{ss} + \nu_{tt}) + \tfrac12 \nu_{st}`. Means of
    ``y`` that differ between entries, as after weights with a mean, are left out.

    Parameters
    ----------
    gradients : Gradients
        Blocks of a batch, uncorrelated with each other: its inputs, or positions, or the whole batch in one.
    covariance : ndarray
        ``C`` of each block.
    gain : ndarray
        ``γ/σ``, with ``σ²`` its mean over neurons, of shape (replicas, groups or 1, k).
    inverse_dof : ndarray
        ``ν``, means of ``C_ij²`` over all pairs in the batch, of shape (replicas or 1, groups or 1, k, k).
    size : int
        Numbers of each channel.
    over : str
        Of the statistics.
    """
    n, k = covariance.shape[-1], gain.shape[-1]
    G, C, gain, inverse_dof = aligned(gradients.moments, covariance, gain, inverse_dof)
    step = np.arange(n) % k

    def sums(values: np.ndarray) -> np.ndarray:
        return pooled(values, k, over) * (n // k)

    # E[P G P] = G - (1 1ᵀG + G 1 1ᵀ)/N - (C G + G C)/N + 1 (1ᵀG 1) 1ᵀ/N² + tr(C G) C/N². The batch has N k/n blocks, so that
    # its 1ᵀG 1 and tr(C G) are as many times their means over blocks: N k/n/N² = k/(n N).
    N, sums_of_G = size / k, sums(G)
    half = _of_entries(sums_of_G, n).swapaxes(-1, -2) + np.where(step[:, None] == step, C, 0.0) @ G
    both_sums = (sums(each.swapaxes(-1, -2)).mean(axis=1, keepdims=True) for each in (sums_of_G, sums(C * G)))
    sum_of_G, trace_CG = (_of_pairs(each, n) for each in both_sums)
    own = np.diagonal(inverse_dof, axis1=-2, axis2=-1)
    growth = _of_pairs(1 + 0.75 * (own[..., :, None] + own[..., None, :]) + 0.5 * inverse_dof, n)
    projected = growth * G - (half + half.swapaxes(-1, -2)) / N + (sum_of_G + trace_CG * C) * (k / (n * N))
    gain = _of_entries(gain, n)
    return gradients.with_moments(outer(gain, gain) * projected, pairs={}, balanced=BALANCED, balanced_at=over)


# Counts.


def count(layer: BatchNorm, received: tuple[CountedCurrents], counts: Counts, node: Node) -> CountedCurrents:
    """``γ (u - mean)/√(variance + ε) + β`` with given statistics."""
    if layer.statistics is None:
        raise no_chain(node, "gives all inputs one normaliser, so that they depend on each other")
    if layer.follows_batch:
        raise no_chain(node, "subtracts running means of each neuron, which follow those over a batch")
    scale = running_scale(layer, layer.statistics[1])
    return changed(received[0], scale, layer.beta - scale * layer.statistics[0])


enter(BatchNorm, forward=forward, backward=backward, count=count)
