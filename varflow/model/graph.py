r"""The graph of a network: operations in order of execution, and which signals each of them receives.

A row of layers is a path. A residual block is its branch and a node that joins it with what the branch received,

=================  ===========================================
currents           ``Sum((keep, 1))``
spikes, ``add``    ``Sum((1, 1))``
spikes, ``and``    ``Product()``
spikes, ``iand``   ``Sum((-1,), 1)`` of the branch, ``Product()``
=================  ===========================================

Theory, simulation and the counts of exact chains walk this one description, each with its own table of operations. It is made
when it is asked for and holds nothing but operations, so that no result depends on who asked before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from varflow._checks import DomainError, instance
from varflow._display import Shown, Table
from varflow.model.chains import chain_parts
from varflow.model.drive_kinds import Drive, Inputs, SpikeTrains
from varflow.model.layers import BatchNorm, Residual
from varflow.model.merges import Product, Sum
from varflow.model.signals import Layer, Signal, first_signal
from varflow.model.sources import Measured, Source, Unknown
from varflow.model.weighted_layers import Linear, Weighted

MOST_ROWS = 40  # of a table
DEPENDENT = "merges signals that depend on the same weights"


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
    """

    operation: Layer
    inputs: tuple[int, ...] = ()
    name: str = ""
    width: int | None = None
    weights: str = ""


class Graph(Shown, Sequence[Node]):
    """Nodes in order of execution, those of a branch before the node that joins it; printed as a table."""

    unknown: tuple[str, ...] = ()  # what belongs to it besides, of which nothing is known, in words

    def __init__(self, nodes: Iterable[Node], unknown: Iterable[str] = ()):
        self._nodes, self.unknown = tuple(nodes), tuple(unknown)

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, number: Any) -> Any:
        return self._nodes[number]

    def _table(self) -> Table:
        rows = [
            (node.name, repr(node.operation), ", ".join(self[source].name for source in node.inputs), str(sent))
            for node, _, sent in self.sites()
        ]
        header = ("node", "operation", "receives", "sends")
        shown = rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS - 2], ("…",) * len(header), rows[-1]]
        sizes = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
        return Table("Graph", "  ".join([*(f"{{:<{size}}}" for size in sizes[:-1]), "{}"]), shown, header)

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
            sent.append(_sent(node, received, [self[source] for source in node.inputs]))
            yield node, received, sent[-1]

    def shapes(self) -> Iterator[Signal]:
        """The signal that every node sends: its kind and shape."""
        return (signal for _, _, signal in self.sites())

    @property
    def roots(self) -> Sequence[int]:
        """Nodes on which the signal of each depends past no other weights, as a bit mask over the numbers of nodes.

        That is weights (one bit for all nodes that share them), the drive, numbers measured, and operations that are unknown.
        Signals without a common root are independent, since weights are.
        """
        roots: list[int] = []
        shared: dict[str, int] = {}
        for number, node in enumerate(self):
            own = 1 << (shared.setdefault(node.weights, number) if node.weights else number)
            if isinstance(node.operation, (Weighted, Source, Measured)):
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


class Path(Graph):
    """A source and operations in a row; nodes are made when they are asked for."""

    def __init__(self, source: Source, layers: Sequence[Layer], width: int | None):
        self._source, self._layers, self._width = source, layers, width

    def __len__(self) -> int:
        return len(self._layers) + 1

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        if not number:
            return Node(self._source, (), "drive")
        return Node(self._layers[number - 1], (number - 1,), f"layers[{number - 1}]", self._width)

    @property
    def last_reader(self) -> Sequence[int]:
        return [*range(1, len(self)), len(self) - 1]


def _sent(node: Node, received: Sequence[Signal], sources: Sequence[Node]) -> Signal:
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


