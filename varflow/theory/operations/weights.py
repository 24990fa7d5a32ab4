r"""Layers with weights: weighted sums of spikes.

Forwards, with the moments ``e`` and ``M`` of spikes averaged over the positions (of a convolution the taps) of its inputs,

.. math:: C = g^2 M + \sigma_b^2, \qquad \mu = m_g e, \qquad \text{centred rows: } C = g^2 (M - e e^T) + \sigma_b^2

Backwards, the same for every input of a neuron; of a convolution, the sum over taps, the same for both factors,

.. math:: G^e = g^2 \frac{n_{out}}{n_{in}} G^\delta, \qquad
          \text{over filters: } G^e = \frac{g^2}{k^2} \frac{c_{out}}{c_{in}} \sum_{\text{taps}} G^\delta

Weights are independent of the gradients that reach them from above. The gradient by weights themselves has

.. math:: E\Bigl\langle \frac{\partial L_a}{\partial W}, \frac{\partial L_b}{\partial W} \Bigr\rangle =
          n_{out} n_{in} \sum_{i \in a,\, j \in b} G^\delta_{ij} M_{ij}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.graph import Node, enter
from varflow.model.layers import Conv, Linear
from varflow.model.weighted_layers import Weighted
from varflow.theory.operations.batch_norm import centred_by_overlap, centred_over_batch, pooled
from varflow.theory.operations.merge import summed
from varflow.theory.operations.visit import BY_OVERLAP, INFINITE, Visit, Walk, WayBack
from varflow.theory.signals import places
from varflow.theory.signals.counted import ON_MAPS, CountedCurrents, Counts, no_chain, uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.increments import Differences
from varflow.theory.signals.moments import Currents, Spikes, as_inputs, at_every_position, held, means_at, outer
from varflow.theory.signals.places import ALL_PAIRS, Activations, Grid, Offset, Overlap, PairMoments, Window, over_positions

RECEIVED = 512  # entries of a batch, from which the fluctuation of its variance is known within some percent
TINY = 1e-150  # variance of currents that are all equal


@dataclass(frozen=True, slots=True, eq=False)
class Arriving:
    """Moments of what arrives at the neurons of a layer, or at the positions of its map: averages over the inputs of one.

    Attributes
    ----------
    layer : Linear or Conv
    spikes : Spikes
    window : Window, optional
        Of a convolution; other neurons receive all spikes.
    grid : Grid
        That of the outputs.
    fan_in : int
    mean, second : ndarray
        Means, and second moments with the same input for both factors.
    """

    layer: Linear | Conv
    spikes: Spikes
    window: Window | None
    grid: Grid
    fan_in: int
    mean: np.ndarray
    second: np.ndarray

    @classmethod
    def at(cls, layer: Linear | Conv, spikes: Spikes) -> Arriving:
        grid = spikes.grid
        if isinstance(layer, Linear):
            return cls(layer, spikes, None, Grid(grid.inputs, 1, 1, grid.steps), spikes.neurons, *over_positions(spikes))
        window = Window(*layer.windows)
        moments = window.mean(spikes.mean, grid, -1), window.under_same_tap(spikes.moments, grid)
        return cls(layer, spikes, window, window.smaller(grid), layer.fan_in(spikes.channels), *moments)

    def between(self, offset: Offset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means of both factors, and second moments, at outputs ``p`` and ``p + d``."""
        means, window, grid = means_at(self.mean, offset, self.grid), self.window, self.spikes.grid
        if window is None or offset == (0, 0):
            return *means, self.second
        if offset is ALL_PAIRS:
            return *means, window.inside(grid) * self.spikes.between(ALL_PAIRS)
        before = offset[0] * window.stride[0], offset[1] * window.stride[1]
        return *means, window.under_same_tap(self.spikes.between(before), grid)

    def covariance(self, offset: Offset = (0, 0)) -> np.ndarray:
        """That of currents at outputs ``p`` and ``p + d``."""
        return covariance_of_sums(self.layer, *self.between(offset), self.fan_in)

    def centred(self, offset: Offset = (0, 0)) -> np.ndarray:
        """Second moments that gradients by weights see: of centred rows about the mean over their inputs."""
        e, f, M = self.between(offset)
        return M if self.layer.rows == "free" else M - outer(e, f)


