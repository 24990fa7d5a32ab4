"""Origins of the tensors of a traced pass: every tensor carries the operation that made it, with the origins of its inputs.

Sums are kept flat, as linear combinations of other origins, so that a residual network is a sum over its branches. Operations
that theory does not know are ``Unknown``, with a name. Those that only move, split or gather numbers leave the origin as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from varflow.model.layers import EACH_STEP, BatchNorm, Layer, Pool, ScaleSteps
from varflow.model.merges import Concat, Product, Sum
from varflow.model.signals import Unknown
from varflow.torch_models.tracing.attention import Attended
from varflow.torch_models.tracing.readers import in_order, operation

INPUT = "input"
BOUNDED = {"sigmoid", "hardsigmoid", "softmax", "tanh", "hardtanh"}  # whose values hardly depend on the scale of weights


@dataclass(frozen=True, slots=True)
class Sender:
    """A beginning: the input, a weight layer or a layer of neurons, by name; ``""`` for a tensor of unknown origin."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """An operation on other origins.

    Attributes
    ----------
    operation : Sender or Layer
    inputs : tuple of Origin
    sources : frozenset of str
        Names of the layers whose signals it carries, ``"input"`` for the model's input.
    factors : frozenset of str
        Names of those that only make bounded factors of these signals, as attention does.
    through : tuple of str
        Operations since then, in words.
    normalised : frozenset of (str, str)
        Sources whose scale has been normalised away, each with the operation that did it.
    of_steps : tuple of Origin
        Origins in whose place it stands, one of each step.
    """

    operation: Sender | Layer
    inputs: tuple[Origin, ...]
    sources: frozenset[str]
    through: tuple[str, ...] = ()
    normalised: frozenset[tuple[str, str]] = frozenset()
    factors: frozenset[str] = frozenset()
    of_steps: tuple[Origin, ...] = ()

    @property
    def place(self) -> str:
        """Name of the module in which the operation ran."""
        return self.through[-1].rpartition(" in ")[2].strip("'") if self.through else ""

    @property
    def scaling(self) -> frozenset[str]:
        """Sources whose scale has an effect."""
        return self.sources - {source for source, _ in self.normalised}

    @property
    def unknown(self) -> list[str]:
        """Operations without a theory from here down to the sources, in words."""
        operations = (origin.operation for origin in self.ancestors)
        return list(dict.fromkeys(operation.words for operation in operations if isinstance(operation, Unknown)))

    @property
    def senders(self) -> set[str]:
        """Names of all senders, ``""`` of tensors of unknown origin too."""
        return {each.operation.name for each in self.ancestors if isinstance(each.operation, Sender)}

    @property
    def ancestors(self) -> list[Origin]:
        """All origins from this one down to the senders, itself included, each once."""
        visited: dict[Origin, None] = {}  # a loop over time has exponentially many ways down
        waiting: list[Origin] = [self]
        while waiting:
            origin = waiting.pop()
            if origin not in visited:
                visited[origin] = None
                waiting += reversed((*origin.of_steps, *origin.inputs))
        return list(visited)


class Origins:
    """All origins of one pass; equal operations on equal origins are one origin."""

    def __init__(self) -> None:
        self.made: dict[Any, Origin] = {}
        self.calls: Counter[Origin] = Counter()  # of normalisations over a batch

    def sender(self, name: str) -> Origin:
        """The origin of what a module sends, or of the model's input."""
        if name not in self.made:
            self.made[name] = Origin(Sender(name), (), frozenset([name] if name else []))
        return self.made[name]

    def after(self, key: Any, inputs: tuple[Origin, ...], make: Callable[[], tuple[Layer, str]]) -> Origin:
        """The origin of an operation's result; ``make()`` gives it and its words, at the first call with a key."""
        if (key, inputs) not in self.made:
            self.made[key, inputs] = _after(*make(), inputs)
        origin = self.made[key, inputs]
        if origin.operation.over_batch:  # pyright: ignore[reportAttributeAccessIssue]
            self.calls[origin] += 1
        return origin


def _after(operation: Layer, words: str, inputs: tuple[Origin, ...]) -> Origin:
    # A bounded factor, as of attention or gates, hardly depends on the scale of its weights: it carries none on.
    carried = [origin for origin in inputs if not (isinstance(operation, Product) and _bounded(origin))] or inputs
    sources = frozenset().union(*(origin.sources for origin in carried))
    factors = frozenset().union(*(origin.sources | origin.factors for origin in inputs)) - sources
    scaling = frozenset().union(*(origin.scaling for origin in carried))
    normalised = frozenset(pair for origin in inputs for pair in origin.normalised if pair[0] not in scaling)
    if operation.normalises and getattr(operation, "statistics", None) is None:
        normalised = frozenset((source, words) for source in sources)
    through = tuple(dict.fromkeys([*(step for origin in inputs for step in origin.through), words]))
    if isinstance(operation, Attended):
        inputs = operation.factors
    if isinstance(operation, Sum):
        operation, inputs = _flat(operation, inputs)
        if len(inputs) == 1 and isinstance(attended := inputs[0].operation, Attended) and not operation.constant:
            operation, inputs = replace(attended, scale=attended.scale * operation.factors[0]), inputs[0].inputs
    return Origin(operation, inputs, sources, through, normalised, factors)


