r"""Scaling of weights until each layer of the drawn network has its planned late rate on the batch.

The plan holds in the mean over networks. A single convolutional network deviates from it, since all sites see the same few
kernels. A pass measures all layers; with ``r_l`` the measured rate divided by the planned one,

.. math:: \Delta \ln g_l = -(\ln r_l - \tfrac a2 \ln r_{l-1})/a, \qquad a = z φ(z)/Q(z), \quad Q(z) = r

corrects each layer's own deviation without that caused by the layer below. ``a`` is ``d ln r/d ln g`` of a memoryless neuron,
accurate enough for convergence in a few passes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch

from varflow.results import LayerPlan, late_steps
from varflow.torch_models.prediction import rates_by_step
from varflow.torch_models.tensor_memory import written
from varflow.torch_models.traced import Trace, TracedLayer
from varflow.torch_models.walker import trace

__all__ = ["late_rates", "refined"]

PASSES = 12  # forward passes, at most
REFINED = 0.02  # relative deviation from the planned rate at which refinement ends
LARGEST_STEP = 0.3  # of one layer in one pass, in ln g


def late_rates(model: Any, inputs: Any, steps: int | None = None) -> dict[str, float]:
    """Measured late rates, averaged over the inputs, by name of the neuron layer."""
    found: dict[str, list[float]] = defaultdict(list)

    def record(layer: TracedLayer, current: Any, spikes: Any) -> None:
        found[layer.neuron_name] += rates_by_step(layer.spiking, spikes.float())

    trace(model, inputs, steps, record)
    return {name: sum(rates[late_steps(len(rates))]) / len(rates[late_steps(len(rates))]) for name, rates in found.items()}


def refined(
    model: Any, inputs: Any, steps: int | None, traced: Trace, plan: Sequence[LayerPlan]
) -> tuple[list[LayerPlan], float]:
    """The plan with the present gains of the weights, and the largest remaining relative deviation.

    Almost silent layers, whose rate is below its spread, keep their gain.
    """
    planned = {layer.neuron_name: layer.firing_rate for layer in plan if layer.firing_rate > layer.firing_rate_std}
    factors = dict.fromkeys(planned, 1.0)
    best, left = dict(factors), math.inf
    for number in range(PASSES):
        measured = late_rates(model, inputs, steps)
        off = {name: math.log(min(max(measured[name] / rate, 0.1), 10.0)) for name, rate in planned.items()}
        worst = max(map(abs, off.values()), default=0.0)
        if worst < left:
            best, left = dict(factors), worst
        if left < REFINED or number == PASSES - 1:
            break
        for layer in (layer for layer in traced.layers if layer.neuron_name in planned):
            rise = _rise(planned[layer.neuron_name])
            step = (0.5 * rise * off.get(layer.sources[0], 0.0) - off[layer.neuron_name]) / rise
            _scale(layer, factors, factors[layer.neuron_name] * math.exp(min(max(step, -LARGEST_STEP), LARGEST_STEP)))
    for layer in traced.layers:  # layers of few neurons may not converge: keep the best
        if layer.neuron_name in planned:
            _scale(layer, factors, best[layer.neuron_name])
    return [replace(layer, gain=layer.gain * best.get(layer.neuron_name, 1.0)) for layer in plan], math.expm1(left)


def _scale(layer: TracedLayer, factors: dict[str, float], wanted: float) -> None:
    """Rescale a layer's weights to a new factor."""
    with written(layer.weights[0]):
        layer.weights[0].weight.mul_(wanted / factors[layer.neuron_name])
    torch.clear_autocast_cache()  # it holds the old weights
    factors[layer.neuron_name] = wanted


def _rise(rate: float) -> float:
    """``d ln r/d ln g`` of a memoryless neuron at a rate."""
    normal, r = NormalDist(), min(max(rate, 1e-4), 0.4)
    z = normal.inv_cdf(1 - r)
    return z * normal.pdf(z) / r
