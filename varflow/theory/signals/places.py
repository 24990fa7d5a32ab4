r"""Axes of moments, and the places where second moments stand besides one index: between positions, and between inputs; and
windows over the rows and columns of a map.

The axes are numerical replicas of a network, whose scatter is the error (a single one is exact), groups, and the index
``i = (input, row, column, step)``. Moments between different positions of a large map are computed where a layer asks for them.

.. math:: M_d(p) = E[x(p)\, x(p + d)]

Filters are shared, so that a convolution of stride ``s`` needs ``M_{sd}`` of what it receives; a pool needs all offsets within
its windows; everything else keeps ``d``. Only positions that pools join cost anything. Those farther apart than ``NEAR`` count
as alike: their covariance is the mean over all pairs of positions (``ALL_PAIRS``), for each two steps one number.

The overlap of different inputs of a batch is all that a BatchNorm needs to know besides each input's own moments.

.. math:: B_{ij} = E[x_{ai}\, x_{bj}], \qquad a \ne b \text{ drawn from the batch}

of currents their covariance; ``i, j`` are positions and steps (``told_apart``), or steps alone, averaged over pairs of
positions of a large map. It goes along with the moments of single inputs: what is linear in moments takes it as one more of
them, and a layer of neurons as that of two inputs which have the average moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from typing import Any, Final

import numpy as np

from varflow.model.signals import Windows
from varflow.results.profile import spread


@dataclass(frozen=True, slots=True)
class Grid:
    """Extents of the index ``i = (input, row, column, step)``, step fastest.

    On a large map each position may be followed on its own (``per_position``): rows and columns are then part of the groups
    ``(input, row, column)``, the index is ``i = (step)``, and moments between positions are found by ``PairMoments`` where they
    are needed.
    """

    inputs: int
    height: int
    width: int
    steps: int
    per_position: bool = False

    @property
    def size(self) -> int:
        return self.inputs * self.steps * (1 if self.per_position else self.positions)

    @property
    def sequences(self) -> int:
        return self.size // self.steps

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def axes(self) -> tuple[int, int, int, int]:
        return self.inputs, self.height, self.width, self.steps


def replicated(values: np.ndarray, replicas: int) -> np.ndarray:
    """Replicas repeated up to this number; one that stands for all stays one."""
    return values if len(values) in (1, replicas) else values[np.arange(replicas) % len(values)]


def aligned(*values: np.ndarray, least: int = 1) -> list[np.ndarray]:
    """Arrays in as many replicas as the one that has most, and at ``least`` so many."""
    most = max(least, *map(len, values))
    more = (replicated(each, most) for each in values)
    return [np.broadcast_to(each, (most, *each.shape[1:])) for each in more]


def standard_error(values: np.ndarray, least: float | np.ndarray = 0.0) -> np.ndarray:
    """Standard error of the mean over replicas, each with an error of at least ``least``."""
    scatter = spread(values) if len(values) > 1 else np.zeros(values.shape[1:])
    return np.hypot(scatter, least) / np.sqrt(len(values))


NEAR = 7  # rows and columns: three pools of 2 × 2 join 8 × 8 positions


class AllPairs(Enum):
    """All pairs of positions, in place of an offset."""

    ALL_PAIRS = 0


ALL_PAIRS: Final = AllPairs.ALL_PAIRS
Offset = tuple[int, int] | AllPairs


@dataclass(slots=True, eq=False)
class PairMoments:
    """``M_d`` of a map (rows, columns), shape (replicas, groups, steps, steps) with groups ``(input, row, column)``; 0 where
    ``p + d`` lies outside. For ``ALL_PAIRS``, shape (replicas, inputs, steps, steps).

    ``find`` computes it for ``ALL_PAIRS`` and offsets ``d > (0, 0)``; the others follow by exchange. What was found is kept.
    """

    shape: tuple[int, int]
    find: Callable[[Offset], np.ndarray]
    found: dict[Offset, np.ndarray] = field(default_factory=dict)

    def __call__(self, offset: Offset) -> np.ndarray:
        if offset not in self.found:
            self.found[offset] = self._pairs(offset)
        return self.found[offset]

    def _pairs(self, offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            return self.find(ALL_PAIRS)
        if offset < (0, 0):
            return shifted(self(opposite(offset)).swapaxes(-1, -2), offset, self.shape)
        found = self.find(offset)
        return found * np.resize(on_both(offset, self.shape), (found.shape[1], 1, 1))

    def then(self, change: Callable[[np.ndarray, Offset], np.ndarray]) -> PairMoments:
        """After an operation that keeps offsets."""
        return PairMoments(self.shape, lambda offset: change(self(offset), offset))


def known_pairs(offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Positions ``p`` and ``p + d`` that both lie on the map, shape (2, pairs)."""
    place = np.arange(shape[0] * shape[1]).reshape(shape)

    def cut(by: tuple[int, int]) -> np.ndarray:
        return place[tuple(slice(max(-d, 0), max(side - max(d, 0), 0)) for d, side in zip(by, shape, strict=True))].ravel()

    return np.stack([cut(offset), cut(opposite(offset))])


