r"""Operations as maps backwards: from the gradients by what an operation sends to those by what it receives.

=============  ====================================================================================
weights        ``G^e = g² (n_out/n_in) G^δ``, the same for every position
convolution    the sum over taps, the same for both factors, of ``g²/k² (c_out/c_in) G^δ``
product        ``G_ij`` times the second moments of the other factor
LayerNorm      ``γ² G_ij/(s_i s_j)``
BatchNorm      ``(γ/σ)² G`` and corrections for a finite batch, see :func:`batch_back`
average        the transposed average
=============  ====================================================================================

Weights are independent of the gradients that reach them from above. What a LayerNorm subtracts from gradients (their mean, and
their component along what is normalised) is a mean over infinitely many neurons of gradients of mean 0, and vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from varflow.model.layers import Conv, LayerNorm, Linear
from varflow.theory.operations.forward import over_neurons, squared_gains
from varflow.theory.operations.pools import differences
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Grid, Spikes, Window, means_at
from varflow.theory.signals.pair_moments import displaced, on_both, opposite
from varflow.theory.signals.replicas import aligned

__all__ = ["averaged_back", "batch_back", "convolved_back", "factor_back", "standardised_back", "under_tap", "weighted_back"]


def weighted_back(layer: Linear, gradients: Gradients, spikes: Spikes) -> Gradients:
    """Of weights that receive these spikes, at all positions of a map."""
    grid, fan_in = spikes.grid, spikes.neurons
    G = gradients.moments * (sum(squared_gains(layer, fan_in)) * gradients.channels / fan_in)
    if grid.positions == 1:
        return Gradients(G, grid, spikes.channels)
    if grid.apart:
        return Gradients(np.repeat(G, grid.positions, axis=1), grid, spikes.channels)
    lead, steps = G.shape[:-2], grid.steps
    G = G.reshape(*lead, grid.inputs, steps, grid.inputs, steps)
    G = np.einsum("...asbt,xy->...axsbyt", G, np.eye(grid.positions)).reshape(*lead, grid.size, grid.size)
    return Gradients(G, grid, spikes.channels)


def convolved_back(layer: Conv, window: Window, gradients: Gradients, spikes: Spikes) -> Gradients:
    """Of filters over these windows."""
    fan_in, grid = spikes.channels // layer.groups * len(window.taps), spikes.grid
    factor = sum(squared_gains(layer, fan_in)) / fan_in * gradients.channels / layer.groups
    (sy, sx), above = window.stride, gradients.pairs
    pairs = {(sy * y, sx * x): factor * _under_taps(window, G, grid) for (y, x), G in above.items()}
    return Gradients(factor * _under_taps(window, gradients.moments, grid), grid, spikes.channels, pairs=pairs)


def averaged_back(window: Window, gradients: Gradients, grid: Grid) -> Gradients:
    """Of averages over windows of a map with this grid."""
    if not grid.apart:
        spread = window.mean(np.eye(grid.size), grid, -1)
        return replace(gradients, moments=spread @ gradients.moments @ spread.T, grid=grid)
    (sy, sx), smaller, found = window.stride, window.smaller(grid).shape, {}
    others = {opposite(d): displaced(G.swapaxes(-1, -2), opposite(d), smaller) for d, G in gradients.pairs.items()}
    for (Y, X), G in {(0, 0): gradients.moments, **gradients.pairs, **others}.items():
        for (y, x), taps in differences(window).items():
            offset = sy * Y + y, sx * X + x
            if offset >= (0, 0):
                found[offset] = found.get(offset, 0.0) + _under_taps(window, G, grid, taps) / len(window.taps) ** 2
    moments = found.pop((0, 0))
    pairs = {d: G * np.resize(on_both(d, grid.shape), (G.shape[1], 1, 1)) for d, G in found.items()}
    return Gradients(moments, grid, gradients.channels, pairs=pairs)


def _under_taps(window: Window, above: np.ndarray, grid: Grid, taps: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """The sum over taps of the moments of the windows of which an entry is under this tap, the same for both factors."""
    lead, taps = above.shape[:-2], window.taps if taps is None else taps
    if grid.apart:  # positions are groups
        map_ = Grid(1, grid.height, grid.width, 1)
        above = above.reshape(lead[0], -1, window.smaller(map_).positions, grid.steps, grid.steps)
        G = np.zeros((*above.shape[:2], grid.positions, grid.steps, grid.steps))
        for below, windows in (under_tap(window, tap, map_) for tap in taps):
            G[:, :, below] += above[:, :, windows]
        return G.reshape(lead[0], -1, grid.steps, grid.steps)
    G = np.zeros((*lead, grid.size, grid.size))
    for below, windows in (under_tap(window, tap, grid) for tap in taps):
        G[..., below[:, None], below] += above[..., windows[:, None], windows]
    return G


def under_tap(window: Window, tap: tuple[int, int], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Indices under a tap, before and after the windows, the padding left out."""
    place = window.at(tap, np.arange(1, grid.size + 1), grid, -1)
    inside = np.flatnonzero(place)
    return place[inside] - 1, inside


def factor_back(gradients: Gradients, other: Spikes) -> Gradients:
    """Of a product with other spikes."""
    return gradients.times(other.moments, other.between)


def standardised_back(layer: LayerNorm, gradients: Gradients, received: Currents) -> Gradients:
    """Of a LayerNorm."""
    scale = over_neurons(layer, received)[1]

    def between(offset: tuple[int, int]) -> np.ndarray:
        one, other = means_at(scale, offset, received.grid)
        return one[..., :, None] * other[..., None, :]

    return gradients.times(between((0, 0)), between)


def batch_back(
    gradients: Gradients, covariance: np.ndarray, scale: np.ndarray, mean_square: np.ndarray, size: int
) -> Gradients:
    r"""Of a BatchNorm ``y = γ (x - m)/σ`` over ``size`` numbers of each channel, to the first order in 1/size.

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
    found = (1 + 2 * m) * G - removed / size + (mean + along * C) / (size * n)
    return replace(gradients, moments=s**2 * found, balanced=True, pairs={})
