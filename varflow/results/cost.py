"""Spikes, synaptic operations and energy of one inference, predicted or counted, also by the names of NeuroBench's metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, non_negative, real_array
from varflow._display import Drawn, Table, percent, several
from varflow.model.network import Network
from varflow.results.export import Exported, ReadOnly, evenly

# Picojoules of a MAC and of an AC in 45 nm: a multiplication and an addition, and an addition (horowitz2014).
ENERGIES = {"float32": (4.6, 0.9), "float16": (1.5, 0.4), "int32": (3.2, 0.1), "int8": (0.23, 0.03)}
COUNTS = ("spikes", "macs", "acs", "most_acs", "dense")
HEADER, LAYOUT = ("layer", "neurons", *COUNTS[:3], "dense"), "{:<10.10} {:>6} {:>19} {:>10} {:>20} {:>10}"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Cost(ReadOnly, Exported, Drawn):
    """What one inference costs: a row for each layer of neurons with the weights before it, and last of a readout, or of 0.

    Attributes
    ----------
    layers : tuple of str
    neurons : ndarray, shape (layers,)
    spikes : ndarray
        Expected number, over all steps, as all that follow.
    macs, acs : ndarray
        Multiply-accumulates, of weights that receive numbers other than 0, and accumulates, of weights that receive spikes: one
        per spike and connection that is not 0. A sum of spikes counts each of them.
    most_acs : ndarray
        The accumulates if every neuron spiked at every step.
    dense : ndarray
        All connections, at all steps.
    steps : int
    method : str
        How the numbers were found.
    std : dict of ndarray, shape (layers + 1,)
        Standard deviations of ``spikes`` and ``acs`` over networks and inputs, and last those of their totals, to which layers
        add that depend on each other; empty where they are not known.
    pj : tuple of float
        Picojoules of a MAC and of an AC.
    network : Network, optional
        Of a prediction.
    """

    layers: tuple[str, ...]
    neurons: np.ndarray
    spikes: np.ndarray
    macs: np.ndarray
    acs: np.ndarray
    most_acs: np.ndarray
    dense: np.ndarray
    steps: int
    method: str = "infinite width"
    std: dict[str, np.ndarray] = field(default_factory=dict)
    pj: tuple[float, float] = ENERGIES["float32"]
    network: Network | None = None

    _derived = ("operations", "energy", "ann_energy", "neurobench")

    @property
    def operations(self) -> float:
        """Synaptic operations of all layers, MACs and ACs."""
        return float(self.macs.sum() + self.acs.sum())

    @property
    def energy(self) -> float:
        """Picojoules of all synaptic operations: arithmetic alone, no memory."""
        return float(self.pj[0] * self.macs.sum() + self.pj[1] * self.acs.sum())

    @property
    def ann_energy(self) -> float:
        """Picojoules of the same layers without spikes: one pass, in which every connection multiplies."""
        return float(self.pj[0] * self.dense.sum() / self.steps)

    @property
    def per_step(self) -> Cost:
        """The mean over the steps."""
        return replace(self, **{name: getattr(self, name) / self.steps for name in COUNTS}, steps=1)

    @property
    def neurobench(self) -> dict[str, Any]:
        """The metrics of NeuroBench, by its names."""
        sums = {"Effective_MACs": self.macs.sum(), "Effective_ACs": self.acs.sum(), "Dense": self.dense.sum()}
        return {"ActivationSparsity": 1 - self.spikes.sum() / (self.steps * self.neurons.sum()), "SynapticOperations": sums}

    def priced(self, energy: Any) -> Cost:
        """With other energies: a name of ``varflow.results.cost.ENERGIES``, or the picojoules of a MAC and of an AC."""
        pair = real_array("energy", ENERGIES[choice("energy", energy, ENERGIES)] if isinstance(energy, str) else energy)
        if non_negative("energy", pair).shape != (2,):
            raise DomainError("energy", energy, "must be two numbers: the picojoules of a MAC and of an AC")
        return replace(self, pj=tuple(pair.tolist()))

    def _table(self) -> Table:
        columns = [np.append(values, values.sum()) for values in map(self.__getattribute__, HEADER[1:])]
        about = [self.std.get(name, np.zeros(len(self.layers) + 1)) for name in HEADER[1:]]
        names, shown = (*self.layers, "total"), [*evenly(len(self.layers) - (not self.dense[-1]), 12), -1]
        rows = [(names[l], *(_cell(values[l], std[l]) for values, std in zip(columns, about, strict=True))) for l in shown]
        half = self.pj[0] * self.macs.sum() + self.pj[1] * self.most_acs.sum() / 2
        prices, silent = f"{self.pj[0]:g} pJ a MAC, {self.pj[1]:g} pJ an AC", percent(self.neurobench["ActivationSparsity"])
        notes = (
            f"{_joules(self.energy)} at {prices}; {silent} of activations are 0",
            f"as an ANN, one pass: {_joules(self.ann_energy)}; at firing rate 1/2: {_joules(half)}",
        )
        return Table(f"Cost of one inference, {several(self.steps, 'step')}, {self.method}", LAYOUT, rows, HEADER, notes)


def _cell(number: float, std: float) -> str:
    return f"{number:.5g}" + (f" ± {std:.2g}" if std else "")


def _joules(picojoules: float) -> str:
    power = min(max(int(np.log10(max(picojoules, 1.0)) // 3), 0), 4)
    return f"{picojoules / 1000**power:.3g} {('pJ', 'nJ', 'µJ', 'mJ', 'J')[power]}"
