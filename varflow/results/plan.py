"""The plan of ``init_model``: a gain for every weight layer, and the firing rate to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from varflow._checks import nan_to_none
from varflow._display import Shown, Table, measured, several
from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.results.export import Exported, dataset, named, records

RATES = ("firing_rate", "firing_rate_std", "measured_rate", "fresh_rate")
NUMBERS = ("neuron_name", "fan_in", "gain", "weight_std", *RATES, "set_by")


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One weight layer, or a neuron layer without weights of its own.

    Attributes
    ----------
    name, neuron_name : str
        Qualified names of the weight module and of the spiking module after it; ``neuron_name`` is empty for a readout, both
        are the spiking module's without weights.
    neuron : Neuron, optional
        None for a readout, and for a neuron that is only measured.
    fan_in : int
        Inputs of a neuron, as torch counts them; 0 without weights.
    gain, weight_std : float
        ``g`` and ``g/√fan_in``; a convolution's gain compensates for zero padding.
    firing_rate : float
        Planned late rate: predicted by theory for networks of these widths, or the one that the layer was scaled to; NaN for
        a readout.
    firing_rate_std : float
        Its standard deviation over networks and inputs, or as measured over inputs.
    set_by : str
        ``"theory"``; ``"measured: weights"`` or ``"measured: γ of bn1"`` if these were scaled to the rate; ``"kept: …"`` with
        the reason.
    measured_rate, fresh_rate : float
        Late rate with the weights that were drawn: on the batch, and on inputs that were held out for this (every second one
        of 16 or more, else NaN). NaN if nothing was drawn.
    surrogate : Surrogate or None
        The surrogate derivative that its neurons are given; None if theirs is left as it is.
    """

    name: str
    neuron_name: str
    neuron: Neuron | None
    fan_in: int
    gain: float
    firing_rate: float = math.nan
    firing_rate_std: float = math.nan
    set_by: str = "theory"
    measured_rate: float = math.nan
    fresh_rate: float = math.nan
    surrogate: Surrogate | None = None

    @property
    def weight_std(self) -> float:
        return self.gain / math.sqrt(self.fan_in) if self.fan_in else math.nan

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none(named(self, "name", *NUMBERS, "neuron", "surrogate"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelPlan(Exported, Shown):
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

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, the names of the weight modules."""
        variables = records(self.layers, NUMBERS, "layer") | {"survival": ((), self.survival)}
        names = {"layer": ("layer", [layer.name for layer in self.layers])}
        return dataset(variables, names, steps=self.steps, filled=self.filled, notes="; ".join(self.notes))

    def _table(self) -> Table:
        rows = [
            (
                layer.name,
                f"{layer.fan_in:g}" if layer.fan_in else "–",
                *(measured(value, ".5g") for value in (layer.gain, layer.weight_std)),
                f"{layer.firing_rate:.4f} ± {layer.firing_rate_std:.2g}" if layer.neuron_name else "readout",
                *(measured(value, ".4f") for value in (layer.measured_rate, layer.fresh_rate)),
                layer.set_by,
            )
            for layer in self.layers
        ]
        longest = max(len(layer.name) for layer in self.layers)
        given = dict.fromkeys(repr(layer.surrogate) for layer in self.layers if layer.surrogate is not None)
        notes = [*(f"neurons have the surrogate {psi}" for psi in given), *self.notes]
        title = (
            f"ModelPlan, {several(self.steps, 'step')}, survival {self.survival:.3g}{'' if self.filled else ' (nothing set)'}"
        )
        header = ("layer", "fan-in", "gain", "weight std", "late rate", "batch", "fresh", "set by")
        layout = f"{{:<{max(longest, 5)}}} {{:>8}} {{:>9}} {{:>10}} {{:>18}} {{:>7}} {{:>7}}  {{}}"
        return Table(title, layout, rows, header, notes, "  ! ")
