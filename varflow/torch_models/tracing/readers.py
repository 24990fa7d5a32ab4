"""What happens to a signal between two layers of weights or neurons: a graph of operations.

A origin is an operation on the origins below it. Sums are kept flat, as linear combinations of other origins, so that a residual
network is a sum over its branches. Operations that theory does not know are ``Unknown``, with a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import mul
from typing import Any

from varflow.model.layers import BatchNorm, LayerNorm
from varflow.model.signals import Layer

__all__ = [
    "INPUT", "Origins", "Joined", "Origin", "Pooled", "Product", "Sender", "Sum", "Unknown", "factor", "maximum", "not_gaussian",
    "operation",
]  # fmt: skip

INPUT = "input"
BOUNDED = {"sigmoid", "hardsigmoid", "softmax", "tanh", "hardtanh"}  # whose values hardly depend on the scale of weights


@dataclass(frozen=True, slots=True)
class Sender:
    """A beginning: the input, a weight layer or a layer of neurons, by name; ``""`` for a tensor of unknown origin."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """``Σ_i factor_i x_i + constant``."""

    factors: tuple[float, ...]
    constant: float = 0.0


@dataclass(frozen=True, slots=True)
class Product:
    """``x y``."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Concatenation of channels; ``sizes``: numbers in each part."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pooled:
    """``average`` or ``max`` over windows; (rows, columns) of each extent, size ``None`` for the whole map."""

    kind: str
    size: tuple[int, int] | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operation without a theory."""

    words: str


Operation = Sender | Sum | Product | Joined | Pooled | Layer | Unknown


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """An operation on other origins.

    Attributes
    ----------
    operation : Operation
    inputs : tuple of Origin
    sources : frozenset of str
        Names of the layers whose signals it carries, ``"input"`` for the model's input.
    factors : frozenset of str
        Names of those that only make bounded factors of these signals, as attention does.
    through : tuple of str
        Operations since then, in words.
    normalised : frozenset of (str, str)
        Sources whose scale has been normalised away, each with the operation that did it.
    """

    operation: Operation
    inputs: tuple[Origin, ...]
    sources: frozenset[str]
    through: tuple[str, ...] = ()
    normalised: frozenset[tuple[str, str]] = frozenset()
    factors: frozenset[str] = frozenset()

    @property
    def scaling(self) -> frozenset[str]:
        """Sources whose scale has an effect."""
        return self.sources - {source for source, _ in self.normalised}

    @property
    def unknown(self) -> list[str]:
        """Operations without a theory from here down to the sources, in words."""
        return list(dict.fromkeys(origin.operation.words for origin in self.origins if isinstance(origin.operation, Unknown)))

    @property
    def origins(self) -> list[Origin]:
        """This one and all below, each once: in a loop over time there are exponentially many ways down."""
        found: dict[Origin, None] = {}
        waiting: list[Origin] = [self]
        while waiting:
            origin = waiting.pop()
            if origin not in found:
                found[origin] = None
                waiting += reversed(origin.inputs)
        return list(found)


class Origins:
    """All origins of one pass; equal operations on equal origins are one origin."""

    def __init__(self) -> None:
        self.origins: dict[Any, Origin] = {}

    def source(self, name: str) -> Origin:
        key = ("source", name)
        if key not in self.origins:
            self.origins[key] = Origin(Sender(name), (), frozenset([name] if name else []))
        return self.origins[key]

    def origin(self, key: Any, below: tuple[Origin, ...], made: Callable[[], tuple[Operation, str, bool]]) -> Origin:
        """The origin of an operation; ``made()`` gives it, its words, and whether it normalises, at the first call with a key."""
        if (key, below) not in self.origins:
            self.origins[key, below] = _origin(*made(), below)
        return self.origins[key, below]


def _origin(operation: Operation, words: str, normalising: bool, below: tuple[Origin, ...]) -> Origin:
    carried = [origin for origin in below if not (isinstance(operation, Product) and _bounded(origin))] or below
    sources = frozenset().union(*(origin.sources for origin in carried))
    factors = frozenset().union(*(origin.sources | origin.factors for origin in below)) - sources
    scaling = frozenset().union(*(origin.scaling for origin in carried))
    normalised = frozenset(pair for origin in below for pair in origin.normalised if pair[0] not in scaling)
    if normalising:
        normalised = frozenset((source, words) for source in sources)
    through = tuple(dict.fromkeys([*(step for origin in below for step in origin.through), words]))
    if isinstance(operation, Sum):
        operation, below = _flat(operation, below)
    return Origin(operation, below, sources, through, normalised, factors)


def _bounded(origin: Origin) -> bool:
    """True behind a function with bounded values, and sums and products of such."""
    if isinstance(origin.operation, Unknown):
        return origin.operation.words.split()[0] in BOUNDED
    return isinstance(origin.operation, Sum | Product | Pooled) and all(map(_bounded, origin.inputs))


def _flat(operation: Sum, below: Iterable[Origin]) -> tuple[Sum, tuple[Origin, ...]]:
    """A sum of sums as one sum."""
    factors, constant = dict[Origin, float](), operation.constant
    for factor, origin in zip(operation.factors, below, strict=True):
        inner = origin.operation if isinstance(origin.operation, Sum) else Sum((1.0,))
        constant += factor * inner.constant
        for own, part in zip(inner.factors, origin.inputs if inner is origin.operation else (origin,), strict=True):
            factors[part] = factors.get(part, 0.0) + factor * own
    return Sum(tuple(factors.values()), constant), tuple(factors)


def factor(origin: Origin, source: str | None = None) -> float:
    """Factor on the scale of what a source sends, from there to this origin; of all sources the root of the sum of squares."""
    if isinstance(origin.operation, Sender):
        return float(source in (None, origin.operation.name))
    below = [factor(each, source) for each in origin.inputs]
    match origin.operation:
        case Sum(factors=factors):
            return math.hypot(*map(mul, factors, below))
        case BatchNorm(gamma=gamma, statistics=(_, variance), eps=eps):
            return gamma / math.sqrt(variance + eps) * below[0]
    return max(below, default=1.0)


def maximum(origin: Origin) -> bool:
    """True for maxima that theory knows, if what is below is Gaussian."""
    return isinstance(origin.operation, Pooled) and origin.operation.kind == "max"


def not_gaussian(origin: Origin, weights: Mapping[str, Any]) -> list[str]:
    """Operations between weights and a neuron after which currents are not Gaussian."""
    return list(dict.fromkeys(words for each in origin.origins for words in _not_gaussian(each, weights)))


def _not_gaussian(origin: Origin, weights: Mapping[str, Any]) -> list[str]:
    operation = origin.operation
    words = []
    if maximum(origin):
        words.append(f"a maximum of {'currents' if origin.sources & set(weights) else 'spikes'}, {origin.through[-1]}")
    if isinstance(operation, Joined):
        words.append(f"joined currents, {origin.through[-1]}")
    if isinstance(operation, Sum):
        words += [
            f"{each.operation.name} without a weight layer"
            for each in origin.inputs
            if isinstance(each.operation, Sender) and each.operation.name not in weights
        ]
    return words


def operation(name: str, place: str, args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool]:
    """What a torch function does to the signals among its arguments, and whether it normalises them."""
    read = _READ.get(name)
    try:
        found = None if read is None else read(args, kwargs, of)
    except (TypeError, ValueError, IndexError):  # called in another way
        found = None
    return (Unknown(f"{name} in {place}"), False) if found is None else found


Read = Callable[[Any, Any, Callable[[Any], Origin | None]], tuple[Operation, bool] | None]


def _number(value: Any, of: Callable[[Any], Origin | None]) -> float | None:
    """A number, also one in a tensor of unknown origin; None for signals and other tensors."""
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if hasattr(value, "numel") and value.numel() == 1 and of(value) is None else None


def _sum(first: float, second: float) -> Read:
    """``first · x + second · y``, of two signals or a signal and a number."""

    def read(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool] | None:
        terms = [(first, args[0]), (second * float(kwargs.get("alpha", 1.0)), args[1])]
        factors, constant = [], 0.0
        for factor, term in terms:
            if (number := _number(term, of)) is not None:
                constant += factor * number
            elif of(term) is None:
                return None
            else:
                factors.append(factor)
        return Sum(tuple(factors), constant), False

    return read


def _product(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool] | None:
    numbers = [number for term in args[:2] if (number := _number(term, of)) is not None]
    if numbers:
        return Sum((numbers[0],)), False
    return None if None in map(of, args[:2]) else (Product(), False)


def _quotient(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool] | None:
    divisor = _number(args[1], of)
    return (Sum((1 / divisor,)), False) if divisor and not kwargs else None


def _opposite(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool]:
    return Sum((-1.0,)), False


def _joined(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool] | None:
    parts = args[0]
    return None if None in map(of, parts) else (Joined(tuple(part.numel() for part in parts)), False)


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)


def _average_pool(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Pooled | None:  # fmt: skip
    if ceil_mode or divisor_override or not (count_include_pad or padding in (0, (0, 0))):
        return None
    return Pooled("average", _pair(kernel_size), _pair(kernel_size if stride in (None, ()) else stride), _pair(padding))


def _max_pool(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled | None:  # fmt: skip
    if ceil_mode or return_indices or _pair(dilation) != (1, 1):
        return None
    return Pooled("max", _pair(kernel_size), _pair(kernel_size if stride in (None, ()) else stride), _pair(padding))


def _whole_map(x: Any, output_size: Any) -> Pooled | None:
    return Pooled("average", None) if output_size in (1, (1, 1), [1, 1]) else None


def _mean(x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Pooled | None:
    axes = {axis % x.dim() for axis in dim} if isinstance(dim, (tuple, list)) else set()
    return Pooled("average", None) if x.dim() >= 4 and axes == {x.dim() - 2, x.dim() - 1} else None


def _batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> BatchNorm:  # fmt: skip
    gamma, beta = _affine(weight, bias)
    if training:
        return BatchNorm(gamma, beta, eps=eps)
    squares = 1.0 if weight is None else weight.detach().double() ** 2
    scale = (squares / (running_var.double() + eps)).mean()
    return BatchNorm(gamma, beta, (float(running_mean.mean()), max(float(gamma**2 / scale) - eps, 0.0)), eps)


def _layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> LayerNorm:
    return LayerNorm(*_affine(weight, bias), eps)


def _affine(weight: Any, bias: Any) -> tuple[float, float]:
    """Root mean square of the factors and mean of the shifts."""
    gamma = 1.0 if weight is None else float(weight.detach().double().square().mean().sqrt())
    return gamma, 0.0 if bias is None else float(bias.detach().double().mean())


def _bound(reader: Callable[..., Operation | None], normalises: Callable[[Any], bool] = lambda found: False) -> Read:
    def read(args: Any, kwargs: Any, of: Callable[[Any], Origin | None]) -> tuple[Operation, bool] | None:
        found = reader(*args, **kwargs)
        return None if found is None else (found, normalises(found))

    return read


_READ: dict[str, Read] = {
    **dict.fromkeys(("add", "add_"), _sum(1.0, 1.0)),
    **dict.fromkeys(("sub", "sub_", "subtract"), _sum(1.0, -1.0)),
    **dict.fromkeys(("rsub", "__rsub__"), _sum(-1.0, 1.0)),
    **dict.fromkeys(("mul", "mul_", "multiply", "logical_and"), _product),
    **dict.fromkeys(("div", "div_", "true_divide"), _quotient),
    **dict.fromkeys(("neg", "negative"), _opposite),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    "avg_pool2d": _bound(_average_pool),
    "max_pool2d": _bound(_max_pool),
    "adaptive_avg_pool2d": _bound(_whole_map),
    "mean": _bound(_mean),
    "batch_norm": _bound(_batch_norm, lambda norm: norm.over_batch),
    "layer_norm": _bound(_layer_norm, lambda norm: True),
}
