"""Sums of signals that depend on the same weights, written in independent terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from varflow.model.graph import Graph, Node
from varflow.model.layers import BatchNorm
from varflow.model.merges import Sum
from varflow.model.signals import Layer, Unknown

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
    if isinstance(operation, BatchNorm) and operation.statistics is not None:
        mean, variance = operation.statistics
        factor = operation.gamma / (variance + operation.eps) ** 0.5
        return (factor,), operation.beta - factor * mean
    return None
