r"""Upsampled maps: the entries of a map with zeros between them, where moments are 0; repeated, sums over windows of these.

Windows of size 1 and stride ``factor`` pick the entries out of the larger map; backwards, gradients at the zeros are dropped.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from varflow.model.graph import enter
from varflow.model.signals import pair
from varflow.model.upsampling import Upsample
from varflow.theory.operations.merge import settled, summed
from varflow.theory.operations.pool import averaged, averaged_back
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals import places
from varflow.theory.signals.counted import ON_MAPS, uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Signal, at_each_position
from varflow.theory.signals.places import ALL_PAIRS, Grid, Offset, Overlap, PairMoments, Window


def _entries(layer: Upsample) -> Window:
    return Window((1, 1), pair(layer.factor))


def _repeats(layer: Upsample) -> Window:
    """Windows over the map with zeros that hold one entry each."""
    down, along = pair(layer.factor)
    return Window((down, along), (1, 1), (down - 1, along - 1))


def _larger(layer: Upsample, grid: Grid) -> Grid:
    height, width = layer.with_zeros(*grid.shape)
    return replace(grid, height=height, width=width)


def forward(layer: Upsample, received: tuple[Signal], visit: Visit) -> Any:
    """The map with zeros between its entries, or with its entries repeated."""
    signal, larger = received[0], _larger(layer, received[0].grid)
    second = partial(places.summed_under_taps, _entries(layer), grid=larger)
    pairs = signal.pairs and PairMoments(larger.shape, partial(_between, layer, signal))
    overlap = signal.overlap and Overlap(_overlap(layer, signal))
    spaced = replace(signal.mapped(_mean(layer, signal), second, pairs=pairs, overlap=overlap), grid=larger)
    if layer.zeros:
        return spaced
    window = _repeats(layer)
    return summed([averaged(window, spaced)], [len(window.taps)])


def _mean(layer: Upsample, signal: Signal) -> np.ndarray:
    """The mean, 0 between the entries."""
    larger, apart = _larger(layer, signal.grid), signal.grid.per_position
    at, _ = places.under_tap(_entries(layer), (0, 0), replace(larger, steps=1, per_position=False) if apart else larger)
    mean = signal.mean.reshape(len(signal.mean), -1, len(at), larger.steps if apart else 1)
    spaced = np.zeros((*mean.shape[:2], larger.positions if apart else larger.size, mean.shape[-1]))
    spaced[:, :, at] = mean
    return spaced.reshape(len(mean), -1, larger.size)


def _between(layer: Upsample, signal: Signal, offset: Offset) -> np.ndarray:
    """Second moments at ``p`` and ``p + d``: of pairs of entries, else 0."""
    grid, larger, (down, along) = signal.grid, _larger(layer, signal.grid), pair(layer.factor)
    if offset is ALL_PAIRS:
        return (grid.positions / larger.positions) ** 2 * signal.between(ALL_PAIRS)
    between_entries = not (offset[0] % down or offset[1] % along)
    M = signal.between((offset[0] // down, offset[1] // along)) if between_entries else np.zeros_like(signal.second)
    return places.summed_under_taps(_entries(layer), M, larger)


def _overlap(layer: Upsample, signal: Any) -> np.ndarray:
    """The overlap of inputs; over steps alone, of the same positions on average."""
    grid, between = signal.grid, signal.overlap.between
    larger = _larger(layer, grid)
    if places.told_apart(larger):
        return places.summed_under_taps(_entries(layer), between[:, None], larger)[:, 0]
    if places.told_apart(grid):
        between = at_each_position(between[:, None], grid).mean(axis=1)
    return grid.positions / larger.positions * between


def backward(layer: Upsample, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by the entries."""
    signal, (down, along) = way.laid_out(visit.received[0]), pair(layer.factor)
    larger, window, above = _larger(layer, signal.grid), _repeats(layer), settled(layer, gradients)
    above = above.on_map(larger if layer.zeros else window.smaller(larger), signal.channels)
    if not layer.zeros:
        above = averaged_back(window, above, larger).times(len(window.taps) ** 2)
    taken = partial(_entries(layer).pairs_at, (0, 0), grid=larger)
    pairs = {(y // down, x // along): taken(G) for (y, x), G in above.pairs.items() if not (y % down or x % along)}
    return [Gradients(taken(above.moments), signal.grid, signal.channels, pairs=pairs)]


enter(Upsample, forward=forward, backward=backward, count=uncounted(ON_MAPS))