def forward(layer: Linear | Conv, received: tuple[Any], visit: Visit) -> Currents:
    """Currents ``W x + b``: ``μ = m_g e``, ``C = g² M + σ_b²``."""
    layer.need_normal_biases()
    spikes, walk = as_inputs(received[0]), visit.walk
    if layer.rows == "standardised" and visit.reads_inputs:  # few numbers: C = g² n/(n - 1) (M - e eᵀ)
        n = layer.fan_in(spikes.channels) if isinstance(layer, Conv) else spikes.neurons
        spikes = summed([spikes], [(n / (n - 1)) ** 0.5])
    spikes = spikes if walk.effort.increments else replace(spikes, changes=None)
    steps = walk.steps or spikes.grid.steps
    visit.kept["spikes"] = held(spikes, steps)
    return held(
        weighted(layer, spikes, layer.channels if isinstance(layer, Conv) else layer.width or visit.node.width or 1), steps
    )


def weighted(layer: Linear | Conv, spikes: Spikes, channels: int) -> Currents:
    """Weighted sums of all spikes, of so many neurons, or of those within windows."""
    at, changes = Arriving.at(layer, spikes), None
    if spikes.changes is not None and spikes.grid.positions == 1 and at.window is None:
        changes = changes_of_sums(layer, spikes.changes, at.fan_in)
    pairs = None if spikes.pairs is None or at.window is None else PairMoments(at.grid.shape, at.covariance)
    mean = layer.mean_gain_of(at.fan_in) * at.mean
    return Currents(mean, at.covariance(), at.grid, channels, changes, pairs, _overlap(at))


def squared_gains(layer: Weighted, fan_in: int) -> tuple[float, float]:
    """Factors of ``M`` and of ``M - e eᵀ`` in the covariance of weighted sums; their sum is ``n Var[w]``."""
    raw, central = (layer.gain**2, 0.0) if layer.rows == "free" else (0.0, layer.gain**2)
    law = layer.law
    law.need_variance()
    if law.in_degree is not None:  # variance of the number of active inputs (hypergeometric)
        scale, shift = layer.connection(fan_in)
        spread = law.in_degree * (fan_in - law.in_degree) / max(fan_in - 1, 1)
        central += (scale * law.mean + shift) ** 2 * spread
    return raw, central


def covariance_of_sums(layer: Weighted, e: np.ndarray, f: np.ndarray, M: np.ndarray, fan_in: int) -> np.ndarray:
    """Covariance of weighted sums of two sets of inputs with these means, and second moments between them."""
    raw, central = squared_gains(layer, fan_in)
    covariance = raw * M + layer.bias_std**2
    return covariance + central * (M - outer(e, f)) if central else covariance


def changes_of_sums(layer: Weighted, changes: Differences, fan_in: int) -> Differences:
    """Increments of weighted sums, from those of spikes."""
    raw, central = squared_gains(layer, fan_in)
    increment, second = raw * changes.increment, raw * changes.second_change
    if central:
        about = changes.centred()
        increment, second = increment + central * about.increment, second + central * about.second_change
    second[..., 0] += layer.bias_std**2
    return Differences(increment, second, layer.mean_gain_of(fan_in) * changes.mean_change)


# Overlaps of inputs.


def _overlap(at: Arriving) -> Overlap | None:
    """The overlap of the currents."""
    before, layer, window = at.spikes.overlap, at.layer, at.window
    if before is None:
        return None
    e = places.average_mean(at.mean, at.grid)
    between = covariance_of_sums(layer, e, e, average_of_overlap(window, before.between, at.spikes.grid), at.fan_in)
    if before.activations is None:
        return Overlap(between)
    inverse_dof = partial(_inverse_dof, window, before.activations, getattr(layer, "groups", 1), layer.rows != "free")
    return Overlap(between, with_batch_mean=partial(_cov_with_batch_mean, at, before.activations), inverse_dof=inverse_dof)


