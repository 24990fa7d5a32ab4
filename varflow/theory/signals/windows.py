"""Windows over the rows and columns of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from varflow.model.signals import Windows
from varflow.theory.signals.places import Grid


class Window(Windows):
    """Windows over a map, and what stands under their taps."""

    __slots__ = ()

    def smaller(self, grid: Grid) -> Grid:
        """The grid of the map that the windows make."""
        rows, columns = self.sides(grid.shape)
        return replace(grid, height=rows, width=columns)

    @property
    def taps(self) -> list[tuple[int, int]]:
        return [(y, x) for y in range(self.size[0]) for x in range(self.size[1])]

    def at(self, tap: tuple[int, int], values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The entry under one tap of every window; ``axis``, negative, is that of the index ``i``."""
        smaller = self.smaller(grid)
        if grid.per_position:
            return self._cut(tap, values, (-1, grid.height, grid.width), 1, smaller)
        return self._cut(tap, values, grid.axes, values.ndim + axis, smaller)

    def _cut(self, tap: tuple[int, int], values: np.ndarray, axes: tuple[int, ...], axis: int, smaller: Grid) -> np.ndarray:
        """The entry under one tap along an axis that holds ``axes``: inputs, rows, columns and what follows."""
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        padded = values.reshape(*before, *axes, *after)
        if any(self.padding):
            edges = [(0, 0)] * padded.ndim
            edges[axis + 1], edges[axis + 2] = ((pad, pad) for pad in self.padding)
            padded = np.pad(padded, edges)
        sides = zip(tap, self.stride, self.dilation, (smaller.height, smaller.width), strict=True)
        cut = (slice(gap * at, gap * at + stride * (side - 1) + 1, stride) for at, stride, gap, side in sides)
        return padded[((slice(None),) * (axis + 1)) + tuple(cut)].reshape(*before, -1, *after)

    def pairs_at(self, tap: tuple[int, int], moments: np.ndarray, grid: Grid) -> np.ndarray:
        """Second moments under the same tap for both factors."""
        rows = self.at(tap, moments, grid, -1)
        return rows if grid.per_position else self.at(tap, rows, grid, -2)

    def under_same_tap(self, moments: np.ndarray, grid: Grid) -> np.ndarray:
        """The average over taps of second moments, the same tap for both factors: over rows, then over columns."""
        if min(self.size) > 1:
            (height, width), (down, along), (top, left), (tall, wide) = self
            rows = Window((height, 1), (down, 1), (top, 0), (tall, 1))
            columns = Window((1, width), (1, along), (0, left), (1, wide))
            return columns.under_same_tap(rows.under_same_tap(moments, grid), rows.smaller(grid))
        return reduce(np.add, (self.pairs_at(tap, moments, grid) for tap in self.taps)) / len(self.taps)

    def inside(self, grid: Grid) -> float:
        """The fraction of taps that lie inside the map at two positions, averaged over all pairs of them."""
        taps = self.inside_map(grid).mean(axis=0)
        return float(np.mean(taps**2))

    def inside_map(self, grid: Grid) -> np.ndarray:
        """True where a tap of a window lies on the map, shape (windows, taps)."""
        return self._under(grid) > 0

    def places(self, grid: Grid) -> np.ndarray:
        """Positions under the taps of each window, shape (windows, taps); in place of the padding the first one inside."""
        under = self._under(grid)
        first = np.take_along_axis(under, (under > 0).argmax(axis=-1, keepdims=True), -1)
        return np.where(under > 0, under, first) - 1

    def _under(self, grid: Grid) -> np.ndarray:
        """1 + the position under each tap of each window; 0 in the padding."""
        of_map = Grid(1, grid.height, grid.width, 1)
        return np.stack([self.at(tap, np.arange(1, grid.positions + 1), of_map, -1) for tap in self.taps], axis=-1)

    def mean(self, values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The average over each window."""
        return sum((self.at(tap, values, grid, axis) for tap in self.taps), start=np.zeros(())) / len(self.taps)


def offsets_of_taps(window: Window) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Taps ``a`` for each offset ``b - a`` to a tap ``b``."""
    offsets: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for a in window.taps:
        for b in window.taps:
            offsets.setdefault((b[0] - a[0], b[1] - a[1]), []).append(a)
    return offsets


def under_tap(window: Window, tap: tuple[int, int], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Indices under a tap, before and after the windows, the padding left out."""
    place = window.at(tap, np.arange(1, grid.size + 1), grid, -1)
    inside = np.flatnonzero(place)
    return place[inside] - 1, inside


def summed_under_taps(
    window: Window, moments: np.ndarray, grid: Grid, taps: Sequence[tuple[int, int]] | None = None
) -> np.ndarray:
    """The sum over taps of the moments of the windows of which an entry is under this tap, the same for both factors."""
    lead, taps = moments.shape[:-2], window.taps if taps is None else taps
    if grid.per_position:  # positions are groups
        of_map = Grid(1, grid.height, grid.width, 1)
        moments = moments.reshape(lead[0], -1, window.smaller(of_map).positions, grid.steps, grid.steps)
        total = np.zeros((*moments.shape[:2], grid.positions, grid.steps, grid.steps))
        for before, windows in (under_tap(window, tap, of_map) for tap in taps):
            total[:, :, before] += moments[:, :, windows]
        return total.reshape(lead[0], -1, grid.steps, grid.steps)
    total = np.zeros((*lead, grid.size, grid.size))
    for before, windows in (under_tap(window, tap, grid) for tap in taps):
        total[..., before[:, None], before] += moments[..., windows[:, None], windows]
    return total
