r"""Averages and maxima over windows of a map.

.. math:: M'(w, w') = \frac{1}{k^4} \sum_{a, b} M(s w + a, s w' + b) \quad \text{(average)}, \qquad
          M'(w, w') = E\bigl[\max_a x(s w + a)\, \max_b x(s w' + b)\bigr]

Maxima are taken of spikes at sampled points. Where positions are ``apart``, all of the first window and those of the second are
followed together, and no others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from varflow._checks import DomainError
from varflow.theory.maps.patches import about_means
from varflow.theory.signals.moments import Currents, Grid, Signal, Spikes, Window
from varflow.theory.signals.pair_moments import FAR, Between, Offset, known_pairs

__all__ = ["differences", "pooled"]


def pooled(kind: str, window: Window, signal: Signal) -> Signal:
    """The average over each window, or of spikes the maximum."""
    if kind == "average":
        return _averaged_apart(window, signal) if signal.grid.apart else _averaged(window, signal)
    if isinstance(signal, Currents) or signal.sampled is None:
        raise DomainError("layers", f"Pool({kind!r}, …)", "needs spikes that can be drawn; those of recurrent neurons cannot")
    if signal.grid.apart:
        return _largest_apart(window, signal)
    draw, grid = signal.sampled, signal.grid
    x = draw()
    x = np.max([window.at(tap, x, grid, -2) for tap in window.taps], axis=0)
    moments = (x @ x.swapaxes(-1, -2)).astype(float) / x.shape[-1]
    return Spikes(x.mean(axis=-1, dtype=float), moments, window.smaller(grid), signal.channels, lambda: x)


def _averaged(window: Window, signal: Signal) -> Signal:
    grid, smaller = signal.grid, window.smaller(signal.grid)
    mean, second = window.mean(signal.mean, grid, -1), signal.covariance if isinstance(signal, Currents) else signal.moments
    second = window.mean(window.mean(second, grid, -1), grid, -2)
    if isinstance(signal, Currents):
        return Currents(mean, second, smaller, signal.channels)
    draw = signal.sampled
    sampled = None if draw is None else lambda: window.mean(draw(), grid, -2)
    return Spikes(mean, second, smaller, signal.channels, sampled)


def _averaged_apart(window: Window, signal: Signal) -> Signal:
    grid, smaller = signal.grid, window.smaller(signal.grid)
    mean = window.mean(signal.mean, grid, -1)

    def between(offset: Offset) -> np.ndarray:
        if offset is FAR:
            return window.inside_map(grid).mean() ** 2 * signal.between(FAR)
        whole = np.zeros(())
        for d, taps in differences(window).items():
            M = signal.between((window.stride[0] * offset[0] + d[0], window.stride[1] * offset[1] + d[1]))
            whole = whole + sum(window.at(tap, M, grid, -1) for tap in taps)
        return whole / len(window.taps) ** 2

    pairs = Between(smaller.shape, between)
    if isinstance(signal, Currents):
        return Currents(mean, between((0, 0)), smaller, signal.channels, pairs=pairs)
    draw, places, inside = signal.sampled, window.places(grid), window.inside_map(grid)

    def drawn(at: np.ndarray, *far: bool) -> np.ndarray:
        x = _in_windows(_known(draw)(places[at].reshape(len(at), -1), *far), at.shape, grid)
        return _as_drawn((x * inside[at].reshape(*at.shape, -1, 1, 1)).mean(axis=4))

    return Spikes(mean, between((0, 0)), smaller, signal.channels, None if draw is None else drawn, pairs=pairs)


def differences(window: Window) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """For each ``b - a`` of two taps, all ``a``."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for a in window.taps:
        for b in window.taps:
            found.setdefault((b[0] - a[0], b[1] - a[1]), []).append(a)
    return found


def _largest_apart(window: Window, spikes: Spikes) -> Spikes:
    grid, smaller = spikes.grid, window.smaller(spikes.grid)
    draw, places, steps = spikes.sampled, window.places(grid), grid.steps

    def largest(at: np.ndarray, *far: bool) -> np.ndarray:
        """Of windows ``at`` (groups, windows) that are drawn together."""
        return _as_drawn(_in_windows(_known(draw)(places[at].reshape(len(at), -1), *far), at.shape, grid).max(axis=4))

    def between(offset: Offset) -> np.ndarray:
        if offset is FAR:
            each = np.arange(smaller.positions)
            x = largest(np.stack([each, np.roll(each, len(each) // 2)], axis=1), True)
            covariance = _covariance(x, steps)
            covariance = covariance.reshape(len(x), -1, len(each), steps, steps).mean(axis=2)
        else:
            covariance = _covariance(largest(known_pairs(offset, smaller.shape).T), steps)
        return about_means(covariance, mean, offset, smaller)

    x = largest(np.arange(smaller.positions)[:, None])
    mean, moments = x.mean(axis=-1, dtype=float), (x @ x.swapaxes(-1, -2)).astype(float) / x.shape[-1]
    return Spikes(mean, moments, smaller, spikes.channels, largest, pairs=Between(smaller.shape, between))


def _known(draw: Callable[..., np.ndarray] | None) -> Callable[..., np.ndarray]:
    assert draw is not None
    return draw


def _covariance(x: np.ndarray, steps: int) -> np.ndarray:
    """Of the first steps with the last; without the bias of few points, each an independent sample."""
    about = x - x.mean(axis=-1, keepdims=True)
    return (about[:, :, :steps] @ about[:, :, -steps:].swapaxes(-1, -2)).astype(float) / (x.shape[-1] - 1)


def _in_windows(x: np.ndarray, at: tuple[int, ...], grid: Grid) -> np.ndarray:
    """Sampled numbers with axes (replicas, inputs, groups, windows, taps, steps, points)."""
    return x.reshape(len(x), -1, at[0], at[1], x.shape[2] // (at[1] * grid.steps), grid.steps, x.shape[-1])


def _as_drawn(x: np.ndarray) -> np.ndarray:
    """Back from windows, now of one number each."""
    replicas, inputs, groups, windows, steps, points = x.shape
    return x.reshape(replicas, inputs * groups, windows * steps, points)