def _cov_with_batch_mean(at: Arriving, activations: Activations, over: str) -> np.ndarray:
    """Covariances of the currents at each entry with their means over the batch."""
    (raw, central), (product, of_means) = squared_gains(at.layer, at.fan_in), _with_batch_mean(at.window, activations, over)
    cov = raw * product + at.layer.bias_std**2 + (central * (product - of_means) if central else 0.0)
    apart = at.window is not None and not at.grid.per_position
    return cov.reshape(1, len(activations.x), -1, cov.shape[-1]) if apart else cov


def average_of_overlap(window: Window | None, between: np.ndarray, grid: Grid) -> np.ndarray:
    """The mean of an overlap over a neuron's inputs, the same for both factors; ``grid``: of the inputs."""
    steps, positions, distinct = grid.steps, grid.positions, places.told_apart(grid)
    if window is None:
        if not distinct or positions == 1:
            return between
        folded = between.reshape(len(between), positions, steps, positions, steps)
        return np.einsum("rxsxt->rst", folded) / positions
    if distinct:
        return window.under_same_tap(between[:, None], grid)[:, 0]
    if not places.told_apart(window.smaller(grid)):
        return window.inside(grid) * between
    inside = window.inside_map(grid).T.astype(float)
    return np.kron(inside.T @ inside / len(inside), between)  # the fraction of taps that lie on the map at both positions


def _with_batch_mean(window: Window | None, activations: Activations, over: str) -> tuple[np.ndarray, np.ndarray]:
    """``x_i·⟨x⟩/n`` of the inputs ``x_i`` of each sum and their means over the batch, and the product of both's averages."""
    parts = [activations.rows[None]]
    if window is not None:
        grid, x = replace(activations.grid, per_position=True), activations.x.reshape(1, -1, *activations.x.shape[2:])
        parts = [window.at(tap, x, grid, 1) for tap in window.taps]
    *_, steps, fan_in = parts[0].shape
    e = np.asarray(sum(part.mean(axis=-1) for part in parts) / len(parts))
    product = sum(part @ pooled(part.reshape(-1, fan_in).T, steps, over) for part in parts)
    return np.asarray(product / (len(parts) * fan_in)), e[..., None] * pooled(e.ravel(), steps, over)


