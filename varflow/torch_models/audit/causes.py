"""The cause of a dead layer: predictions are repeated with one change at a time; the one that revives it is the cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import mul

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.model.merges import Sum
from varflow.model.neurons import Neuron
from varflow.results import late_steps
from varflow.results.audit import ENOUGH
from varflow.torch_models.initialise.layer_gains import RATE, deep_layer, layer_gain, run_deep
from varflow.torch_models.initialise.planner import planned_gains
from varflow.torch_models.prediction.signals import FEW_INPUTS, LIVE_RATE, InfiniteWidth, Prediction, at_own_width, uncovered
from varflow.torch_models.tracing.checks import integrators
from varflow.torch_models.tracing.origins import INPUT, Sender, attended, factor
from varflow.torch_models.tracing.read import LEAST_GAIN
from varflow.torch_models.tracing.traced import Trace, TracedLayer, by_step
from varflow.torch_models.tracing.weights import Moments, moments_of, padding_factor, sum_of_modules

SURE = 0.95  # predicted survival above which silence is not by chance
FEEDING = RATE / 2  # measured late rate with which a layer does not starve the next one
TRIED = 2  # inputs that tell whether a layer would live without biases


def diagnosed(
    trace: Trace,
    used: Mapping[str, Moments],
    rates: Sequence[float],
    needed: Sequence[float | None],
    silent: int,
    predicted: Prediction,
) -> tuple[str, int | None]:
    """The cause of a layer's silence, one of ``varflow.results.audit.CAUSES``, and the layer whose weights to change first.

    ``rates`` are measured, ``needed`` the gains of :func:`needed_gains`.
    """
    covered = not predicted.restarted and not np.isnan(predicted.rates[: silent + 1]).any()
    survival = predicted.survival[silent]
    moments = [sum_of_modules([used[name] for name in each.names]) for each in trace.layers]
    gains = [each.gain for each in moments]
    share = shares(gains, needed, silent)
    lowest, mend = lowest_weak(rates, share), to_mend(rates, share)
    first = silent if lowest is None else lowest
    if any(each.undriven for each in trace.layers):
        return "dead input", None
    if trace.layers[silent].driven and _ends(trace.layers[silent]):
        return "dead input", None
    if all(map(attended, trace.layers[silent].origins)):
        return "attention", None
    if trace.layers[silent].unknown:
        return "beyond the theory", first if trace.layers[first].scaled_by else None
    if survival > SURE:
        return "arrangement", silent
    if not trace.layers[silent].scaled_by:
        return "normalisation", None
    up_to_it = replace(trace, layers=trace.layers[: silent + 1])
    if covered and predicted.at_width and _lives(predicted.infinite or InfiniteWidth.of(up_to_it, used, FEW_INPUTS), silent):
        held_back = predicted.survival[-1] < 0.5 < _survival_without_memory(trace, used)
        return "leak or reset" if held_back else "finite width", mend
    unbiased = {name: replace(each, bias_std=0.0, bias_mean=0.0) for name, each in used.items()}
    if covered and unbiased != used and _lives(InfiniteWidth.of(up_to_it, unbiased, TRIED), silent):
        return "bias", mend
    neuron, gain = trace.layers[silent].neuron, _arriving(trace, trace.layers[silent])[1]
    if trace.layers[silent].driven:
        return "first-layer scale", silent
    if _kept(trace, neuron, gain):
        if mend is None or share[mend] > ENOUGH * min(share.get(silent, 1.0), 1.0):
            return "starved" if covered else "beyond the theory", first
        return "first-layer scale" if trace.layers[mend].driven else "starved", mend
    held_back = not neuron.memoryless and _kept(trace, _memoryless(neuron), gain)
    return "leak or reset" if held_back else "below the critical gain", first


def _ends(layer: TracedLayer) -> bool:
    """True if a layer's input is zero in the second half of the steps."""
    calls = [received.inputs for received in layer.received]
    several = (steps if len(steps) > 1 else by_step(layer, module) for module, steps in enumerate(calls))
    return not any(bool(x.any()) for steps in several for x in steps[late_steps(len(steps))])


def _lives(infinite: InfiniteWidth, index: int) -> bool:
    """True if a layer is predicted to spike late at infinite width."""
    trace = infinite.trace
    rates = infinite.visit(trace.layers[index]).kept["state"].firing_rate.reshape(-1, trace.steps)
    return float(rates[:, late_steps(trace.steps)].mean()) > LIVE_RATE


def _survival_without_memory(trace: Trace, used: Mapping[str, Moments]) -> float:
    """The fraction of networks of these widths whose last layer would spike with memoryless neurons."""
    memoryless = [replace(layer, spiking=replace(layer.spiking, neuron=_memoryless(layer.neuron))) for layer in trace.layers]
    return float(at_own_width(replace(trace, layers=memoryless), used).survival[-1])


