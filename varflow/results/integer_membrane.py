"""Distribution of a membrane that is stored as an integer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table
from varflow.model.neurons import Neuron
from varflow.results.export import Exported, ReadOnly, dataset, evenly, numbered


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IntegerMembrane(ReadOnly, Exported, Shown):
    """Distribution of an integer membrane and of its spikes, step by step.

    Attributes
    ----------
    neuron : Neuron
    integers : ndarray, shape (states,)
        All values that the register holds.
    probability : ndarray, shape (steps, states)
        Of each at the spike test.
    firing_rate : ndarray, shape (steps,)
    spike_counts : ndarray, shape (steps + 1,)
        Probability of each number of spikes in all steps together.

    Examples
    --------
    >>> import scipy.stats, varflow as vf
    >>> neuron = vf.Neuron(decay=1 - 2**-3, reset=vf.resets.Reset(membrane=1.0, register=vf.resets.Register(bits=6)))
    >>> round(vf.integer_membrane(neuron, scipy.stats.norm(0, 0.5), steps=20).firing_rate[-1].item(), 3)
    0.068
    """

    neuron: Neuron
    integers: np.ndarray
    probability: np.ndarray
    firing_rate: np.ndarray
    spike_counts: np.ndarray

    @property
    def saturation(self) -> np.ndarray:
        """Probability, at each step, that the register is at one of its ends."""
        return self.probability[:, [0, -1]].sum(axis=1)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``step``, ``integer`` and ``count`` of spikes."""
        variables = {"probability": (("step", "integer"), self.probability), "spike_counts": ("count", self.spike_counts)}
        axes = {"integer": ("integer", self.integers), "count": ("count", np.arange(len(self.spike_counts)))}
        return dataset(
            variables | {"firing_rate": ("step", self.firing_rate)},
            axes | numbered(step=len(self.firing_rate)),
            neuron=self.neuron,
        )

    def _table(self) -> Table:
        rule: Any = self.neuron.reset_rule.register
        mean = self.probability @ self.integers
        std = np.sqrt(np.maximum(self.probability @ self.integers**2 - mean**2, 0))
        rows = [
            (f"{t + 1}", f"{mean[t]:.4g}", f"{std[t]:.4g}", f"{self.firing_rate[t]:.4g}", f"{self.saturation[t]:.2g}")
            for t in evenly(len(mean), 8)
        ]
        title = f"Integer membrane of {rule.bits} bits, threshold {rule.threshold}"
        return Table(title, rows, ("step", "mean", "std", "rate", "saturated"))
