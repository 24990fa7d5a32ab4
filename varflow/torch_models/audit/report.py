"""The audit of a model: each layer measured in one forward pass, predicted over the same steps and inputs, and judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import integer
from varflow._progress import Progress, reporter
from varflow.results.audit import ENOUGH, AuditReport, first_of
from varflow.results.audited_layer import AuditedLayer, lost_inputs
from varflow.results.cost import COLUMNS, Cost
from varflow.torch_models.audit.causes import FEEDING, diagnosed, needed_gains, shares, to_mend
from varflow.torch_models.audit.coherence import learning, with_remedies
from varflow.torch_models.audit.gradients import Backward, check_gradients, squared_gain_above
from varflow.torch_models.audit.gradients import gradients as measured_back
from varflow.torch_models.audit.step import check_optimizer, checked_targets, one_step, with_targets
from varflow.torch_models.initialise.scales import LayerScale, multiplier, overlap, scales_of
from varflow.torch_models.prediction.gradients import expected_gradients
from varflow.torch_models.prediction.signals import Prediction, predicted
from varflow.torch_models.rounding import rounded
from varflow.torch_models.tracing.attention import Attended, Contraction
from varflow.torch_models.tracing.checks import integrators, warn_of_one_step
from varflow.torch_models.tracing.measurements import LayerMeasurement, mean_of_passes, measured_layer, trace_and_measure
from varflow.torch_models.tracing.modules import Neurons, surrogate_of_module
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.weights import Moments, sum_of_modules

# Factors on the gain of a layer beyond the theory: if it has the gain that theory asks for, and if theory knows none.
RAISED, DOUBLED = 1.25, 2.0


def audited(
    model: Any,
    inputs: Any,
    loss: Callable[..., Any] | None,
    steps: int | None,
    neurons: Neurons | None,
    gradients: bool,
    optimizer: Any,
    targets: Any,
    bits: int | None,
    progress: Progress,
) -> AuditReport:
    """:func:`varflow.audit` after the checks of its arguments."""
    asked, value = ("gradients", gradients) if loss is None else ("loss", loss)
    backwards = gradients or loss is not None
    calls = 1 if steps is None else integer("steps", steps, minimum=1)
    total = calls * 2 + 1
    if optimizer is not None:
        check_optimizer(model, optimizer)
    with reporter(progress, total, "calls of the model") as report:
        measured = trace_and_measure(model, inputs, steps, neurons, report)
        traced, seen, used, unlike, notes = measured
        if backwards:
            check_gradients(model, asked, value)
        warn_of_one_step(traced, steps)
        if traced.random:
            seen, words = mean_of_passes(model, inputs, steps, neurons, seen)
            notes.append(words)
        notes += [" ".join(each) for each in integrators(traced)] + _unseen(model)
        notes += [
            *traced.notes,
            *_shared(traced),
            *(f"not covered by the theory: {words}" for words in _unknown(traced, unlike)),
        ]
        labels = None if targets is None else checked_targets(targets, traced, seen, steps)
        step = None if optimizer is None else one_step(model, inputs, steps, traced, seen, optimizer, loss, labels)
        backward = measured_back(model, inputs, steps, traced, with_targets(loss, labels)) if backwards else {}
        notes += _unmeasured(backward)
        report(calls * 2)
        with full_precision():
            prediction = predicted(traced, measured.covered)
            if prediction.infinite is not None:
                notes += [f"not covered by the theory: {words}" for words in dict.fromkeys(prediction.infinite.model.dependent)]
            notes += [*_received(traced, prediction), *_unpredicted(traced, prediction, unlike)]
            layers = _layers(traced, scales_of(model, traced, seen), used, seen, prediction, backward)
            alive = not any(layer.dead and not layer.output for layer in layers)
            learns = learning(model, inputs, steps, traced, seen) if alive else None
            learns = learns and with_remedies(learns, traced, [layer.gain for layer in layers])
            rounding = None if bits is None else rounded(model, measured, None, bits, "rate", False, "mse")
            notes += [] if rounding is None else [f"rounded to {bits} bits: {rounding.words}"]
            audit = replace(_report(traced, used, layers, prediction, notes), step=step, learning=learns, rounding=rounding)
            if backward:
                audit = _with_expected_gradients(audit, traced, measured.covered, prediction, read_out=loss is None)
        report(total)
        return audit


def _layers(
    traced: Trace,
    scales: list[LayerScale],
    used: dict[str, Moments],
    seen: dict[str, LayerMeasurement],
    prediction: Prediction,
    backward: dict[TracedLayer, Backward],
) -> list[AuditedLayer]:
    """Every layer, measured and predicted."""
    expected = {
        "predicted_rate": prediction.rates,
        "predicted_std": prediction.spread,
        "predicted_variance": prediction.late_variance,
        "predicted_overlap": prediction.overlaps,
    }
    return [
        replace(
            measured_layer(traced, layer, seen[layer.neuron_name]),
            **_of_weights(layer, used),
            **_ways(scale),
            **{name: float(column[l]) for name, column in expected.items()},
            **_backward(traced, layer, used, backward),
        )
        for l, (layer, scale) in enumerate(zip(traced.layers, scales, strict=True))
    ]


def _of_weights(layer: TracedLayer, used: dict[str, Moments]) -> dict[str, Any]:
    """The moments of a layer's weights."""
    gains = {name: used[name].gain for name in layer.names}
    moments = sum_of_modules([used[name] for name in layer.names])
    scaling = {name: gains[name] for name in layer.scaled_by}
    inner = math.nan if layer.spiking.entry is None else layer.spiking.entry.gain
    return {
        "gain": math.hypot(*(scaling or gains).values()) if gains else inner,
        "gains": scaling,
        "bias_std": moments.bias_std,
        "bias_mean": moments.bias_mean,
        "normalised_by": ", ".join(layer.normalised_by),
    }


