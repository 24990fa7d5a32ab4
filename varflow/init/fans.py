"""Fan-in and fan-out of weight shapes and torch layers.

A shape does not show whether it belongs to a transposed or grouped convolution; a layer does. The number of inputs including
padding and strides is :func:`effective_fan_in`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, real_array

SHAPE = "must be a weight shape (out, in, *kernel) of whole numbers, or a torch layer with a weight"


def fan_in(layer: Any) -> int:
    """Number of inputs per neuron, of a shape ``(out, in, *kernel)`` or a torch module with such a weight.

    Parameters
    ----------
    layer : sequence of int, or torch module
        Linear, bilinear, a convolution of any dimension, grouped or transposed.

    Returns
    -------
    int
        ``in/groups · kernel``. A transposed convolution stores ``(in, out/groups, *kernel)``; there every output sums
        ``in/groups · kernel/stride`` on average, rounded.

    Raises
    ------
    DomainError
        For layers without a fan-in: lazy layers without a weight, normalisations, embeddings, weights with one axis.

    Notes
    -----
    Borders are ignored: see :func:`effective_fan_in`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> vf.init.fan_in((512, 256, 3, 3)), vf.init.fan_in(torch.nn.Conv2d(8, 16, 3, groups=4))
    (2304, 18)
    """
    shape = _shape(layer)
    if _transposed(layer):
        return max(round(shape[0] / layer.groups * math.prod(shape[2:]) / math.prod(layer.stride)), 1)
    return math.prod(shape[1:])


def fan_out(layer: Any) -> int:
    """Number of neurons that one input of a layer reaches.

    Parameters
    ----------
    layer : sequence of int, or torch module
        As in :func:`fan_in`.

    Returns
    -------
    int
        ``out/groups · kernel/stride`` on average, rounded; ``out/groups · kernel`` for a transposed convolution.

    Raises
    ------
    DomainError
        As in :func:`fan_in`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> vf.init.fan_out(torch.nn.Linear(784, 100)), vf.init.fan_out(torch.nn.Conv2d(8, 16, 3, stride=2, groups=4))
    (100, 9)
    """
    shape = _shape(layer)
    if _transposed(layer):
        return math.prod(shape[1:])
    groups, stride = getattr(layer, "groups", 1), math.prod(getattr(layer, "stride", (1,)))
    return max(round(shape[0] / groups * math.prod(shape[2:]) / stride), 1)


def effective_fan_in(layer: Any, size: Sequence[int]) -> float:
    """Number of inputs per neuron of a convolution without padded zeros, averaged over the output.

    Parameters
    ----------
    layer : torch module
        A convolution, transposed or not, with zero padding; for any other layer the result is :func:`fan_in`.
    size : sequence of int
        Spatial size of its input, such as ``(28, 28)``.

    Returns
    -------
    float
        Mean over output positions; positions at the border have fewer inputs, those inside more.

    Raises
    ------
    DomainError
        For a size that does not fit the layer.

    Notes
    -----
    A position with ``k`` inputs has a potential of variance ``g² p k/fan``; ``fan=effective_fan_in(...)`` makes the variance
    averaged over the output correct. No choice makes it the same everywhere.
    **Source**: derived here, tested against torch's layers.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> vf.init.effective_fan_in(torch.nn.Conv2d(1, 1, 3, padding=1), (4, 4))
    6.25
    """
    shape = _shape(layer)
    if not isinstance(size, Sequence):
        raise DomainError("size", size, "must be whole numbers: the spatial size of the input")
    sizes = [integer("size", item, minimum=1) for item in size]
    if len(shape) < 3 or not hasattr(layer, "kernel_size"):
        return float(fan_in(layer))
    if len(sizes) != len(layer.kernel_size):
        raise DomainError("size", size, f"must be {len(layer.kernel_size)} whole numbers: the spatial size of the input")
    channels = shape[0] // layer.groups if _transposed(layer) else shape[1]
    return channels * math.prod(_mean_taps(layer, axis, item) for axis, item in enumerate(sizes))


def _mean_taps(layer: Any, axis: int, size: int) -> float:
    """Number of kernel taps on real inputs along one axis, averaged over output positions."""
    kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    reach = dilation * (kernel - 1)
    if _transposed(layer):  # every input meets every tap, minus those that padding cuts off
        out = (size - 1) * stride - 2 * layer.padding[axis] + reach + layer.output_padding[axis] + 1
        at = stride * np.arange(size)[:, None] + dilation * np.arange(kernel) - layer.padding[axis]
        met = (at >= 0) & (at < out)
    else:
        before, after = _padding(layer, axis, reach)
        if layer.padding_mode != "zeros":
            return float(kernel)
        out = (size + before + after - reach - 1) // stride + 1
        at = stride * np.arange(max(out, 0))[:, None] + dilation * np.arange(kernel) - before
        met = (at >= 0) & (at < size)
    if out < 1:
        raise DomainError("size", size, f"is smaller than the kernel's reach of {reach + 1}: the output is empty")
    return float(np.count_nonzero(met)) / out


def _padding(layer: Any, axis: int, reach: int) -> tuple[int, int]:
    """Number of zeros before and after; ``"same"`` puts the odd one after."""
    if isinstance(layer.padding, str):
        return (reach // 2, reach - reach // 2) if layer.padding == "same" else (0, 0)
    return layer.padding[axis], layer.padding[axis]


def _transposed(layer: Any) -> bool:
    return getattr(layer, "transposed", False)


def _shape(layer: Any) -> tuple[int, ...]:
    """Shape of the weight."""
    if not hasattr(layer, "weight"):
        if not (isinstance(layer, (list, tuple)) or hasattr(layer, "ndim")):
            raise DomainError("layer", layer, SHAPE)
        sizes = real_array("layer", layer)
        if sizes.ndim != 1 or len(sizes) < 2 or np.any(sizes < 1) or np.any(sizes % 1):
            raise DomainError("layer", layer, SHAPE)
        return tuple(int(size) for size in sizes)
    class_names = [kind.__name__ for kind in type(layer).__mro__]
    if layer.weight is None or "Uninitialized" in type(layer.weight).__name__:
        raise DomainError("layer", layer, "has no weight yet: run one batch through it first")
    shape = tuple(layer.weight.shape)
    sums = any(hasattr(layer, name) for name in ("in_features", "in1_features", "kernel_size"))
    if len(shape) < 2 or (not sums and any("Norm" in kind or "Embedding" in kind for kind in class_names)):
        raise DomainError("layer", layer, "does not sum over inputs: give a linear layer or a convolution")
    return shape
