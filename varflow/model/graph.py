"""The graph of a network: operations in order of execution, and which signals each of them receives.

Theory, simulation and the counts of exact chains walk this one description, each with its own maps of operations. It is made
when it is asked for and holds nothing but operations, so that no result depends on who asked before. The rooms of the package
enter their maps here, and :func:`varflow.register` those of classes from outside; why a map is missing, walks say at each node,
doors before any work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from sys import modules
from typing import Any

from varflow._checks import DomainError
from varflow._display import Shown, Table
from varflow.model.attention import Chunk
from varflow.model.layers import BatchNorm, Pool
from varflow.model.merges import Concat, Product, Sum
from varflow.model.signals import Layer, Measured, Signal, Source, Unknown
from varflow.model.weighted_layers import Weighted

Map = Callable[..., Any]
MAPS: dict[str, dict[type, Map]] = {part: {} for part in ("forward", "backward", "count", "simulate")}


class Uncovered(DomainError):
    """Theory does not know what an operation does to what it receives.

    Examples
    --------
    >>> import varflow as vf
    >>> issubclass(vf.theory.Uncovered, vf.DomainError)
    True
    """


def enter(kind: type, **maps: Map) -> None:
    """Enter the maps of a class.

    ``forward(operation, received, visit)`` returns the signal that it sends, ``backward(operation, gradients, visit, way)`` the
    gradients by each that it received, ``count(operation, received, counts, node)`` what becomes of spike counts,
    ``simulate(operation, flows, walk, node)`` the numbers that it sends.
    """
    for part, function in maps.items():
        MAPS[part][kind] = function


@cache
def from_outside(kind: type) -> bool:
    """True for a class that is none of the package."""
    home = modules.get(kind.__module__)
    return kind.__module__.split(".")[0] != "varflow" or getattr(home, kind.__name__, None) is not kind


def missing(part: str, operation: object) -> str:
    """The reason why an operation has no map of this part, and what to do."""
    kind = type(operation)
    if isinstance(operation, Unknown):
        own = operation.of is not None and from_outside(type(operation.of))
        harmless = f"; where that does not matter, {type(operation.of).__name__} says independent = False" if own else ""
        return f"is not covered: it {operation.words}{harmless}"
    if from_outside(kind):
        return f"has no {part}: give it by vf.register({kind.__name__}, {part}=…)"
    return f"is not covered: it has no {part}"


def wrong_return(part: str, node: Any, value: Any, rule: str) -> DomainError:
    """The error for a map from outside that returns what it must not."""
    shown = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"{value!r:.80}"
    return DomainError(node.name, node.operation, f"has a {part} that returns {shown}: it must return {rule}")


MOST_ROWS = 40  # of a table


@dataclass(frozen=True, slots=True)
class Node:
    """An operation and what it receives.

    Attributes
    ----------
    operation : Layer
    inputs : tuple of int
        Numbers of earlier nodes.
    name : str
        What errors and tables call it: ``layers[2].branch[0]``.
    width : int, optional
        Neurons of a Linear without its own.
    weights : str
        Nodes of one key that is not empty share their weights.
    given : mapping of str to ndarray
        Numbers that a simulation takes in place of random ones: ``weight`` and ``bias`` of weights, ``weight`` of recurrent
        ones, and of neurons that differ the ``fractions`` below each, by threshold and by decay. A ``Sum`` with the ``bias`` of
        the weights before adds its mean where only moments are known.
    """

    operation: Layer
    inputs: tuple[int, ...] = ()
    name: str = ""
    width: int | None = None
    weights: str = ""
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def map(self, part: str) -> Map:
        """The map of its operation: of its class, or of its parent if the class has none at all; Uncovered without one."""
        table = MAPS[part]
        for kind in type(self.operation).__mro__:
            if kind in table:
                return table[kind]
            if from_outside(kind) and any(kind in maps for maps in MAPS.values()):
                break
        raise Uncovered(self.name, self.operation, missing(part, self.operation))


def covered(nodes: Iterable[Node], part: str) -> None:
    """Do nothing if all nodes have a map of this part; Uncovered for the first that has none."""
    for node in nodes:
        node.map(part)


class Graph(Shown, Sequence[Node]):
    """Nodes in order of execution, those of a branch before the node that joins it; printed as a table."""

    unknown: tuple[str, ...] = ()  # what belongs to it besides, of which nothing is known, in words

    def __init__(self, nodes: Iterable[Node], unknown: Iterable[str] = ()):
        self._nodes, self.unknown = tuple(nodes), tuple(unknown)

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, number: Any) -> Any:
        return self._nodes[number]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def _table(self) -> Table:
        rows = [
            (node.name, repr(node.operation), ", ".join(self[source].name for source in node.inputs), str(sent))
            for node, _, sent in self.sites()
        ]
        header = ("node", "operation", "receives", "sends")
        shown = rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS - 2], ("…",) * len(header), rows[-1]]
        return Table("Graph", shown, header)

    @property
    def in_a_row(self) -> bool:
        """True if every node receives the signal of the one before it only, so that nothing is joined."""
        return all(node.inputs == (number,) for number, node in enumerate(self[1:]))

    @property
    def over_batch(self) -> bool:
        """True if an operation normalises over a batch of inputs, so that these depend on each other."""
        return any(node.operation.over_batch for node in self)

    @property
    def last_reader(self) -> Sequence[int]:
        """Number of the last node that receives the signal of each, its own if none does: after it, a walk may forget it."""
        last = list(range(len(self)))
        for number, node in enumerate(self):
            for source in node.inputs:
                last[source] = number
        return last

    def sites(self) -> Iterator[tuple[Node, tuple[Signal, ...], Signal]]:
        """Every node, the signals that it receives and the signal that it sends; DomainError if they do not fit."""
        sent: list[Signal] = []
        for node in self:
            received = tuple(sent[source] for source in node.inputs)
            sent.append(sent_by(node, received, [self[source] for source in node.inputs]))
            yield node, received, sent[-1]

    def shapes(self) -> Iterator[Signal]:
        """The signal that every node sends: its kind and shape."""
        return (signal for _, _, signal in self.sites())

    @property
    def behind_last(self) -> list[Node]:
        """The last node and all on which it depends but the source, the last first: where gradients return."""
        numbers = {len(self) - 1}
        for number in range(len(self) - 1, 0, -1):
            if number in numbers:
                numbers.update(self[number].inputs)
        return [self[number] for number in sorted(numbers - {0}, reverse=True)]

    @property
    def roots(self) -> Sequence[int]:
        """Nodes on which the signal of each depends past no other weights, as a bit mask over the numbers of nodes.

        That is weights (one bit for all nodes that share them), the drive, numbers measured, parts of layers, and operations
        that are unknown.
        Signals without a common root are independent, since weights are.
        """
        roots: list[int] = []
        shared: dict[Any, int] = {}
        for number, node in enumerate(self):
            key = (node.inputs, node.operation) if isinstance(node.operation, Chunk) else node.weights
            own = 1 << (shared.setdefault(key, number) if key else number)
            if isinstance(node.operation, (Weighted, Source, Measured, Chunk)):
                roots.append(own)
                continue
            mask = own if isinstance(node.operation, Unknown) else 0
            for source in node.inputs:
                mask |= roots[source]
            roots.append(mask)
        return roots

    @property
    def leaving(self) -> int:
        """Number of the node whose spikes leave the network: the last layer of neurons, or the last merge of its spikes."""
        sites = list(self.sites())
        last = max(number for number, (node, _, _) in enumerate(sites) if node.operation.spikes)
        shape, behind, leaving = sites[last][2].shape, {last}, last
        for number in range(last + 1, len(sites)):
            node, _, sent = sites[number]
            if sent.kind == "spikes" and not behind.isdisjoint(node.inputs):
                behind.add(number)
                leaving = number if node.operation.merges and sent.shape == shape else leaving
        return leaving


def sent_by(node: Node, received: Sequence[Signal], sources: Sequence[Node]) -> Signal:
    """The signal that a node sends; DomainError if it cannot follow its sources."""
    operation = node.operation
    for signal, source in zip(received, sources, strict=True):
        if signal.kind not in operation.accepts:
            before = "the drive" if isinstance(source.operation, Source) else repr(source.operation)
            needs = " or ".join(operation.accepts)
            raise DomainError(node.name, operation, f"cannot follow {before}, which sends {signal.kind}: needs {needs}")
    try:
        sent = operation.after(*received, width=node.width)
    except DomainError as error:
        raise DomainError(node.name if error.argument == "layers" else error.argument, error.value, error.rule) from None
    except TypeError as error:  # of a layer from outside
        raise DomainError(
            node.name, operation, f"receives {len(received)} signals, which its after cannot take: {error}"
        ) from error
    if not isinstance(sent, Signal):
        raise DomainError(node.name, operation, f"has an after that returns {sent!r}: it must return a vf.layers.Signal")
    return sent


def keeps_spikes(operation: Layer) -> bool:
    """True if a layer that receives spikes sends spikes or numbers of spikes, which weights add and do not multiply."""
    if isinstance(operation, Sum):
        counts = not operation.constant and all(factor > 0 and factor.is_integer() for factor in operation.factors)
        return counts or (operation.factors, operation.constant) == ((-1.0,), 1.0)  # the neurons that do not spike
    return isinstance(operation, Product | Concat | Chunk) or (isinstance(operation, Pool) and operation.kind == "max")


DEPENDENT = "merges signals that depend on the same weights"


def independent(graph: Graph) -> Graph:
    """The graph with merges of independent signals only (but where dependence does not matter): here that is decided.

    A sum whose signals have common roots is written as one of their parts: ``x + (0.5 x + y)`` is ``1.5 x + y``. Where parts
    still have common roots, and for all other such merges, the node becomes ``Unknown``. Nodes keep their numbers.
    Walks of theory start from it; :func:`graph_of` leaves it out, since simulation and tables do not need it.
    """
    roots, nodes = graph.roots, list(graph)
    for number, node in enumerate(nodes):
        if node.operation.independent and _dependent(node.inputs, roots):
            nodes[number] = _expanded(node, nodes, roots)
    return Graph(nodes)


def _dependent(inputs: Iterable[int], roots: Sequence[int]) -> set[int]:
    """Inputs that have a root in common with another."""
    pairs = [pair for pair in combinations(inputs, 2) if roots[pair[0]] & roots[pair[1]]]
    return {each for pair in pairs for each in pair}


def _expanded(node: Node, nodes: Sequence[Node], roots: Sequence[int]) -> Node:
    """A sum in independent terms, each dependent one replaced by its own terms, the last of them first; or Unknown."""
    unknown = replace(node, operation=Unknown(DEPENDENT, of=node.operation))
    if not isinstance(node.operation, Sum):
        return unknown
    factors, constant = _affine(node.operation) or ((), 0.0)
    terms = _gathered(zip(node.inputs, factors, strict=True))
    while dependent := _dependent(terms, roots):
        place = max((each for each in dependent if _affine(nodes[each].operation)), default=None)
        if place is None:
            return unknown
        factor, (factors, shift) = terms.pop(place), _affine(nodes[place].operation) or ((), 0.0)
        constant += factor * shift
        inner = [(source, factor * each) for source, each in zip(nodes[place].inputs, factors, strict=True)]
        terms = _gathered([*terms.items(), *inner])
    inputs = sorted(terms)
    return replace(node, operation=Sum(tuple(terms[each] for each in inputs), constant), inputs=tuple(inputs))


def _gathered(terms: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Factors of equal terms added."""
    gathered: dict[int, float] = {}
    for source, factor in terms:
        gathered[source] = gathered.get(source, 0.0) + factor
    return gathered


def _affine(operation: Layer) -> tuple[tuple[float, ...], float] | None:
    """Factors and constant of an operation that is a weighted sum of what it receives, else None."""
    if isinstance(operation, Sum):
        return operation.factors, operation.constant
    if isinstance(operation, BatchNorm) and operation.statistics is not None and not operation.follows_batch:
        mean, variance = operation.statistics[:2]
        factor = operation.gamma / (variance + operation.eps) ** 0.5
        return (factor,), operation.beta - factor * mean
    return None