def _ways(scale: LayerScale) -> dict[str, Any]:
    """Reasons why weights are kept, and the parameters that multiply computed ones."""
    layer = scale.layer
    modules = zip(layer.names, layer.weights, layer.received, strict=True) if layer.names else ()
    computed = [each for each in modules if "weight" not in {**each[1]._parameters, **each[1]._buffers}]
    names = {name: multiplier(weight, received.shape) for name, weight, received in computed}
    return {
        "kept": "" if scale.scaled else scale.set_by.removeprefix("kept: "),
        "computed": {name: parameter and f"{name}.{parameter}" for name, parameter in names.items()},
    }


def _backward(
    traced: Trace, layer: TracedLayer, used: Mapping[str, Moments], backward: dict[TracedLayer, Backward]
) -> dict[str, Any]:
    """Measurements of the backward pass; nothing without one."""
    if layer not in backward:
        return {}
    gradients = backward[layer]
    return {
        "gradient_variance": gradients.weights,
        "gradient_norm": gradients.norm,
        "gradient_gain": gradients.slope * squared_gain_above(traced, layer, used),
        "dead_gradients": gradients.dead,
        "surrogate": surrogate_of_module(layer.module),
    }


def _report(
    traced: Trace, used: dict[str, Moments], layers: list[AuditedLayer], prediction: Prediction, notes: list[str]
) -> AuditReport:
    """The report with its verdict: the first dead layer, the cause, and what would help."""
    judged = _judged(traced, layers)
    silent = next((l for l, layer in enumerate(judged) if layer.dead), None)
    cause, needed = None, _needed(traced, judged)
    if silent is None:
        mend = _mend(judged, needed, covered=prediction.at_width) if needed else None
    else:
        needed_of, rates = needed or [None] * len(layers), [layer.firing_rate for layer in judged]
        cause, mend = diagnosed(traced, used, rates, needed_of, silent, prediction)
    gain = needed[mend] if needed and mend is not None else None
    if not prediction.at_width and needed and mend is not None:
        mend, gain = _beyond_the_theory(judged, needed, mend)
    if needed:
        layers = [replace(layer, needed_gain=need or math.nan) for layer, need in zip(layers, needed, strict=True)]
    return AuditReport(
        tuple(layers),
        traced.steps,
        len(layers[0].survival),
        None if silent is None else layers[silent].name,
        cause,
        *((None, None) if mend is None else layers[mend].first_to_mend(gain)),
        "sampled networks" if prediction.at_width else "infinite width",
        tuple(notes),
        cost=_cost(traced, layers),
        uncounted=tuple(_uncounted(traced)),
    )


