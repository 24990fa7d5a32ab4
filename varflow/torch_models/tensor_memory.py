"""Memory of tensors: overlaps within and between tensors, and tensors that can be written to in inference mode only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["overlap", "repeats", "written"]


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


@contextmanager
def written(weight: Any) -> Iterator[None]:
    """A context in which a layer's weight and bias can be written to (inference mode for those made in it)."""
    made_there = any(tensor.is_inference() for tensor in weight.parameters(recurse=False))
    with torch.inference_mode(made_there), torch.no_grad():
        yield
