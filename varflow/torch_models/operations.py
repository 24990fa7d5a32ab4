"""Synaptic operations: every spike is added once to each neuron that it is connected to; other numbers are multiplied."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["synaptic_operations"]


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