def _cost(traced: Trace, layers: list[AuditedLayer]) -> Cost:
    """Spikes and operations as they were counted, and those of readouts."""
    inputs, neurons = len(layers[0].survival), [(layer.width, layer.spikes) for layer in layers]
    operations = np.nan_to_num([*(layer.operations for layer in traced.layers), traced.operations]) / inputs
    table = np.column_stack([[*neurons, (0.0, 0.0)], operations]).T
    names, method = (*(layer.name for layer in layers), "readout"), f"counted, mean of inputs: {inputs}"
    return Cost(layers=names, **dict(zip(COLUMNS, table, strict=True)), steps=traced.steps, method=method)


def _uncounted(traced: Trace) -> Iterator[str]:
    """Words for what the operations leave out."""
    before = [(layer.neuron_name, layer.origins) for layer in traced.layers]
    for name, origins in [*before, *((name, received.origins) for name, received in traced.received.items())]:
        operations = [each.operation for origin in origins for each in origin.ancestors]
        by_function = any("attention" in getattr(operation, "words", "") for operation in operations)
        if by_function or any(isinstance(operation, Attended | Contraction) for operation in operations):
            yield f"attention into {name}"
    yield from (f"weights within {layer.neuron_name}" for layer in traced.layers if layer.uncounted)


def _judged(traced: Trace, layers: list[AuditedLayer]) -> list[AuditedLayer]:
    """The layers with integrators, which are readouts, as if they fired."""
    readouts = dict(integrators(traced))
    fires = {"firing_rate": 1.0, "survival": np.ones(len(layers[0].survival))}
    return [replace(layer, **fires) if layer.neuron_name in readouts else layer for layer in layers]


def _mend(layers: list[AuditedLayer], needed: list[float | None], covered: bool) -> int | None:
    """The layer whose weights to change first if no layer is dead; None if weights are not the cause."""
    share = shares([layer.gain for layer in layers], needed, len(layers) - 1)
    first = to_mend([layer.firing_rate for layer in layers], share)
    lost = lost_inputs(layers)
    fading = any(layer.verdict == "weak" or _fades(layer, lost) for layer in layers)
    if first is not None and share[first] < ENOUGH and fading:
        return first
    losing = [l for l, layer in enumerate(layers) if layer.gains and _fades(layer, lost)]
    if not covered and losing:
        return losing[0]
    return next((l for l, layer in enumerate(layers) if layer.wide and needed[l] is not None), None)


def _beyond_the_theory(layers: list[AuditedLayer], needed: list[float | None], mend: int) -> tuple[int, float | None]:
    """The layer to change and the gain that theory asks for. If it already has that, or theory knows none: the lowest layer
    that hardly fires, with a larger gain than now.
    """
    if layers[mend].wide or layers[mend].gain < ENOUGH * (needed[mend] or 0.0):
        return mend, needed[mend]
    mend = next((l for l, layer in enumerate(layers[:mend]) if layer.gains and layer.firing_rate < FEEDING), mend)
    return mend, (RAISED if needed[mend] else DOUBLED) * layers[mend].gain or None


def _unseen(model: Any) -> list[str]:
    """A note on normalisations whose running statistics have seen no batch."""
    new = [
        name
        for name, module in model.named_modules()
        if "BatchNorm" in type(module).__name__ and not module.training and getattr(module, "num_batches_tracked", None) == 0
    ]
    rule = "use running statistics that have seen no batch yet: run some in train mode first"
    return [f"normalisations {rule}: {', '.join(new)}"] if new else []


def _needed(traced: Trace, layers: list[AuditedLayer]) -> list[float | None]:
    """The gain that each layer needs; empty if nothing needs fixing, or if all inputs are 0."""
    lost = lost_inputs(layers)
    ill = any(layer.wide or _fades(layer, lost) for layer in layers)
    return needed_gains(traced) if ill and not any(layer.undriven for layer in traced.layers) else []


def _fades(layer: AuditedLayer, lost: np.ndarray) -> bool:
    """True for a layer that is dead, silent for inputs that are lost, or hidden and weak."""
    return layer.dead or not layer.survival[lost].all() or (layer.verdict == "weak" and not layer.output)


