"""One neuron layer of an audit: what was measured and predicted, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._display import Shown, measured, plus_minus
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.model.surrogate import Surrogate
from varflow.results.export import Exported, ReadOnly

INPUT = "input"
MORE = ("dead", "verdict", "spikes")  # properties of layers that are exported
DESCRIBED = ("neuron", "surrogate")  # exported as text
# Late rate below which a layer is weak: half of the lowest (0.034) behind BatchNorm with SpikingJelly's defaults, which train;
# torch's default weights give 0.009 and less.
FLOOR = 0.015
MOSTLY = 0.8  # fraction of silent neurons above which a layer is weak; networks trained well on digits have up to 0.15
OFTEN = 3.0  # spikes per neuron, over inputs and steps, from which chance silences fewer: e⁻³ = 5 % if all have one rate
SATURATED = 0.5  # fraction of neurons spiking at every step above which a layer is saturated: the larger part carries no signal
WIDE = 100.0  # standard deviation of potentials in thresholds above which a layer is saturated (about 1 after init_model)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class AuditedLayer(ReadOnly, Exported, Shown):
    """One neuron layer. "Late" means the second half of the steps; means are over inputs.

    Attributes
    ----------
    name, neuron_name : str
        Names of the weight module and of the spiking module after it; several names are joined by ``+``.
    neuron : Neuron or None
        None for a neuron that is only measured.
    width : int
        Number of neurons for one input; patches that the model folds into the batch count as neurons.
    gain, bias_std, bias_mean : float
        ``√(fan-in · Var w)``, fan-in as torch counts it, and the moments of the biases, while the model runs; for several
        modules, those of their sum for similar inputs. NaN without weight modules.
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
    raster_overlap : float
        Mean overlap of the spikes of two inputs, ``Σ_t S_a·S_b / √(Σ_t |S_a|² Σ_t |S_b|²)``, over pairs of at most 16 inputs
        that the layer fires for: 1 if it does not tell them apart. NaN for fewer than two.
    predicted_overlap : float
        ``Σ_t E[S_a·S_b] / Σ_t E[|S|²]`` at infinite width, means over inputs: the same if they fire alike. NaN where theory
        does not know it, and in models with maps unless they normalise over the batch and maps are small.
    gradient_variance : float
        Mean square of the loss's gradient with respect to the weights, frozen ones included; NaN without a backward pass, and
        for weights that a hook computes before every call.
    gradient_norm : float
        Of the gradient by the layer's currents: ``√(Σ_t Σ_j (∂L/∂I_t)²)`` over steps and neurons, root mean square over inputs.
        Infinite if a gradient is not finite.
    predicted_gradient_norm : float
        NaN where theory does not know it: with a ``loss``, and for layers whose gradients pass something that is not covered,
        or a neuron whose surrogate is not known.
    gradient_gain : float
        ``χ = g² E[(∂S_t/∂I_t)²]``, late: the factor by which the backward pass multiplies the squared norm from the currents of
        the next layer, ``g`` its gain, to those of this one, without the paths through time. NaN if more than weights lies
        between the two layers.
    dead_gradients : float
        Fraction of neurons whose gradient is 0 for all inputs, at all steps.
    surrogate : Surrogate or None
        The surrogate derivative of the module, as in ``vf.surrogates``; None without a backward pass or if it is not known.
    needed_gain : float
        The gain ``init_model`` would set; behind other weights in a row, or a factor in the forward, the one that makes up for
        them. NaN if nothing needs fixing, it is unknown, or the neuron is an integrator.
    gains : dict of str to float
        Gains of the weight modules that set the scale of its currents, by name; empty if a normalisation sets it.
    normalised_by : str
        Name of the module that normalises its currents; empty if none does.
    output : bool
        True if its spikes go into no further layer. Such a layer is judged apart: it does not make the network unhealthy.
    operations : float
        Synaptic operations per input over all steps, in the weights between it and the neurons below: one per spike and
        connection. Weights that receive numbers (the input, currents of other weights, averages of spikes) multiply: one per
        connection of every number that is not 0. Of weights called for several layers, equal parts. Weights within a neuron
        that is known are counted too. NaN if there are none.
    sources : tuple of str
        The neurons whose spikes reach it, by weights, shortcuts or as factors, by name; ``"input"`` for the model's input.
    kept : str
        Why ``init_model`` leaves the scale of its currents as it is; empty if it sets it.
    classes : dict of str to str
        The class of each of its modules, by name.
    computed : dict of str to str
        Its modules whose weight is computed from other parameters, which ``vf.init.normal_`` cannot fill; each with the name of
        the parameter that multiplies the weight, empty if there is none.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> layer = vf.audit(model, torch.rand(8, 64), steps=8).layers[0]
    >>> layer.label, layer.neuron_name, layer.width, layer.output
    ('0 (Linear)', '1', 64, True)
    """

    name: str
    neuron_name: str
    neuron: Neuron | None
    width: int
    gain: float = math.nan
    bias_std: float = math.nan
    bias_mean: float = math.nan
    firing_rate: float
    predicted_rate: float = math.nan
    predicted_std: float = math.nan
    variance: float
    mean: float
    predicted_variance: float = math.nan
    dead_fraction: float
    saturated_fraction: float
    survival: np.ndarray
    firing_rates: np.ndarray
    raster_overlap: float = math.nan
    predicted_overlap: float = math.nan
    gradient_variance: float = math.nan
    needed_gain: float = math.nan
    gains: dict[str, float] = field(default_factory=dict)
    normalised_by: str = ""
    output: bool = False
    operations: float = math.nan
    gradient_norm: float = math.nan
    predicted_gradient_norm: float = math.nan
    gradient_gain: float = math.nan
    dead_gradients: float = math.nan
    surrogate: Surrogate | None = None
    sources: tuple[str, ...] = ()
    kept: str = ""
    classes: dict[str, str] = field(default_factory=dict)
    computed: dict[str, str] = field(default_factory=dict)

    _hidden, _derived = DESCRIBED, (*MORE, *DESCRIBED)

    @property
    def spikes(self) -> float:
        """Spikes of all its neurons, per input, over all steps."""
        return self.width * float(self.firing_rates.sum())

    @property
    def width_in_thresholds(self) -> float:
        """Standard deviation of the potentials in thresholds."""
        threshold = 0.0 if self.neuron is None else mean_of(self.neuron.threshold)
        return math.sqrt(self.variance) / threshold if threshold > 0 else math.nan

    @property
    def wide(self) -> bool:
        """True if potentials have a standard deviation above 100 thresholds, so that spikes hardly depend on the threshold."""
        return self.width_in_thresholds > WIDE

    @property
    def dead(self) -> bool:
        """True if it spikes late for none of the inputs."""
        return not self.survival.any()

    @property
    def idle(self) -> bool:
        """True if more than 80 % of its neurons are silent, more than chance explains."""
        return self.dead_fraction > MOSTLY and float(self.firing_rates.sum()) * len(self.survival) >= OFTEN

    @property
    def verdict(self) -> str:
        """``"dead"``; ``"weak"``: late rate below 0.015, or most neurons silent; ``"saturated"``: most neurons spike at every
        step, or potentials are more than 100 thresholds wide; else ``"healthy"``.
        """
        if self.dead:
            return "dead"
        if self.saturated_fraction > SATURATED or self.wide:
            return "saturated"
        return "weak" if self.firing_rate < FLOOR or self.idle else "healthy"

    @property
    def advice_as_output(self) -> str:
        """Advice on an output layer that is not healthy."""
        if self.verdict != "saturated":
            return "an output may fire little at first; training raises it where the layers below are healthy"
        lower = f"lower its gain, {self.gain:.4g}" if self.gains else "lower its currents"
        target = f", to {self.needed_gain:.4g}" if self.needed_gain < self.gain else ""
        return f"its spikes hardly depend on what it receives: {lower}{target}"

    @property
    def label(self) -> str:
        """Its name and class, as in ``fc2 (Linear)``. A sum of several modules is called by its neuron and the first of them;
        a module called for maps of several sizes has its own name for the first size only, then that of the neuron, which
        holds the size.
        """
        if ", " in self.neuron_name:  # such as "neuron (conv, 4×8×8)"
            return self.neuron_name
        return f"{with_class(self.neuron_name, self)} behind {weights_of(self)}" if "+" in self.name else weights_of(self)

    def scaled_to(self, gain: float) -> dict[str, float]:
        """The gains of its modules, scaled together so that the layer has this gain."""
        equal = 1 / math.sqrt(max(len(self.gains), 1))
        return {name: gain * (module_gain / self.gain if self.gain else equal) for name, module_gain in self.gains.items()}

    def first_to_mend(self, gain: float | None) -> tuple[str | None, float | None]:
        """The module with the largest gain, and the gain to give it so that the layer has ``gain`` (None if unknown)."""
        name = max(self.gains, key=lambda module: self.gains[module], default=None)
        return name, None if name is None or gain is None else self.scaled_to(gain)[name]


def weights_of(layer: Any) -> str:
    """Name and class of a layer's first weight module, and how many more there are; those of the neuron without any."""
    first, *more = layer.name.split("+")
    return with_class(first, layer) + (f" and {len(more)} more" if more else "")


