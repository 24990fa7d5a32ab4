"""A traced pass with measurements: membranes and spikes of every layer, from the currents into its neurons and the spikes they
return. If the model draws random numbers in its forward, means of several passes.

The membrane at the spike test is reconstructed by the neuron's update, so that it is the same quantity for libraries that
return it before or after the reset. Where the neuron is not known, or the spikes that it implies differ from those returned,
only spikes are measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow.model.inner_weights import InnerWeights
from varflow.model.neurons import Neuron
from varflow.results import AuditedLayer, late_steps
from varflow.results.export import named
from varflow.results.kernel import overlaps_of_pairs
from varflow.simulation.neurons import Cells, fired, go_on, through_synapse
from varflow.torch_models.tracing.checks import notes_on_steps, unlike_their_class, words_of_what_stays
from varflow.torch_models.tracing.modules import Neurons
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.trace import trace
from varflow.torch_models.tracing.traced import Trace, TracedLayer, batch_of, flat, in_single, stacked, steps_first
from varflow.torch_models.tracing.weights import Moments, record_moments

COMPARED = 16  # inputs of a batch, evenly spaced, whose spikes are compared with each other's
FOLLOWED = 8  # inputs of a batch, evenly spaced, whose membranes are reconstructed; spikes are counted for all
PENDING = 2**18  # numbers of one layer that are buffered, so that several steps run while its membranes are in the cache
DISAGREEING = 1e-3, 5e-2  # fraction of spikes that may differ by rounding, in single and in half precision


@dataclass(frozen=True, slots=True)
class LayerMeasurement:
    """Measurements of one layer: ``firing_rate`` (steps, inputs); ``variance`` and ``mean`` of the membranes over neurons
    (steps,), averaged over at most ``FOLLOWED`` inputs, NaN if they are not known; ``alive`` (inputs,), whether it spikes late;
    the fractions of neurons that never and always spike; ``width``; ``raster_overlap``, the mean over pairs of at most
    ``COMPARED`` inputs, NaN if fewer than two fire; ``reason``, in words that follow the layer's name, why
    its membranes are not known although its equations are.
    """

    firing_rate: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    alive: np.ndarray
    dead_fraction: float
    saturated_fraction: float
    width: int
    raster_overlap: float = math.nan
    reason: str = ""

    @property
    def late_rate(self) -> float:
        """Mean spikes per neuron and step in the late half of the steps."""
        return float(self.firing_rate[late_steps(len(self.firing_rate))].mean())

    @property
    def late(self) -> dict[str, Any]:
        """Rate, variance and mean of the membranes in the late half of the steps; fractions of neurons; overlap."""
        half, others = late_steps(len(self.variance)), ("dead_fraction", "saturated_fraction", "raster_overlap")
        membranes = {name: float(getattr(self, name)[half].mean()) for name in ("variance", "mean")}
        return {"firing_rate": self.late_rate} | membranes | {name: float(getattr(self, name)) for name in others}


def measured_layer(traced: Trace, layer: TracedLayer, seen: LayerMeasurement) -> AuditedLayer:
    """Measurements of a pass, and the layers before this one."""
    return AuditedLayer(
        **named(layer, "name", "neuron_name", "neuron", "classes"),
        **seen.late,
        width=seen.width,
        firing_rates=seen.firing_rate.mean(1),
        survival=seen.alive,
        output=layer.neuron_name in traced.outputs,
        sources=tuple(sorted(traced.senders_to(layer))),
        operations=float(layer.operations[:2].sum()) / len(seen.alive),
    )


class Recorder:
    """Records every neuron layer, call by call; passed to ``trace`` as ``record``. Mostly sums are kept."""

    def __init__(self) -> None:
        self.layers: dict[str, _LayerRecorder] = {}

    @full_precision()
    def __call__(self, layer: TracedLayer, current: Any, spikes: Any) -> None:
        recorder = self.layers.get(layer.neuron_name)
        if recorder is None:
            recorder = self.layers[layer.neuron_name] = _LayerRecorder(layer)
        recorder.call(current, spikes)

    @full_precision()
    def results(self, inputs: Any = ()) -> dict[str, LayerMeasurement]:
        """Measurements of every layer, by the inputs of the model."""
        layers = {name: recorder.result() for name, recorder in self.layers.items()}
        batch = batch_of(inputs, [len(seen.alive) for seen in layers.values()])
        return {name: _by_input(seen, batch) for name, seen in layers.items()}


def _by_input(seen: LayerMeasurement, inputs: int) -> LayerMeasurement:
    """Measurements by inputs of the model. Rows of one input, such as patches that a model folds into the batch, follow each
    other and together are its neurons. Inputs without rows of their own spike late if one of them does. Overlaps of rows are
    not those of inputs.
    """
    rows = len(seen.alive)
    alive = seen.alive.reshape(inputs, -1).any(1) if rows % inputs == 0 else np.full(inputs, seen.alive.any())
    overlap = seen.raster_overlap if rows == inputs else math.nan
    return replace(seen, alive=alive, width=-(-seen.width * rows // inputs), raster_overlap=overlap)


class _LayerRecorder:
    """One layer's sums of spikes, and its membranes, if its neuron is known."""

    def __init__(self, layer: TracedLayer):
        self.layer = layer
        self.membranes = None if layer.spiking.neuron is None else _MembraneSums(layer)
        self.reason = ""
        neuron = layer.spiking.neuron
        self.binary = neuron is not None and not neuron.reset_rule.counts
        self.each_input: Any = None  # ones, whose products with the spikes are sums over inputs
        self.each_neuron: Any = None
        self.followed: Any = None  # the inputs whose membranes are reconstructed
        self.compared: Any = None  # the inputs whose spikes are compared
        self.gram: Any = None  # Σ_t Σ_j S_a S_b of every two of them
        self.counts: Any = None  # number of steps and inputs with a spike, per neuron
        self.spikes: list[Any] = []  # per step: sums over the neurons, one entry per input

    def call(self, current: Any, spikes: Any) -> None:
        spiking, membranes = self.layer.spiking, self.membranes
        if membranes is not None:
            membranes.half_precision |= current.dtype.itemsize < 4
            current = current if spiking.entry is None else spiking.entry(in_single(current))
            if current.numel() != spikes.numel():  # weights between them
                shapes = f"receives shape {tuple(current.shape)} and returns {tuple(spikes.shape)}"
                self.reason, self.membranes, membranes = f"{shapes}: its equations cannot be stepped on that", None, None
        if spiking.time_axis is None:
            return self._step(current, spikes)
        several = steps_first(spiking, spikes).unbind()
        for step in zip(steps_first(spiking, current).unbind() if membranes else several, several, strict=True):
            self._step(*step)

    def _step(self, current: Any, spikes: Any) -> None:
        S = flat(self.layer, spikes)
        if self.counts is None:
            self.each_input, self.each_neuron = map(S.new_ones, S.shape)
            self.counts = S.new_zeros(S.shape[1])
            self.followed, self.compared = (_evenly(len(S), most, S.device) for most in (FOLLOWED, COMPARED))
            self.gram = S.new_zeros(len(self.compared), len(self.compared))
        if len(S) != len(self.each_input):  # which inputs left the batch is not known
            self.each_input, self.compared, self.membranes = S.new_ones(len(S)), None, None
        if self.compared is not None:
            compared = S.index_select(0, self.compared)
            self.gram.addmm_(compared, compared.T)
        self.spikes.append(S.mv(self.each_neuron))
        self.counts.addmv_((S if self.binary else S.sign().abs_()).T, self.each_input)  # S > 0 takes 30 times as long
        if self.membranes is not None:  # copies: views would keep all inputs in memory
            H, S = (flat(self.layer, values).index_select(0, self.followed) for values in (current, spikes))
            self.membranes.step(H, S, spikes.shape)

    def result(self) -> LayerMeasurement:
        S, counts = _numbers(stacked(self.spikes)), _numbers(self.counts)
        (width,) = counts.shape
        never, always = (np.count_nonzero(counts == number) / width for number in (0, sum(map(len, self.spikes))))
        variance = mean = np.full(len(S), math.nan)
        reason = self.reason if self.membranes is None else self.membranes.unlike(self.layer.neuron)
        if self.membranes is not None and not reason:
            variance, mean = self.membranes.moments()
        alive = S[late_steps(len(S))].max(0) > 0
        overlaps = overlaps_of_pairs(_numbers(self.gram))
        overlap = float(overlaps.mean()) if overlaps.size and self.compared is not None else math.nan
        return LayerMeasurement(S / width, variance, mean, alive, never, always, width, overlap, reason)


