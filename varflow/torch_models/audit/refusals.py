"""Errors for models and inputs that cannot be traced, raised before or after the pass, with what to do instead; notes on
what is probably a mistake.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow._restoring import kept, lost
from varflow.model.library_neurons import recognise
from varflow.model.over_neurons import mean_of
from varflow.results.audit import first_of
from varflow.torch_models.chance import PASSES, averaged, words_of_chance
from varflow.torch_models.precision import full_precision, in_full_precision
from varflow.torch_models.tracing.passes import check_model
from varflow.torch_models.tracing.provenance import tensors_in
from varflow.torch_models.tracing.spiking_modules import Neurons
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.walker import trace
from varflow.torch_models.tracing.watch import Recorder, Watched, axes_of_a_step
from varflow.torch_models.tracing.wiring import of_its_own, torch_class

__all__ = [
    "followed",
    "integrators",
    "notes_on_steps",
    "repeated",
    "unlike_their_kind",
    "warn_of_one_step",
    "watched",
    "words_of_what_stays",
]

INTEGRATES = 1e3  # times the lowest threshold: above this ratio a neuron counts as an integrator

ONE_STEP = "neurons have memory but the model makes one step: pass steps=…"


def watched(
    model: Any,
    inputs: Any,
    steps: int | None,
    record: Callable[..., None] | None = None,
    report: Report = unreported,
    neurons: Neurons | None = None,
    number: int = 0,
) -> Trace:
    """:func:`varflow.torch_models.tracing.walker.trace` after checks of model and inputs."""
    if isinstance(model, torch.nn.Module):
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise DomainError("model", name or "(root)", "is compiled by torch.jit: give the module it was made from")
    for tensor in tensors_in(inputs):
        if tensor.layout != torch.strided:
            raise DomainError("inputs", f"shape {tuple(tensor.shape)}", "is sparse: give inputs.to_dense()")
    try:
        return trace(model, inputs, steps, record, report, neurons, number)
    except DomainError as error:
        advice = _advice(model, inputs, error.rule) if error.argument == "inputs" else ""
        if not advice:
            raise
        raise DomainError("inputs", error.value, f"{error.rule} ({advice})") from (error.__cause__ or error)


def unlike_their_kind(traced: Trace) -> dict[str, str]:
    """Notes on weight layers of derived classes whose output is not that of their base class, by name."""
    weights: dict[Any, tuple[str, tuple[int, ...]]] = {}
    for layer in (layer for layer in traced.layers if layer.names):
        weights |= {w: (name, fed.shape) for name, w, fed in zip(layer.names, layer.weights, layer.fed, strict=True)}
    weights |= {weight: (name, shape) for name, weight, _, shape in traced.readouts}
    words: dict[str, str] = {}
    for weight, (name, shape) in weights.items():
        kind = torch_class(weight)
        if of_its_own(weight) and not _steps_alike(weight, kind, shape):
            words[name] = f"{name} is a {type(weight).__name__} whose output is not that of a {kind.__name__}"
    return words


def _steps_alike(weight: Any, kind: Any, shape: tuple[int, ...]) -> bool:
    """True if a layer gives the same output as its base class for a random input; leading axes are part of the batch."""
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight.weight)
    more = 0 if hasattr(weight, "in_features") else max(given.dim() - len(weight.kernel_size) - 2, 0)
    try:
        with torch.no_grad():
            out, expected = kept(weight, lambda: (weight.forward(given), kind.forward(weight, given.flatten(0, more))))
    except Exception:  # it needs other arguments, or a special input
        return False
    return out.numel() == expected.numel() and torch.allclose(out.reshape(expected.shape), expected, rtol=1e-2, atol=1e-4)


def integrators(traced: Trace) -> list[tuple[str, str]]:
    """Names of neurons whose thresholds are far above the others', with a note."""
    thresholds = {layer.neuron_name: mean_of(layer.neuron.threshold) for layer in traced.layers if layer.neuron is not None}
    least = min(thresholds.values(), default=0.0)
    rule = "has a threshold of {:g}, others of {:g}: a readout?"
    return [(name, rule.format(own, least)) for name, own in thresholds.items() if own > INTEGRATES * least > 0]


