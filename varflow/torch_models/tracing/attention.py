"""Attention in a traced pass: products of matrices of spikes, and sums over one of their axes.

Which axis has tokens, and which channels, is told by their number, once the shapes of the signals are known: ``Attended``
stands for the operation until then. Of three factors ``k`` is the one that both products share; the product over channels comes
first in ``(Q Kᵀ) V``, that over tokens in ``Q (Kᵀ V)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from varflow.model.attention import Attention
from varflow.model.merges import Sum
from varflow.model.signals import Layer, Signal, Unknown

UNTOLD = "sums over an axis that its size does not tell: tokens are positions of a map, and not as many as channels of a head"


@dataclass(frozen=True, slots=True, repr=False)
class Contraction(Unknown):
    """A product of two matrices of signals, which is attention once a third is multiplied.

    Attributes
    ----------
    sizes : tuple of int
        Of the axis that is summed over, and of the operands' own.
    numbers : tuple of int
        In each operand.
    first : int
        The operand whose own axis comes first.
    """

    sizes: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    first: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Attended(Layer):
    """Currents of neurons of attention, before tokens are told from channels.

    Attributes
    ----------
    factors : tuple of origins
        Of three the second is ``k``; one that is summed.
    sizes : tuple of int
        Of the axis that is summed over first, and of the others.
    numbers : tuple of int
        In each factor.
    scale : float
    """

    factors: tuple[Any, ...]
    sizes: tuple[int, ...]
    numbers: tuple[int, ...]
    scale: float = 1.0

    def described(self, signals: Sequence[Signal], words: str) -> tuple[Layer, list[int]]:
        """The operation on signals of these shapes, in ``words`` and as a layer, and the order in which it receives them."""
        (channels, *area), (summed, *others) = signals[0].shape, self.sizes
        tokens, one = math.prod(area), len(self.factors) == 1
        over_tokens = summed == tokens
        elsewhere = tokens in (others[-1:] if one and over_tokens else others)
        if not area or over_tokens == elsewhere or self.scale <= 0:
            return Unknown(f"{words} {UNTOLD}"), list(range(len(signals)))
        if one:
            heads, kind = (1, "channel") if over_tokens else (channels // summed, "token")
            return Attention(heads, self.scale, kind), [0]
        order = [2, 1, 0] if over_tokens else [0, 1, 2]
        return Attention(channels // (others[0] if over_tokens else summed), self.scale), order


def product_of_matrices(of: Callable[[Any], Any], x: Any, y: Any) -> Layer | None:
    """The operation of ``x @ y``."""
    return einsum(of, "ab,bc->ac", x, y) if min(x.dim(), y.dim()) > 2 else None


def einsum(of: Callable[[Any], Any], equation: str, *operands: Any) -> Layer | None:
    """The operation of ``einsum`` of two operands, each with one axis of its own, which are summed over one."""
    tensors = operands[0] if len(operands) == 1 else operands
    terms, _, result = equation.replace(" ", "").replace("...", "").partition("->")
    first, second = letters = terms.split(",")
    own = [(set(one) - set(other)) & set(result) for one, other in (letters, letters[::-1])]
    summed = set(first) & set(second) - set(result)
    origins = [of(each) for each in tensors]
    if None in origins or {len(each) for each in (*own, summed)} != {1} or set(first + second) != set(result) | summed:
        return None
    ((row,), (column,)), (inner,) = own, summed
    axes = [
        [part.index(letter) - len(part) for letter in (each, inner)] for part, each in zip(letters, (row, column), strict=True)
    ]
    numbers = [each.numel() for each in tensors]
    for place, (before, scale) in enumerate(map(_unfinished, origins)):
        if isinstance(known := before.operation, Contraction):
            shared = int(axes[place][1] > axes[place][0]) ^ known.first
            factors = before.inputs[1 - shared], before.inputs[shared], origins[1 - place]
            counted = known.numbers[1 - shared], known.numbers[shared], numbers[1 - place]
            return Attended(factors, known.sizes, counted, scale)
    if origins[0] is origins[1] and tensors[0].data_ptr() == tensors[1].data_ptr():  # the same channels
        return None
    sizes = tensors[0].shape[axes[0][1]], *(x.shape[at] for x, (at, _) in zip(tensors, axes, strict=True))
    return Contraction("", None, None, sizes, tuple(numbers), int(result.index(row) > result.index(column)))


def summed_over(of: Callable[[Any], Any], x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Layer | None:
    """The operation of a sum that keeps its axis, as that of a mask does."""
    if not keepdim or dim is None:
        return None
    axes = {axis % x.dim() for axis in ((dim,) if isinstance(dim, int) else dim)}
    others = [size for axis, size in enumerate(x.shape) if axis not in axes and axis >= x.dim() - 3]
    return Attended((of(x),), (math.prod(x.shape[axis] for axis in axes), *others), (x.numel(),))


def _unfinished(origin: Any) -> tuple[Any, float]:
    """The origin before a factor, and that."""
    if isinstance(origin.operation, Sum) and len(origin.inputs) == 1 and not origin.operation.constant:
        return origin.inputs[0], origin.operation.factors[0]
    return origin, 1.0
