"""Layers that need nothing: all of a healthy network, and healthy ones behind a normalisation whose inputs stay as they are, or
are normalised anew. Scaled to another rate, they may learn less well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from varflow.results import AuditReport
from varflow.results.audit import first_of
from varflow.torch_models.initialise.layer_gains import RATE
from varflow.torch_models.initialise.scales import LayerScale
from varflow.torch_models.tracing.checks import integrators
from varflow.torch_models.tracing.measurements import LayerMeasurement, measured_layer
from varflow.torch_models.tracing.origins import INPUT
from varflow.torch_models.tracing.traced import Trace

HEALTHY = "kept: healthy"
COST = "convolutions with BatchNorm: test accuracy .71 with torch's weights, .45 with γ for a rate of 0.2"


def healthy_scales(
    traced: Trace, scales: Sequence[LayerScale], seen: dict[str, LayerMeasurement], learns: Callable[[], Any] | None
) -> list[LayerScale]:
    """The scales of layers that need nothing. Whether the network learns is asked if nothing else is to be said of it; never if
    ``learns`` is None.
    """
    readouts = dict(integrators(traced))
    neurons = [layer for layer in traced.layers if layer.neuron_name not in readouts]
    layers = tuple(measured_layer(traced, layer, seen[layer.neuron_name]) for layer in neurons)
    report = AuditReport(layers, traced.steps, len(layers[0].survival), None, None, None, None, "")
    if learns and report.healthy and not report.remarks and replace(report, learning=learns()).healthy:
        return list(scales)
    sound = {layer.neuron_name for layer in layers if layer.verdict == "healthy"}
    healthy, unchanged, changed = list[LayerScale](), {INPUT}, set[int]()
    for scale in scales:
        layer, modules = scale.layer, [*scale.layer.weights, *scale.normalisations]
        tensors = {id(each) for module in modules for each in module.parameters()}
        renewed = layer.normalised_by or traced.senders_to(layer) <= unchanged
        stays = layer.neuron_name in sound and scale.normalisations and renewed and changed.isdisjoint(tensors)
        healthy += [scale] if stays else []
        if stays or (renewed and not scale.scaled):
            unchanged.add(layer.neuron_name)
        else:
            changed |= tensors
    return healthy


def leave(scales: Sequence[LayerScale], whole: bool) -> list[str]:
    """Let these scales stay as they are; a note."""
    for scale in scales:
        scale.set_by = HEALTHY if scale.scaled else scale.set_by
        scale.scaled, scale.norms = [], []
    names = "all layers" if whole else first_of([scale.layer.neuron_name for scale in scales])
    return [f"healthy, and kept as they are: {names}; rate={RATE:g} would set them, which may cost accuracy"] if scales else []


def cost(scales: Sequence[LayerScale]) -> list[str]:
    """A note on layers that did not need to be set, and are."""
    names = [scale.layer.neuron_name for scale in scales if scale.norms]
    return [f"{first_of(names)} were healthy; another γ may cost accuracy ({COST})"] if names else []
