"""Redrawn networks: the model's forward pass with new weights of the same moments, for structures beyond the theory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from varflow._progress import Report, beyond, unreported
from varflow._restoring import kept
from varflow.results import late_steps
from varflow.torch_models.prediction import rates_by_step
from varflow.torch_models.traced import Trace
from varflow.torch_models.walker import forward
from varflow.torch_models.wiring import measured

__all__ = ["NETWORKS", "redrawn_rates"]

NETWORKS = 4  # redrawn: enough for a mean and a spread


def redrawn_rates(model: Any, inputs: Any, steps: int | None, traced: Trace, report: Report = unreported) -> np.ndarray:
    """Late rates of every neuron layer, averaged over the inputs, shape (networks, layers).

    The model's parameters are not changed: its layers are replaced during the call.
    """
    reports = (beyond(report, seed * (steps or 1)) for seed in range(NETWORKS))
    return np.array([_rates(model, inputs, steps, traced, seed, each) for seed, each in enumerate(reports)])


def _rates(model: Any, inputs: Any, steps: int | None, traced: Trace, seed: int, report: Report) -> list[float]:
    modules = dict.fromkeys(layer.module for layer in traced.layers)
    calls = {module: iter([layer for layer in traced.calls if layer.module is module]) for module in modules}
    found: dict[Any, list[float]] = {layer: [] for layer in traced.layers}  # step by step

    def watch(module: Any, args: Any, out: Any) -> None:
        layer = next(calls[module], None)  # one module may serve several layers
        if layer is not None:  # None if the spikes led to more calls than in the trace
            found[layer] += rates_by_step(layer.spiking, (out[0] if isinstance(out, tuple) else out).float())

    def redrawn() -> None:
        for module in modules:
            module.register_forward_hook(watch)
        with torch.no_grad():
            for weight, fresh in _drawn(model, traced, seed):
                weight.__dict__["forward"] = _with_tensors(weight, fresh).forward
            forward(model, inputs, steps, list(modules), report)

    kept(model, redrawn)
    return [float(np.mean(rates[late_steps(len(rates))])) for rates in found.values()]


def _drawn(model: Any, traced: Trace, seed: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """All weight layers with redrawn weights and biases; shared parameters stay shared."""
    names = {module: name for name, module in model.named_modules()}
    weights = {weight for layer in traced.layers for weight in layer.weights} | {weight for _, weight, *_ in traced.readouts}
    generators = {device: torch.Generator(device).manual_seed(seed + 1) for device in {w.weight.device for w in weights}}
    shared: dict[int, Any] = {}
    for weight in sorted(weights, key=lambda module: names[module]):
        moments, generator = measured(weight), generators[weight.weight.device]  # one generator per device
        laws = {"weight": (moments.weight_mean, moments.weight_std), "bias": (moments.bias_mean, moments.bias_std)}
        fresh = {}
        for name, law in laws.items():
            own, parameter = getattr(weight, name), weight._parameters.get(name)
            if own is not None:
                drawn = None if parameter is None else shared.get(id(parameter))
                fresh[name] = torch.empty_like(own).normal_(*law, generator=generator) if drawn is None else drawn
                shared[id(parameter)] = fresh[name]
        yield weight, fresh


def _with_tensors(weight: Any, tensors: dict[str, Any]) -> Any:
    """A copy of a layer with other tensors as its parameters, also if it computes them from others."""
    kind: Any = torch.nn.utils.parametrize.type_before_parametrizations(weight)
    layer = kind.__new__(kind)
    own = {name: value for name, value in vars(weight).items() if name not in ("forward", *tensors)}
    layer.__dict__ = own | {"_parameters": {**weight._parameters, **tensors}}
    return layer
