r"""Axes of moments, and the places where second moments stand besides one index: between positions, and between inputs.

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

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import numpy as np

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

    def after(self, between: np.ndarray) -> Overlap:
        """The overlap after an operation."""
        return Overlap(between)


def told_apart(grid: Grid) -> bool:
    """True if an overlap is of positions and steps, not of steps alone."""
    return not grid.per_position and grid.size <= TOLD_APART


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
