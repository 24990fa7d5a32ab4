"""Spikes, synaptic operations and energy of one inference, predicted or counted, also by the names of NeuroBench's metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, non_negative, real_array
from varflow._display import Drawn, Table, several
from varflow.model.network import Network
from varflow.results.export import Exported, ReadOnly, dataset, evenly, named

# Picojoules of a MAC and of an AC in 45 nm: a multiplication and an addition, and an addition (horowitz2014).
ENERGIES = {"float32": (4.6, 0.9), "float16": (1.5, 0.4), "int32": (3.2, 0.1), "int8": (0.23, 0.03)}
COLUMNS = ("neurons", "spikes", "macs", "acs", "most_acs", "dense")


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Cost(ReadOnly, Exported, Drawn):
    """Spikes and operations of one inference: a row for each layer of neurons with the weights before it, last a readout or 0.

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

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=100, depth=10, gain=2.6, drive=vf.drives.inputs([[0.3, -1.2, 0.8]]))
    >>> round(vf.cost(network).energy)
    14546
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

    _derived = ("operations", "energy", "neurobench")

    @property
    def operations(self) -> float:
        """Synaptic operations of all layers, MACs and ACs."""
        return float(self.macs.sum() + self.acs.sum())

    @property
    def energy(self) -> float:
        """Picojoules of all synaptic operations: arithmetic alone, no memory."""
        return float(self.pj[0] * self.macs.sum() + self.pj[1] * self.acs.sum())

    @property
    def per_step(self) -> Cost:
        """The mean over the steps."""
        return replace(self, **{name: getattr(self, name) / self.steps for name in COLUMNS[1:]}, steps=1)

    @property
    def neurobench(self) -> dict[str, Any]:
        """The metrics of NeuroBench, by its names."""
        macs, acs, dense = (float(values.sum()) for values in (self.macs, self.acs, self.dense))
        sparsity = 1 - float(self.spikes.sum()) / (self.steps * float(self.neurons.sum()))
        operations = {"Effective_MACs": macs, "Effective_ACs": acs, "Dense": dense}
        return {"ActivationSparsity": sparsity, "SynapticOperations": operations}

    def priced(self, energy: Any) -> Cost:
        """The cost by other energies: a name of ``varflow.results.cost.ENERGIES``, or the picojoules of a MAC and of an AC."""
        pj = real_array("energy", ENERGIES[choice("energy", energy, ENERGIES)] if isinstance(energy, str) else energy)
        if non_negative("energy", pj).shape != (2,):
            raise DomainError("energy", energy, "must be two numbers: the picojoules of a MAC and of an AC")
        return replace(self, pj=tuple(pj.tolist()))

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``."""
        columns = {name: ("layer", values) for name, values in named(self, *COLUMNS).items()}
        return dataset(columns, {"layer": ("layer", list(self.layers))}, **named(self, "steps", "method", "energy"))

    def _table(self) -> Table:
        columns = {name: np.append(values, values.sum()) for name, values in named(self, *COLUMNS).items()}
        (mac, ac), most = self.pj, columns.pop("most_acs")[-1]
        ann, half = mac * columns["dense"][-1] / self.steps, mac * columns["macs"][-1] + ac * most / 2
        number, names = len(self.layers) - (not self.dense[-1]), (*self.layers, "total")
        layers = [*evenly(number, 12), -1]
        rows = [(names[l], *(f"{values[l]:.5g}" for values in columns.values())) for l in layers]
        notes = [
            *([f"layers left out: {left}; .to_dict() has all"] if (left := number + 1 - len(layers)) else []),
            *(f"± {std[-1]:.3g} {name} over networks and inputs" for name, std in self.std.items()),
            f"{self.energy / 1e6:.3g} µJ at {mac:g} pJ a MAC, {ac:g} pJ an AC",
            f"as an ANN, one pass: {ann / 1e6:.3g} µJ; at firing rate 1/2: {half / 1e6:.3g} µJ",
        ]
        return Table(f"Cost of one inference, {several(self.steps, 'step')}, {self.method}", rows, ("layer", *columns), notes)
