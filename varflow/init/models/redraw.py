"""Networks drawn anew: a model's own forward pass with fresh weights of the same moments, where no theory covers its
structure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow.init.models.prediction import late, rates_by_step
from varflow.init.models.state import kept
from varflow.init.models.walker import Trace, forward
from varflow.init.models.wiring import measured

__all__ = ["redrawn_rates"]

NETWORKS = 4


def redrawn_rates(torch: Any, model: Any, inputs: Any, steps: int | None, traced: Trace) -> np.ndarray:
    """Late rates of every neuron layer, mean over the inputs, shape (networks, layers).

    The model's own parameters are not touched: others stand in their place during the call.
    """
    return np.array([_rates(torch, model, inputs, steps, traced, seed) for seed in range(NETWORKS)])


def _rates(torch: Any, model: Any, inputs: Any, steps: int | None, traced: Trace, seed: int) -> list[float]:
    names = {module: name for name, module in model.named_modules()}
    weights = {weight for layer in traced.layers for weight in layer.weights} | {weight for _, weight, *_ in traced.readouts}
    generators = {device: torch.Generator(device).manual_seed(seed + 1) for device in {w.weight.device for w in weights}}
    fresh = {}
    for weight in sorted(weights, key=lambda module: names[module]):
        moments, generator = measured(weight), generators[weight.weight.device]  # one for all: layers are independent
        fresh[f"{names[weight]}.weight"] = torch.empty_like(weight.weight).normal_(
            moments.weight_mean, moments.weight_std, generator=generator
        )
        if weight.bias is not None:
            fresh[f"{names[weight]}.bias"] = torch.empty_like(weight.bias).normal_(
                moments.bias_mean, moments.bias_std, generator=generator
            )
    modules = dict.fromkeys(layer.module for layer in traced.layers)
    calls = {module: iter([layer for layer in traced.calls if layer.module is module]) for module in modules}
    found: dict[Any, list[float]] = {layer: [] for layer in traced.layers}  # step by step

    def watch(module: Any, args: Any, out: Any) -> None:
        layer = next(calls[module], None)  # one module may serve several layers
        if layer is not None:  # else spikes decided on more calls than there were
            found[layer] += rates_by_step(layer.spiking, out[0] if isinstance(out, tuple) else out)

    handles = [module.register_forward_hook(watch) for module in modules]
    try:
        with kept(model), torch.no_grad():
            call = lambda *args, **kwargs: torch.func.functional_call(model, fresh, args, kwargs)  # noqa: E731
            forward(_Called(model, call), inputs, steps, list(modules))
    finally:
        for handle in handles:
            handle.remove()
    return [float(np.mean(rates[late(len(rates))])) for rates in found.values()]


class _Called:
    """A model that is called with other parameters."""

    def __init__(self, model: Any, call: Any):
        self.modules, self.call = model.modules, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)
