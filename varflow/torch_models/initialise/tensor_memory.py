"""Memory of tensors: overlaps within and between tensors, what a layer's weight is made of, and tensors that can be written to
in inference mode only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["free_weight", "normed_weight", "overlap", "repeats", "written"]


def repeats(tensor: Any) -> bool:
    """Whether elements of a tensor may share memory, as in an expanded one."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def overlap(one: Any, other: Any) -> bool:
    """Whether two tensors overlap in memory."""
    (start, end), (first, last) = _stretch(one), _stretch(other)
    return one.device == other.device and start < last and first < end


def _stretch(tensor: Any) -> tuple[int, int]:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()


def normed_weight(layer: Any) -> tuple[Any, Any] | None:
    """Magnitudes and directions of weight norm, ``w = g v/|v|``, by torch's parametrisation or its older hook; else None."""
    if {"weight_g", "weight_v"} <= layer._parameters.keys():
        return layer.weight_g, layer.weight_v
    made_by: Any = layer.parametrizations.weight if is_parametrized(layer, "weight") else []
    return (made_by.original0, made_by.original1) if [type(each).__name__ for each in made_by] == ["_WeightNorm"] else None


def free_weight(layer: Any) -> Any:
    """What weights can be drawn into: the weight itself, or the directions of weight norm; None if it is computed otherwise."""
    normed = normed_weight(layer)
    return layer._parameters.get("weight") if normed is None else normed[1]


@contextmanager
def written(layer: Any) -> Iterator[None]:
    """A context in which a layer's parameters can be written to (inference mode for those made in it)."""
    made_there = any(tensor.is_inference() for tensor in layer.parameters())
    with torch.inference_mode(made_there), torch.no_grad():
        yield