def with_class(name: str, layer: Any) -> str:
    """A module as ``name (Class)``."""
    return f"{name or 'model'} ({layer.classes[name]})" if name in layer.classes else name


def row(layer: AuditedLayer, always: bool, back: bool, of_step: Mapping[str, float]) -> dict[str, str]:
    """Text of every column by its name; ``always``, ``back`` and ``of_step``: with those that not every audit has."""
    gradients = {
        "gradient": measured(layer.gradient_norm, ".3g"),
        "predicted gradient": measured(layer.predicted_gradient_norm, ".3g"),
        "χ": measured(layer.gradient_gain, ".3g"),
        "no grad": measured(layer.dead_gradients, ".1%"),
    }
    return {
        "layer": weights_of(layer),
        "neuron": layer.neuron_name,
        "gain": measured(layer.gain),
        "rate": f"{layer.firing_rate:.4f}",
        "predicted": measured(layer.predicted_rate, ".4f") + plus_minus(layer.predicted_std),
        "silent": f"{layer.dead_fraction:.1%}",
        "inputs": f"{layer.survival.mean():.0%}",
        "overlap": measured(layer.raster_overlap, ".3g"),
        "predicted overlap": measured(layer.predicted_overlap, ".3g"),
        **({"always": f"{layer.saturated_fraction:.1%}"} if always else {}),
        **(gradients if back else {}),
        **{name: measured(value, ".3g") for name, value in of_step.items()},
        "spikes": measured(layer.spikes, ".3g"),
        "SynOps": measured(layer.operations, ".3g"),
        "verdict": f"{layer.verdict} (output)" if layer.output else layer.verdict,
    }


def lost_inputs(layers: Sequence[AuditedLayer]) -> np.ndarray:
    """True for inputs that are silent on all ways to the last hidden layers, or to one of the outputs."""
    arrives: dict[str, np.ndarray] = {INPUT: np.ones(len(layers[0].survival), dtype=bool)}  # by source, for each input
    ends = []
    for layer in layers:
        arriving_by_source = [arrives[source] for source in layer.sources if source in arrives]
        arriving = np.any(arriving_by_source, axis=0) if arriving_by_source else arrives[INPUT]
        arrives[layer.neuron_name] = arriving & (layer.survival > 0)
        ends += [arriving] if layer.output else []
    further = {source for layer in layers for source in layer.sources if source != layer.neuron_name}
    last = [arrives[layer.neuron_name] for layer in layers if not layer.output and layer.neuron_name not in further]
    return ~np.all([*ends, *([np.any(last, axis=0)] if last else [])], axis=0)
