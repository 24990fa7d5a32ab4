"""Synaptic operations: every spike is added once to each neuron that it is connected to; other numbers are multiplied."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from varflow.model.layers import Layer, Pool
from varflow.model.merges import Concat, Product, Sum
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender
from varflow.torch_models.tracing.traced import Fed, TracedLayer

__all__ = ["count_operations", "of_spikes", "synaptic_operations"]


def synaptic_operations(weight: Any, given: Any) -> Any:
    """``Σ x · (connections of x)`` over all that a weight layer is given in one call, as a tensor; zero padding and strides
    are left out.

    Spikes are counted as often as they arrive (sums of spikes are integers). For numbers that are no spikes, give
    ``given != 0``: the multiplications by numbers other than 0.
    """
    x = given.detach().float()
    if hasattr(weight, "in_features"):
        return x.sum(dtype=torch.float64) * weight.out_features
    axes = len(weight.kernel_size)
    maps = x.sum(-1 - axes, keepdim=True).flatten(0, max(x.dim() - axes - 2, 0)) if x.dim() > axes + 1 else x.sum(0)[None, None]
    ones = torch.ones(1, 1, *weight.kernel_size, dtype=x.dtype, device=x.device)
    if weight.transposed:
        across = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[axes - 1]
        arrived = across(maps, ones, None, weight.stride, weight.padding, weight.output_padding, 1, weight.dilation)
    else:
        across = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
        arrived = across(maps, ones, None, weight.stride, weight.padding, weight.dilation)
    return arrived.sum(dtype=torch.float64) * weight.out_channels / weight.groups


def of_spikes(origin: Origin, weights: Container[str]) -> bool:
    """True for spikes and numbers of spikes; not for currents, averages and the input."""
    return all(_keeps_spikes(each.operation, weights) for each in origin.ancestors)


def _keeps_spikes(operation: Sender | Layer, weights: Container[str]) -> bool:
    if isinstance(operation, Sender):
        return operation.name not in {INPUT, ""} and operation.name not in weights
    if isinstance(operation, Sum):
        return not operation.constant and all(factor > 0 and factor.is_integer() for factor in operation.factors)
    return isinstance(operation, Product | Concat) or (isinstance(operation, Pool) and operation.kind == "max")


def count_operations(layers: Sequence[TracedLayer], fed: Mapping[str, Fed]) -> None:
    """Set ``operations`` of every layer: of its weights, of those that make factors of its currents, and of those before them
    without a neuron between, each once; those of weights called for several layers in equal parts.
    """
    counted = Counter(name for layer in layers for name in layer.names)
    for layer in layers:
        factors = frozenset() if layer.origin is None else layer.origin.factors
        names = list(layer.names)
        for behind in chain([factors], (fed[name].behind for name in names)):  # names grow
            before = [source for source in sorted(behind) if source in fed and source not in counted]
            names += before
            counted.update(before)
        layer.operations = sum(float(fed[name].operations) / counted[name] for name in names) if names else math.nan
