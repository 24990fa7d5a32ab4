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
    number : int
        Of groups that each input has.
    order : ndarray, shape (inputs × number,)
        Groups sorted within each input.
    starts : ndarray, shape (classes,)
        Of the classes of one input, within its sorted groups.
    """

    number: int
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, currents: Currents) -> Alike:
        """Positions of like variance; the grid is ``apart``, with groups ``(input, row, column)``."""
        positions, groups = currents.grid.positions, currents.mean.shape[1]
        most = max(GROUPS // currents.grid.steps, FEWEST) // (groups // positions)
        return cls.classes(np.einsum("rgtt->g", currents.covariance).reshape(-1, positions), max(most, 1))

    @classmethod
    def classes(cls, by: np.ndarray, most: int, within: np.ndarray | None = None) -> Alike:
        """At most this many classes of like values (inputs, groups); ``within``: in parts of like values of this kind."""
        inputs, number = by.shape
        most = min(most, number)
        part = np.zeros_like(by) if within is None else _ranks(within) * PARTS // number
        order = np.lexsort((by, part)) + number * np.arange(inputs)[:, None]
        return cls(number, order.ravel(), (np.arange(most) * number) // most)

    @property
    def sizes(self) -> np.ndarray:
        return np.diff([*self.starts, self.number])

    @property
    def which(self) -> np.ndarray:
        """The class of every group."""
        inputs = len(self.order) // self.number
        which = np.empty(len(self.order), int)
        which[self.order] = np.repeat(np.arange(inputs * len(self.starts)), np.tile(self.sizes, inputs))
        return which

    def averaged(self, values: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Means over each class, of values with axes (replicas, groups, …); of ``groups`` instead of all in their order."""
        which, classes = self.which, len(self.starts) * (len(self.order) // self.number)
        columns = np.arange(len(which)) if groups is None else groups
        weights = 1 / np.bincount(which)[which]
        mean = sparse.csr_array((weights, (which, columns)), (classes, values.shape[1]))
        means = np.stack([mean @ each.reshape(len(each), -1) for each in values])
        return means.reshape(len(values), classes, *values.shape[2:])

    def currents(self, of: Currents) -> Currents:
        """One current for each class."""
        grid = Grid(1, 1, 1, of.grid.steps) if of.grid.apart else of.grid
        return Currents(self.averaged(of.mean), self.averaged(of.covariance), grid, of.channels)


def _ranks(values: np.ndarray) -> np.ndarray:
    return values.argsort(axis=1, kind="stable").argsort(axis=1)