def of_all_steps(origins: Sequence[Origin]) -> Origin | None:
    """One origin for those of all steps, which differ in the numbers of a BatchNorm alone; None if they differ in more."""
    first, operations = origins[0], [each.operation for each in origins]
    if all(each is first for each in origins):
        return first
    if len({len(each.inputs) for each in origins}) > 1:
        return None
    inputs = [of_all_steps(below) for below in zip(*(each.inputs for each in origins), strict=True)]
    layers = [operations[0]] if all(each == operations[0] for each in operations) else _norms_of_steps(operations)
    if None in inputs or not inputs:
        return None
    for layer in layers:
        first = replace(first, operation=layer, inputs=tuple(inputs), of_steps=tuple(origins))
        inputs = [first]
    return first if layers else None


def _norms_of_steps(norms: Sequence[Any]) -> list[Any]:
    """A BatchNorm of each step as layers of all steps; none if these are others."""
    if not all(isinstance(each, BatchNorm) for each in norms) or len({each.statistics is None for each in norms}) > 1:
        return []
    gammas, betas = (tuple(getattr(each, name) for each in norms) for name in ("gamma", "beta"))
    if norms[0].statistics is None:
        gamma = math.hypot(*gammas) / math.sqrt(len(gammas)) or 1.0
        return [BatchNorm(gamma, eps=norms[0].eps, over=EACH_STEP), ScaleSteps(tuple(each / gamma for each in gammas), betas)]
    factors = tuple(each.gamma / math.sqrt(each.statistics[1] + each.eps) for each in norms)
    constants = tuple(beta - f * each.statistics[0] for f, beta, each in zip(factors, betas, norms, strict=True))
    spread = math.hypot(*(each.statistics[2] for each in norms)) / math.sqrt(len(norms))
    return [BatchNorm(statistics=(0.0, 1.0, spread), eps=0.0, over=EACH_STEP), ScaleSteps(factors, constants)]


def _bounded(origin: Origin) -> bool:
    """True behind a function with bounded values, and behind sums and products of such."""
    if isinstance(origin.operation, Unknown):
        return origin.operation.words.split()[0] in BOUNDED
    return isinstance(origin.operation, Sum | Product | Pool) and all(map(_bounded, origin.inputs))


def _flat(operation: Sum, inputs: Iterable[Origin]) -> tuple[Sum, tuple[Origin, ...]]:
    """One sum in place of a sum of sums, with what it adds up."""
    factors, constant = dict[Origin, float](), operation.constant
    for factor, origin in zip(operation.factors, inputs, strict=True):
        inner = origin.operation
        terms = zip(inner.factors, origin.inputs, strict=True) if isinstance(inner, Sum) else [(1.0, origin)]
        constant += factor * inner.constant if isinstance(inner, Sum) else 0.0
        for inner_factor, term in terms:
            factors[term] = factors.get(term, 0.0) + factor * inner_factor
    return Sum(tuple(factors.values()), constant), tuple(factors)


def factor(origin: Origin, source: str | None = None) -> float:
    """Factor on the scale of what a source sends, from there to this origin; of all sources the root of the sum of squares."""
    if isinstance(origin.operation, Sender):
        return float(source in (None, origin.operation.name))
    of_inputs = [factor(each, source) for each in origin.inputs]
    match origin.operation:
        case Sum(factors=factors):
            return math.hypot(*map(mul, factors, of_inputs))
        case BatchNorm(gamma=gamma, statistics=(_, variance, *_), eps=eps):
            return gamma / math.sqrt(variance + eps) * of_inputs[0]
        case ScaleSteps(factors=factors):
            return math.hypot(*factors) / math.sqrt(len(factors)) * of_inputs[0]
    return max(of_inputs, default=1.0)


def attended(origin: Origin) -> bool:
    """True for what neurons of attention receive."""
    return isinstance(origin.operation, Attended)


def maximum(origin: Origin) -> bool:
    """True for maxima that theory knows, if what is below is Gaussian."""
    return isinstance(origin.operation, Pool) and origin.operation.kind == "max"


