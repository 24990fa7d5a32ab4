"""Why a layer is dead: predictions are repeated with one thing changed at a time, and what brings the layer back is the
cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from varflow._checks import ConvergenceError
from varflow.init.models.prediction import input_moments, predict
from varflow.init.models.target import RATE, deep_layer, layer_gain, run_deep
from varflow.init.models.walker import Trace
from varflow.init.models.wiring import Moments, currents_from
from varflow.model.neurons import Neuron

__all__ = ["cause_of_death", "sustaining_gain"]

ALIVE = 1e-3  # predicted late rate of a layer that counts as alive


def cause_of_death(trace: Trace, moments: Sequence[Moments], index: int, covered: bool = True) -> str:
    """The cause, one of ``report.CAUSES``, of the silence of layer ``index``; ``covered`` says whether the model is a plain
    chain.
    """
    layer = trace.layers[index]
    if any(each.driven and not any(bool(x.any()) for x in each.weight_inputs) for each in trace.layers):
        return "dead input"
    if covered and _lives(trace, moments, index):
        return "leak or reset" if _survives_without_memory(trace, moments) else "finite width"
    if covered and _lives(trace, [replace(each, bias_std=0.0, bias_mean=0.0) for each in moments], index):
        return "bias"
    if layer.driven:
        return "first-layer scale"
    neuron, gain = layer.neuron, moments[index].gain
    if _kept(trace, neuron, gain):
        return "first-layer scale" if covered else "beyond the theory"
    return "leak or reset" if not neuron.memoryless and _kept(trace, _memoryless(neuron), gain) else "below the critical gain"


def _lives(trace: Trace, moments: Sequence[Moments], index: int) -> bool:
    """Whether a layer is predicted to spike late at infinite width."""
    above = replace(trace, layers=trace.layers[: index + 1])
    return float(predict(above, moments[: index + 1], infinite=True).late_rates.mean(0)[index]) > ALIVE


def _survives_without_memory(trace: Trace, moments: Sequence[Moments]) -> bool:
    """Whether at these widths memoryless neurons would mostly still spike in the last layer, where these mostly do not."""
    memoryless = [replace(layer, spiking=replace(layer.spiking, neuron=_memoryless(layer.neuron))) for layer in trace.layers]
    rates = [predict(each, moments).survival[-1] for each in (trace, replace(trace, layers=memoryless))]
    return rates[0] < 0.5 < rates[1]


def _memoryless(neuron: Neuron) -> Neuron:
    return Neuron(neuron.threshold, input_scale=neuron.input_scale, strict=neuron.strict)


def _kept(trace: Trace, neuron: Neuron, gain: float) -> bool:
    """Whether a gain keeps activity in deep layers."""
    return run_deep(neuron, trace.steps, gain, len(trace.layers))["firing_rate"] > ALIVE


def sustaining_gain(trace: Trace, index: int) -> float | None:
    """The gain of a layer that gives it a late rate of 0.2, or the nearest that is kept; None where there is none."""
    layer = trace.layers[index]
    try:
        if not layer.driven:
            depth = sum(other.neuron == layer.neuron for other in trace.layers)
            return deep_layer(layer.neuron, trace.steps, "firing_rate", RATE, depth).gain
        weight = layer.weights[0]
        products, means = input_moments(layer, trace.steps)
        fan = Moments(1, 1.0)
        covariance, _ = currents_from(weight, fan, products, means)
        return layer_gain(layer.neuron, covariance, RATE)
    except ConvergenceError:
        return None
