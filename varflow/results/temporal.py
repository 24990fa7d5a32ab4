"""Results for networks of several steps: the fixed point of deep layers, and the critical gains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._checks import renamed
from varflow._display import Shown, Table
from varflow.model.drives import Drive
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results.export import Exported, ReadOnly, dataset, named, numbered


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TemporalFixedPoint(ReadOnly, Exported, Shown):
    """The fixed point of deep layers in a network of several steps.

    Attributes
    ----------
    network : Network
    alive : bool
        Whether any step has spikes.
    settled : bool
        Whether layers have reached a fixed point. Not so for isolated volleys, where silent steps lie between live ones and
        which steps live depends on seed, width and drive.
    variance, potential_mean, firing_rate : ndarray, shape (steps,), or None
        Variance and mean of the membrane at the spike test, and spikes per neuron, at every step. None if not settled.
    second_moments : ndarray, shape (steps, steps), or None
        ``M(t, t') = E[S_t S_t']``.
    alive_steps : float
        Number of steps with spikes (mean over replicas).
    mean_rate, late_rate : float
        Spikes per neuron and step, over all steps and over the late half.
    multiplier : float
        Leading multiplier: the factor by which a small deviation of ``M`` grows per layer; NaN for silence and if not settled.
    stable : bool
        Whether the multiplier is below 1 (for silence: whether a resting neuron is silent).
    depth : int, optional
        First layer from which every rate stays within 1 % of the largest rate (or within noise) of its final value.
    residual : float
        Largest change of a step's rate between the last two groups of layers.
    error : dict
        Numerical standard errors by quantity, if the method samples.
    note : str
        Remarks.
    """

    network: Network
    alive: bool
    settled: bool
    variance: np.ndarray | None
    potential_mean: np.ndarray | None
    firing_rate: np.ndarray | None
    second_moments: np.ndarray | None
    alive_steps: float
    mean_rate: float
    late_rate: float
    multiplier: float
    stable: bool
    depth: int | None
    residual: float
    error: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""

    coincidences = renamed("coincidences", "second_moments")
    _hidden = ("network", "second_moments")

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``step`` and ``other_step``; what is not settled is left out."""
        arrays = named(self, "variance", "potential_mean", "firing_rate", "second_moments")
        arrays |= {f"{name}_error": value for name, value in self.error.items()}
        variables = {name: (("step", "other_step")[: np.ndim(value)], value) for name, value in arrays.items()}
        numbers = ("alive", "settled", "alive_steps", "mean_rate", "late_rate", "multiplier", "stable", "depth", "residual")
        variables |= {name: ((), getattr(self, name)) for name in numbers}
        return dataset(variables, numbered(step=self.network.steps), network=self.network, note=self.note)

    def _table(self) -> Table:
        what = "silence" if not self.alive else "alive" if self.settled else "alive, not settled"
        names = ("alive_steps", "mean_rate", "late_rate", "multiplier", "depth", "residual")
        rows = [(name, "-" if (value := getattr(self, name)) is None else f"{value:.5g}") for name in names]
        title = f"TemporalFixedPoint ({what}) of {self.network!r}"
        return Table(title, "  {:<12} {}", rows, notes=(self.note,) if self.note else (), bullet="  ! ")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TemporalCriticalGain(Exported, Shown):
    """The smallest gains that keep the steps of a network alive.

    Attributes
    ----------
    gain : float
        Above it every step is alive in layer ``depth``; ``inf`` if no gain does it.
    late_gain : float
        Above it every step of the late half is alive.
    error : dict
        Numerical standard errors of both, by name: scatter of replicas and resolution of the search.
    neuron, steps, depth, drive
        The arguments.
    """

    gain: float
    late_gain: float
    error: dict[str, float]
    neuron: Neuron
    steps: int
    depth: int
    drive: Drive

    _hidden = ("neuron", "drive")

    def _table(self) -> Table:
        title = f"TemporalCriticalGain of {self.neuron!r}, {self.steps} steps, layer {self.depth}, {self.drive!r}"
        rows = [
            (name, f"{g:.5g}", f"± {self.error[name]:.2g}", f"{g**2:.5g}")
            for name in ("gain", "late_gain")
            for g in [getattr(self, name)]
        ]
        return Table(title, "  {:<10} {:>9} {:>9}  {}", rows, ("", "gain", "error", "gain²"))
