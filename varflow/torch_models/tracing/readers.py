"""What happens to a signal between two layers of weights or neurons: a graph of operations.

A node is an operation on the nodes below it. Sums are kept flat, as linear combinations of other nodes, so that a residual
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
    "INPUT", "Graph", "Joined", "Node", "Pooled", "Product", "Source", "Sum", "Unknown", "factor", "maximum", "not_gaussian",
    "operation",
]  # fmt: skip

INPUT = "input"
BOUNDED = {"sigmoid", "hardsigmoid", "softmax", "tanh", "hardtanh"}  # whose values hardly depend on the scale of weights


@dataclass(frozen=True, slots=True)
class Source:
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


Operation = Source | Sum | Product | Joined | Pooled | Layer | Unknown


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation on other nodes.

    Attributes
    ----------
    operation : Operation
    below : tuple of Node
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
    below: tuple[Node, ...]
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
        return list(dict.fromkeys(node.operation.words for node in self.nodes if isinstance(node.operation, Unknown)))

    @property
    def nodes(self) -> list[Node]:
        """This one and all below, each once: in a loop over time there are exponentially many ways down."""
        found: dict[Node, None] = {}
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = None
                waiting += reversed(node.below)
        return list(found)


class Graph:
    """All nodes of one pass; equal operations on equal nodes are one node."""

    def __init__(self) -> None:
        self.nodes: dict[Any, Node] = {}

    def source(self, name: str) -> Node:
        key = ("source", name)
        if key not in self.nodes:
            self.nodes[key] = Node(Source(name), (), frozenset([name] if name else []))
        return self.nodes[key]

    def node(self, key: Any, below: tuple[Node, ...], made: Callable[[], tuple[Operation, str, bool]]) -> Node:
        """The node of an operation; ``made()`` gives it, its words, and whether it normalises, at the first call with a key."""
        if (key, below) not in self.nodes:
            self.nodes[key, below] = _node(*made(), below)
        return self.nodes[key, below]


def _node(operation: Operation, words: str, normalising: bool, below: tuple[Node, ...]) -> Node:
    carried = [node for node in below if not (isinstance(operation, Product) and _bounded(node))] or below
    sources = frozenset().union(*(node.sources for node in carried))
    factors = frozenset().union(*(node.sources | node.factors for node in below)) - sources
    scaling = frozenset().union(*(node.scaling for node in carried))
    normalised = frozenset(pair for node in below for pair in node.normalised if pair[0] not in scaling)
    if normalising:
        normalised = frozenset((source, words) for source in sources)
    through = tuple(dict.fromkeys([*(step for node in below for step in node.through), words]))
    if isinstance(operation, Sum):
        operation, below = _flat(operation, below)
    return Node(operation, below, sources, through, normalised, factors)


def _bounded(node: Node) -> bool:
    """True behind a function with bounded values, and sums and products of such."""
    if isinstance(node.operation, Unknown):
        return node.operation.words.split()[0] in BOUNDED
    return isinstance(node.operation, Sum | Product | Pooled) and all(map(_bounded, node.below))


def _flat(operation: Sum, below: Iterable[Node]) -> tuple[Sum, tuple[Node, ...]]:
    """A sum of sums as one sum."""
    factors, constant = dict[Node, float](), operation.constant
    for factor, node in zip(operation.factors, below, strict=True):
        inner = node.operation if isinstance(node.operation, Sum) else Sum((1.0,))
        constant += factor * inner.constant
        for own, part in zip(inner.factors, node.below if inner is node.operation else (node,), strict=True):
            factors[part] = factors.get(part, 0.0) + factor * own
    return Sum(tuple(factors.values()), constant), tuple(factors)


def factor(node: Node, source: str | None = None) -> float:
    """Factor on the scale of what a source sends, from there to this node; of all sources the root of the sum of squares."""
    if isinstance(node.operation, Source):
        return float(source in (None, node.operation.name))
    below = [factor(each, source) for each in node.below]
    match node.operation:
        case Sum(factors=factors):
            return math.hypot(*map(mul, factors, below))
        case BatchNorm(gamma=gamma, statistics=(_, variance), eps=eps):
            return gamma / math.sqrt(variance + eps) * below[0]
    return max(below, default=1.0)


def maximum(node: Node) -> bool:
    """True for maxima that theory knows, if what is below is Gaussian."""
    return isinstance(node.operation, Pooled) and node.operation.kind == "max"


def not_gaussian(node: Node, weights: Mapping[str, Any]) -> list[str]:
    """Operations between weights and a neuron after which currents are not Gaussian."""
    return list(dict.fromkeys(words for each in node.nodes for words in _not_gaussian(each, weights)))


def _not_gaussian(node: Node, weights: Mapping[str, Any]) -> list[str]:
    operation = node.operation
    words = []
    if maximum(node):
        words.append(f"a maximum of {'currents' if node.sources & set(weights) else 'spikes'}, {node.through[-1]}")
    if isinstance(operation, Joined):
        words.append(f"joined currents, {node.through[-1]}")
    if isinstance(operation, Sum):
        words += [
            f"{each.operation.name} without a weight layer"
            for each in node.below
            if isinstance(each.operation, Source) and each.operation.name not in weights
        ]
    return words


def operation(name: str, place: str, args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool]:
    """What a torch function does to the signals among its arguments, and whether it normalises them."""
    read = _READ.get(name)
    try:
        found = None if read is None else read(args, kwargs, of)
    except (TypeError, ValueError, IndexError):  # called in another way
        found = None
    return (Unknown(f"{name} in {place}"), False) if found is None else found


Read = Callable[[Any, Any, Callable[[Any], Node | None]], tuple[Operation, bool] | None]


def _number(value: Any, of: Callable[[Any], Node | None]) -> float | None:
    """A number, also one in a tensor of unknown origin; None for signals and other tensors."""
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if hasattr(value, "numel") and value.numel() == 1 and of(value) is None else None


def _sum(first: float, second: float) -> Read:
    """``first · x + second · y``, of two signals or a signal and a number."""

    def read(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool] | None:
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


def _product(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool] | None:
    numbers = [number for term in args[:2] if (number := _number(term, of)) is not None]
    if numbers:
        return Sum((numbers[0],)), False
    return None if None in map(of, args[:2]) else (Product(), False)


def _quotient(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool] | None:
    divisor = _number(args[1], of)
    return (Sum((1 / divisor,)), False) if divisor and not kwargs else None


def _opposite(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool]:
    return Sum((-1.0,)), False


def _joined(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool] | None:
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
    def read(args: Any, kwargs: Any, of: Callable[[Any], Node | None]) -> tuple[Operation, bool] | None:
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
