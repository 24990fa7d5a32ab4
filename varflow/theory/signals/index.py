"""Axes of moments: numerical replicas of a network, whose scatter is the error (a single one is exact), groups, and the index
``i = (input, row, column, step)``.
"""

from __future__ import annotations

from dataclasses import dataclass

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