def not_gaussian(origin: Origin, weights: Mapping[str, Any]) -> list[str]:
    """Operations between weights and a neuron after which currents are not Gaussian."""
    words = []
    for each in origin.ancestors:
        if maximum(each):
            words.append(f"a maximum of {'currents' if each.sources & set(weights) else 'spikes'}, {each.through[-1]}")
        if isinstance(each.operation, Concat):
            words.append(f"joined currents, {each.through[-1]}")
        if isinstance(each.operation, Sum):
            terms = [term.operation.name for term in each.inputs if isinstance(term.operation, Sender)]
            words += [f"{name} without a weight layer" for name in terms if name not in weights]
    return list(dict.fromkeys(words))


_MOVES = {
    *("reshape", "view", "view_as", "flatten", "ravel", "unflatten", "contiguous", "clone", "detach", "to", "float", "type"),
    *("unsqueeze", "squeeze", "transpose", "swapaxes", "permute", "movedim", "moveaxis", "t", "select", "narrow", "stack"),
    *("vstack", "unbind", "split", "chunk", "tensor_split", "expand", "expand_as", "repeat", "dropout", "requires_grad_"),
    *("__get__", "__getitem__", "__setitem__", "__iter__", "cpu", "cuda", "double", "type_as", "index_select", "alias"),
    *("detach_", "copy_", "reshape_as", "as_strided", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"),
}
_JOINS = {"cat", "concat", "concatenate", "hstack"}
_FRESH = {"zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_ones", "new_empty"}


class Provenance(TorchFunctionMode):
    """Gives the results of every torch function their origin, as an attribute of the tensors.

    ``place()`` names the running module. It is disabled in modules whose outputs get their origin explicitly; ``parameters``
    are those that functions were given elsewhere.
    """

    ATTRIBUTE = "_varflow_origin"

    def __init__(self, place: Callable[[], str]):
        super().__init__()
        self.place, self.origins = place, Origins()
        self.parameters: set[int] = set()  # their ids

    def of(self, tensor: Any) -> Origin | None:
        return getattr(tensor, self.ATTRIBUTE, None)

    def origin(self, tensor: Any) -> Origin:
        """The origin of a tensor; for one that was made outside, a sender without a name."""
        return self.of(tensor) or self.origins.sender("")

    def put(self, tensor: Any, origin: Origin) -> None:
        setattr(tensor, self.ATTRIBUTE, origin)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._follow(getattr(func, "__name__", str(func)), args, kwargs or {}, out)
        return out

    def _follow(self, name: str, args: Any, kwargs: Any, out: Any) -> None:
        args, kwargs = in_order(name, args, kwargs)
        args = args[:1] if name.endswith("_as") else args  # of the other, only its shape or type
        tensors = tensors_in((args, kwargs | {"out": None}))  # where the result is written is no signal
        self.parameters.update(id(tensor) for tensor in tensors if isinstance(tensor, Parameter))
        inputs = tuple(origin for tensor in tensors if (origin := self.of(tensor)) is not None)
        results = [args[0]] if name == "__setitem__" else tensors_in(out)
        if not inputs or not results or name in _FRESH:
            return
        origin = self._origin(name, args, kwargs, inputs)
        for tensor in results:
            self.put(tensor, origin)

    def _origin(self, name: str, args: Any, kwargs: Any, inputs: tuple[Origin, ...]) -> Origin:
        moves = (name in _MOVES or name in _JOINS) and not ("dropout" in name and _drops(args, kwargs))
        if moves and len(set(inputs)) == 1:
            return inputs[0]
        if name == "stack" and (joined := of_all_steps(inputs)) is not None:
            return joined
        if all(origin.sources == {INPUT} and not origin.factors for origin in inputs):
            return self.origins.sender(INPUT)  # a function of the input alone counts as input
        place = self.place()
        words = f"{name.strip('_')} in {place}"
        key = name, place, _settings(args, kwargs)

        def make() -> tuple[Layer, str]:
            constants = any(tensor.numel() > 1 and self.of(tensor) is None for tensor in tensors_in((args, kwargs)))
            return operation(name, words, args, kwargs, self.of, constants=constants), words

        return self.origins.after(key, inputs, make)


def _drops(args: Any, kwargs: Any) -> bool:
    """True if a dropout is active: ``dropout(x, p, training)``."""
    return bool(kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True)))


def _settings(args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Arguments other than tensors, by which calls of one function in one place differ."""
    return tuple(value for value in (*args, *kwargs.values()) if isinstance(value, (int, float, str)))


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if not isinstance(tree, (tuple, list)):
        return []
    for item in tree:
        if type(item) is not Tensor:
            return [tensor for item in tree for tensor in tensors_in(item)]
    return list(tree)  # the common case, faster
