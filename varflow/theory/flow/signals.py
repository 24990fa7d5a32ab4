r"""Signals at infinite width: the moments of currents and of spikes that one neuron has over probes and steps.

Neurons of a layer (channels of a map) are i.i.d., so a signal is described by one neuron's moments over an index
``i = (input, row, column, step)``: an input, a position of the map and a time step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

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

    ``channels`` is the number of neurons at each position.
    """

    mean: np.ndarray
    covariance: np.ndarray
    grid: Grid
    channels: int


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

    @property
    def neurons(self) -> int:
        return self.channels * self.grid.positions

    def later(self, delay: int) -> Spikes:
        """``delay`` steps later; 0 before the first step."""
        if delay == 0:
            return self
        earlier = np.zeros((self.grid.steps, self.grid.steps))
        earlier[delay:, : self.grid.steps - delay] = np.eye(self.grid.steps - delay)
        shift = np.kron(np.eye(self.grid.size // self.grid.steps), earlier)
        draw = self.sampled
        return replace(
            self,
            mean=self.mean @ shift.T,
            moments=shift @ self.moments @ shift.T,
            sampled=None if draw is None else lambda: np.einsum("ij,...jp->...ip", shift, draw()),
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