def on_both(offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """True where ``p + d`` lies on the map, shape (positions,)."""
    inside = np.zeros(shape[0] * shape[1], bool)
    inside[known_pairs(offset, shape)[0]] = True
    return inside


def on_map(values: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """Values of the pairs ``p, p + d`` of the map, groups ``(input, p)``, as values of all ``p``; else 0."""
    here = known_pairs(offset, grid.shape)[0]
    values = values.reshape(len(values), -1, len(here), *values.shape[2:])
    padded = np.zeros((*values.shape[:2], grid.positions, *values.shape[3:]))
    padded[:, :, here] = values
    return padded.reshape(len(values), -1, *values.shape[3:])


def outside_map(offset: Offset, shape: tuple[int, int]) -> bool:
    """True if no two positions of the map are this far apart."""
    return offset is not ALL_PAIRS and any(abs(d) >= side for d, side in zip(offset, shape, strict=True))


def opposite(offset: tuple[int, int]) -> tuple[int, int]:
    """The offset from ``p + d`` back to ``p``."""
    return -offset[0], -offset[1]


def shifted(values: np.ndarray, offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Values (replicas, groups, …) at ``p + d``; 0 where that lies outside."""
    here, there = known_pairs(offset, shape)
    on_map = values.reshape(len(values), -1, shape[0] * shape[1], *values.shape[2:])
    moved = np.zeros_like(on_map)
    moved[:, :, here] = on_map[:, :, there]
    return moved.reshape(values.shape)


TOLD_APART = 256  # positions × steps up to which positions are told apart


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """Activations of a whole batch that were measured, shape (inputs, positions or rows, steps, channels), on this grid."""

    x: np.ndarray
    grid: Grid

    @property
    def rows(self) -> np.ndarray:
        """Activations that dense weights receive, shape (rows, steps, fan-in): of a map, all that is on it."""
        inputs, positions, steps, channels = self.x.shape
        on_map = positions == self.grid.positions
        return self.x.swapaxes(1, 2).reshape(inputs, steps, -1) if on_map else self.x.reshape(-1, steps, channels)


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """``between``: ``B``, with a leading axis of replicas. ``activations``: those of the batch, where they were measured. Of
    weighted sums of them more is known: ``with_batch_mean(over)``, each entry's covariances with its means over these steps,
    and ``inverse_dof()`` of the normalised covariance of two of them.
    """

    between: np.ndarray
    activations: Activations | None = None
    with_batch_mean: Callable[[str], np.ndarray] | None = None
    inverse_dof: Callable[[], float] | None = None


def told_apart(grid: Grid) -> bool:
    """True if an overlap is of positions and steps, not of steps alone."""
    return not grid.per_position and grid.size <= TOLD_APART


def over_positions(spikes: Any) -> tuple[np.ndarray, np.ndarray]:
    """``e`` and ``M`` averaged over positions, at the same position for both factors; index (input, step)."""
    grid, lead = spikes.grid, spikes.mean.shape[:-1]
    if grid.positions == 1:
        return spikes.mean, spikes.moments
    if grid.per_position:
        parts = (spikes.mean, spikes.moments)
        mean, moments = (each.reshape(len(each), -1, grid.positions, *each.shape[2:]).mean(axis=2) for each in parts)
        return mean, moments
    folded = (grid.inputs, grid.positions, grid.steps)
    mean = spikes.mean.reshape(*lead, *folded).mean(axis=-2)
    moments = np.einsum("...axsbxt->...asbt", spikes.moments.reshape(*lead, *folded, *folded)) / grid.positions
    size = grid.inputs * grid.steps
    return mean.reshape(*lead, size), moments.reshape(*lead, size, size)


def averages(signal: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments (of currents the covariance) of one input, averaged over inputs, and over positions if these are
    not told apart.
    """
    return average_mean(signal.mean, signal.grid), average_second(signal.second, signal.grid)


def average_mean(mean: np.ndarray, grid: Grid) -> np.ndarray:
    """The mean of an average input."""
    return mean.mean(axis=1) if told_apart(grid) else mean.reshape(len(mean), -1, grid.steps).mean(axis=1)


def average_second(second: np.ndarray, grid: Grid) -> np.ndarray:
    """Second moments of an average input."""
    if told_apart(grid):
        return second.mean(axis=1)
    folded = second.reshape(len(second), -1, grid.sequences, grid.steps, grid.sequences, grid.steps)
    return np.einsum("rgxsxt->rst", folded) / (folded.shape[1] * grid.sequences)


def with_correlation(between: np.ndarray, before: np.ndarray, after: np.ndarray, grid: Grid) -> np.ndarray:
    """An overlap whose correlation stays where second moments of single inputs become others: ``B_ij`` is the mean over inputs
    of ``ρ s_ai s_bj``, with their root mean squares ``s``.
    """
    squares = (np.maximum(np.diagonal(each, axis1=-2, axis2=-1), 0.0) for each in (before, after))
    one, other = aligned(*(average_mean(np.sqrt(each), grid) for each in squares))
    ratio = np.divide(other, one, out=np.zeros_like(other), where=one > 0)
    return ratio[..., :, None] * between * ratio[..., None, :]


class Window(Windows):
    """Windows over a map, and what stands under their taps.

    Examples
    --------
    >>> import varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=2, width=2, steps=1)
    >>> window = vf.theory.Window((2, 1))
    >>> window.smaller(grid).shape, window.taps
    ((1, 2), [(0, 0), (1, 0)])
    """

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
