"""Prediction of every layer of a traced model from the moments of its weights, over the same steps and inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from varflow.results import late_steps
from varflow.torch_models.library_neurons import Spiking
from varflow.torch_models.population import Response, respond
from varflow.torch_models.traced import INPUT, Trace, TracedLayer, steps_of
from varflow.torch_models.wiring import Moments, covariance_between, currents_from, why_not_covered, width_and_sites

__all__ = ["Prediction", "by_step", "input_moments", "predict", "rates_by_step", "uncovered"]

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
    x = by_step(layer)
    if x.shape[1] > most:
        x = x[:, np.unique(np.linspace(0, x.shape[1] - 1, most).round().astype(int))]
    return x.double()


def by_step(layer: TracedLayer, module: int = 0) -> Any:
    """The input of one weight module of an input-driven layer, steps first; a single step if it was called once."""
    calls, weight, spiking, shape = layer.fed[module].inputs, layer.weights[module], layer.spiking, layer.current_shape
    axes = 1 if hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
    given = calls[0]
    if len(calls) > 1 or spiking.time_axis is None:
        x = torch.stack(calls)
        return x if given.dim() > axes else x[:, None]
    merged = given.dim() == axes + 1 and len(shape) > 2 and len(given) == shape[0] * shape[1]
    if merged and spiking.time_axis == 0 and spiking.batch_size is None and spiking.steps is None:
        return given.unflatten(0, shape[:2])  # a container merged time into the batch axis (SpikingJelly)
    return split_steps(spiking, given)


def split_steps(spiking: Spiking, values: Any) -> Any:
    """Values of all steps, as a multi-step module takes them, with steps first and batch second."""
    if spiking.batch_size is not None or spiking.steps is not None:
        return values.unflatten(0, (-1, steps_of(spiking, tuple(values.shape)))).movedim(1, 0)
    return values.movedim(spiking.time_axis, 0)


def rates_by_step(spiking: Spiking, spikes: Any) -> list[float]:
    """Mean spikes of every step in one call of a neuron layer."""
    steps = spikes[None] if spiking.time_axis is None else split_steps(spiking, spikes)
    return steps.flatten(1).float().mean(1).tolist()


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
