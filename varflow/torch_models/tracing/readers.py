"""Functions of torch read as operations of ``vf.layers``: each reader takes the arguments of one function.

Parameters are read by their moments: γ as the root mean square over channels, β as the mean, running statistics as the mean
and the variance whose scale has that of all channels. Functions that are called in a way that theory does not cover have no
operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, ClassVar

import torch

from varflow.model.extensions import READS
from varflow.model.layers import BatchNorm, Layer, LayerNorm, Pool, RMSNorm, ScaleSteps
from varflow.model.merges import Concat, Product, Sum
from varflow.model.signals import Unknown, pair
from varflow.model.upsampling import Upsample
from varflow.torch_models.tracing.attention import Contraction, einsum, product_of_matrices, summed_over

OriginOf = Callable[[Any], Any]  # of a tensor, or None
Reader = Callable[..., Layer | None]


@dataclass(frozen=True, slots=True, repr=False)
class UnknownNormalisation(Unknown):
    """A function without a theory whose output does not depend on the scale of its input."""

    normalises: ClassVar[bool] = True


def in_order(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments of a call in the order of the parameters of the function, whatever order their keywords have."""
    if not kwargs or not (name in READS or name in _OF_SIGNALS or name in _OF_ONE_SIGNAL):
        return args, kwargs
    first = [key for key in ("input", "tensors", "other") if key in kwargs]
    args, kwargs = (*args, *(kwargs[key] for key in first)), {key: kwargs[key] for key in kwargs if key not in first}
    if name not in READS:
        return args, kwargs
    try:
        bound = signature(READS[name]).bind(*args, **kwargs)
    except (TypeError, ValueError):  # called in another way
        return args, kwargs
    return bound.args, bound.kwargs


def operation(name: str, words: str, args: Any, kwargs: Any, of: OriginOf, *, constants: bool) -> Layer:
    """The operation that a torch function makes on the signals among its arguments; ``of`` gives their origins.

    ``constants``: some of its tensors are no signals, which a merge from outside does not know.
    """
    try:
        if name in READS:
            read = READS[name](*args, **kwargs)
            read = None if constants and read is not None and read.merges else read
        elif name in _OF_SIGNALS:
            read = _OF_SIGNALS[name](of, *args, **kwargs)
        else:
            read = _OF_ONE_SIGNAL[name](*args, **kwargs) if name in _OF_ONE_SIGNAL else None
    except (TypeError, ValueError, IndexError):  # called in another way
        read = None
    if read is not None:
        return replace(read, words=words) if isinstance(read, Contraction) else read
    return (UnknownNormalisation if name in _NORMALISATIONS else Unknown)(words)


# Functions of several signals, or of signals and numbers.


def _number(value: Any, of: OriginOf) -> float | None:
    """A number, also one in a tensor of unknown origin; None for signals and other tensors."""
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if hasattr(value, "numel") and value.numel() == 1 and of(value) is None else None


def _sum(first: float, second: float) -> Reader:
    """``first · x + second · y``, of two signals or a signal and a number."""

    def read(of: OriginOf, x: Any, y: Any, alpha: float = 1.0, **_: Any) -> Sum | None:
        factors, constant = [], 0.0
        for factor, term in ((first, x), (second * float(alpha), y)):
            if (number := _number(term, of)) is not None:
                constant += factor * number
            elif of(term) is None:
                return None
            else:
                factors.append(factor)
        return Sum(tuple(factors), constant)

    return read


def _product(of: OriginOf, x: Any, y: Any, **_: Any) -> Layer | None:
    numbers = [number for term in (x, y) if (number := _number(term, of)) is not None]
    if numbers:
        return Sum((numbers[0],))
    signal, constant = (x, y) if of(y) is None else (y, x)
    if of(constant) is None and constant.dim() == signal.dim() and constant.numel() == len(constant) == len(signal):
        return ScaleSteps(constant.flatten().tolist())  # a number of each step
    return None if None in (of(x), of(y)) else Product()