def followed(
    model: Any,
    inputs: Any,
    steps: int | None,
    neurons: Neurons | None = None,
    report: Report = unreported,
    note: Callable[[TracedLayer], None] = lambda layer: None,
) -> tuple[Trace, dict[str, Watched], list[str]]:
    """The trace of one pass and what was measured; ``note`` is called with the layer at every call of a neuron.

    Modules that do not step like their neuron need a second pass, in which they are only measured; notes say so.
    """
    recorder, currents = Recorder(), []

    def record(layer: TracedLayer, current: Any, spikes: Any) -> None:
        note(layer)
        currents.append(current.sum())
        recorder(layer, current, spikes)

    check_model(model)
    stays = words_of_what_stays(model)
    traced = watched(model, inputs, steps, in_full_precision(record), report, neurons)
    if traced.random:
        others = []
        watched(model, inputs, steps, lambda layer, current, spikes: others.append(current.sum()), neurons=neurons, number=1)
        traced = replace(traced, random=not _equal(currents, others))
    with full_precision():
        found = recorder.results(inputs)
    unlike = [(recorder.layers[name].layer, seen.reason) for name, seen in found.items() if seen.reason]
    if unlike:
        measured = {layer.module: replace(layer.spiking, neuron=None, reason=reason) for layer, reason in unlike}
        return followed(model, inputs, steps, {**(neurons or {}), **measured}, report, note)
    return traced, found, [*stays, *notes_on_steps(traced, steps)]


def words_of_what_stays(model: Any) -> list[str]:
    """A note on what a pass may change and what cannot be put back."""
    found = lost(model)
    return [f"what a pass changes in these stays changed: {', '.join(found)}"] if found else []


def _equal(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and torch.equal(torch.stack(one), torch.stack(other))


def repeated(
    model: Any,
    inputs: Any,
    steps: int | None,
    neurons: Neurons | None,
    found: dict[str, Watched],
) -> tuple[dict[str, Watched], str]:
    """Measurements of a model that draws random numbers, averaged over more passes than the one ``found``; and a note."""
    passes = [found]
    for number in range(1, PASSES):
        recorder = Recorder()
        watched(model, inputs, steps, in_full_precision(recorder), neurons=neurons, number=number)
        with full_precision():
            passes.append(recorder.results(inputs))
    rates = [{name: seen.late_rate for name, seen in each.items()} for each in passes]
    return averaged(passes), words_of_chance(rates)


def notes_on_steps(traced: Trace, steps: int | None) -> list[str]:
    """Notes on a number of steps that is probably a mistake."""
    if (
        steps is None
        and traced.steps == 1
        and any(layer.neuron is not None and not layer.neuron.memoryless for layer in traced.layers)
    ):
        return [ONE_STEP]
    if steps is not None and traced.steps > steps > 1:
        own = traced.steps // steps
        return [f"each call makes {own} steps itself, {steps} calls make {traced.steps}: leave out steps="]
    return _with_more_axes(traced, steps)


def _with_more_axes(traced: Trace, steps: int | None) -> list[str]:
    """A note on modules of one's own, read as one step per call, whose currents have one more axis, which may be time."""
    odd = [
        layer
        for layer in traced.layers
        if layer.weights and layer.spiking.time_axis is None and len(layer.current_shape) > 1 + axes_of_a_step(layer)
        if steps in layer.current_shape[:2] or (steps is None and traced.steps == 1)
        if recognise(layer.neuron_name, layer.module) is None
    ]
    if not odd:
        return []
    shape, kind = odd[0].current_shape, type(odd[0].module).__name__
    rule = f"count as one step: if an axis is time, register the class with vf.init.reads({kind}, time_axis=…)"
    return [f"currents of shape {shape} into {first_of([layer.neuron_name for layer in odd])} {rule}"]


def warn_of_one_step(traced: Trace, steps: int | None) -> None:
    """Warn (not only in the notes) if neurons have memory but only one step was made."""
    if ONE_STEP in notes_on_steps(traced, steps):
        warnings.warn(ONE_STEP, stacklevel=4)


def _advice(model: Any, inputs: Any, rule: str) -> str:
    """Advice if a model does not run because layers, neurons or inputs have different precisions, or are on different devices.

    For instance, snnTorch's neurons return spikes in single precision, which the next layer in half precision does not accept.
    """
    given_on, own = ({str(tensor.device) for tensor in tensors} for tensors in (tensors_in(inputs), model.parameters()))
    if given_on and len(own) == 1 and not given_on & own:
        (place,) = own
        return f"inputs are on {' and '.join(sorted(given_on))}, the model on {place}: give inputs.to({place!r})"
    if "dtype" not in rule:
        return ""
    held = {parameter.dtype for parameter in model.parameters()}
    given = {tensor.dtype for tensor in tensors_in(inputs)}
    if len(held) == 1 and not given & held:
        return f"inputs are {_words(given)}, weights {_words(held)}: give inputs.to({_words(held)})"
    odd = {dtype for dtype in held if dtype.itemsize != 4}
    if not odd:
        return ""
    advice = "take a float32 copy, copy.deepcopy(model).float(), with inputs.float(), or torch.autocast"
    return f"the model's weights are {_words(odd)}, its neurons return another precision: {advice}"


def _words(dtypes: set[Any]) -> str:
    return " and ".join(sorted(map(str, dtypes)))