def _check_residual(layer: Residual, shortcut: Signal, branch: Signal) -> None:
    if shortcut.kind == "currents" and layer.merge != "add":
        raise DomainError("merge", layer.merge, "is for spikes; currents are added")
    if shortcut.kind == "spikes" and layer.keep != 1:
        raise DomainError("keep", layer.keep, "is for currents; a shortcut of spikes has no factor")
    if (branch.kind, branch.shape) != (shortcut.kind, shortcut.shape):
        raise DomainError("layers", layer, f"must have a branch that returns {shortcut}, not {branch}")


class _Builder:
    """Nodes gathered one after the other, and the signals that they send."""

    def __init__(self, source: Source):
        self.nodes, self.sent = [Node(source, (), "drive")], [source.sends]

    def add(self, operation: Layer, *inputs: int, name: str, width: int | None = None) -> int:
        """The number of a new node."""
        node = Node(operation, inputs, name, width)
        self.sent.append(_sent(node, [self.sent[source] for source in inputs], [self.nodes[source] for source in inputs]))
        self.nodes.append(node)
        return len(self.nodes) - 1

    def through(self, layers: Sequence[Layer], at: int, width: int | None, name: str) -> int:
        """The number of the last of these layers, of which the first receives what node ``at`` sends."""
        for place, layer in enumerate(layers):
            add = self.residual if isinstance(layer, Residual) else self.add
            at = add(layer, at, name=f"{name}[{place}]", width=width)  # pyright: ignore[reportArgumentType]
        return at

    def residual(self, layer: Residual, at: int, *, name: str, width: int | None) -> int:
        """The number of the node that joins the signal of node ``at`` with that of the branch."""
        signal = self.sent[at]
        end = self.through(layer.branch, at, signal.inner_width(width), f"{name}.branch")
        _check_residual(layer, signal, self.sent[end])
        if layer.merge == "add":
            return self.add(Sum((layer.keep, 1.0)), at, end, name=name)
        if layer.merge == "iand":
            end = self.add(Sum((-1.0,), 1.0), end, name=f"{name}.complement")
        return self.add(Product(), at, end, name=name)


def graph_of(network: Any, *, first_weights: bool = False) -> Graph:
    """The graph of a network; with ``first_weights`` those through which a drive of numbers reaches neurons are a node."""
    if network.nodes is not None:
        graph = network.nodes
    else:
        width = network.width if isinstance(network.width, int) else None
        layers, driven = network.layers, width
        if layers is None:
            spike, linears = chain_parts(network)
            layers, driven = (spike, *(layer for linear in linears for layer in (linear, spike))), int(network.widths[0])
        graph = of_layers(layers, first_signal(network.drive, layers[:1], driven, network.steps), width)
    return _with_first_weights(graph, network) if first_weights else graph


def _with_first_weights(graph: Graph, network: Any) -> Graph:
    drive, start = network.drive, graph[0].operation.after()
    if start.kind != "currents" or not isinstance(drive, (Inputs, SpikeTrains)):
        return graph
    linear = Linear(start.size, gain=drive.input_gain, weights=network.weights, mean_gain=0.0)
    moved = (replace(node, inputs=tuple(source + 1 for source in node.inputs)) for node in graph[1:])
    return Graph([Node(Source(Signal("input", (drive.fan_in,))), (), "drive"), Node(linear, (0,), "drive's weights"), *moved])


def of_nodes(nodes: Any, drive: Drive, width: int | None, steps: int) -> Graph:
    """The graph of ``{name: (layer, *names of what it receives)}``, in that order where it is one of execution.

    A graph itself begins with what this drive sends.
    """
    if isinstance(nodes, Graph):
        receiving = [node.operation for node in nodes if 0 in node.inputs]
        first = replace(nodes[0], operation=Source(first_signal(drive, receiving, width, steps))) if receiving else nodes[0]
        return Graph([first, *nodes[1:]], nodes.unknown)
    if not isinstance(nodes, Mapping) or not nodes:
        raise DomainError("nodes", nodes, "must be {name: (layer, *names of what it receives), …}")
    described = {name: _entry(name, entry, nodes) for name, entry in nodes.items()}
    receiving = [layer for layer, *inputs in described.values() if "drive" in inputs]
    if not receiving:
        raise DomainError("nodes", list(nodes), 'must have one that receives "drive"')
    source, numbers = Source(first_signal(drive, receiving, width, steps)), {"drive": 0}
    builder = _Builder(source)
    for name in _in_order(described):
        layer, *inputs = described[name]
        add = builder.residual if isinstance(layer, Residual) else builder.add
        numbers[name] = add(layer, *(numbers[source] for source in inputs), name=name, width=width)
    if all(node.inputs == (number,) for number, node in enumerate(builder.nodes[1:])):
        return Path(source, [node.operation for node in builder.nodes[1:]], width)
    return Graph(builder.nodes)


