"""Notes on what is probably a mistake in a model or a call, and on what cannot be put back after a pass."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from varflow._restoring import kept, lost
from varflow.model.library_neurons import recognise
from varflow.model.over_neurons import mean_of
from varflow.results.audit import first_of
from varflow.torch_models.tracing.steps import axes_of_a_step
from varflow.torch_models.tracing.traced import Trace
from varflow.torch_models.tracing.weights import of_its_own, torch_class

__all__ = [
    "ONE_STEP",
    "integrators",
    "notes_on_steps",
    "unlike_their_kind",
    "warn_of_one_step",
    "words_of_what_stays",
]

INTEGRATES = 1e3  # times the lowest threshold: above this ratio a neuron counts as an integrator

ONE_STEP = "neurons have memory but the model makes one step: pass steps=…"


def unlike_their_kind(traced: Trace) -> dict[str, str]:
    """Notes on weight layers of derived classes whose output is not that of their base class, by name."""
    weights: dict[Any, tuple[str, tuple[int, ...]]] = {}
    for layer in (layer for layer in traced.layers if layer.names):
        weights |= {w: (name, fed.shape) for name, w, fed in zip(layer.names, layer.weights, layer.fed, strict=True)}
    weights |= {weight: (name, shape) for name, weight, _, shape in traced.readouts}
    words: dict[str, str] = {}
    for weight, (name, shape) in weights.items():
        base = torch_class(weight)
        if of_its_own(weight) and not _gives_the_output_of(base, weight, shape):
            words[name] = f"{name} is a {type(weight).__name__} whose output is not that of a {base.__name__}"
    return words


def _gives_the_output_of(base: Any, weight: Any, shape: tuple[int, ...]) -> bool:
    """True if a layer gives the output of its base class for a random input; leading axes are part of the batch."""
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight.weight)
    more = 0 if hasattr(weight, "in_features") else max(given.dim() - len(weight.kernel_size) - 2, 0)
    try:
        with torch.no_grad():
            out, expected = kept(weight, lambda: (weight.forward(given), base.forward(weight, given.flatten(0, more))))
    except Exception:  # it needs other arguments, or a special input
        return False
    return out.numel() == expected.numel() and torch.allclose(out.reshape(expected.shape), expected, rtol=1e-2, atol=1e-4)


def integrators(traced: Trace) -> list[tuple[str, str]]:
    """Names of neurons whose thresholds are far above the others', with a note."""
    thresholds = {layer.neuron_name: mean_of(layer.neuron.threshold) for layer in traced.layers if layer.neuron is not None}
    lowest = min(thresholds.values(), default=0.0)
    rule = "has a threshold of {:g}, others of {:g}: a readout?"
    return [(name, rule.format(theta, lowest)) for name, theta in thresholds.items() if theta > INTEGRATES * lowest > 0]


def words_of_what_stays(model: Any) -> list[str]:
    """A note on what a pass may change and what cannot be put back."""
    stays = lost(model)
    return [f"what a pass changes in these stays changed: {', '.join(stays)}"] if stays else []


def notes_on_steps(traced: Trace, steps: int | None) -> list[str]:
    """Notes on a number of steps that is probably a mistake."""
    if (
        steps is None
        and traced.steps == 1
        and any(layer.neuron is not None and not layer.neuron.memoryless for layer in traced.layers)
    ):
        return [ONE_STEP]
    if steps is not None and traced.steps > steps > 1:
        inside = traced.steps // steps
        return [f"each call makes {inside} steps itself, {steps} calls make {traced.steps}: leave out steps="]
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
