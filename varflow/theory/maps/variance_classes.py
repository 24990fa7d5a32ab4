"""Positions of a large map, or pairs of them, in classes of like currents: members of a class stand for all of it.

Currents are alike if the means and standard deviations of ``I_t`` and of ``I_1 + … + I_t`` are, for every ``t``: what a
memoryless neuron sees, and an integrator. Classes of most scatter are divided first, each where its widest value has its mean.
In each replica another member stands for a class: the average of its covariances over time would be one position that is driven
evenly, where one fires early and another late. Of one step, and of one replica, it is the average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import Grid

TOGETHER = 400  # positions × steps of a map up to which positions are followed together
GROUPS, FEWEST = 2**14, 64  # inputs × positions × steps that are computed one by one; at least 64 positions
SCATTER = 1e-4  # within classes, of the sum of squares, below which none is divided; of one step all are
EQUAL = 1e-20  # the same of values that are equal but for rounding


@dataclass(frozen=True, slots=True, eq=False)
class VarianceClasses:
    """Classes of positions, or of pairs of them, each input's own.

    Attributes
    ----------
    which : ndarray of int, shape (inputs × groups of each,)
        The class of every group.
    classes : int
        Their number, of all inputs.
    members : ndarray of int, shape (replicas, classes), optional
        The group that stands for each class; None if the average does.
    """

    which: np.ndarray
    classes: int
    members: np.ndarray | None = None

    @classmethod
    def of(cls, currents: Currents, replicas: int, seed: int) -> VarianceClasses:
        """Positions of like currents; the grid is ``per_position``, with groups ``(input, row, column)``."""
        inputs, most = currents.mean.shape[1] // currents.grid.positions, max(GROUPS // currents.grid.steps, FEWEST)
        values = currents.mean, currents.covariance
        least = SCATTER if currents.grid.steps > 1 else EQUAL
        return cls.of_marks(marks(*values), inputs, most, least).with_members(replicas, seed, *values)

    @classmethod
    def of_marks(cls, marks: np.ndarray, inputs: int, most: int, least: float = SCATTER) -> VarianceClasses:
        """At most ``most`` classes, at least one for each input, of groups with like marks (groups, marks); as few as leave a
        scatter of ``least``.
        """
        groups, classes, least = np.arange(len(marks)), inputs, least * np.sum(marks**2)
        which = groups * inputs // len(marks)
        while True:
            mean = _sums(which, marks) / np.bincount(which)[:, None]
            about = marks - mean[which]
            scatter = _sums(which, about**2)
            scatter[scatter <= EQUAL * _sums(which, marks**2)] = 0.0
            of_classes = scatter.sum(axis=1)
            first = np.argsort(-of_classes, kind="stable")[: max(most - classes, 0)]
            divided = first[of_classes[first] >= of_classes.mean()]
            if of_classes.sum() <= least or not len(divided):
                return cls(which, classes)
            new = np.full(classes, -1)
            new[divided] = classes + np.arange(len(divided))
            above = about[groups, scatter.argmax(axis=1)[which]] > 0
            which = np.where(above & (new[which] >= 0), new[which], which)
            classes += len(divided)

    def with_members(self, replicas: int, seed: int, *values: np.ndarray) -> VarianceClasses:
        """Members of each class evenly spread over it, from a random one on, in as many replicas as these values have or more;
        none for one replica.
        """
        if replicas == 1:
            return self
        replicas, number = max(replicas, *map(len, values)), np.bincount(self.which)
        at = (np.arange(replicas)[:, None] + np.random.default_rng([seed, 5]).random(self.classes)) / replicas
        members = np.argsort(self.which, kind="stable")[number.cumsum() - number + (at * number).astype(int)]
        return VarianceClasses(self.which, self.classes, members)

    def of_classes(self, values: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Values with axes (replicas, groups, …) of what stands for each class; of ``groups`` instead of all in their order."""
        values = values if groups is None else values[:, groups]
        if self.members is not None:
            return values[np.arange(len(self.members))[:, None] % len(values), self.members]
        number = np.bincount(self.which)[:, None]
        means = np.stack([_sums(self.which, each.reshape(len(each), -1)) / number for each in values])
        return means.reshape(len(values), self.classes, *values.shape[2:])

    def currents(self, of: Currents) -> Currents:
        """One current for each class."""
        grid = Grid(1, 1, 1, of.grid.steps) if of.grid.per_position else of.grid
        return Currents(self.of_classes(of.mean), self.of_classes(of.covariance), grid, of.channels, shared=of.shared)


def marks(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Means and standard deviations of ``I_i`` and of ``I_1 + … + I_i``, averaged over replicas, shape (groups, marks)."""
    mean = mean.mean(axis=0)
    return np.concatenate([mean, mean.cumsum(axis=-1), np.sqrt(np.maximum(of_sums(covariance), 0.0))], axis=-1)


def of_sums(covariance: np.ndarray) -> np.ndarray:
    """``Cov[I_i, J_i]`` and ``Cov[I_1 + … + I_i, J_1 + … + J_i]`` from ``Cov[I_i, J_j]``, averaged over replicas."""
    until, of_entries = np.tri(covariance.shape[-1]), np.einsum("rgii->gi", covariance)
    added = np.einsum("rgij,ij->gi", covariance, until) + np.einsum("rgji,ij->gi", covariance, until) - of_entries
    return np.concatenate([of_entries, added.cumsum(axis=-1)], axis=-1) / len(covariance)


def _sums(which: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums over each class of values (groups, …)."""
    return sparse.csr_array((np.ones(len(which)), (which, np.arange(len(which))))) @ values
