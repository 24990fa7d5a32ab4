r"""Averages and maxima over windows of a map.

.. math:: M'(w, w') = \frac{1}{k^4} \sum_{a, b} M(s w + a, s w' + b) \quad \text{(average)}, \qquad
          M'(w, w') = E\bigl[\max_a x(s w + a)\, \max_b x(s w' + b)\bigr]

Maxima of spikes are taken at sampled points. Maxima of currents are not Gaussian: the neurons that receive them are stepped at
points (``maps.maxima``). Backwards an average is transposed, ``G = Aᵀ G' A``; a maximum sends the gradient of each window to
the entry that was the largest (``maps.maxima``). Positions of large maps are followed each on its own, all of the
first window together with those of the second, and no others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow.model.graph import Uncovered, enter
from varflow.model.layers import Pool
from varflow.theory.maps.maxima import WindowedCurrents, maxima_joined, maximum_back
from varflow.theory.maps.positions import TOGETHER, with_means
from varflow.theory.operations.merge import settled
from varflow.theory.operations.visit import Effort, Visit, WayBack
from varflow.theory.signals import places
from varflow.theory.signals.counted import ON_MAPS, uncounted
from varflow.theory.signals.gradients import BALANCED, Gradients
from varflow.theory.signals.moments import Currents, Signal, Spikes
from varflow.theory.signals.places import ALL_PAIRS, Grid, Offset, Overlap, PairMoments, Window


def averaged_apart(window: Window, signal: Signal) -> Signal:
    """The average over each window."""
    grid, smaller, draw = signal.grid, window.smaller(signal.grid), getattr(signal, "sampled", None)
    mean = window.mean(signal.mean, grid, -1)

    def between(offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            return window.inside_map(grid).mean() ** 2 * signal.between(ALL_PAIRS)
        total = np.zeros(())
        for d, taps in places.offsets_of_taps(window).items():
            M = signal.between((window.stride[0] * offset[0] + d[0], window.stride[1] * offset[1] + d[1]))
            total = total + sum(window.at(tap, M, grid, -1) for tap in taps)
        return total / len(window.taps) ** 2

    pairs = PairMoments(smaller.shape, between)
    if isinstance(signal, Currents):
        return Currents(mean, between((0, 0)), smaller, signal.channels, pairs=pairs)
    entries, inside = window.places(grid), window.inside_map(grid)

    def drawn(at: np.ndarray, *far: bool) -> np.ndarray:
        x = _in_windows(draw, entries[at], grid, *far)
        return _as_drawn((x * inside[at].reshape(*at.shape, -1, 1, 1)).mean(axis=4))

    return Spikes(mean, between((0, 0)), smaller, signal.channels, drawn if draw else None, pairs=pairs)


def largest_apart(window: Window, spikes: Spikes) -> Spikes:
    """The maximum of spikes over each window."""
    grid, smaller = spikes.grid, window.smaller(spikes.grid)
    entries, steps = window.places(grid), grid.steps

    def drawn(at: np.ndarray, *far: bool) -> np.ndarray:
        """Maxima over windows ``at`` (groups, windows) that are drawn together."""
        return _as_drawn(_in_windows(spikes.sampled, entries[at], grid, *far).max(axis=4))

    def between(offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            each = np.arange(smaller.positions)
            x = drawn(np.stack([each, np.roll(each, len(each) // 2)], axis=1), True)
            covariance = _covariance(x, steps)
            covariance = covariance.reshape(len(x), -1, len(each), steps, steps).mean(axis=2)
        else:
            covariance = _covariance(drawn(places.known_pairs(offset, smaller.shape).T), steps)
        return with_means(covariance, mean, offset, smaller)

    x = drawn(np.arange(smaller.positions)[:, None])
    mean, moments = x.mean(axis=-1, dtype=float), (x @ x.swapaxes(-1, -2)).astype(float) / x.shape[-1]
    return Spikes(mean, moments, smaller, spikes.channels, drawn, pairs=PairMoments(smaller.shape, between))


def averaged_back_apart(window: Window, gradients: Gradients, grid: Grid) -> Gradients:
    """Gradients by a map with this grid, from those by averages over its windows."""
    (sy, sx), smaller, moments = window.stride, window.smaller(grid).shape, {}
    others = {
        places.opposite(d): places.shifted(G.swapaxes(-1, -2), places.opposite(d), smaller) for d, G in gradients.pairs.items()
    }
    for (Y, X), G in {(0, 0): gradients.moments, **gradients.pairs, **others}.items():
        for (y, x), taps in places.offsets_of_taps(window).items():
            offset = sy * Y + y, sx * X + x
            if offset >= (0, 0):
                part = places.summed_under_taps(window, G, grid, taps) / len(window.taps) ** 2
                moments[offset] = moments.get(offset, 0.0) + part
    at_positions = moments.pop((0, 0))
    pairs = {d: G * np.resize(places.on_both(d, grid.shape), (G.shape[1], 1, 1)) for d, G in moments.items()}
    return Gradients(at_positions, grid, gradients.channels, pairs=pairs)


def _covariance(x: np.ndarray, steps: int) -> np.ndarray:
    """Covariance of the first steps with the last; without the bias of few points, each an independent sample."""
    about = x - x.mean(axis=-1, keepdims=True)
    return (about[:, :, :steps] @ about[:, :, -steps:].swapaxes(-1, -2)).astype(float) / (x.shape[-1] - 1)


def _in_windows(draw: Any, entries: np.ndarray, grid: Grid, *far: bool) -> np.ndarray:
    """Numbers drawn at places (groups, windows, taps), with axes (replicas, inputs, groups, windows, taps, steps, points)."""
    x = draw(entries.reshape(len(entries), -1), *far)
    return x.reshape(len(x), -1, *entries.shape, grid.steps, x.shape[-1])


def _as_drawn(x: np.ndarray) -> np.ndarray:
    """Back from windows, now of one number each."""
    replicas, inputs, groups, windows, steps, points = x.shape
    return x.reshape(replicas, inputs * groups, windows * steps, points)


UNDRAWN = "needs spikes that can be drawn; those of recurrent neurons cannot"
COSTLY = "takes seconds on a map as large as this"


def forward(layer: Pool, received: tuple[Signal], visit: Visit) -> Signal | WindowedCurrents:
    """Averages or maxima over windows."""
    (signal,), effort = received, visit.walk.effort
    window = Window(*layer.windows(signal.grid.shape))
    if layer.kind == "max" and isinstance(signal, Currents):
        return windows_of_currents(layer, window, signal, effort)
    if signal.grid.per_position and not effort.pools:
        raise Uncovered("layers", layer, COSTLY)
    return averaged(window, signal) if layer.kind == "average" else largest(window, signal)


def averaged(window: Window, signal: Signal) -> Signal:
    """The average over each window.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=2, width=2, steps=1)
    >>> currents = vf.theory.Currents(np.zeros((1, 1, 4)), np.eye(4)[None, None], grid, channels=100)
    >>> vf.theory.averaged(vf.theory.Window((2, 2)), currents).covariance
    array([[[[0.25]]]])
    """
    if signal.grid.per_position:
        return averaged_apart(window, signal)
    grid, draw = signal.grid, getattr(signal, "sampled", None)

    def second(M: np.ndarray) -> np.ndarray:
        return window.mean(window.mean(M, grid, -1), grid, -2)

    overlap = signal.overlap and Overlap(over_windows(window, signal.overlap.between, grid))
    sampled = draw and (lambda: window.mean(draw(), grid, -2))
    pooled = signal.mapped(window.mean(signal.mean, grid, -1), second, pairs=None, overlap=overlap, sampled=sampled)
    return replace(pooled, grid=window.smaller(grid))


def largest(window: Window, spikes: Any) -> Spikes:
    """The maximum of spikes over each window."""
    if spikes.sampled is None:
        raise Uncovered("layers", "Pool('max', …)", UNDRAWN)
    if spikes.grid.per_position:
        return largest_apart(window, spikes)
    grid, smaller = spikes.grid, window.smaller(spikes.grid)
    x = spikes.sampled()
    x = np.max([window.at(tap, x, grid, -2) for tap in window.taps], axis=0)
    mean, moments = x.mean(axis=-1, dtype=float), (x @ x.swapaxes(-1, -2)).astype(float) / x.shape[-1]
    after = Spikes(mean, moments, smaller, spikes.channels, lambda: x)
    return after if spikes.overlap is None else _with_overlap(after, window, spikes)


def windows_of_currents(layer: Any, window: Window, currents: Currents, effort: Effort) -> WindowedCurrents:
    """Currents whose maxima are sent on."""
    grid, currents = window.smaller(currents.grid), currents.per_position()
    size = len(window.taps) * grid.steps
    inputs = currents.mean.shape[1] // currents.grid.positions
    most = effort.windows
    followed = currents.overlap is not None  # that of maxima is not known
    large = most is not None and (size > TOGETHER or inputs * grid.positions * size**2 > most)
    if followed or currents.pairs is None or large:
        raise Uncovered("layers", layer, COSTLY)
    return WindowedCurrents.of(currents, window)


def over_windows(window: Window, between: np.ndarray, grid: Grid) -> np.ndarray:
    """The overlap of averages over windows; of a map whose positions are not told apart, the same for all of them."""
    if places.told_apart(grid):
        return window.mean(window.mean(between, grid, -1), grid, -2)
    smaller = window.smaller(grid)
    return np.tile(between, (smaller.positions, smaller.positions)) if places.told_apart(smaller) else between


def _with_overlap(after: Spikes, window: Window, before: Any) -> Spikes:
    """Maxima with their overlap, which keeps its ratio to that of independent ones."""
    grid, (e, _), (highest, _) = before.grid, places.averages(before), places.averages(after)
    e = window.mean(e, grid, -1) if places.told_apart(grid) else np.tile(e, highest.shape[-1] // e.shape[-1])
    ratio = np.divide(highest, e, out=np.zeros_like(e), where=e > 0)
    between = ratio[..., :, None] * over_windows(window, before.overlap.between, grid) * ratio[..., None, :]
    return replace(after, overlap=Overlap(between))


# Backwards.


def backward(layer: Pool, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was pooled: ``Aᵀ G A`` of an average, those of the largest entries of a maximum."""
    (signal,) = visit.received
    grid = way.laid_out(signal).grid
    window = Window(*layer.windows(grid.shape))
    above = settled(layer, gradients).on_map(window.smaller(grid), signal.channels)
    if layer.kind == "average":
        return [averaged_back(window, above, grid)]
    if isinstance(signal, Currents):
        if above.split is None:
            raise Uncovered("layers", layer, "of currents must be followed by a Spike")
        return [maxima_joined(window, above.split, grid, above.channels)]
    if signal.sampled is None:
        raise Uncovered("layers", layer, UNDRAWN)
    back = maximum_back(window, above, signal, signal.sampled)
    return [back.per_position() if way.per_position else back]


def averaged_back(window: Window, gradients: Gradients, grid: Grid) -> Gradients:
    """Gradients by a map with this grid, from those by averages over its windows.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=2, width=2, steps=1)
    >>> window = vf.theory.Window((2, 2))
    >>> above = vf.theory.Gradients(np.ones((1, 1, 1, 1)), window.smaller(grid), channels=100)
    >>> np.diagonal(vf.theory.averaged_back(window, above, grid).moments[0, 0])
    array([0.0625, 0.0625, 0.0625, 0.0625])
    """
    if grid.per_position:
        return averaged_back_apart(window, gradients, grid)
    spread = window.mean(np.eye(grid.size), grid, -1)
    balanced = BALANCED if gradients.balanced is BALANCED else None  # the sum stays, but for the padding
    moments = spread @ gradients.moments @ spread.T
    return Gradients(moments, grid, gradients.channels, balanced, gradients.balanced_at)


enter(Pool, forward=forward, backward=backward, count=uncounted(ON_MAPS))
