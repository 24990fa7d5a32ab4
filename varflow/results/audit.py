"""The result of an audit: a row per layer, the first dead one, the cause, and what would help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from varflow._checks import DomainError, VarflowError
from varflow._display import Drawn, Table, measured, several, without_path, wrapped
from varflow.model.surrogate import Surrogate
from varflow.results.audited_layer import DESCRIBED, FLOOR, MORE, MOSTLY, SATURATED, AuditedLayer, lost_inputs, row, with_class
from varflow.results.causes import CAUSES
from varflow.results.cost import Cost
from varflow.results.export import DISPENSABLE, Exported, dataset, named, numbered, records
from varflow.results.learning import Learning
from varflow.results.rounded_model import RoundedModel
from varflow.results.update import STEP, OptimizerStep

BY_MODULE = ("gains", "classes", "computed", "sources")  # not in a dataset
OVER = {"survival": "input", "firing_rates": "step"}  # second axis of quantities that a layer has several of
SHOWN = 6  # notes in the table
NAMED = 2  # names in a sentence
VANISHED = 1e-3  # gradient norm of the first layer over the last's below which gradients vanish; above the inverse they explode
ENOUGH = 0.9  # fraction of the needed gain that is enough: drawn weights have their gain within a few per cent


class UnhealthyError(VarflowError, AssertionError):
    """A network unfit for training; ``.report`` is the audit."""

    def __init__(self, message: str, report: AuditReport):
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AuditReport(Exported, Drawn):
    """Every neuron layer of a model, measured and predicted over the same steps and inputs.

    Columns of the table: ``layer``, name and class of the weight module, and ``neuron``, the name of the spiking module, both
    of which ``report[name]`` takes; ``gain`` of the weights; late ``rate``, measured and ``predicted`` (``±`` is the predicted
    standard deviation over networks and inputs, not a standard error); ``silent``, the fraction of neurons that spike for no
    input; ``inputs``, the fraction of inputs for which the layer spikes late; ``always`` (if not all zero), the fraction of
    neurons that spike at every step; ``overlap``, the mean overlap of the spikes of two inputs, and ``predicted overlap``;
    ``spikes`` and synaptic operations ``SynOps`` per input over all steps, the last row in total; the ``verdict``.
    After a backward pass also ``gradient``, the norm by the layer's currents, and ``predicted gradient``; ``χ``, by which one
    step multiplies its square from the next layer; ``no grad``, the fraction of neurons that no gradient reaches. With an
    optimiser also ``direct``, ``currents``, ``flips`` and ``kept`` of its next step. Columns that the terminal is too narrow
    for are named below; notebooks show all.

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
        Name of the weight module to change first: of the lowest layer that hardly fires (late rate below 0.1) and has clearly
        less than the gain it needs. If none has less, or weights need only be redrawn: of the dead layer, or without one, of a
        layer that loses inputs or whose potentials are far too wide. None if gains are not the cause.
    fix_gain : float or None
        The gain for that module, as ``init_model`` would set it. Where all layers have it and a structure beyond the theory
        still loses activity, a guess, to be repeated: 1.25 times the present gain of the lowest layer that hardly fires.
    fixes : dict of str to float
        ``fix_gain`` for ``fix_layer``, and gains for the weight modules of all layers above with clearly less than they need.
        If ``fix_gain`` is smaller than the present gain: of all layers with clearly more or less.
    method : str
        How rates, their spread, survival and variances were predicted: from ``"sampled networks"`` of the model's widths, with
        weights of the same moments (plain chains of dense layers), or at ``"infinite width"``: in closed form for one step and
        for neurons without reset, else by quasi-Monte Carlo, as overlaps and gradients. ``notes`` name what is not covered.
    notes : tuple of str
    fix_surrogate : Surrogate or None
        The surrogate derivative of the same formula with which the gradient norm of the first layer is that of the last, if
        gradients vanish or explode and theory covers them. None if a hidden layer is dead or gradients are cut.
    step : OptimizerStep or None
        What the next step of the optimiser changes in each layer.
    cost : Cost or None
        Spikes and synaptic operations of one input as counted, readouts and recurrent weights included.
    uncounted : tuple of str
        What the operations leave out: products of attention, and weights within neurons that are not known.
    learning : Learning or None
        Will it learn? None for networks with a dead hidden layer, single inputs, and where no gradient is to be had.
    rounding : RoundedModel or None, predictions with weights of few bits

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> parts = [part for _ in range(3) for part in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> model = torch.nn.Sequential(*parts)
    >>> report = vf.audit(model, torch.rand(8, 64), steps=8)
    >>> report.healthy, report.cause, list(report.fixes)
    (False, 'below the critical gain', ['0', '2', '4'])
    >>> report["2"].label, report["2"].verdict
    ('2 (Linear)', 'dead')
    """

    layers: tuple[AuditedLayer, ...]
    steps: int
    inputs: int
    first_dead: str | None
    cause: str | None
    fix_layer: str | None
    fix_gain: float | None
    method: str
    notes: tuple[str, ...] = field(default=())
    fix_surrogate: Surrogate | None = None
    step: OptimizerStep | None = None
    learning: Learning | None = None
    rounding: RoundedModel | None = None
    cost: Cost | None = None
    uncounted: tuple[str, ...] = ()

    _derived = ("fixes", "problems", "remarks", "healthy", "spikes", "operations", "gradient_growth")

    def __getitem__(self, name: str) -> AuditedLayer:
        """A layer by its name, by that of its neuron, or of one of its weight modules."""
        for layer in self.layers:
            if name in (layer.name, layer.neuron_name, *layer.gains):
                return layer
        raise KeyError(name)

    @property
    def survival(self) -> np.ndarray:
        """Fraction of layers that spike late for each input, shape (inputs,)."""
        return np.mean([layer.survival for layer in self.layers], axis=0)

    @property
    def hidden(self) -> list[AuditedLayer]:
        """All layers but the outputs."""
        return [layer for layer in self.layers if not layer.output]

    @property
    def spikes(self) -> float:
        """Spikes of all layers, per input."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def operations(self) -> float:
        """Synaptic operations of all layers and readouts, per input, without what ``uncounted`` names."""
        return math.nan if self.cost is None else self.cost.operations

    @property
    def problems(self) -> list[str]:
        """The problems of the hidden layers, as sentences; empty for a healthy network."""
        words = []
        dead = next((layer for layer in self.hidden if layer.dead), None)
        if dead is not None:
            words.append(self._death(dead))
        else:
            if lost := np.count_nonzero(lost_inputs(self.layers)):
                words.append(f"{lost} of {self.inputs} inputs fall silent on the way")
            words += self._weak()
        words += self._saturated()
        if words:
            words[0] += self._advice()
        if dead is not None:
            return words
        forgets = [self.learning.words] if self.learning is not None and self.learning.verdict == "forgets" else []
        return [*words, *self._untrainable(), *forgets]

    def _death(self, layer: AuditedLayer) -> str:
        scale = f"gain {layer.gain:.4g}" if layer.gains else f"scaled by {layer.normalised_by or 'no weights of its own'}"
        scale += f", {layer.needed_gain:.4g} is needed" if layer.gains and layer.gain < layer.needed_gain else ""
        why = f": {self.cause}: {CAUSES[self.cause]}" if layer.name == self.first_dead and self.cause else ""
        when = " in the second half of the steps" if self.steps > 1 else ""
        return f"{layer.label} never spikes{when} ({scale}){why}"

    def _weak(self) -> list[str]:
        few = [layer for layer in self.hidden if not layer.dead and layer.firing_rate < FLOOR]
        idle = [layer for layer in self.hidden if layer.idle and layer not in few]
        lowest = min((layer.firing_rate for layer in few), default=0.0)
        return [
            *_of_layers(f"weak, late rates below {FLOOR:g} (down to {lowest:.2g})", few),
            *_of_layers(f"weak, more than {MOSTLY:.0%} of neurons spike for none of these inputs", idle),
        ]

    def _saturated(self) -> list[str]:
        saturated = [layer for layer in self.hidden if layer.saturated_fraction > SATURATED]
        wide = [layer for layer in self.hidden if layer.wide]
        widest = max((layer.width_in_thresholds for layer in wide), default=0.0)
        loss = "spikes hardly depend on the threshold, and surrogate gradients vanish"
        return [
            *_of_layers("saturated, most neurons spike at every step", saturated),
            *_of_layers(f"potentials are {widest:.3g} thresholds wide: {loss}", wide),
        ]

    @property
    def gradient_growth(self) -> float:
        """Factor per layer, towards the input, of the squared gradient norm; NaN without a backward pass or with one layer."""
        norms = [layer.gradient_norm for layer in self.layers if math.isfinite(layer.gradient_norm)]
        return (norms[0] / norms[-1]) ** (2 / (len(norms) - 1)) if len(norms) > 1 and norms[-1] else math.nan

    def _untrainable(self) -> list[str]:
        endless = [layer for layer in self.layers if math.isinf(layer.gradient_norm)]
        if endless:
            return [f"gradients are not finite (surrogate {endless[-1].surrogate or 'unknown'}) in {_named(endless)}"]
        words = []
        if self._fading() and not self._learns_by_adam():
            words.append(f"alive but untrainable: {self._fate()}; {self._where_cut() or self._other_surrogate()}")
        cut = [layer for layer in self.hidden if layer.dead_gradients > MOSTLY]
        if cut:
            words.append(f"no gradient reaches more than {MOSTLY:.0%} of the neurons of {_named(cut)}")
        return words

    def _fading(self) -> bool:
        """True if gradients vanish or explode."""
        growth, between = self.gradient_growth, sum(math.isfinite(layer.gradient_norm) for layer in self.layers) - 1
        return math.isfinite(growth) and not VANISHED <= growth ** (between / 2) <= 1 / VANISHED

    def _learns_by_adam(self) -> bool:
        """True if gradients fade or explode, but arrive, in a network like those that learned with Adam."""
        learns = self.learning is not None and self.learning.verdict == "learns"
        return learns and self.asks_for_surrogate() and self.gradient_growth > 0

    def _fate(self) -> str:
        growth, gains = self.gradient_growth, [layer.gradient_gain for layer in self.layers if layer.gradient_gain > 0]
        chi = f" (χ = {math.exp(float(np.mean(np.log(gains)))):.2g} at one step)" if gains else ""
        return f"gradients {'vanish' if growth < 1 else 'explode'}, {_per_layer(growth)}{chi}"

    def asks_for_surrogate(self) -> bool:
        """True if another surrogate would help: gradients vanish or explode in a network that fires, and are not cut."""
        return self._fading() and not self._where_cut() and not any(layer.dead for layer in self.hidden)

    def _where_cut(self) -> str:
        """Words for layers between which gradients stop although the surrogate lets them through; empty without any."""
        for layer, receiver in reversed(list(pairwise(self.layers))):
            if layer.gradient_norm == 0 < receiver.gradient_norm and layer.gradient_gain != 0:
                return f"{receiver.label} passes none on to {layer.label}: look there for detach() or torch.no_grad"
        return ""

    def _other_surrogate(self) -> str:
        old, new = next((layer.surrogate for layer in self.layers if layer.surrogate), None), self.fix_surrogate
        if old is None or new is None:
            return "change the width of the surrogate"
        return f"{'widen' if new.width > old.width else 'narrow'} the surrogate to {new}"

    @property
    def remarks(self) -> list[str]:
        """Sentences on output layers, judged on their own, on gains with which layers fire nearly all they can, and on
        gradients that vanish or explode where Adam learns.
        """
        odd = [layer for layer in self.layers if layer.output and layer.verdict != "healthy"]
        words = [f"output layer {l.label} is {l.verdict} (rate {l.firing_rate:.2g}): {l.advice_as_output}" for l in odd]
        rates, widths = ([getattr(layer, name) for layer in self.hidden] for name in ("firing_rate", "width_in_thresholds"))
        if rates and min(rates) > 0.375 and min(widths) > 3 and not self.problems:  # near 1/2, the limit of large gains
            rates_said = f"late rates of {min(rates):.2g} to {max(rates):.2g} are near the most that large gains give"
            widths_said = f"potentials {min(widths):.2g} to {max(widths):.2g} thresholds wide"
            words.append(
                f"{rates_said}, with {widths_said}: spikes say little of currents; vf.init.init_model sets a rate of 0.2"
            )
        if self._learns_by_adam():
            width = f" ({self.fix_surrogate})" if self.fix_surrogate else ""
            wider = f"a wider surrogate{width}, which helped Adam too"
            needs = "a far smaller learning rate" if self.gradient_growth > 1 else wider
            words.append(f"{self._fate()}: Adam, which rescales them, learned such networks; plain SGD needs {needs}")
        return words

    @property
    def fixes(self) -> dict[str, float]:
        if self.fix_layer is None or self.fix_gain is None:
            return {}
        gains, first = {self.fix_layer: self.fix_gain}, self[self.fix_layer]
        too_large = self.fix_gain < first.gains[self.fix_layer]
        for layer in self.layers[0 if too_large else self.layers.index(first) :]:
            if layer.gain < ENOUGH * layer.needed_gain or (too_large and layer.needed_gain < ENOUGH * layer.gain):
                gains = layer.scaled_to(layer.needed_gain) | gains
        return {name: gains[name] for layer in self.layers for name in layer.gains if name in gains}

    def remedy(self, name: str) -> str:
        """One of ``fixes`` as a line of code, or in words for a weight that is computed from other parameters."""
        if not isinstance(name, str) or name not in self.fixes:
            raise DomainError("name", name, f"is none of .fixes: {', '.join(self.fixes) or 'there are none'}")
        layer, gain = self[name], self.fixes[name]
        factor = gain / layer.gains[name] if layer.gains[name] else math.inf
        match layer.computed.get(name):
            case None:
                path = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
                return f"vf.init.normal_(model{path}.weight, {gain:.4g})"
            case "":
                return f"multiply the output of {name}, whose weight no parameter scales, by {factor:.3g}"
            case parameter:
                return f"multiply {parameter} by {factor:.3g}"

    def _advice(self) -> str:
        """Advice on the first problem: one module and its gain, if known."""
        n_unset = sum(bool(layer.kept) for layer in self.layers)
        at_once = f"vf.init.init_model sets {'the other' if n_unset else 'all'} layers" if n_unset < len(self.layers) else ""
        if self.fix_layer is None or self.fix_gain is None:
            helps = self.cause != "dead input" and any(layer.verdict in ("dead", "weak") for layer in self.hidden)
            return f". {at_once}" if helps and at_once else ""
        name, needed = self.fix_layer, self.fix_gain
        layer = self[name]
        gain, module = layer.gains[name], with_class(name, layer)
        factor = needed / gain if gain else math.inf
        off = max(factor, 1 / factor) if factor else math.inf
        by_theory = needed == layer.scaled_to(layer.needed_gain).get(name)
        size, unknown = "small" if factor > 1 else "large", f". {module} needs a larger gain, theory does not know which"
        much = f". Weights of {module} are {off:.3g} times too {size}" if 1.1 < off < math.inf else ""
        number = len(self.fixes) - 1
        more = [f"{several(number, 'more module')} need{'s' * (number == 1)} it too (.fixes)"] if number else []
        others = ", or ".join([*more, *([at_once] if at_once else [])])
        return f"{much if by_theory else unknown}. To begin with: {self.remedy(name)}" + (f". {others}" if others else "")

    @property
    def healthy(self) -> bool:
        """True if no hidden layer is dead, weak or saturated, no input is lost on the way through them, and it does not forget
        its input.
        """
        return not self.problems

    def summary(self) -> str:
        """The verdict, the range of late rates, the cause of silence, what to change, and the cost of an input."""
        silent = sum(layer.dead for layer in self.layers)
        low, *_, high = sorted([*self.layers, self.layers[0]], key=lambda layer: layer.firing_rate)
        change = [self.remedy(name) for name in self.fixes]
        if not change and self.learning is not None:
            change = [f"{name} (learns up to {layers:.0f} layers)" for name, layers in self.learning.remedies.items()]
        if self.step is not None and self.step.off:
            change.append(f"learning rate {self.step.rate:.2g}, now {self.step.learning_rate:.2g}")
        problem = f"{silent} of {len(self.layers)} layers are silent" if silent else "".join(self.problems[:1])
        lines = {
            "verdict": problem or self._fit().partition(" (")[0],
            "rates": f"{low.firing_rate:.3g} in {low.label} to {high.firing_rate:.3g} in {high.label}",
            "cause": f"{self.cause}: {CAUSES[self.cause]}" if self.cause else "nothing is silent",
            "change": first_of([each.replace(" ", "\u00a0") for each in change]) or "nothing",
            "cost": f"{self.spikes:.3g} spikes and {self.operations:.3g} synaptic operations per input"
            + (f"; not counted: {first_of([*self.uncounted])}" if self.uncounted else ""),
        }
        rows = [wrapped(f"{name:9}{words}", 80, 9) for name, words in lines.items()]
        return "\n".join(rows).replace("\u00a0", " ")

    def assert_healthy(self) -> None:
        """Raise :class:`UnhealthyError`, with the problems, unless the network is healthy."""
        if self.problems:
            raise UnhealthyError(". ".join(self.problems), self)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` (by name), ``input`` and ``step``; ``to_dict`` has gains of single modules."""
        layers = [name for name in AuditedLayer.__dataclass_fields__ if name not in ("name", *BY_MODULE, *DESCRIBED, *OVER)]
        variables = records(self.layers, (*layers, *MORE), "layer")
        variables |= {name: (("layer", axis), [getattr(layer, name) for layer in self.layers]) for name, axis in OVER.items()}
        attributes = named(self, "first_dead", "cause", "fix_layer", "fix_gain", "method", "healthy")
        if self.step is not None:
            rows = [self.step.of(layer.neuron_name) for layer in self.layers]
            variables |= {name: ("layer", [row[name] for row in rows]) for name in STEP}
        axes = {"layer": ("layer", [layer.name for layer in self.layers])} | numbered(step=self.steps)
        return dataset(variables, axes, **attributes, notes="; ".join(self.notes))

    def _fit(self) -> str:
        """Words for a network without problems."""
        if self.learning is None:
            return "healthy"
        return self.learning.words if self.learning.verdict == "unknown" else f"healthy; {self.learning.words}"

    def _table(self) -> Table:
        always = any(layer.saturated_fraction for layer in self.layers)
        back = any(math.isfinite(layer.gradient_norm) for layer in self.layers)
        of_steps = [{} if self.step is None else self.step.of(layer.neuron_name) for layer in self.layers]
        columns = [row(layer, always, back, of_step) for layer, of_step in zip(self.layers, of_steps, strict=True)]
        where, rows = without_path([tuple(of_layer.values()) for of_layer in columns], 2)
        if self.cost is not None and (readout := self.cost.macs[-1] + self.cost.acs[-1]):
            rows.append(("readout", *[""] * (len(columns[0]) - 3), measured(readout, ".3g"), ""))
        total = (measured(number, ".3g") for number in (self.spikes, self.operations))
        rows.append(("total", *[""] * (len(columns[0]) - 4), *total, ""))
        predicted = any(math.isfinite(layer.predicted_rate) for layer in self.layers)
        by = f"predicted: {self.method}" if predicted else "without a prediction"
        title = f"AuditReport{where}: {several(self.steps, 'step')}, {several(self.inputs, 'input')}, {by}"
        rest = [f"and {len(self.notes) - SHOWN} more in .notes"] if len(self.notes) > SHOWN else []
        of_step = () if self.step is None else self.step.notes
        remarks = [*(self.problems or [self._fit()]), *self.remarks, *of_step, *self.notes[:SHOWN], *rest]
        return Table(title, rows, tuple(columns[0]), remarks, "  ! ", DISPENSABLE)


def _per_layer(growth: float) -> str:
    if not growth:
        return "none reaches the first layer"
    return f"their square {'falls' if growth < 1 else 'grows'} {max(growth, 1 / growth):.3g}-fold per layer"


def _of_layers(words: str, layers: list[AuditedLayer]) -> list[str]:
    """These words of these layers, by name; nothing without any."""
    return [f"{words}: {_named(layers)}"] if layers else []


def _named(layers: list[AuditedLayer]) -> str:
    return first_of([layer.label for layer in layers])


def first_of(names: list[str]) -> str:
    """The first two names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