class _MembraneSums:
    """Sums of the membranes of some inputs, stepped a few steps at a time."""

    def __init__(self, layer: TracedLayer):
        self.spiking, self.neuron = layer.spiking, layer.neuron
        self.cells: Any = None
        self.filtered: Any = 0.0  # current of the synapse
        self.before: Any = None  # membranes and spikes of the last step
        self.after: Any = None  # what lasts after spikes
        self.shape: Any = None  # of all spikes at one step
        self.each_neuron: Any = None  # ones
        self.half_precision = False
        self.pending: list[tuple[Any, Any]] = []  # per step: currents and spikes of the followed inputs
        self.sums: list[Any] = []  # of H over the neurons, shape (steps, followed)
        self.norms: list[Any] = []  # of H over neurons and followed inputs, shape (steps,)
        self.differing: list[Any] = []  # norms of returned minus implied spikes

    def step(self, current: Any, spikes: Any, shape: Any) -> None:
        self.shape = shape
        self.pending.append((current, spikes))
        if len(self.pending) * spikes.numel() >= PENDING and not self.neuron.longer_filter:
            self._continue()

    def _continue(self) -> None:
        """Step the membranes through the buffered steps."""
        if not self.pending:
            return
        H, S = (torch.stack(values) for values in zip(*self.pending, strict=True))
        self.pending.clear()
        if self.neuron.input_scale != 1:
            H.mul_(self.neuron.input_scale)
        if self.neuron.longer_filter:  # of all steps
            H = through_synapse(H.movedim(0, -2), self.neuron).movedim(-2, 0)
        if self.cells is None:
            self.each_neuron = H.new_ones(H.shape[-1])
            self.cells = self._cells(H)
        for current, spikes in zip(H.unbind(), S.to(H.dtype).unbind(), strict=True):
            self._to_membrane(current, spikes)
        norm = torch.linalg.vector_norm
        self.differing.append(norm(fired(H, self.cells).sub_(S)))  # first, as integer registers round H
        self.sums.append(H @ self.each_neuron)
        self.norms.append(norm(H.flatten(1), dim=1))

    def _cells(self, like: Any) -> Cells:
        """The neurons, each with its own threshold and decay."""
        cells, rule = _cells_of(self.neuron, like.device, like.dtype), self.neuron.reset_rule
        if not self.spiking.values:
            return cells
        shape = self.shape[1:] if math.prod(self.shape) != len(self.each_neuron) else self.shape  # without the inputs
        values = {name: value.to(like).expand(shape).reshape(1, -1) for name, value in self.spiking.values.items()}
        cells = replace(cells, **values)
        taken = (1.0 if rule.delayed else cells.decay) * rule.threshold * cells.threshold
        lowest = None if rule.lowest is None else cells.decay * rule.lowest * cells.threshold
        return replace(cells, subtracted=taken if rule.threshold else None, lowest=lowest)

    def _to_membrane(self, current: Any, spikes: Any) -> None:
        """Turn a scaled current into the membrane at the spike test, in place, given the returned spikes of the step before."""
        if self.spiking.recurrent is not None:
            self._add_recurrent(self.spiking.recurrent, current)
        if decay := self.neuron.synaptic_decay:
            self.filtered = decay * self.filtered + current
            current.copy_(self.filtered)
        if self.before is not None:
            membranes, fired_before = self.before
            self.after = go_on(current, membranes, fired_before, self.cells, self.after)
        self.before = current, spikes

    def _add_recurrent(self, weights: InnerWeights, current: Any) -> None:
        if self.before is None and not weights.at_first:
            return
        spikes = torch.zeros_like(current) if self.before is None else self.before[1]
        arrived = weights(spikes.unflatten(-1, (-1, weights.in_features))).flatten(1)
        current.add_(arrived, alpha=self.neuron.input_scale)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance over neurons and mean at every step."""
        sums, norms = (_numbers(torch.cat(values)) for values in (self.sums, self.norms))
        width, inputs = len(self.each_neuron), sums.shape[1]
        mean = sums / width
        # Σ H² - n m², of sums in single precision: rounding may leave less than 0.
        squares = norms**2 / inputs - width * (mean**2).mean(1)
        return np.maximum(squares, 0) / max(width - 1, 1), mean.mean(1)

    def unlike(self, neuron: Neuron) -> str:
        """Words if the spikes are not those of the neuron."""
        self._continue()
        # Where spikes differ it is by 1, so squared norms count them.
        spikes = len(self.each_neuron) * sum(values.numel() for values in self.sums)
        disagreeing = float(sum(norm**2 for norm in self.differing)) / spikes
        if disagreeing <= DISAGREEING[self.half_precision]:
            return ""
        return f"does not step as {neuron} from rest: {100 * disagreeing:.3g} % of its spikes are others"


@lru_cache(maxsize=64)
def _cells_of(neuron: Neuron, device: Any, dtype: Any) -> Cells:
    return Cells.of([neuron], device, dtype)


def _evenly(inputs: int, most: int, device: Any) -> Any:
    """Indices of at most so many inputs, evenly spaced."""
    return torch.arange(0, inputs, -(-inputs // most), device=device)


def _numbers(values: Any) -> np.ndarray:
    return values.cpu().numpy().astype(float)


PASSES = 5  # of a model that draws random numbers


class MeasuredPass(NamedTuple):
    """The trace of one pass, the measurements of its layers by neuron, the moments of its weight modules by name, those of them
    whose output is ``unlike`` that of their class, in words, and notes.
    """

    trace: Trace
    layers: dict[str, LayerMeasurement]
    moments: dict[str, Moments]
    unlike: dict[str, str]
    notes: list[str]

    @property
    def covered(self) -> dict[str, Moments]:
        """The moments of weight modules that moments describe."""
        return {name: moments for name, moments in self.moments.items() if name not in self.unlike}


def trace_and_measure(
    model: Any, inputs: Any, steps: int | None, neurons: Neurons | None = None, report: Report = unreported
) -> MeasuredPass:
    """One traced pass with measurements. Modules that do not step like their neuron need a second one, in which they are only
    measured; notes say so.
    """
    recorder, currents, moments = Recorder(), [], dict[str, Moments]()

    def record(layer: TracedLayer, current: Any, spikes: Any) -> None:
        record_moments(moments, layer)
        currents.append(current.sum())
        if bool(currents[-1].isnan()):
            raise DomainError("model", layer.neuron_name, "receives numbers that are not finite")
        recorder(layer, current, spikes)

    traced = trace(model, inputs, steps, record, report, neurons)
    if traced.random:
        # Random numbers may be drawn and not used: what tells is whether a pass with others gives other currents.
        others = []
        trace(model, inputs, steps, lambda layer, current, spikes: others.append(current.sum()), neurons=neurons, number=1)
        same = len(currents) == len(others) and torch.equal(torch.stack(currents), torch.stack(others))
        traced = replace(traced, random=not same)
    measured = recorder.results(inputs)
    reasons = [(recorder.layers[name].layer, layer.reason) for name, layer in measured.items() if layer.reason]
    if reasons:
        only_measured = {layer.module: replace(layer.spiking, neuron=None, reason=reason) for layer, reason in reasons}
        return trace_and_measure(model, inputs, steps, {**(neurons or {}), **only_measured}, report)
    notes = [*words_of_what_stays(model), *notes_on_steps(traced, steps)]
    return MeasuredPass(traced, measured, moments, unlike_their_class(traced), notes)


def mean_of_passes(
    model: Any, inputs: Any, steps: int | None, neurons: Neurons | None, first: dict[str, LayerMeasurement]
) -> tuple[dict[str, LayerMeasurement], str]:
    """Means over several passes of a model that draws random numbers, of layers that ran in all; and a note on their errors."""
    passes = [first]
    for number in range(1, PASSES):
        recorder = Recorder()
        trace(model, inputs, steps, recorder, neurons=neurons, number=number)
        passes.append(recorder.results(inputs))
    rates = [{name: layer.late_rate for name, layer in measured.items()} for measured in passes]
    means = {name: _mean([measured[name] for measured in passes if name in measured]) for name in first}
    return means, words_of_chance(rates)


def _mean(passes: Sequence[LayerMeasurement]) -> LayerMeasurement:
    steps = len(passes[0].firing_rate)
    over_steps = ("firing_rate", "variance", "mean")
    names = ("alive", "dead_fraction", "saturated_fraction", "raster_overlap")
    values = {name: [_at_steps(getattr(layer, name), steps) for layer in passes] for name in over_steps}
    values |= {name: [getattr(layer, name) for layer in passes] for name in names}
    return replace(passes[0], **{name: np.mean(of_passes, axis=0) for name, of_passes in values.items()})


def _at_steps(values: np.ndarray, steps: int) -> np.ndarray:
    """Values at so many steps of a pass that made another number of them: the first to the first, the last to the last."""
    return values[np.linspace(0, len(values) - 1, steps).round().astype(int)]


def words_of_chance(late_rates: Sequence[dict[str, float]]) -> str:
    """A note, from the late rates of the layers in each pass."""
    names = [name for name in late_rates[0] if all(name in rates for rates in late_rates)]
    values = np.array([[rates[name] for name in names] for rates in late_rates])
    errors = values.std(axis=0, ddof=1) / len(values) ** 0.5
    worst = int(np.argmax(errors))
    largest = f"{errors[worst]:.2g} of {values[:, worst].mean():.3g} in {names[worst]}"
    return f"the model draws random numbers: means of {len(values)} passes, standard error of a late rate at most {largest}"
