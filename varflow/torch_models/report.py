"""The audit of a model: each layer measured in one forward pass, predicted over the same steps and inputs, and judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError, integer
from varflow._progress import Progress, Report, beyond, reporter
from varflow._restoring import kept
from varflow.results import late_steps
from varflow.results.audit import ENOUGH, AuditedLayer, AuditReport
from varflow.torch_models.causes import FEEDING, LIVE_RATE, diagnosed, needed_gains, to_mend
from varflow.torch_models.precision import full_precision, in_full_precision
from varflow.torch_models.prediction import predict, uncovered
from varflow.torch_models.redraw import NETWORKS, redrawn_rates
from varflow.torch_models.refusals import checked, integrators, notes_on_steps, unlike_their_kind, warn_of_one_step, watched
from varflow.torch_models.tensor_memory import overlap
from varflow.torch_models.traced import Trace, TracedLayer
from varflow.torch_models.walker import forward
from varflow.torch_models.watch import Recorder, Watched
from varflow.torch_models.wiring import Moments, measured, together

__all__ = ["audited"]

# Factors on the gain of a layer beyond the theory: if it has the gain that theory asks for, and if theory knows none.
RAISED, DOUBLED = 1.25, 2.0
MOSTLY = 0.8  # fraction of neurons that never spike, above which a note is given


def audited(model: Any, inputs: Any, loss: Callable[[Any], Any] | None, steps: int | None, progress: Progress) -> AuditReport:
    """:func:`varflow.audit` after the checks of its arguments."""
    recorder = Recorder()
    if loss is not None and torch.is_inference_mode_enabled():
        raise DomainError("loss", loss, "has no gradients within torch.inference_mode: leave that mode")
    used: dict[TracedLayer, list[Moments]] = {}

    def record(layer: TracedLayer, current: Any, spikes: Any) -> None:
        if layer not in used:  # the forward may clamp weights, which are restored after the pass
            used[layer] = [measured(weight) for weight in layer.weights]
        recorder(layer, current, spikes)

    calls = 1 if steps is None else integer("steps", steps, minimum=1)
    total = calls * (2 + NETWORKS) + 1
    with reporter(progress, total, "calls of the model") as report:
        traced = watched(model, inputs, steps, in_full_precision(record), report)
        if loss is not None and any(parameter.is_inference() for parameter in model.parameters()):
            raise DomainError(
                "loss", loss, "has no gradients with respect to weights made in torch.inference_mode: make them outside"
            )
        warn_of_one_step(traced, steps)
        notes = notes_on_steps(traced, steps) + [" ".join(each) for each in integrators(traced)] + _unseen(model)
        seen = checked(recorder, notes)
        reasons = uncovered(traced) + unlike_their_kind(traced)
        notes += [] if reasons else _shared(traced)  # redrawn networks share weights as the model does
        redrawn = _redrawn(model, inputs, steps, traced, beyond(report, calls)) if reasons else None
        report(calls * (1 + NETWORKS))
        gradients = _gradients(model, inputs, steps, traced, loss)
        report(calls * (2 + NETWORKS))
        with full_precision():
            found = _report(traced, used, seen, redrawn, gradients, reasons, notes)
        report(total)
        return found


def _report(
    traced: Trace,
    used: dict[TracedLayer, list[Moments]],
    seen: dict[str, Watched],
    redrawn: _Expected | None,
    gradients: list[float],
    reasons: list[str],
    notes: list[str],
) -> AuditReport:
    """The report: measurements, predictions and verdict."""
    moments = [together(used[layer]) for layer in traced.layers]
    predicted = _by_theory(traced, moments) if redrawn is None else redrawn
    expected = zip(predicted.rate, predicted.std, predicted.variance, strict=True)
    rows = zip(traced.layers, expected, gradients, strict=True)
    layers = [_audited(layer, used[layer], seen[layer.neuron_name], rate, gradient) for layer, rate, gradient in rows]
    silent = next((l for l, layer in enumerate(layers) if layer.dead), None)
    cause, needed = None, _needed(traced, layers)
    if silent is None:
        mend = _mend(layers, needed, covered=not reasons) if needed else None
    else:
        known, rates = needed or [None] * len(layers), [layer.firing_rate for layer in layers]
        cause, mend = diagnosed(traced, moments, rates, known, silent, predicted.survival[silent], covered=not reasons)
    gain = needed[mend] if needed and mend is not None else None
    if reasons and needed and mend is not None:
        mend, gain = _beyond_the_theory(layers, needed, mend)
    idle = [layer.name for layer in layers if not layer.dead and layer.dead_fraction > MOSTLY]
    notes = notes + ([f"most neurons spike for none of these inputs: {', '.join(idle)}"] if idle else [])
    if needed:
        layers = [replace(layer, needed_gain=need or math.nan) for layer, need in zip(layers, needed, strict=True)]
    return AuditReport(
        tuple(layers),
        traced.steps,
        len(layers[0].survival),
        None if silent is None else layers[silent].name,
        cause,
        *((None, None) if mend is None else layers[mend].first_to_mend(gain)),
        "networks drawn anew" if reasons else "theory",
        (*notes, *(f"not covered by the theory: {reason}" for reason in reasons)),
    )


def _mend(layers: list[AuditedLayer], needed: list[float | None], covered: bool) -> int | None:
    """The layer whose weights to change first if no layer is dead; None if weights are not the cause."""
    rates, gains = [layer.firing_rate for layer in layers], [layer.gain for layer in layers]
    weakest = to_mend(rates, gains, needed, len(layers) - 1)
    need = None if weakest is None else needed[weakest]
    if weakest is not None and need and gains[weakest] < ENOUGH * need and not all(layer.survival.all() for layer in layers):
        return weakest
    losing = [l for l, layer in enumerate(layers) if layer.gains and not layer.survival.all()]
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
        if "BatchNorm" in type(module).__name__ and not module.training and _count(module) == 0
    ]
    rule = "use running statistics that have seen no batch yet: run some in train mode first"
    return [f"normalisations {rule}: {', '.join(new)}"] if new else []


def _count(module: Any) -> int | None:
    batches = getattr(module, "num_batches_tracked", None)
    return None if batches is None else int(batches)


def _needed(traced: Trace, layers: list[AuditedLayer]) -> list[float | None]:
    """The gain that each layer needs; empty if nothing needs fixing, or if all inputs are 0."""
    ill = any(layer.wide or not layer.survival.all() for layer in layers)
    driven = all(any(bool(x.any()) for x in layer.weight_inputs) for layer in traced.layers if layer.driven)
    return needed_gains(traced) if ill and driven else []


def _audited(
    layer: TracedLayer, used: list[Moments], seen: Watched, predicted: tuple[float, float, float], gradient: float
) -> AuditedLayer:
    half = late_steps(len(seen.variance))
    rate, std, variance = predicted
    gains = {name: moments.gain for name, moments in zip(layer.names, used, strict=True)}
    own = together(used)
    scaling = {name: gains[name] for name in layer.scaled_by}
    return AuditedLayer(
        layer.name,
        layer.neuron_name,
        layer.neuron,
        seen.width,
        math.hypot(*(scaling or gains).values()),
        own.bias_std,
        own.bias_mean,
        float(seen.firing_rate[half].mean()),
        rate,
        std,
        float(seen.variance[half].mean()),
        float(seen.mean[half].mean()),
        variance,
        seen.dead_fraction,
        seen.saturated_fraction,
        seen.alive,
        seen.firing_rate.mean(1),
        gradient,
        gains=scaling,
        normalised_by=", ".join(layer.normalised_by),
    )


def _shared(traced: Trace) -> list[str]:
    """Notes on layers of a plain chain that share weights."""
    owners: dict[str, Any] = {}
    notes = []
    for layer in traced.layers:
        parameter = layer.weights[0]._parameters.get("weight")  # None if it is computed from others
        if parameter is None:
            continue
        owner = next((name for name, other in owners.items() if overlap(parameter, other)), layer.name)
        if owner != layer.name:
            notes.append(f"{layer.name} shares its weights with {owner}: predicted as if they were independent")
        owners.setdefault(layer.name, parameter)
    return notes


@dataclass(frozen=True, slots=True)
class _Expected:
    """For every layer: late rate, its spread, late variance, and the fraction of networks and inputs that fire late."""

    rate: list[float]
    std: list[float]
    variance: list[float]
    survival: list[float]


def _by_theory(traced: Trace, moments: list[Moments]) -> _Expected:
    found = predict(traced, moments)
    variance = found.variance[:, late_steps(traced.steps)].mean(1)
    columns = (found.late_rates.mean(0), found.late_rates.std(0), variance, found.survival)
    return _Expected(*(column.tolist() for column in columns))


def _redrawn(model: Any, inputs: Any, steps: int | None, traced: Trace, report: Report) -> _Expected:
    rates = redrawn_rates(model, inputs, steps, traced, report)
    unknown = np.full(rates.shape[1], math.nan)
    return _Expected(*(column.tolist() for column in (rates.mean(0), rates.std(0), unknown, (rates > LIVE_RATE).mean(0))))


def _gradients(model: Any, inputs: Any, steps: int | None, traced: Trace, loss: Any) -> list[float]:
    """Mean square of the gradient with respect to each layer's weights, frozen ones too; NaN if a hook computes the weights."""
    if loss is None:
        return [math.nan] * len(traced.layers)
    modules = list(dict.fromkeys(weight for layer in traced.layers for weight in layer.weights))

    def squares() -> dict[Any, Any]:
        for module in modules:
            module.requires_grad_(True)
        with torch.enable_grad(), torch.nn.utils.parametrize.cached():
            weights = [module.weight for module in modules]
            value = loss(forward(model, inputs, steps, [layer.module for layer in traced.layers]))
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise DomainError("loss", type(value).__name__, "must return a tensor of one number")
            one_each = list({id(weight): weight for weight in weights if weight.requires_grad}.values())
            graph = one_each if value.requires_grad else []
            gradients = torch.autograd.grad(value, graph, allow_unused=True) if graph else ()
        found = {id(weight): gradient for weight, gradient in zip(graph, gradients, strict=True)}
        known = [weight.is_leaf or hasattr(module, "parametrizations") for module, weight in zip(modules, weights, strict=True)]
        of = [weight.new_zeros(1) if (g := found.get(id(weight))) is None else g for weight in weights]
        return {
            module: g.float().square() if is_known else g.new_full((1,), math.nan)
            for module, g, is_known in zip(modules, of, known, strict=True)
        }

    found = kept(model, squares)
    return [float(torch.cat([found[weight].flatten() for weight in layer.weights]).mean()) for layer in traced.layers]