def _unmeasured(backward: dict[TracedLayer, Backward]) -> list[str]:
    """Notes on layers whose gradients or slopes are not known."""
    within = [layer.name for layer in backward if layer.spiking.entry is not None]
    measured = {layer: of for layer, of in backward.items() if layer.spiking.entry is None and not of.cut}
    mixed = [layer.name for layer, of in measured.items() if math.isnan(of.slope)]
    cut = [layer.name for layer, of in backward.items() if of.cut]
    notes = [f"gradients are not measured by currents within neurons: {first_of(within)}"] if within else []
    if cut:
        where = "torch.no_grad, or a checkpoint with use_reentrant=True none of whose inputs requires gradients"
        notes.append(f"no gradients reach {first_of(cut)}, in training neither: autograd is off there ({where})")
    return notes + ([f"χ is not measured where a spike depends on several currents: {first_of(mixed)}"] if mixed else [])


def _with_expected_gradients(
    report: AuditReport, traced: Trace, moments: Mapping[str, Moments], prediction: Prediction, read_out: bool
) -> AuditReport:
    """The report with predicted gradients; norms only for a normal readout, as the scale of a loss is not known."""
    expected = expected_gradients(
        traced, moments, prediction, [layer.surrogate for layer in report.layers], report.asks_for_surrogate()
    )
    pairs = zip(report.layers, expected.norms, strict=True)
    layers = tuple(replace(layer, predicted_gradient_norm=norm) for layer, norm in pairs) if read_out else report.layers
    words = [f"gradients are not predicted below {', '.join(expected.uncovered)}"] if expected.uncovered and read_out else []
    return replace(report, layers=layers, fix_surrogate=expected.surrogate, notes=(*report.notes, *words))


def _shared(traced: Trace) -> list[str]:
    """Notes on layers that share weights."""
    owners: dict[str, Any] = {}
    notes = []
    for layer in traced.layers:
        parameter = layer.weights[0]._parameters.get("weight") if layer.weights else None  # None if computed from others
        if parameter is None:
            continue
        owner = next((name for name, other in owners.items() if overlap(parameter, other)), layer.name)
        if owner != layer.name:
            notes.append(f"{layer.name} shares its weights with {owner}: predicted as if they were independent")
        owners.setdefault(layer.name, parameter)
    return notes


def _unknown(traced: Trace, unlike: Mapping[str, str]) -> list[str]:
    """Neurons and operations without a theory, in words, each once."""
    modules: dict[str, list[str]] = {}  # what is said, and of which modules
    for layer in traced.layers:
        for words in layer.unknown:
            name = next((name for name in (layer.neuron_name, *layer.feeding) if words.startswith(f"{name} ")), None)
            names = modules.setdefault(words if name is None else words.removeprefix(name), [])
            names += [] if name is None or name in names else [name]
    first = {said: "".join(name or "(root)" for name in names[:1]) for said, names in modules.items()}
    words = ["".join([first[said], said, *_likewise(names[1:])]) for said, names in modules.items()]
    return list(dict.fromkeys([*unlike.values(), *words]))


def _likewise(names: list[str]) -> list[str]:
    return [f"; likewise {first_of(names)}"] if names else []


def _unpredicted(traced: Trace, prediction: Prediction, unlike: Mapping[str, str]) -> list[str]:
    """A note on layers without a prediction of which no other note says why."""
    pairs = zip(traced.layers, prediction.rates, strict=True)
    names = [
        layer.name for layer, rate in pairs if math.isnan(rate) and not layer.unknown and unlike.keys().isdisjoint(layer.names)
    ]
    return [f"not covered by the theory: what arrives at {first_of(names)}"] if names else []


def _received(traced: Trace, prediction: Prediction) -> list[str]:
    """A note on layers that are predicted from what they received."""
    if not prediction.restarted:
        return []
    origins = [origin for name in prediction.restarted for origin in traced.received[name].origins]
    unknown = dict.fromkeys(words for origin in origins for words in origin.unknown)
    after = f", after {', '.join(unknown)}" if unknown else ""
    return [f"predicted from what they received in this pass{after}: {', '.join(prediction.restarted)}"]
