"""The state of a layer at infinite width: what a *response* makes of Gaussian currents (see ``responses.neurons``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow.theory.signals.increments import Differences
from varflow.theory.signals.places import PairMoments


@dataclass(frozen=True, slots=True)
class LayerState:
    """Membranes and spikes of a layer of infinitely many neurons. Leading axes: (replicas, groups of inputs or gains).

    Attributes
    ----------
    variance, potential_mean : ndarray, shape (replicas, groups, steps)
        Of the membrane ``H_t`` at the spike test.
    firing_rate : ndarray, shape (replicas, groups, steps)
        ``E[S_t]``.
    second_moments : ndarray, shape (replicas, groups, steps, steps)
        ``M(t, t') = E[S_t S_t']``: all that the next layer depends on, if weights have mean 0.
    point_fraction : float
        Fraction of neurons that one sampling point represents; 0 without sampling.
    changes : Differences, optional
        Increments of the spikes, free of cancellation, from responses that compute them.
    pairs : PairMoments, optional
        Second moments of spikes between positions of a map (``signals.places``).
    """

    variance: np.ndarray
    potential_mean: np.ndarray
    firing_rate: np.ndarray
    second_moments: np.ndarray
    point_fraction: float = field(default=0.0, kw_only=True)
    changes: Differences | None = field(default=None, kw_only=True)
    pairs: PairMoments | None = field(default=None, kw_only=True)

    @classmethod
    def at_points(cls, H: np.ndarray, S: np.ndarray) -> LayerState:
        """The state of neurons with these membranes and spikes, (replicas, groups, i, points)."""
        points = S.shape[-1]
        return cls(H.var(axis=-1), H.mean(axis=-1), S.mean(axis=-1), S @ S.mT / points, point_fraction=1 / points)

    def of_groups(self, which: np.ndarray) -> LayerState:
        """The state of these entries of the second axis."""
        parts = (self.variance, self.potential_mean, self.firing_rate, self.second_moments)
        changes = self.changes and Differences(*(values[:, which] for values in self.changes))
        return LayerState(*(values[:, which] for values in parts), point_fraction=self.point_fraction, changes=changes)


def mixed(states: Sequence[tuple[float, LayerState]]) -> LayerState:
    """The state of a layer whose neurons differ, from those of equal neurons with these weights, whose sum is 1."""
    if len(states) == 1:
        return states[0][1]

    def mean(values: Callable[[LayerState], Any]) -> np.ndarray:
        return sum((weight * values(state) for weight, state in states), start=np.zeros(()))

    potential = mean(lambda state: state.potential_mean)
    changes = None
    if all(state.changes is not None for _, state in states):
        changes = Differences(*(mean(lambda state, place=place: state.changes[place]) for place in range(3)))  # pyright: ignore
    return LayerState(
        mean(lambda state: state.variance + (state.potential_mean - potential) ** 2),
        potential,
        mean(lambda state: state.firing_rate),
        mean(lambda state: state.second_moments),
        changes=changes,
    )