def _memoryless(neuron: Neuron) -> Neuron:
    return Neuron(neuron.threshold, input_scale=neuron.input_scale, strict=neuron.strict)


def _kept(trace: Trace, neuron: Neuron, gain: float) -> bool:
    """True if a gain keeps activity in deep layers."""
    try:
        return run_deep(neuron, trace.steps, gain, len(trace.layers)).firing_rate > LIVE_RATE
    except (ConvergenceError, DomainError):  # no drive gives such a neuron the rate
        return False


def shares(gains: Sequence[float], needed: Sequence[float | None], last: int) -> dict[int, float]:
    """The fraction of the gain it needs that each layer up to ``last`` has, where that is known."""
    return {l: gains[l] / need for l in range(last + 1) if (need := needed[l]) is not None}


def lowest_weak(rates: Sequence[float], share: Mapping[int, float]) -> int | None:
    """The lowest layer that hardly fires and has clearly less than the gain it needs; None if there is none."""
    return next((l for l, fraction in share.items() if fraction < ENOUGH and rates[l] < FEEDING), None)


def to_mend(rates: Sequence[float], share: Mapping[int, float]) -> int | None:
    """The layer whose weights to change first: the lowest weak one, else that with the smallest fraction of its gain."""
    lowest = lowest_weak(rates, share)
    return min(share, key=lambda l: share[l], default=None) if lowest is None else lowest


def needed_gains(trace: Trace) -> list[float | None]:
    """The gain that each layer needs: that of ``init_model`` for a plain chain; None if unknown, and for integrators."""
    gains: list[float | None] = []
    if not uncovered(trace):
        with suppress(DomainError, ConvergenceError):
            gains = list(planned_gains(trace))
    gains = gains or [_sustaining_gain(trace, layer) if _asks_for_one(trace, layer) else None for layer in trace.layers]
    readouts = dict(integrators(trace))
    return [None if layer.neuron_name in readouts else need for layer, need in zip(trace.layers, gains, strict=True)]


def _asks_for_one(trace: Trace, layer: TracedLayer) -> bool:
    """True if, in a model beyond the theory, theory still knows a gain for this layer that has an effect."""
    if layer.neuron is None:
        return False
    if layer.driven and layer.scaled_by:
        return not uncovered(replace(trace, layers=[replace(layer, through=())]))
    of_known_layers = {INPUT, *(other.neuron_name for other in trace.layers)}.issuperset(layer.sources)
    return bool(layer.scaled_by) and (of_known_layers or _gain_before(trace, layer) is not None)


def _gain_before(trace: Trace, layer: TracedLayer) -> float | None:
    """The gain of the weights in a row between the neurons below and a layer's own; None if there is more, or nothing."""
    gain, received, neurons = 1.0, layer.received[-1], {other.neuron_name for other in trace.layers}
    for name, weight, sources, shape in reversed(trace.readouts):
        if received.sources == (name,) and isinstance(received.origin.operation, Sender | Sum):
            gain_of_weight = moments_of(weight).gain / padding_factor(weight, shape)
            gain, received = gain * gain_of_weight * factor(trace.received[name].origin), trace.received[name]
            if neurons.issuperset(sources):
                return gain
    return None


def _arriving(trace: Trace, layer: TracedLayer) -> tuple[float, float]:
    """The gain of a layer's own weights, and that from the spikes below to its currents: also by factors in the forward, other
    weights in a row, and padding.
    """
    modules = [each for each in zip(layer.names, layer.weights, layer.received, strict=True) if each[0] in layer.scaled_by]
    gains = [max(moments_of(weight).gain, LEAST_GAIN) for _, weight, _ in modules]
    origin = layer.origin
    factors = [] if origin is None else [factor(origin, name) * factor(inputs.origin) for name, _, inputs in modules]
    before = (_gain_before(trace, layer) or 1.0) / padding_factor(layer.weights[0], layer.input_shape)
    return math.hypot(*gains), before * math.hypot(*map(mul, gains, factors))


def _sustaining_gain(trace: Trace, layer: TracedLayer) -> float | None:
    """The gain that gives a layer a late rate of 0.2, or the nearest one sustained; None if there is none."""
    try:
        if not layer.driven:
            depth = sum(other.neuron == layer.neuron for other in trace.layers)
            needed = deep_layer(layer.neuron, trace.steps, "firing_rate", RATE, depth).gain
            present, arriving = _arriving(trace, layer)
            return needed * present / arriving if arriving else None
        return layer_gain(trace, layer, RATE)
    except (ConvergenceError, DomainError):
        return None
