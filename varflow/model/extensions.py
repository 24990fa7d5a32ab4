"""Which maps are known of an operation: those of the package, in tables of their rooms, and those registered from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from varflow._checks import DomainError
from varflow.model.graph import Graph, Node
from varflow.model.signals import Layer
from varflow.model.sources import Unknown

__all__ = ["OWN", "Gap", "covered", "map_of", "refuse_gaps"]

Maps = Mapping[type, Callable[..., Any]]
OWN: dict[str, dict[type, Callable[..., Any]]] = {"forward": {}, "backward": {}, "count": {}, "simulate": {}}


class Gap(NamedTuple):
    """A node that is not covered, and why."""

    node: Node
    words: str


def map_of(part: str, table: Maps, operation: Layer) -> Callable[..., Any] | None:
    """The map of an operation's class or of the nearest above it that has one: in this table, or registered as this part."""
    return next((maps[kind] for kind in type(operation).__mro__ for maps in (table, OWN[part]) if kind in maps), None)


def covered(graph: Graph, part: str, table: Maps) -> list[Gap]:
    """The nodes of a graph that are not covered by a table, and why: none if all are."""
    return [Gap(node, _why(node.operation, part)) for node in graph if map_of(part, table, node.operation) is None]


def refuse_gaps(graph: Graph, part: str, table: Maps) -> None:
    """DomainError for the first node that is not covered."""
    for node, words in covered(graph, part, table):
        raise DomainError(node.name, node.operation, words)


def _why(operation: Layer, part: str) -> str:
    if isinstance(operation, Unknown):
        return f"is not covered: it {operation.words}"
    kind = type(operation)
    if any(kind in maps for maps in OWN.values()):
        return f"has no {part}: give it by vf.register({kind.__name__}, {part}=…)"
    return f"is not covered: vf.register({kind.__name__}, …) makes layers of your own known"
