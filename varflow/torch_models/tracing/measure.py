"""A traced pass with measurements: one, or the means of several if the model draws random numbers in its forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from varflow._progress import Report, unreported
from varflow.torch_models.tracing.checks import check_model
from varflow.torch_models.tracing.measurements import LayerMeasurement, Recorder
from varflow.torch_models.tracing.notes import notes_on_steps, words_of_what_stays
from varflow.torch_models.tracing.passes import full_precision, in_full_precision
from varflow.torch_models.tracing.spiking_modules import Neurons
from varflow.torch_models.tracing.trace import trace
from varflow.torch_models.tracing.traced import Trace, TracedLayer

__all__ = ["PASSES", "mean_of_passes", "trace_and_measure", "words_of_chance"]

PASSES = 5  # of a model that draws random numbers


def trace_and_measure(
    model: Any,
    inputs: Any,
    steps: int | None,
    neurons: Neurons | None = None,
    report: Report = unreported,
    note: Callable[[TracedLayer], None] = lambda layer: None,
) -> tuple[Trace, dict[str, LayerMeasurement], list[str]]:
    """The trace of one pass, the measurements of its layers by neuron, and notes; ``note`` is called with the layer at every
    call of a neuron.

    Modules that do not step like their neuron need a second pass, in which they are only measured; notes say so.
    """
    recorder, currents = Recorder(), []

    def record(layer: TracedLayer, current: Any, spikes: Any) -> None:
        note(layer)
        currents.append(current.sum())
        recorder(layer, current, spikes)

    check_model(model)
    stays = words_of_what_stays(model)
    traced = trace(model, inputs, steps, in_full_precision(record), report, neurons)
    if traced.random:
        others = []
        trace(model, inputs, steps, lambda layer, current, spikes: others.append(current.sum()), neurons=neurons, number=1)
        traced = replace(traced, random=not _equal(currents, others))
    with full_precision():
        measured = recorder.results(inputs)
    unlike = [(recorder.layers[name].layer, layer.reason) for name, layer in measured.items() if layer.reason]
    if unlike:
        only_measured = {layer.module: replace(layer.spiking, neuron=None, reason=reason) for layer, reason in unlike}
        return trace_and_measure(model, inputs, steps, {**(neurons or {}), **only_measured}, report, note)
    return traced, measured, [*stays, *notes_on_steps(traced, steps)]


def _equal(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and torch.equal(torch.stack(one), torch.stack(other))


def mean_of_passes(
    model: Any, inputs: Any, steps: int | None, neurons: Neurons | None, first: dict[str, LayerMeasurement]
) -> tuple[dict[str, LayerMeasurement], str]:
    """Means over several passes of a model that draws random numbers, of layers that ran in all; and a note on their errors."""
    passes = [first]
    for number in range(1, PASSES):
        recorder = Recorder()
        trace(model, inputs, steps, in_full_precision(recorder), neurons=neurons, number=number)
        with full_precision():
            passes.append(recorder.results(inputs))
    rates = [{name: layer.late_rate for name, layer in measured.items()} for measured in passes]
    return {name: _mean([of[name] for of in passes if name in of]) for name in first}, words_of_chance(rates)


def _mean(passes: Sequence[LayerMeasurement]) -> LayerMeasurement:
    steps = len(passes[0].firing_rate)
    over_steps = ("firing_rate", "variance", "mean")
    names = ("alive", "dead_fraction", "saturated_fraction", "raster_overlap")
    values = {name: [_at_steps(getattr(of, name), steps) for of in passes] for name in over_steps}
    values |= {name: [getattr(of, name) for of in passes] for name in names}
    return replace(passes[0], **{name: np.mean(each, axis=0) for name, each in values.items()})


def _at_steps(values: np.ndarray, steps: int) -> np.ndarray:
    """Values at so many steps, early to early and late to late, of a pass that made another number of them."""
    return values[np.linspace(0, len(values) - 1, steps).round().astype(int)]


def words_of_chance(late_rates: Sequence[dict[str, float]]) -> str:
    """A note, from the late rates of the layers in each pass."""
    names = [name for name in late_rates[0] if all(name in rates for rates in late_rates)]
    values = np.array([[rates[name] for name in names] for rates in late_rates])
    errors = values.std(axis=0, ddof=1) / len(values) ** 0.5
    worst = int(np.argmax(errors))
    largest = f"{errors[worst]:.2g} of {values[:, worst].mean():.3g} in {names[worst]}"
    return f"the model draws random numbers: means of {len(values)} passes, standard error of a late rate at most {largest}"
