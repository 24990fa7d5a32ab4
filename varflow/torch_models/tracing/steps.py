"""Values that modules receive and return, step by step, wherever the loop over time is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from varflow.model.library_neurons import Spiking
from varflow.torch_models.tracing.provenance import tensors_in
from varflow.torch_models.tracing.traced import TracedLayer, steps_of

__all__ = ["batch_of", "by_step", "of_all", "some", "split_steps", "steps_first"]


def batch_of(inputs: Any, rows: list[int]) -> int:
    """Number of inputs of a model whose layers have so many rows; patches folded into the batch have rows of their own."""
    sizes = {size for tensor in tensors_in(inputs) for size in tensor.shape[:2]}  # time or batch comes first
    return min(sizes.intersection(rows), default=max(rows, default=1))


def by_step(layer: TracedLayer, module: int = 0) -> Any:
    """The input of one weight module of an input-driven layer, steps first; a single step if it was called once."""
    calls, spiking, shape = layer.fed[module].inputs, layer.spiking, layer.current_shape
    weight = layer.weights[module] if layer.weights else None  # None for weights within the neuron
    axes = 1 if weight is None or hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
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


def some(x: Any, most: int) -> Any:
    """At most this many inputs of a batch, evenly spaced; shape (steps, inputs, …)."""
    if x.shape[1] <= most:
        return x
    return x[:, np.unique(np.linspace(0, x.shape[1] - 1, most).round().astype(int))]


def steps_first(spiking: Spiking, values: Any) -> Any:
    """Values of one call of a neuron layer, with steps first."""
    return values[None] if spiking.time_axis is None else split_steps(spiking, values)


def of_all(steps: list[Any]) -> Any:
    """Shape (steps, inputs), of values per input at each step. Inputs that left the batch count as the mean of the others."""
    most = max(map(len, steps))
    whole = (torch.cat([each, each.mean().nan_to_num().expand(most - len(each))]) for each in steps)
    return torch.stack(list(steps if len({*map(len, steps)}) == 1 else whole))


def axes_of_a_step(layer: TracedLayer) -> int:
    """Number of axes of one input at one step."""
    weight = layer.weights[0] if layer.weights else None
    return 1 if weight is None or hasattr(weight, "in_features") else 1 + len(weight.kernel_size)


def in_single(values: Any) -> Any:
    """Values at least in single precision."""
    return values if values.dtype.itemsize >= 4 and values.is_floating_point() else values.float()


def flat(values: Any, axes: int) -> Any:
    """Shape (inputs, neurons), at least in single precision."""
    return in_single(values.flatten(1) if values.dim() > axes else values.flatten()[None])
