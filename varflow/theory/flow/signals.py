r"""Signals at infinite width: the moments of currents and of spikes that one neuron has over probes and steps.

Neurons of a layer (channels of a map) are i.i.d., so a signal is described by one neuron's moments over an index
``i = (input, row, column, step)``: an input, a position of the map and a time step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from varflow.theory.in_time.differences import Differences, differences

__all__ = ["Currents", "Grid", "Spikes", "Window", "over_positions"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Extents of the index ``i = (input, row, column, step)``, step fastest."""

    inputs: int
    height: int
    width: int
    steps: int

    @property
    def size(self) -> int:
        return self.inputs * self.positions * self.steps

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def axes(self) -> tuple[int, int, int, int]:
        return self.inputs, self.height, self.width, self.steps


@dataclass(frozen=True, slots=True, eq=False)
class Currents:
    """Gaussian currents, ``E[I_i]`` (…, i) and ``Cov[I_i, I_j]`` (…, i, j); leading axes (replicas, groups).

    ``channels`` is the number of neurons at each position; ``changes``: increments over time without cancellation, if known.
    """

    mean: np.ndarray
    covariance: np.ndarray
    grid: Grid
    channels: int
    changes: Differences | None = None

    @property
    def increments(self) -> Differences:
        """The changes; if they are not known, by subtraction."""
        return self.changes or differences(self.mean, self.covariance)

    def scaled(self, factor: float | np.ndarray) -> Currents:
        """Times a number, or an array with the leading axes."""
        f = np.asarray(factor)
        changes = None if self.changes is None else self.changes.scaled(f)
        mean, covariance = f[..., None] * self.mean, f[..., None, None] ** 2 * self.covariance
        return replace(self, mean=mean, covariance=covariance, changes=changes)


@dataclass(frozen=True, slots=True, eq=False)
class Spikes:
    """Spikes, or sums and averages of them: ``e_i = E[x_i]`` and ``M_ij = E[x_i x_j]``.

    ``sampled``, if known, draws ``x`` itself: shape (replicas, groups, i, points).
    """

    mean: np.ndarray
    moments: np.ndarray
    grid: Grid
    channels: int
    sampled: Callable[[], np.ndarray] | None = None
    changes: Differences | None = None

    @property
    def neurons(self) -> int:
        return self.channels * self.grid.positions

    def later(self, delay: int) -> Spikes:
        """``delay`` steps later; 0 before the first step."""
        if delay == 0:
            return self
        steps = self.grid.steps
        step = np.arange(self.grid.size)
        source = np.where(step % steps >= delay, step - delay, self.grid.size)  # the last is the silence before the first step

        def shifted(values: np.ndarray, *axes: int) -> np.ndarray:
            for axis in axes:
                edges = [(0, 0)] * values.ndim
                edges[axis] = (0, 1)
                values = np.take(np.pad(values, edges), source, axis=axis)
            return values

        draw, changes = self.sampled, None
        if self.changes is not None and self.grid.size == steps:
            known, square = self.changes, np.diagonal(self.moments, axis1=-2, axis2=-1)
            whole = np.pad(known.increment, [(0, 0)] * (known.increment.ndim - 2) + [(0, 1), (0, 1)])
            whole[..., :-1, -1] = whole[..., -1, :-1] = square  # E[(x_t - 0)²]
            increment = whole[..., source[:, None], source]
            changes = Differences(increment, shifted(known.second_change, -1), shifted(known.mean_change, -1))
        return replace(
            self,
            mean=shifted(self.mean, -1),
            moments=shifted(self.moments, -2, -1),
            sampled=None if draw is None else lambda: shifted(draw(), -2),
            changes=changes,
        )


def over_positions(spikes: Spikes) -> tuple[np.ndarray, np.ndarray]:
    """``e`` and ``M`` averaged over positions, at the same position for both factors; index (input, step)."""
    grid, lead = spikes.grid, spikes.mean.shape[:-1]
    if grid.positions == 1:
        return spikes.mean, spikes.moments
    folded = (grid.inputs, grid.positions, grid.steps)
    mean = spikes.mean.reshape(*lead, *folded).mean(axis=-2)
    moments = np.einsum("...axsbxt->...asbt", spikes.moments.reshape(*lead, *folded, *folded)) / grid.positions
    size = grid.inputs * grid.steps
    return mean.reshape(*lead, size), moments.reshape(*lead, size, size)


@dataclass(frozen=True, slots=True)
class Window:
    """Square windows over a map, with zeros in the padding."""

    size: int
    stride: int
    padding: int

    def smaller(self, grid: Grid) -> Grid:
        """The grid of the map that the windows make."""
        rows, columns = ((side + 2 * self.padding - self.size) // self.stride + 1 for side in (grid.height, grid.width))
        return replace(grid, height=rows, width=columns)

    @property
    def taps(self) -> list[tuple[int, int]]:
        return [(y, x) for y in range(self.size) for x in range(self.size)]

    def at(self, tap: tuple[int, int], values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The entry under one tap of every window; ``axis``, negative, is that of the index ``i``."""
        axis += values.ndim
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        whole = values.reshape(*before, *grid.axes, *after)
        if self.padding:
            edges = [(0, 0)] * whole.ndim
            edges[axis + 1] = edges[axis + 2] = (self.padding, self.padding)
            whole = np.pad(whole, edges)
        smaller = self.smaller(grid)
        sides = zip(tap, (smaller.height, smaller.width), strict=True)
        cut = (slice(start, start + self.stride * (side - 1) + 1, self.stride) for start, side in sides)
        return whole[((slice(None),) * (axis + 1)) + tuple(cut)].reshape(*before, smaller.size, *after)

    def mean(self, values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The average over each window."""
        return sum((self.at(tap, values, grid, axis) for tap in self.taps), start=np.zeros(())) / len(self.taps)
