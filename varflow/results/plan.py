"""The plan of ``init_model``: a gain for every weight layer, and the firing rate to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from varflow._checks import nan_to_none
from varflow._display import Shown, Table
from varflow.model.neurons import Neuron
from varflow.results.export import dataset, records

__all__ = ["LayerPlan", "ModelPlan"]


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One weight layer.

    Attributes
    ----------
    name, neuron_name : str
        Qualified names of the weight module and of the spiking module after it; ``neuron_name`` is empty for a readout.
    neuron : Neuron, optional
    fan_in : int
        Inputs of a neuron, as torch counts them.
    gain, weight_std : float
        ``g`` and ``g/√fan_in``; a convolution's gain compensates for zero padding.
    firing_rate : float
        Predicted late rate, averaged over inputs and networks of these widths; NaN for a readout.
    firing_rate_std : float
        Its standard deviation over networks and inputs.
    """

    name: str
    neuron_name: str
    neuron: Neuron | None
    fan_in: int
    gain: float
    firing_rate: float = math.nan
    firing_rate_std: float = math.nan

    @property
    def weight_std(self) -> float:
        return self.gain / math.sqrt(self.fan_in)

    def to_dict(self) -> dict[str, Any]:
        names = ("name", "neuron_name", "fan_in", "gain", "weight_std", "firing_rate", "firing_rate_std")
        neuron = None if self.neuron is None else repr(self.neuron)
        return nan_to_none({name: getattr(self, name) for name in names} | {"neuron": neuron})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelPlan(Shown):
    """Gains of a model's layers, in the order in which they run.

    Attributes
    ----------
    layers : tuple of LayerPlan
    steps : int
        Time steps of one forward pass.
    survival : float
        Predicted probability, over networks and inputs, that the last neuron layer spikes late.
    filled : bool
        Whether the weights were set (False after ``dry_run``).
    notes : tuple of str
        Remarks for the user.
    """

    layers: tuple[LayerPlan, ...]
    steps: int
    survival: float
    filled: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        names = ("steps", "survival", "filled", "notes")
        rows = {name: getattr(self, name) for name in names}
        return nan_to_none({"layers": [layer.to_dict() for layer in self.layers]} | rows)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, the names of the weight modules."""
        numbers = ("neuron_name", "fan_in", "gain", "weight_std", "firing_rate", "firing_rate_std")
        variables = records(self.layers, numbers, "layer") | {"survival": ((), self.survival)}
        names = {"layer": ("layer", [layer.name for layer in self.layers])}
        return dataset(variables, names, steps=self.steps, filled=self.filled, notes="; ".join(self.notes))

    def _table(self) -> Table:
        rows = [
            (
                layer.name,
                f"{layer.fan_in:g}",
                f"{layer.gain:.5g}",
                f"{layer.weight_std:.5g}",
                "readout" if layer.neuron is None else f"{layer.firing_rate:.4f} ± {layer.firing_rate_std:.2g}",
            )
            for layer in self.layers
        ]
        longest = max(len(layer.name) for layer in self.layers)
        title = f"ModelPlan, {self.steps} steps, survival {self.survival:.3g}{'' if self.filled else ' (nothing set)'}"
        header = ("layer", "fan-in", "gain", "weight std", "late rate")
        return Table(title, f"{{:<{max(longest, 5)}}} {{:>8}} {{:>9}} {{:>10}} {{:>18}}", rows, header, self.notes, "  ! ")
