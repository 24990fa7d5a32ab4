"""Prediction of every layer of a traced model from the moments of its weights, over the same steps and inputs.

A plain chain of dense layers is predicted at its width, exactly in distribution (``predict``); any other model at infinite
width (``evaluation``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from varflow.results import late_steps
from varflow.theory.flow.signals import Grid
from varflow.theory.in_time.responses import LayerState
from varflow.torch_models.evaluation import Evaluation
from varflow.torch_models.graph import INPUT
from varflow.torch_models.inputs import by_step, some
from varflow.torch_models.population import Response, respond
from varflow.torch_models.traced import Trace, TracedLayer
from varflow.torch_models.wiring import Moments, covariance_between, currents_from, why_not_covered, width_and_sites

__all__ = ["LIVE_RATE", "Expected", "Prediction", "expected", "input_moments", "plain", "predict", "uncovered"]

LIVE_RATE = 0.015  # predicted late rate above which a layer is alive: stable layers have more, dying ones fall below
POINTS = 2**15  # neurons drawn per layer, over all populations
MOST_FACTORED = 2**31  # populations × sites × steps³, the cost of factoring covariances
MAPS, MOST_POINTS = 32, 2**22  # populations for feature maps, which vary more, up to this total number of neurons
MOST_INPUTS, FEW_INPUTS = 64, 8  # inputs of a batch that are used; at infinite width, where each needs many neurons
MOST_SITES = 1024  # sites of a map up to which they are correlated


@dataclass(frozen=True, slots=True)
class Prediction:
    """Means over populations: ``firing_rate``, ``variance``, ``mean``, shape (depth, steps); ``late_rates`` of each population,
    shape (populations, depth); ``survival``, the fraction of populations that spike late, shape (depth,)."""

    firing_rate: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    late_rates: np.ndarray

    @property
    def survival(self) -> np.ndarray:
        return (self.late_rates > 0).mean(0)


def uncovered(trace: Trace) -> list[str]:
    """What makes a model more than a plain chain of layers, by name; empty if theory covers it."""
    words, known, neurons = [], {INPUT}, {layer.neuron_name for layer in trace.layers}
    for layer in trace.layers:
        words += () if layer.through else layer.unknown
        if layer.spiking.recurrent is not None:
            words.append(f"{layer.neuron_name} has recurrent weights")
        if layer.neuron is not None and layer.neuron.heterogeneous:
            words.append(f"neurons of {layer.neuron_name} differ")
        if not layer.weights:
            continue
        reasons = [(name, why_not_covered(weight)) for name, weight in zip(layer.names, layer.weights, strict=True)]
        words += [f"{name} {reason}" for name, reason in reasons if reason]
        words += [f"{step}, before {layer.neuron_name}" for step in layer.through]
        if len(layer.weights) > 1:
            words.append(f"{layer.neuron_name} sums the currents of {' and '.join(layer.names)}")
        if len(layer.sources) != 1:
            words.append(f"{layer.name} receives {' and '.join(layer.sources)} together")
        elif layer.sources[0] not in neurons | {INPUT}:
            words.append(f"{layer.name} receives the currents of {layer.sources[0]}, without a neuron between")
        elif layer.sources[0] not in known:
            words.append(f"{layer.name} receives the spikes of {layer.sources[0]}, a later layer")
        known.add(layer.neuron_name)
    return words


@dataclass(frozen=True, slots=True)
class Expected:
    """For every layer: late rate, its spread over networks and inputs, late variance, and the fraction of networks and inputs
    that fire late; NaN where theory does not know it. ``plain``: a chain of dense layers, at its own width.
    ``restarted``: weight modules whose inputs theory does not know and took as they were.
    """

    rate: list[float]
    std: list[float]
    variance: list[float]
    survival: list[float]
    plain: bool
    restarted: tuple[str, ...] = ()


def expected(trace: Trace, moments: Mapping[str, Moments]) -> Expected:
    """The prediction of a model from the moments of its weight modules; those without moments are unknown."""
    if plain(trace) and all(layer.name in moments for layer in trace.layers):
        found = predict(trace, [moments[layer.name] for layer in trace.layers])
        variance = found.variance[:, late_steps(trace.steps)].mean(1)
        columns = (found.late_rates.mean(0), found.late_rates.std(0), variance, found.survival)
        return Expected(*(column.tolist() for column in columns), plain=True)
    evaluation = Evaluation(trace, moments, FEW_INPUTS)
    rows = [_late(state, trace.steps) for state in evaluation.states()]
    rate, variance, survival = zip(*rows, strict=True)
    return Expected(list(rate), [math.nan] * len(rows), list(variance), list(survival), False, tuple(evaluation.restarted))


def _late(found: tuple[LayerState, Grid] | None, steps: int) -> tuple[float, float, float]:
    """Late rate, late variance over neurons and positions, and the fraction of inputs that fire late."""
    if found is None:
        return math.nan, math.nan, math.nan
    state, grid = found
    late, shape = late_steps(steps), (-1, grid.positions, grid.steps)
    rates = state.firing_rate.reshape(len(state.firing_rate), *shape)[..., late].mean(axis=(0, 2, 3))
    variance, mean = (values.reshape(shape)[..., late] for values in (state.variance, state.potential_mean))
    return float(rates.mean()), float(variance.mean() + mean.var(axis=1).mean()), float((rates > LIVE_RATE).mean())


def plain(trace: Trace) -> bool:
    """Whether a model is a chain of dense layers and neurons."""
    return not uncovered(trace) and all(hasattr(layer.weights[0], "in_features") for layer in trace.layers)


def input_moments(layer: TracedLayer, steps: int, most: int = MOST_INPUTS) -> tuple[Any, Any]:
    """Second moments (inputs, *sites, T, T) and means (inputs, *sites, T) of the input of an input-driven layer."""
    x = _given(layer, most)
    if hasattr(layer.weights[0], "in_features"):  # features are the last axis
        x = x.flatten(2, -2).mean(2) if x.dim() > 3 else x
        products, means = torch.einsum("sbn,tbn->bst", x, x) / x.shape[-1], x.mean(-1).movedim(0, -1)
    else:
        products = torch.einsum("sbc...,tbc...->b...st", x, x) / x.shape[2]
        means = x.mean(2).movedim(0, -1)
    if x.shape[0] == 1:
        products, means = products.expand(*products.shape[:-2], steps, steps), means.expand(*means.shape[:-1], steps)
    return products, means


def _input_across(layer: TracedLayer) -> Any:
    """Second moments between the sites of the input, averaged over channels and steps, shape (inputs, sites, sites)."""
    x = _given(layer, MOST_INPUTS).flatten(3)
    return torch.einsum("tbcu,tbcv->buv", x, x) / (x.shape[0] * x.shape[2])


def _given(layer: TracedLayer, most: int) -> Any:
    """The input of an input-driven layer, shape (steps or 1, inputs, features) or (…, channels, *sites); some inputs of a large
    batch.
    """
    return some(by_step(layer), most).double()


def predict(trace: Trace, moments: Sequence[Moments], *, infinite: bool = False, seed: int = 0) -> Prediction:
    """Layer by layer, each from the predicted moments of the one below it.

    Parameters
    ----------
    trace : Trace
        A plain chain, see :func:`uncovered`.
    moments : sequence of Moments
        Of every layer's weights.
    infinite : bool
        Infinite width instead of the layers' own, for a few of the inputs.
    seed : int

    Notes
    -----
    **Assumes** independent weights. Exact in distribution for dense layers and single inputs. In a convolution, currents of two
    sites are taken to have the same correlation at all steps (on maps of more than ``MOST_SITES`` sites they are independent);
    this affects the spread with few channels, not means with many.
    """
    device = trace.layers[0].weights[0].weight.device
    generator = torch.Generator(device).manual_seed(seed)
    found: dict[str, Response] = {}
    rows: list[tuple[Any, ...]] = []
    most = FEW_INPUTS if infinite else MOST_INPUTS
    drives = {layer.neuron_name: input_moments(layer, trace.steps, most) for layer in trace.layers if layer.driven}
    populations = _populations(trace, next(iter(drives.values()))[0].shape[0], infinite)
    for layer, moment in zip(trace.layers, moments, strict=True):
        if layer.driven:
            below = [_repeated(values, populations) for values in drives[layer.neuron_name]]
        else:
            below = [found[layer.sources[0]].coincidences, found[layer.sources[0]].rate]
        weight = layer.weights[0]
        covariance, mean = currents_from(weight, moment, *below)
        width, sites = width_and_sites(weight, layer.current_shape)
        size = max(POINTS // (populations * math.prod(sites)), 64) if infinite else width
        between = None
        if sites and not infinite and math.prod(sites) <= MOST_SITES:
            across = _repeated(_input_across(layer), populations) if layer.driven else found[layer.sources[0]].across
            input_sites = layer.input_shape[-len(sites) :]
            between = None if across is None else covariance_between(weight, moment, across, input_sites)
        response = found[layer.neuron_name] = respond(layer.neuron, covariance, mean, size, generator, between=between)
        rows.append(_summary(response))
    rate, variance, mean, late_rates = (torch.stack(values).cpu().numpy() for values in zip(*rows, strict=True))
    return Prediction(rate, variance, mean, late_rates.T)


def _populations(trace: Trace, inputs: int, infinite: bool) -> int:
    """Number of populations: a multiple of the inputs, within the limits on points and on the cost of factoring."""
    if infinite:
        return inputs
    sizes = [width_and_sites(layer.weights[0], layer.current_shape) for layer in trace.layers]
    largest = max(width * math.prod(sites) for width, sites in sizes)
    wanted = POINTS // largest
    if any(sites for _, sites in sizes):
        wanted = max(wanted, min(MAPS, MOST_POINTS // largest))
    wanted = min(wanted, MOST_FACTORED // (max(math.prod(sites) for _, sites in sizes) * trace.steps**3))
    return inputs * max(wanted // inputs, 1)


def _repeated(values: Any, populations: int) -> Any:
    return values.repeat(populations // values.shape[0], *([1] * (values.dim() - 1)))


def _summary(response: Response) -> tuple[Any, Any, Any, Any]:
    """Means over populations and sites, and each population's late rate; the variance is about the mean of the layer."""
    sites = tuple(range(1, response.rate.dim() - 1))
    over = (0, *sites)
    rates = response.rate.mean(sites) if sites else response.rate
    variance = response.variance.mean(over)
    if sites:
        variance = variance + response.mean.var(sites, correction=0).mean(0)
    return response.rate.mean(over), variance, response.mean.mean(over), rates[:, late_steps(rates.shape[-1])].mean(-1)
