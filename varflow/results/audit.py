"""The result of an audit: a row per layer, the first dead one, the cause, and what would help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._checks import VarflowError, frozen, nan_to_none
from varflow._display import Shown, Table, figures
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.results.export import dataset, records

__all__ = ["CAUSES", "AuditReport", "AuditedLayer", "UnhealthyError"]

CAUSES = {
    "dead input": "the input is zero, always or in the second half of the steps: nothing drives the first layer",
    "first-layer scale": "the first layer's weights do not fit the scale of the data",
    "below the critical gain": "deep layers with this gain fall silent at any width",
    "starved": "its own gain would keep activity, but it receives too little from the layers below",
    "finite width": "activity would persist at infinite width; layers this narrow lose it by chance",
    "bias": "without its biases the network would keep firing: set them to 0",
    "leak or reset": "a memoryless neuron would keep firing at these gains; this one's leak or reset stops it",
    "normalisation": "a normalisation, not the gain, sets the scale of its currents: raise the normalisation's weight",
    "arrangement": "independent weights of the same moments would keep firing: redraw its weights",
    "beyond the theory": "the theory does not cover what it receives",
}
OVER = {"survival": "input", "firing_rates": "step"}  # second axis of quantities that a layer has several of
SHOWN = 6  # notes in the table
ENOUGH = 0.9  # fraction of the needed gain that is enough: drawn weights have their gain within a few per cent
SATURATED = 0.5  # fraction of neurons spiking at every step, above which a layer counts as saturated
WIDE = 100.0  # standard deviation of potentials in thresholds, above which a layer is unhealthy (about 1 after init_model)


class UnhealthyError(VarflowError, AssertionError):
    """A network unfit for training; ``.report`` is the audit."""

    def __init__(self, message: str, report: AuditReport):
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True, eq=False)
class AuditedLayer:
    """One neuron layer. "Late" means the second half of the steps; means are over inputs.

    Attributes
    ----------
    name, neuron_name : str
        Names of the weight module and of the spiking module after it; several names are joined by ``+``.
    neuron : Neuron, optional
        None for a layer that is only measured.
    width : int
        Number of neurons.
    gain, bias_std, bias_mean : float
        ``√(fan-in · Var w)``, fan-in as torch counts it, and the moments of the biases, while the model runs; for several
        modules, those of their sum for similar inputs.
    firing_rate, predicted_rate, predicted_std : float
        Late spikes per neuron and step: measured, predicted, and the predicted spread over networks and inputs; NaN where
        theory does not know them (the spread only of plain chains of dense layers).
    variance, mean : float
        Late variance over neurons, and mean, of the membrane at the spike test, before the reset.
    predicted_variance : float
        NaN where theory does not know it.
    dead_fraction, saturated_fraction : float
        Fraction of neurons that spike for no input, and at every step for every input.
    survival : ndarray, shape (inputs,)
        For each input, 1 if the layer spikes late, else 0.
    firing_rates : ndarray, shape (steps,)
    gradient_variance : float
        Mean square of the loss's gradient with respect to the weights, frozen ones included; NaN without a loss, and for
        weights that a hook computes before every call.
    needed_gain : float
        The gain ``init_model`` would set; NaN if nothing needs fixing or it is unknown.
    gains : dict of str to float
        Gains of the weight modules that set the scale of its currents, by name; empty if a normalisation sets it.
    normalised_by : str
        Name of the module that normalises its currents; empty if none does.
    """

    name: str
    neuron_name: str
    neuron: Neuron | None
    width: int
    gain: float
    bias_std: float
    bias_mean: float
    firing_rate: float
    predicted_rate: float
    predicted_std: float
    variance: float
    mean: float
    predicted_variance: float
    dead_fraction: float
    saturated_fraction: float
    survival: np.ndarray
    firing_rates: np.ndarray
    gradient_variance: float = math.nan
    needed_gain: float = math.nan
    gains: dict[str, float] = field(default_factory=dict)
    normalised_by: str = ""

    def __post_init__(self) -> None:
        for name in ("survival", "firing_rates"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def width_in_thresholds(self) -> float:
        """Standard deviation of the potentials in thresholds."""
        theta = 0.0 if self.neuron is None else mean_of(self.neuron.threshold)
        return math.sqrt(self.variance) / theta if theta > 0 else math.nan

    @property
    def wide(self) -> bool:
        """Whether potentials have a standard deviation above 100 thresholds, so that spikes hardly depend on the threshold."""
        return self.width_in_thresholds > WIDE

    @property
    def dead(self) -> bool:
        """Whether it spikes late for none of the inputs."""
        return not self.survival.any()

    def scaled_to(self, gain: float) -> dict[str, float]:
        """The gains of its modules, scaled together so that the layer has this gain."""
        equal = 1 / math.sqrt(max(len(self.gains), 1))
        return {name: gain * (own / self.gain if self.gain else equal) for name, own in self.gains.items()}

    def first_to_mend(self, gain: float | None) -> tuple[str | None, float | None]:
        """The module with the largest gain, and the gain to give it so that the layer has ``gain`` (None if unknown)."""
        name = max(self.gains, key=lambda each: self.gains[each], default=None)
        return name, None if name is None or gain is None else self.scaled_to(gain)[name]

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "neuron"}
        return nan_to_none(values | {"neuron": repr(self.neuron), "dead": self.dead})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AuditReport(Shown):
    """Every neuron layer of a model, measured and predicted over the same steps and inputs.

    Columns of the table: ``gain`` of the weights; late ``rate``, measured and ``predicted`` (``±`` is the predicted standard
    deviation over networks and inputs, not a standard error); late ``variance`` and ``mean`` of the potentials; ``dead``, the
    fraction of neurons that spike for no input; ``inputs``, the fraction of inputs for which the layer spikes late;
    ``always`` (if not all zero), the fraction of neurons that spike at every step.

    Attributes
    ----------
    layers : tuple of AuditedLayer
        In the order in which they run.
    steps, inputs : int
    first_dead : str or None
        Name of the first layer that spikes late for no input.
    cause : str or None
        Why, one of ``varflow.results.audit.CAUSES``.
    fix_layer : str or None
        Name of the weight module to change first: that of the dead layer, or of a layer below that starves it; without a dead
        layer, of one that loses inputs or whose potentials are far too wide. None if gains are not the cause.
    fix_gain : float or None
        The gain for that module, as ``init_model`` would set it. If a structure beyond the theory loses activity although all
        layers have that gain, 1.25 times the present gain of the lowest layer that hardly fires (repeat as needed).
    fixes : dict of str to float
        Gains for the weight modules of all layers that have clearly less than they need.
    predicted_by : str
        ``"theory"``; ``notes`` name what it does not cover.
    notes : tuple of str
    """

    layers: tuple[AuditedLayer, ...]
    steps: int
    inputs: int
    first_dead: str | None
    cause: str | None
    fix_layer: str | None
    fix_gain: float | None
    predicted_by: str
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> AuditedLayer:
        """A layer by its name, by that of its neuron, or of one of its weight modules."""
        for layer in self.layers:
            if name in (layer.name, layer.neuron_name, *layer.gains):
                return layer
        raise KeyError(name)

    @property
    def survival(self) -> np.ndarray:
        """For each input, the fraction of layers that spike late; shape (inputs,)."""
        return np.mean([layer.survival for layer in self.layers], axis=0)

    @property
    def problems(self) -> list[str]:
        """The problems found, as sentences; empty for a healthy network."""
        words = []
        if self.first_dead is not None:
            dead = self[self.first_dead]
            scale = f"gain {dead.gain:.4g}" if dead.gains else f"scaled by {dead.normalised_by}"
            words.append(f"{self.first_dead} is dead ({scale}): {self.cause}: {CAUSES[self.cause or '']}")
        else:
            lost = int(np.sum(self.survival < 1))
            if lost:
                words.append(f"{lost} of {self.inputs} inputs fall silent on the way")
        saturated = [layer.name for layer in self.layers if layer.saturated_fraction > SATURATED]
        if saturated:
            words.append(f"saturated, most neurons spike at every step: {', '.join(saturated)}")
        wide = [layer.name for layer in self.layers if layer.wide]
        if wide:
            most = max(layer.width_in_thresholds for layer in self.layers if layer.wide)
            loss = "spikes hardly depend on the threshold, and surrogate gradients vanish"
            words.append(f"potentials are {most:.3g} thresholds wide: {loss}: {', '.join(wide)}")
        if words and self.fix_layer is not None and self.fix_gain is not None:
            words[0] += self._advice(self.fix_layer, self.fix_gain)
        return words

    @property
    def fixes(self) -> dict[str, float]:
        lacking: dict[str, float] = {}
        for layer in self.layers:
            if layer.gain < ENOUGH * layer.needed_gain:
                lacking |= {name: gain for name, gain in layer.scaled_to(layer.needed_gain).items() if name not in lacking}
        return lacking if self.fix_layer is None or self.fix_gain is None else lacking | {self.fix_layer: self.fix_gain}

    def _advice(self, name: str, needed: float) -> str:
        gain = self[name].gains[name]
        factor = needed / gain if gain else math.inf
        off = max(factor, 1 / factor) if factor else math.inf
        much = f"weights of {name} are {off:.3g} times too {'small' if factor > 1 else 'large'}: " if off > 1.1 else ""
        more = len(self.fixes) - 1
        others = f"; .fixes lists {more} more" if more else ""
        at_once = "; vf.init.init_model sets all gains" if self.predicted_by == "theory" else ""
        return f"; {much}give {name} a gain of {needed:.4g}, by vf.init.normal_(weight, {needed:.4g}){others}{at_once}"

    @property
    def healthy(self) -> bool:
        """No dead layer, no input lost on the way, no saturated layer, no potentials wider than 100 thresholds."""
        return not self.problems

    def assert_healthy(self) -> None:
        """Raise :class:`UnhealthyError`, with the problems, unless the network is healthy."""
        if self.problems:
            raise UnhealthyError("; ".join(self.problems), self)

    def to_dict(self) -> dict[str, Any]:
        names = (*self.__dataclass_fields__, "fixes", "problems", "healthy")
        rows = {name: getattr(self, name) for name in names}
        return nan_to_none(rows | {"layers": [layer.to_dict() for layer in self.layers]})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` (by name), ``input`` and ``step``; ``to_dict`` has gains of single modules."""
        layers = [name for name in AuditedLayer.__dataclass_fields__ if name not in ("name", "neuron", "gains", *OVER)]
        variables = records(self.layers, (*layers, "dead"), "layer")
        variables |= {name: (("layer", axis), [getattr(layer, name) for layer in self.layers]) for name, axis in OVER.items()}
        names = ("first_dead", "cause", "fix_layer", "fix_gain", "predicted_by", "healthy")
        found = {name: getattr(self, name) for name in names} | {"notes": "; ".join(self.notes)}
        axes = {"layer": ("layer", [layer.name for layer in self.layers]), "step": ("step", np.arange(1, self.steps + 1))}
        return dataset(variables, axes, **found)

    def plot(self) -> Any:
        """Measured and predicted late rate, and variance, over layers: a matplotlib figure."""
        return figures().draw(self)

    def _table(self) -> Table:
        always = any(layer.saturated_fraction for layer in self.layers)
        rows = [
            (
                layer.name,
                f"{layer.gain:.4g}",
                f"{layer.firing_rate:.4f}",
                _predicted(layer),
                f"{layer.variance:.4g}",
                f"{layer.mean:.3g}",
                f"{layer.dead_fraction:.1%}",
                f"{layer.survival.mean():.0%}",
                *([f"{layer.saturated_fraction:.1%}"] if always else []),
            )
            for layer in self.layers
        ]
        longest = max(5, *(len(layer.name) for layer in self.layers))
        layout = f"{{:<{longest}}} {{:>8}} {{:>8}} {{:>17}} {{:>9}} {{:>9}} {{:>8}} {{:>8}}{' {:>7}' if always else ''}"
        header = (
            "layer",
            "gain",
            "rate",
            "predicted",
            "variance",
            "mean",
            "dead",
            "inputs",
            *(["always"] if always else []),
        )
        title = f"AuditReport: {self.steps} steps, {self.inputs} inputs, predicted by {self.predicted_by}"
        return Table(title, layout, rows, header, [*(self.problems or ["healthy"]), *_few(self.notes)], "  ! ")


def _predicted(layer: AuditedLayer) -> str:
    if math.isnan(layer.predicted_rate):
        return "–"
    return f"{layer.predicted_rate:.4f}" + ("" if math.isnan(layer.predicted_std) else f" ± {layer.predicted_std:.2g}")


def _few(notes: tuple[str, ...]) -> list[str]:
    return list(notes) if len(notes) <= SHOWN else [*notes[:SHOWN], f"and {len(notes) - SHOWN} more in .notes"]