def _quotient(of: OriginOf, x: Any, y: Any) -> Sum | None:
    divisor = _number(y, of)
    return Sum((1 / divisor,)) if divisor else None


def _concatenation(of: OriginOf, parts: Any, *_: Any, **__: Any) -> Concat | None:
    return None if None in map(of, parts) else Concat()


# Functions of one signal.


def _average_pool(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Pool | None:  # fmt: skip
    if ceil_mode or divisor_override or not (count_include_pad or padding in (0, (0, 0))):
        return None
    return Pool("average", kernel_size, kernel_size if stride in (None, ()) else stride, padding)


def _max_pool(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pool | None:  # fmt: skip
    if ceil_mode or return_indices or dilation not in (1, (1, 1), [1, 1]):
        return None
    return Pool("max", kernel_size, kernel_size if stride in (None, ()) else stride, padding)


def _interpolation(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any) -> Upsample | None:
    if mode != "nearest" or x.dim() != 4:
        return None
    sides = x.shape[-2:]
    sizes = [int(side * scale) for side, scale in zip(sides, pair(scale_factor), strict=True)] if size is None else pair(size)
    repeats = [larger // side for side, larger in zip(sides, sizes, strict=True)]
    whole = all(larger == side * times for side, larger, times in zip(sides, sizes, repeats, strict=True))
    return Upsample(tuple(repeats)) if whole else None


def _whole_map(x: Any, output_size: Any) -> Pool | None:
    return Pool("average") if output_size in (1, (1, 1), [1, 1]) else None


def _mean(x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Pool | None:
    axes = {axis % x.dim() for axis in dim} if isinstance(dim, (tuple, list)) else set()
    return Pool("average") if x.dim() >= 4 and axes == {x.dim() - 2, x.dim() - 1} else None


def _batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> BatchNorm:  # fmt: skip
    gamma, beta = _affine(weight, bias)
    if training:
        return BatchNorm(gamma, beta, eps=eps)
    squares = 1.0 if weight is None else weight.detach().double() ** 2
    scale = (squares / (running_var.double() + eps)).mean()
    mean, variance = float(running_mean.mean()), max(float(gamma**2 / scale) - eps, 0.0)
    return BatchNorm(gamma, beta, (mean, variance, float(running_mean.double().std(correction=0))), eps)


def _layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> LayerNorm:
    return LayerNorm(*_affine(weight, bias), eps)


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> RMSNorm:
    return RMSNorm(_affine(weight, None)[0], torch.finfo(x.dtype).eps if eps is None else eps)


def _affine(weight: Any, bias: Any) -> tuple[float, float]:
    """Root mean square of the factors and mean of the shifts."""
    gamma = 1.0 if weight is None else float(weight.detach().double().square().mean().sqrt())
    return gamma, 0.0 if bias is None else float(bias.detach().double().mean())


_OF_SIGNALS: dict[str, Reader] = {
    **dict.fromkeys(("add", "add_"), _sum(1.0, 1.0)),
    **dict.fromkeys(("sub", "sub_", "subtract"), _sum(1.0, -1.0)),
    **dict.fromkeys(("rsub", "__rsub__"), _sum(-1.0, 1.0)),
    **dict.fromkeys(("mul", "mul_", "multiply", "logical_and"), _product),
    **dict.fromkeys(("div", "div_", "true_divide"), _quotient),
    **dict.fromkeys(("neg", "negative"), lambda of, x: Sum((-1.0,))),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenation),
    **dict.fromkeys(("matmul", "__matmul__", "bmm"), product_of_matrices),
    "einsum": einsum,
    "sum": summed_over,
}
_OF_ONE_SIGNAL: dict[str, Reader] = {
    "avg_pool2d": _average_pool,
    "max_pool2d": _max_pool,
    "adaptive_avg_pool2d": _whole_map,
    "interpolate": _interpolation,
    "mean": _mean,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
_NORMALISATIONS = {"group_norm", "normalize", "instance_norm"}
