"""Catalogue: published initialisations side by side in one setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Drawn, Shown, Table
from varflow._figures import draw
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results.export import QUANTITIES, Exported, axes_of, dataset, named, over_layers, records
from varflow.results.profile import Ensemble, Profile


@dataclass(frozen=True, slots=True)
class CatalogueEntry(Exported, Shown):
    """One method in this setting. None where the method does not specify a value, or theory cannot predict it.

    Attributes
    ----------
    key, name : str
    gain, weight_std : float, optional
        ``g`` and ``g/√fan_in``.
    bias, bias_std : float, optional
        The common value of all biases, or their standard deviation.
    alive : str, optional
        ``"yes"`` if the last layer is alive: ``survival`` reaches the target, or in time every step spikes; else ``"no"``. In
        time without a criterion also ``"late"``: every step of the late half spikes, earlier ones are silent; ``"volleys"``:
        only some steps spike.
    survives : bool, optional
        Whether ``alive`` is "yes" or "late".
    survival : float, optional
        Probability that a network of this width is alive at its last layer; in time by the criterion, if there is one.
    firing_rate : float, optional
        Of the last layer, including dead networks; in time the mean over steps, at infinite width.
    spikes, synaptic_operations : float, optional
        Per step in the last layer: ``width × firing_rate``, and that times ``width``.
    needs, ignores : str
        What the method needs beyond the setting, and what it does not account for.
    citation : str, optional
        For :func:`varflow.citation`.
    remark : str
        Why there is no gain or no prediction.
    colour : str
        Line colour in figures.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.catalogue(threshold=1.0, fan_in=100, depth=20)["kaiming"].alive
    'no'
    """

    key: str
    name: str
    needs: str = ""
    ignores: str = ""
    citation: str | None = None
    gain: float | None = None
    weight_std: float | None = None
    bias: float | None = None
    bias_std: float | None = None
    alive: str | None = None
    survives: bool | None = None
    survival: float | None = None
    firing_rate: float | None = None
    spikes: float | None = None
    synaptic_operations: float | None = None
    remark: str = ""
    colour: str = "0.4"

    _hidden = ("colour",)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Catalogue(Drawn):
    """Published methods in one setting; ``catalogue["micheli"]`` is one of them.

    Attributes
    ----------
    methods : tuple of CatalogueEntry
    neuron : Neuron
    fan_in, width, depth, steps : int
    rate, survival_target : float
    critical_gain : float
        For memoryless neurons, the gain below which only silence is stable; NaN for others.
    profiles : dict of Profile
        Theory's prediction of every layer, by method; a bias common to all neurons is included in the threshold.
    alive : str, optional
        Which steps must live in time, for survival at this width.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.catalogue(threshold=1.0, fan_in=100, depth=20)
    >>> [entry.key for entry in found.surviving][:3]
    ['corrected', 'ding', 'fluctuation_driven']
    >>> round(found["kaiming"].gain, 4), found["kaiming"].alive
    (1.4142, 'no')
    """

    methods: tuple[CatalogueEntry, ...]
    neuron: Neuron
    fan_in: int
    width: int
    depth: int
    steps: int
    rate: float
    survival_target: float
    critical_gain: float
    profiles: dict[str, Profile] = field(default_factory=dict)
    alive: str | None = None

    def __getitem__(self, key: str) -> CatalogueEntry:
        return {entry.key: entry for entry in self.methods}[key]

    @property
    def surviving(self) -> tuple[CatalogueEntry, ...]:
        """Methods whose activity reaches the last layer, cheapest first."""
        alive = [entry for entry in self.methods if entry.survives]
        return tuple(sorted(alive, key=lambda entry: entry.spikes or 0.0))

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of ``profiles``, for ``vf.simulate(found.networks)``."""
        return tuple(profile.network for profile in self.profiles.values())

    def to_dict(self) -> dict[str, Any]:
        setting = {"threshold": self.neuron.threshold, "decay": self.neuron.decay, "reset": str(self.neuron.reset)}
        setting |= {name: getattr(self.neuron, name) for name in ("input_scale", "synaptic_decay", "delay")}
        setting |= named(self, "fan_in", "width", "depth", "steps", "rate", "survival_target", "critical_gain", "alive")
        return nan_to_none({"methods": self.methods, **setting})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``key``, one per method; predictions also over ``layer`` and ``step``, NaN without one."""
        names = [field.name for field in fields(CatalogueEntry) if field.name not in ("key", "colour")]
        unknown = np.full((self.depth, self.steps), np.nan)
        profiles = [self.profiles.get(entry.key) for entry in self.methods]
        layers = {
            f"{name}_of_layers": np.array([getattr(profile, name, unknown).reshape(unknown.shape) for profile in profiles])
            for name in QUANTITIES
        }
        axes = {"key": ("key", [entry.key for entry in self.methods])} | axes_of(self)
        setting = named(self, "neuron", "fan_in", "width", "critical_gain")
        return dataset(records(self.methods, names, "key") | over_layers(layers, "key"), axes, **setting)

    def plot_layers(self, ensembles: Sequence[Ensemble] = ()) -> Any:
        """Variance and spikes of every layer for every method; returns a matplotlib Figure.

        ``ensembles`` from ``vf.simulate(found.networks)`` are drawn as dots, theory as lines.
        """
        return draw(self, ensembles=ensembles)

    def _table(self) -> Table:
        where = f"at width {self.width}"
        if self.steps > 1:
            survival = f"; survival at it: {self.alive}" if self.alive else ""
            where = f"over {self.steps} steps at infinite width (spikes: of {self.width} neurons{survival})"
        title = f"Catalogue for {self.neuron}, fan-in {self.fan_in}, to layer {self.depth} {where}"
        header = ("method", "gain", "std", "alive", "survival", "rate", "spikes", "syn. ops", "needs", "ignores")
        dispensable = ("ignores", "needs", "std", "syn. ops", "spikes")
        return Table(title, [_cells(entry) for entry in self.methods], header, dispensable=dispensable)


def _cells(entry: CatalogueEntry) -> tuple[str, ...]:
    gains = _text(entry.gain, ".4f"), _text(entry.weight_std, ".4g")
    activity = (entry.survival, entry.firing_rate, entry.spikes, entry.synaptic_operations)
    predicted = entry.alive or "–", *(_text(value, ".3g") for value in activity)
    return (entry.name, *gains, *predicted, entry.needs, entry.remark or entry.ignores)


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else "0" if abs(value) < 1e-99 else f"{value:{form}}"
