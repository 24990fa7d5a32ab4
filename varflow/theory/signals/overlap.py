r"""Overlap of different inputs of a batch: all that a BatchNorm needs to know besides each input's own moments.

.. math:: B_{ij} = E[x_{ai}\, x_{bj}], \qquad a \ne b \text{ drawn from the batch}

of currents their covariance; ``i, j`` are positions and steps (``told_apart``), or steps alone, averaged over pairs of
positions of a large map. It goes along with the moments of single inputs: what is linear in moments takes it as one more of
them, and a layer of neurons as that of two inputs which have the average moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow.theory.signals.index import Grid, aligned

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
