"""Positions of a large map in classes of like variance: they respond alike, so that one of a class stands for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow.theory.flow.signals import Currents, Grid

__all__ = ["JOINT", "Alike"]

JOINT = 400  # positions × steps of a map up to which positions are followed together
GROUPS, FEWEST = 2**11, 64  # inputs × positions × steps that are computed one by one; at least 64 positions


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Classes of positions, each input's own; ``grid`` is ``apart``, with groups ``(input, row, column)``.

    Attributes
    ----------
    order : ndarray, shape (groups,)
        Groups sorted by their variance within each input.
    starts : ndarray, shape (classes,)
        Of the classes of one input, within its sorted groups.
    """

    grid: Grid
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, currents: Currents) -> Alike:
        grid, groups = currents.grid, currents.mean.shape[1]
        inputs, most = groups // grid.positions, max(GROUPS // grid.steps, FEWEST)
        classes = min(max(most // inputs, 1), grid.positions)
        variance = np.einsum("rgtt->g", currents.covariance).reshape(inputs, grid.positions)
        order = np.argsort(variance, axis=1, kind="stable") + grid.positions * np.arange(inputs)[:, None]
        return cls(grid, order.ravel(), (np.arange(classes) * grid.positions) // classes)

    @property
    def sizes(self) -> np.ndarray:
        return np.diff([*self.starts, self.grid.positions])

    @property
    def which(self) -> np.ndarray:
        """The class of every group."""
        inputs = len(self.order) // self.grid.positions
        which = np.empty(len(self.order), int)
        which[self.order] = np.repeat(np.arange(inputs * len(self.starts)), np.tile(self.sizes, inputs))
        return which

    def averaged(self, values: np.ndarray) -> np.ndarray:
        """Means over each class, of values with axes (replicas, groups, …)."""
        in_order = values[:, self.order].reshape(len(values), -1, self.grid.positions, *values.shape[2:])
        sums = np.add.reduceat(in_order, self.starts, axis=2)
        means = sums / self.sizes.reshape(-1, *([1] * (values.ndim - 2)))
        return means.reshape(len(values), -1, *values.shape[2:])

    def currents(self, of: Currents) -> Currents:
        """One current for each class."""
        return Currents(self.averaged(of.mean), self.averaged(of.covariance), Grid(1, 1, 1, self.grid.steps), of.channels)
