"""Attention in a traced pass: products of matrices of spikes, and sums over one of their axes.

Which axis has tokens, and which channels, is told by their number, once the shapes of the signals are known: ``Attended``
stands for the operation until then. Head by head, the operand that both products share is ``k``; the product over channels comes
first in ``(Q Kᵀ) V``, and that over tokens in ``Q (Kᵀ V)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from varflow._checks import DomainError
from varflow.model.attention import Attention
from varflow.model.merges import Sum
from varflow.model.signals import Layer, Signal
from varflow.model.sources import Unknown

OriginOf = Callable[[Any], Any]


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
    in_order : bool
        True if strides fall from axis to axis, as those of ``matmul``; then they tell a transposed matrix.
    """

    sizes: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    first: int = 0
    in_order: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Attended(Layer):
    """What neurons of attention receive, before tokens are told from channels.

    Attributes
    ----------
    sizes : tuple of int
        Of the axis that is summed over first, and of the others.
    numbers : tuple of int
        In each of the signals that it receives.
    order : tuple of int
        Of a product, the place of the unfinished one among what the function received, and of ``k`` in that.
    """

    words: str
    sizes: tuple[int, ...]
    numbers: tuple[int, ...]
    order: tuple[int, ...] = ()
    scale: float = 1.0

    def flat(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The origins of three factors, the second that of ``k``, in place of those of a product and a factor."""
        if not self.order:
            return tuple(inputs)
        product, shared = self.order
        pair = _unfinished(inputs[product])[0].inputs
        return pair[1 - shared], pair[shared], inputs[1 - product]

    def described(self, signals: Sequence[Signal]) -> tuple[Attention, list[int]]:
        """The operation on signals of these shapes, and the order in which it receives them."""
        (channels, *area), (summed, *others) = signals[0].shape, self.sizes
        tokens = math.prod(area)
        over_tokens, beside = (
            summed == tokens,
            tokens in (others if self.order else others[-1:] if summed == tokens else others),
        )
        if not area or over_tokens == beside:
            raise DomainError("layers", self, f"has no axis that must be that of the tokens of {signals[0]}, by its size")
        of_head = others[0] if over_tokens else summed
        if self.order:
            return Attention(channels // of_head, self.scale), [2, 1, 0] if over_tokens else [0, 1, 2]
        heads, kind = (1, "channel") if over_tokens else (channels // summed, "token")
        return Attention(heads, self.scale, kind), [0]

    def __repr__(self) -> str:
        return self.words


def product_of_matrices(of: OriginOf, x: Any, y: Any) -> Layer | None:
    """The operation of ``x @ y``."""
    if min(x.dim(), y.dim()) < 3:
        return None
    return _product(of, (x, y), ((-2, -1), (-1, -2)))


def einsum(of: OriginOf, equation: str, *operands: Any) -> Layer | None:
    """The operation of ``einsum`` of two operands, each with one axis of its own, which are summed over one."""
    both = operands[0] if len(operands) == 1 else operands
    if len(both) != 2:
        return None
    inputs, _, result = equation.replace(" ", "").replace("...", "").partition("->")
    letters = inputs.split(",")
    own = [[each for each in part if each not in other] for part, other in (letters, letters[::-1])]
    summed = (set(letters[0]) & set(letters[1])) - set(result)
    if [len(each) for each in (*own, summed)] != [1, 1, 1] or not {own[0][0], own[1][0]} <= set(result):
        return None
    pairs = zip(letters, own, strict=True)
    axes = [tuple(part.index(letter) - len(part) for letter in (*each, *summed)) for part, each in pairs]
    first = int(result.index(own[0][0]) > result.index(own[1][0]))
    return _product(of, both, axes, first=first, in_order=False)


def summed_over(of: OriginOf, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Layer | None:
    """The operation of a sum that keeps its axis, as that of a mask does."""
    if not keepdim or dim is None:
        return None
    axes = {axis % x.dim() for axis in ((dim,) if isinstance(dim, int) else dim)}
    others = [size for axis, size in enumerate(x.shape) if axis not in axes and axis >= x.dim() - 3]
    return Attended("", (math.prod(x.shape[axis] for axis in axes), *others), (x.numel(),))


def _product(of: OriginOf, operands: Sequence[Any], axes: Sequence[Any], **more: Any) -> Layer | None:
    """The operation of a product, from the axes of each operand: its own, and the one that is summed over."""
    origins, numbers = [of(each) for each in operands], tuple(each.numel() for each in operands)
    if None in origins:
        return None
    for place, (origin, scale) in enumerate(map(_unfinished, origins)):
        if isinstance(before := origin.operation, Contraction):
            matrix, (own, summed) = operands[place], axes[place]
            swapped = before.in_order and matrix.stride(-1) > matrix.stride(-2)
            shared = int((summed % matrix.dim() < own % matrix.dim()) == swapped) ^ before.first
            return Attended("", before.sizes, (before.numbers[1 - shared], before.numbers[shared], numbers[1 - place]),
                            (place, shared), scale)  # fmt: skip
    if origins[0] is origins[1] and operands[0].data_ptr() == operands[1].data_ptr():  # the same channels
        return None
    sizes = (operands[0].shape[axes[0][1]], *(x.shape[own] for x, (own, _) in zip(operands, axes, strict=True)))
    return Contraction("", sizes=sizes, numbers=numbers, **more)


def _unfinished(origin: Any) -> tuple[Any, float]:
    """The origin before a factor, and that."""
    if isinstance(origin.operation, Sum) and len(origin.inputs) == 1 and not origin.operation.constant:
        return origin.inputs[0], origin.operation.factors[0]
    return origin, 1.0
