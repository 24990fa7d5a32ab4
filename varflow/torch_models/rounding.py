r"""Weights of a model rounded to a lattice: integers of few bits times a step ``Δ``, of each module or channel.

Integers are those of a clip (the largest weight, or the smallest squared error). What they are multiplied by is free:

.. math:: Δ = \frac{θ}{λ (k - ½)}, \qquad k = \Bigl[\frac{θ}{λ Δ_0} + \frac12\Bigr], \qquad Δ_0^2 = \frac{\sum w^2}{\sum i^2}

puts the threshold in the middle between two sums of integers, nearest to where currents keep their strength, or with
``keep="survival"`` where they do not lose any. With ``keep="rate"`` the ``k`` of each layer is then moved until the layer has
its earlier rate on the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from varflow._restoring import all_or_nothing, kept
from varflow.model.over_neurons import mean_of
from varflow.model.rounded_weights import largest_integer
from varflow.results.rounded_model import COLUMNS, KINDS, RoundedModel
from varflow.torch_models.initialise.refine import HALVED, Rates, settle
from varflow.torch_models.initialise.scales import LayerScale, scales_of, written
from varflow.torch_models.prediction.signals import predicted
from varflow.torch_models.tracing.checks import integrators
from varflow.torch_models.tracing.measurements import MeasuredPass
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.traced import TracedLayer
from varflow.torch_models.tracing.weights import Moments, moments_of

TRIED = 80  # clips, from 1 % of the largest weight on: the squared error is within 0.5 % of the smallest
PLACED = {"rate": torch.round, "survival": torch.floor}  # k, by what is kept


@dataclass(slots=True, eq=False)
class Lattice:
    """Weights of a module as integers times steps, one for each channel or one for all: shape (channels or 1, 1, …).

    Attributes
    ----------
    module : module
    integers : tensor
    bias : tensor, optional
    wanted : tensor
        The steps before they are placed.
    layer : TracedLayer, optional
        Whose neurons it feeds; None for a readout.
    keep : str
        By which steps are placed; empty if they are not.
    """

    module: Any
    integers: Any
    bias: Any
    wanted: Any
    layer: TracedLayer | None
    keep: str

    @classmethod
    def of(cls, module: Any, layer: TracedLayer | None, bits: int, channels: bool, clip: str, keep: str) -> Lattice:
        """Integers by a clip; steps as there, or to ``keep`` something those with which weights keep their norm."""
        weight, largest = module.weight.detach(), largest_integer(bits)
        channels = channels and not getattr(module, "transposed", False)
        rows = weight.flatten(1) if channels else weight.flatten()[None]
        top = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / largest
        step = _least_squares(rows, top, largest) if clip == "mse" else top
        integers, norm = _rounded(rows, step, largest), partial(torch.linalg.vector_norm, dim=1, keepdim=True)
        if keep:
            step = (norm(rows) / norm(integers).clamp(min=1)).clamp(min=1e-30)
        step, bias = step.reshape(-1, *[1] * (weight.dim() - 1)), None if module.bias is None else module.bias.detach().clone()
        return cls(module, integers.reshape(weight.shape), bias, step, layer, keep)

    @property
    def unit(self) -> float:
        """``θ/λ``, the threshold as a current; NaN without a positive one, and where neurons receive no plain currents."""
        neuron = None if self.layer is None or self.layer.through else self.layer.neuron
        unit = math.nan if neuron is None else mean_of(neuron.threshold) / neuron.input_scale
        return unit if unit > 0 else math.nan

    @property
    def step(self) -> Any:
        """``Δ``."""
        if not self.keep or math.isnan(self.unit):
            return self.wanted
        return self.unit / (PLACED[self.keep](self.unit / self.wanted + 0.5).clamp(min=1) - 0.5)

    @property
    def integer_threshold(self) -> Any:
        """``k``, the least sum of integers beyond the threshold."""
        return (self.unit / self.step).floor() + 1

    def mul_(self, factor: float) -> None:
        """Multiply the steps, as a tensor in place, and set the weights; biases are multiples of the steps too."""
        self.wanted = self.wanted * factor
        with written(self.module):
            self.module.weight.copy_(self.integers * self.step)
            if self.bias is not None:
                step = self.step.flatten()
                self.module.bias.copy_((self.bias / step).round_() * step)

    def moments(self) -> Moments:
        """Moments of the weights. Where potentials are sums of integers, those with a threshold of ``k - ½`` steps."""
        of, factor = moments_of(self.module), 1.0
        if self.layer and self.layer.neuron and self.layer.neuron.memoryless and not self.layer.driven:
            factor = float((self.unit / ((self.integer_threshold - 0.5) * self.step)).mean().nan_to_num(1.0))
        return replace(of, weight_std=factor * of.weight_std)


def _rounded(rows: Any, step: Any, largest: int) -> Any:
    return (rows / step).round_().clamp_(-largest, largest)


def _least_squares(rows: Any, top: Any, largest: int) -> Any:
    """Steps of the smallest squared error of each row; ``top``: those with which no weight is clipped."""
    steps = [fraction * top for fraction in torch.logspace(-2, 0, TRIED).tolist()]
    errors = torch.stack([(_rounded(rows, step, largest) * step - rows).square_().sum(1) for step in steps])
    return torch.stack(steps).gather(0, errors.argmin(0)[None, :, None])[0]


def rounded(
    model: Any, measured: MeasuredPass, rates: Callable[..., Rates] | None, bits: int, keep: str, channels: bool, clip: str
) -> RoundedModel:
    """:func:`varflow.init.quantise_` of a model after a ``measured`` pass; ``rates``: as of ``late_rates``. Without them all is
    predicted, and the model stays as it is.
    """
    traced, readouts, first = measured.trace, dict(integrators(measured.trace)), rates and (rates(), rates(1))
    names, scales = [layer.neuron_name for layer in traced.layers], scales_of(model, traced, measured.layers)
    used = [(name, weight, layer) for layer in traced.layers for name, weight in zip(layer.names, layer.weights, strict=True)]
    used += [(name, weight, None) for name, weight, *_ in traced.readouts]
    # weights that are shared belong to the first layer
    owners = {each[1]._parameters["weight"]: each for each in reversed(used) if "weight" in each[1]._parameters}
    others = tuple(name for name, each in model.named_parameters() if each.dim() > 1 and each not in owners)
    columns: dict[str, Any] = {name: {} for name in COLUMNS}

    def give(kind: str) -> dict[str, Lattice]:
        how = (clip, keep) if kind == "set" else (kind, "")
        some = [] if kind == "full" else owners.values()
        found = {name: Lattice.of(weight, layer, bits, channels, *how) for name, weight, layer in some}
        for lattice in found.values():
            lattice.mul_(1.0)
        if rates and first:
            if how == (clip, "rate"):
                _settle(scales, found, {name: each for name, each in first[0].items() if name not in readouts}, rates)
            of_inputs, of_neurons = rates(), rates(1)
            alive = np.all([of_inputs[name] > 0 for name in names if name not in readouts], axis=0)
            moved = [np.abs(np.sort(first[1][name]) - np.sort(of_neurons[name])).mean() for name in names]
            columns["firing_rate"][kind] = np.array([of_inputs[name].mean() for name in names])
            columns["survival"][kind], columns["distance"][kind] = float(alive.mean()), np.array(moved)
        covered = {name: lattice.moments() for name, lattice in found.items() if name in measured.covered}
        with full_precision():
            prediction = predicted(traced, measured.covered | covered)
        columns["predicted_rate"][kind] = prediction.rates
        columns["predicted_survival"][kind] = min((p for p in map(float, prediction.survival) if p >= 0), default=math.nan)
        return found

    for kind in KINDS[:-1]:
        kept(model, partial(give, kind))
    found = (all_or_nothing if rates else kept)(model, partial(give, KINDS[-1]))
    own = [next((found[name] for name in layer.names if name in found), None) for layer in traced.layers]
    pairs = [(math.nan, math.nan) if of is None else (float(of.step.mean()), float(of.integer_threshold.mean())) for of in own]
    per, labels = "channel" if channels else "layer", tuple(layer.name for layer in traced.layers)
    return RoundedModel(labels, bits, keep, per, traced.steps, *np.array(pairs).T, **columns, unrounded=others)


def _settle(scales: list[LayerScale], found: Mapping[str, Lattice], before: Rates, rates: Callable[[], Rates]) -> None:
    """Move steps, or γ behind them, until layers have their rates of before, of the inputs that are not held out."""
    for scale in scales:
        if not (scale.norms or scale.layer.normalised_by):
            scale.scaled = [found[name] for name in scale.layer.names if name in found]
    seen: dict[Any, Rates] = {}

    def once() -> Rates:
        """Rates, measured again only where a step or a factor of γ has changed."""
        at = (*(float(of.step.sum()) for of in found.values()), *(bool(scale.norms) * scale.factor for scale in scales))
        seen[at] = seen.get(at) or rates()
        return seen[at]

    aims = {name: float(each[:: 2 if len(each) >= HALVED else 1].mean()) for name, each in before.items()}
    settle(scales, {name: aim for name, aim in aims.items() if aim}, once)
