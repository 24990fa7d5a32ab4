"""Positions of a large map in classes of like variance, or pairs of like covariance: the average of one stands for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from varflow.theory.flow.signals import Currents, Grid

__all__ = ["GROUPS", "JOINT", "Alike"]

JOINT = 400  # positions × steps of a map up to which positions are followed together
PARTS = 4  # of like variance
GROUPS, FEWEST = 2**11, 64  # inputs × positions × steps that are computed one by one; at least 64 positions


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Classes of positions, or of pairs of them, each input's own.

    Attributes
    ----------
    which : ndarray of int, shape (inputs × groups of each,)
        The class of every group.
    classes : int
        Their number, of all inputs.
    """

    which: np.ndarray
    classes: int

    @classmethod
    def of(cls, currents: Currents) -> Alike:
        """Positions of like variance; the grid is ``apart``, with groups ``(input, row, column)``."""
        positions, groups = currents.grid.positions, currents.mean.shape[1]
        most = max(GROUPS // currents.grid.steps, FEWEST) // (groups // positions)
        return cls.of_values(np.einsum("rgtt->g", currents.covariance).reshape(-1, positions), max(most, 1))

    @classmethod
    def of_values(cls, by: np.ndarray, most: int, within: np.ndarray | None = None) -> Alike:
        """At most this many classes of like values (inputs, groups); ``within``: in parts of like values of this kind."""
        inputs, number = by.shape
        most = min(most, number)
        part = np.zeros_like(by) if within is None else _ranks(within) * PARTS // number
        starts = np.arange(most + 1) * number // most
        which = np.empty((inputs, number), int)
        np.put_along_axis(which, np.lexsort((by, part)), np.repeat(np.arange(most), np.diff(starts))[None], axis=1)
        return cls((which + most * np.arange(inputs)[:, None]).ravel(), most * inputs)

    def averaged(self, values: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Means over each class, of values with axes (replicas, groups, …); of ``groups`` instead of all in their order."""
        columns = np.arange(len(self.which)) if groups is None else groups
        weights = 1 / np.bincount(self.which)[self.which]
        mean = sparse.csr_array((weights, (self.which, columns)), (self.classes, values.shape[1]))
        means = np.stack([mean @ each.reshape(len(each), -1) for each in values])
        return means.reshape(len(values), self.classes, *values.shape[2:])

    def currents(self, of: Currents) -> Currents:
        """One current for each class."""
        grid = Grid(1, 1, 1, of.grid.steps) if of.grid.apart else of.grid
        return Currents(self.averaged(of.mean), self.averaged(of.covariance), grid, of.channels)


def _ranks(values: np.ndarray) -> np.ndarray:
    return values.argsort(axis=1, kind="stable").argsort(axis=1)