def _entry(name: Any, entry: Any, nodes: Mapping[str, Any]) -> tuple[Any, ...]:
    """A layer and the names of the nodes whose signals it receives."""
    if not isinstance(name, str) or name in ("", "drive"):
        raise DomainError("nodes", name, 'must be a name other than "drive", which stands for what the network receives')
    first, *inputs = entry if isinstance(entry, (tuple, list)) and entry else (entry,)
    layer = instance(name, first, Layer)
    if unknown := [source for source in inputs if source != "drive" and source not in nodes]:
        raise DomainError(name, unknown[0], f"is no node: choose from drive, {', '.join(nodes)}")
    if bool(inputs) != bool(layer.accepts):
        rule = "must be followed by the names of what it receives" if layer.accepts else "receives nothing"
        raise DomainError(name, layer, rule)
    if len(inputs) > 1 and not layer.merges:
        raise DomainError(name, layer, f"receives one signal, not {len(inputs)}: join them by Sum, Product or Concat")
    return (layer, *inputs)


def _in_order(described: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Names of nodes, each behind those that it receives."""
    placed, waiting = ["drive"], list(described)
    known = set(placed)
    while waiting:
        before = len(placed)
        for name in waiting:
            if known.issuperset(described[name][1:]):
                placed.append(name)
                known.add(name)
        waiting = [name for name in waiting if name not in known]
        if len(placed) == before:
            rule = "receive signals of each other in a circle: recurrent weights are Spike(recurrent_gain=…)"
            raise DomainError("nodes", waiting, rule)
    return placed[1:]


def of_layers(layers: Sequence[Layer], start: Signal, width: int | None) -> Graph:
    """The graph of layers in a row, of which the first receives ``start``."""
    if not any(isinstance(layer, Residual) for layer in layers):
        return Path(Source(start), layers, width)
    builder = _Builder(Source(start))
    builder.through(layers, 0, width, "layers")
    return Graph(builder.nodes)


def spiking_shapes(graph: Graph) -> list[tuple[int, ...]]:
    """Shape of every layer of neurons, in order of execution; DomainError if operations do not fit each other."""
    return [sent.shape for node, _, sent in graph.sites() if node.operation.spikes]


def independent(graph: Graph) -> Graph:
    """The graph with merges of independent signals only (but where dependence does not matter): here that is decided.

    A sum whose signals have common roots is written as one of their parts: ``x + (0.5 x + y)`` is ``1.5 x + y``. Where parts
    still have common roots, and for all other such merges, the node becomes ``Unknown``. Nodes keep their numbers.
    Walks of theory start from it; :func:`graph_of` leaves it out, since simulation and tables do not need it.
    """
    if isinstance(graph, Path):
        return graph
    roots, nodes = graph.roots, list(graph)
    for number, node in enumerate(nodes):
        if node.operation.independent and _dependent(node.inputs, roots):
            nodes[number] = _expanded(node, nodes, roots)
    return Graph(nodes)


def _dependent(inputs: Iterable[int], roots: Sequence[int]) -> set[int]:
    """Those of the inputs that have a root in common with another."""
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
    if isinstance(operation, BatchNorm) and operation.statistics is not None:
        mean, variance = operation.statistics
        factor = operation.gamma / (variance + operation.eps) ** 0.5
        return (factor,), operation.beta - factor * mean
    return None
