"""Averages and maxima over windows of a large map, of which each position is followed on its own; forwards and backwards.

All positions of the first window and those of the second are followed together, and no others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow.theory.maps.patches import with_means
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import Grid
from varflow.theory.signals.moments import Currents, Signal, Spikes
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, PairMoments, known_pairs, on_both, opposite, shifted
from varflow.theory.signals.windows import Window, offsets_of_taps, summed_under_taps


def averaged(window: Window, signal: Signal) -> Signal:
    """The average over each window."""
    grid, smaller, draw = signal.grid, window.smaller(signal.grid), getattr(signal, "sampled", None)
    mean = window.mean(signal.mean, grid, -1)

    def between(offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            return window.inside_map(grid).mean() ** 2 * signal.between(ALL_PAIRS)
        total = np.zeros(())
        for d, taps in offsets_of_taps(window).items():
            M = signal.between((window.stride[0] * offset[0] + d[0], window.stride[1] * offset[1] + d[1]))
            total = total + sum(window.at(tap, M, grid, -1) for tap in taps)
        return total / len(window.taps) ** 2

    pairs = PairMoments(smaller.shape, between)
    if isinstance(signal, Currents):
        return Currents(mean, between((0, 0)), smaller, signal.channels, pairs=pairs)
    places, inside = window.places(grid), window.inside_map(grid)

    def drawn(at: np.ndarray, *far: bool) -> np.ndarray:
        x = _in_windows(draw, places[at], grid, *far)
        return _as_drawn((x * inside[at].reshape(*at.shape, -1, 1, 1)).mean(axis=4))

    return Spikes(mean, between((0, 0)), smaller, signal.channels, drawn if draw else None, pairs=pairs)


def largest(window: Window, spikes: Spikes) -> Spikes:
    """The maximum of spikes over each window."""
    grid, smaller = spikes.grid, window.smaller(spikes.grid)
    places, steps = window.places(grid), grid.steps

    def drawn(at: np.ndarray, *far: bool) -> np.ndarray:
        """Maxima over windows ``at`` (groups, windows) that are drawn together."""
        return _as_drawn(_in_windows(spikes.sampled, places[at], grid, *far).max(axis=4))

    def between(offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            each = np.arange(smaller.positions)
            x = drawn(np.stack([each, np.roll(each, len(each) // 2)], axis=1), True)
            covariance = _covariance(x, steps)
            covariance = covariance.reshape(len(x), -1, len(each), steps, steps).mean(axis=2)
        else:
            covariance = _covariance(drawn(known_pairs(offset, smaller.shape).T), steps)
        return with_means(covariance, mean, offset, smaller)

    x = drawn(np.arange(smaller.positions)[:, None])
    mean, moments = x.mean(axis=-1, dtype=float), (x @ x.swapaxes(-1, -2)).astype(float) / x.shape[-1]
    return Spikes(mean, moments, smaller, spikes.channels, drawn, pairs=PairMoments(smaller.shape, between))


def averaged_back(window: Window, gradients: Gradients, grid: Grid) -> Gradients:
    """Gradients by a map with this grid, from those by averages over its windows."""
    (sy, sx), smaller, moments = window.stride, window.smaller(grid).shape, {}
    others = {opposite(d): shifted(G.swapaxes(-1, -2), opposite(d), smaller) for d, G in gradients.pairs.items()}
    for (Y, X), G in {(0, 0): gradients.moments, **gradients.pairs, **others}.items():
        for (y, x), taps in offsets_of_taps(window).items():
            offset = sy * Y + y, sx * X + x
            if offset >= (0, 0):
                part = summed_under_taps(window, G, grid, taps) / len(window.taps) ** 2
                moments[offset] = moments.get(offset, 0.0) + part
    at_positions = moments.pop((0, 0))
    pairs = {d: G * np.resize(on_both(d, grid.shape), (G.shape[1], 1, 1)) for d, G in moments.items()}
    return Gradients(at_positions, grid, gradients.channels, pairs=pairs)


def _covariance(x: np.ndarray, steps: int) -> np.ndarray:
    """Covariance of the first steps with the last; without the bias of few points, each an independent sample."""
    about = x - x.mean(axis=-1, keepdims=True)
    return (about[:, :, :steps] @ about[:, :, -steps:].swapaxes(-1, -2)).astype(float) / (x.shape[-1] - 1)


def _in_windows(draw: Any, places: np.ndarray, grid: Grid, *far: bool) -> np.ndarray:
    """Numbers drawn at places (groups, windows, taps), with axes (replicas, inputs, groups, windows, taps, steps, points)."""
    x = draw(places.reshape(len(places), -1), *far)
    return x.reshape(len(x), -1, *places.shape, grid.steps, x.shape[-1])


def _as_drawn(x: np.ndarray) -> np.ndarray:
    """Back from windows, now of one number each."""
    replicas, inputs, groups, windows, steps, points = x.shape
    return x.reshape(replicas, inputs * groups, windows * steps, points)