def _inverse_dof(window: Window | None, activations: Activations, groups: int, centred: bool) -> float:
    """Mean square of the covariance of normalised sums, from what a neuron receives at random entries of the batch."""
    x = activations.rows[:, None] if window is None else activations.x[..., : activations.x.shape[-1] // groups]
    inputs, _, steps, _ = x.shape
    taps = np.zeros((1, 1), int) if window is None else window.places(activations.grid)
    inside = np.ones((1, 1)) if window is None else window.inside_map(activations.grid)
    number = inputs * len(taps) * steps
    entries = np.random.default_rng(0).choice(number, min(number, RECEIVED), replace=False)
    of, at, step = np.unravel_index(entries, (inputs, len(taps), steps))
    received = (x[of[:, None], taps[at], step[:, None]] * inside[at, :, None]).reshape(len(entries), -1)
    if centred:
        received = received - received.mean(axis=1, keepdims=True)
    received = received - received.mean(axis=0)
    C = received @ received.T
    variance, total = np.diagonal(C), np.sum(C**2)
    pairs = (total - np.sum(variance**2)) / max(len(C) * (len(C) - 1), 1)
    return float((np.mean(variance**2) / number + (1 - 1 / number) * pairs) / max(np.mean(variance), TINY) ** 2)


# Backwards.


def backward(layer: Linear | Conv, gradients: Gradients, visit: Visit, way: WayBack) -> Sequence[Gradients]:
    """Gradients by spikes: ``G^e = g² (n_out/n_in) G^δ``; norms of gradients by the weights are kept."""
    spikes = way.laid_out(visit.kept["spikes"])
    if way.norms:
        way.weights.append(_norms(Arriving.at(layer, spikes), gradients, way.walk))
    return [convolved_back(layer, gradients, spikes) if isinstance(layer, Conv) else weighted_back(layer, gradients, spikes)]


def weighted_back(layer: Linear, gradients: Gradients, spikes: Spikes) -> Gradients:
    """Gradients by these spikes, at all positions of a map."""
    grid, fan_in = spikes.grid, spikes.neurons
    G = gradients.moments * (sum(squared_gains(layer, fan_in)) * gradients.channels / fan_in)
    return Gradients(at_every_position(G, grid), grid, spikes.channels)


def convolved_back(layer: Conv, gradients: Gradients, spikes: Spikes) -> Gradients:
    """Gradients by the spikes under filters."""
    fan_in, grid, window = layer.fan_in(spikes.channels), spikes.grid, Window(*layer.windows)
    factor = sum(squared_gains(layer, fan_in)) / fan_in * gradients.channels / layer.groups
    sy, sx = window.stride
    pairs = {(sy * y, sx * x): factor * places.summed_under_taps(window, G, grid) for (y, x), G in gradients.pairs.items()}
    return Gradients(factor * places.summed_under_taps(window, gradients.moments, grid), grid, spikes.channels, pairs=pairs)


def _norms(at: Arriving, gradients: Gradients, walk: Walk) -> np.ndarray:
    """``E⟨∂L_a/∂W, ∂L_b/∂W⟩`` of every two inputs."""
    grid, M = gradients.grid, at.centred() if gradients.balanced is None else _about_batch_mean(at, gradients, walk)
    parts = [(gradients.moments, M), *((2 * G, at.centred(offset)) for offset, G in gradients.pairs.items())]  # in both orders
    products = sum((np.multiply(*places.aligned(*of_inputs)) for of_inputs in parts), start=np.zeros(()))
    entries = grid.size // grid.inputs
    of_inputs = products.reshape(*products.shape[:-2], grid.inputs, entries, grid.inputs, entries).sum(axis=(-3, -1))
    if grid.per_position:
        of_inputs = of_inputs.reshape(len(of_inputs), -1, grid.positions, *of_inputs.shape[2:]).sum(axis=2)
    return gradients.channels * at.fan_in * of_inputs


def _about_batch_mean(at: Arriving, gradients: Gradients, walk: Walk) -> np.ndarray:
    """Second moments of what arrives, such that gradients whose sum over the batch is 0 but for these factors see it about its
    mean: ``Σ_i δ_i x_i = Σ_i (δ_i/f_i) (f_i x_i - mean)``. Moments of gradients over infinitely many inputs do not show that.
    """
    assert gradients.balanced is not None
    factors, M = np.broadcast_arrays(*places.aligned(gradients.balanced, at.centred()))
    if at.spikes.overlap is not None and walk.batching is BY_OVERLAP:
        between, e = (
            average_of_overlap(at.window, at.spikes.overlap.between, at.spikes.grid),
            places.average_mean(at.mean, at.grid),
        )
        between = between if at.layer.rows == "free" else between - outer(e, e)
        between = places.with_correlation(between, M, factors * M, at.grid)
        centred = centred_by_overlap(factors * M, at.grid, between, walk.batch_size, gradients.balanced_at)
    else:
        centred = centred_over_batch(factors * M, at.grid, walk.batching is INFINITE, gradients.balanced_at)
    return np.divide(centred, factors, out=np.zeros_like(centred), where=factors != 0)


# Counts.


def count(linear: Linear, received: tuple[Any], counts: Counts, node: Node) -> CountedCurrents:
    """Currents of the inputs of the drive, or of spikes times a factor."""
    linear.need_normal_biases()
    (signal,), width = received, linear.width or node.width or 0
    if isinstance(signal, CountedCurrents):
        return CountedCurrents(linear, None, width)
    factor, constant = signal.affine
    if constant:
        raise no_chain(node, f"receives spikes times {factor:g} plus {constant:g}")
    return CountedCurrents(_with_factor(linear, factor, counts.width(signal)), signal.place, width)


def _with_factor(linear: Linear, factor: float, fan_in: int) -> Linear:
    """Weights of spikes times a factor."""
    if factor == 1:
        return linear
    if factor == 0 or (factor < 0 and not linear.law.normal_given_spikes):
        rule = "must be positive for weights that are not normal" if factor else "leaves no spikes: no chain counts them"
        raise DomainError("factor", factor, rule)
    mean = None if factor > 0 and linear.mean_gain is None else factor * linear.mean_gain_of(fan_in)
    return replace(linear, gain=abs(factor) * linear.gain, mean_gain=mean)


enter(Linear, forward=forward, backward=backward, count=count)
enter(Conv, forward=forward, backward=backward, count=uncounted(ON_MAPS))
