"""Fixed points of a network: those of the block of layers that it repeats over depth, found in its graph.

Gains, means and biases of a model's layers are those of drawn weights: they count as equal if they differ as weights drawn
anew would, and the block has their averages over its repeats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.build import graph_of
from varflow.model.graph import Graph, Node
from varflow.model.layers import Linear, Sum
from varflow.model.network import Network
from varflow.model.signals import Layer, Signal, Source
from varflow.results import FixedPoints
from varflow.theory.deep.block import RepeatedBlock, fixed_points_of_block
from varflow.theory.memoryless.fixed_points import fixed_points as of_layer

SAMPLING = 4.0  # standard errors within which numbers of drawn weights count as equal


def fixed_points_of_network(network: Network) -> FixedPoints:
    """Every state that the repeated layers of a network reproduce; see :func:`varflow.fixed_points`."""
    if instance("network", network, Network).steps > 1:
        raise DomainError("steps", network.steps, "must be 1; in time, vf.temporal_fixed_point answers for plain chains")
    if network.layers is None and network.depth > 1 and not (network.neuron.reset_rule.counts or network.neuron.longer_filter):
        network.weight_law.need_variance()
        gains, means = set(network.gains[1:].tolist()), set(network.mean_gains[1:].tolist())
        if len(gains) == len(means) == 1:
            scaled = (network.neuron.input_scale * value for value in (network.bias_std, *means))
            return of_layer(network.neuron.threshold, network.neuron.input_scale * gains.pop(), "normal", *scaled)
    graph = _refolded(graph_of(network))
    sites = [_Site.of(graph, number, *site) for number, site in enumerate(graph.sites())]
    for tolerance in (0.0, SAMPLING):
        if repeats := _repeats(sites, tolerance):
            points = fixed_points_of_block(_block(sites, repeats, tolerance))
            averaged = "Of the average over repeats: their weights differ as drawn ones do." if tolerance else ""
            return replace(points, note=f"{averaged} {points.note}".strip())
    rule = "repeats no block of layers, made of neurons without positions, over more than half its depth: give one, block=[…]"
    raise DomainError("network", network, rule)


def _refolded(graph: Graph) -> Graph:
    """The graph with sums that contain an earlier sum written by it: a model's shortcut is read in all terms from the first."""
    nodes = list(graph)
    for number, node in enumerate(graph):
        earlier = (_by_earlier(node, graph[place], place) for place in range(number - 1, 0, -1))
        nodes[number] = next(filter(None, earlier), node)
    return Graph(nodes)


def _by_earlier(node: Node, earlier: Node, place: int) -> Node | None:
    """A sum in terms of an earlier one, ``a (f x + g y) + h z``; None if its terms are not those of that one times a number."""
    whole, inner = node.operation, earlier.operation
    if not isinstance(whole, Sum) or not isinstance(inner, Sum):
        return None
    terms, within = dict(zip(node.inputs, whole.factors, strict=True)), dict(zip(earlier.inputs, inner.factors, strict=True))
    ratios = {float(f"{terms.get(x, 0.0) / factor:.12g}") if factor else 0.0 for x, factor in within.items()}
    if ratios == {0.0} or len(ratios) != 1 or len(terms) == len(within):
        return None
    (ratio,) = ratios
    others = {x: factor for x, factor in terms.items() if x not in within}
    operation = Sum((ratio, *others.values()), whole.constant - ratio * inner.constant)
    return replace(node, operation=operation, inputs=(place, *others))


@dataclass(frozen=True, slots=True)
class _Site:
    """A node of a network with what may repeat.

    Attributes
    ----------
    node : Node
    sent : Signal
    numbers : dict of str to (float, float)
        Fields of the operation that stand for drawn numbers, with the standard error of so many.
    form : tuple
        All else, and how far before it the nodes stand that it receives.
    """

    node: Node
    sent: Signal
    numbers: dict[str, tuple[float, float]]
    form: tuple[Any, ...]

    @classmethod
    def of(cls, graph: Graph, number: int, node: Node, received: Sequence[Signal], sent: Signal) -> _Site:
        numbers = _drawn(node.operation, received, sent, graph[node.inputs[0]].operation if node.inputs else None)
        plain = _changed(node.operation, {name: float(name == "gain") for name in numbers})
        back = tuple(number - source for source in node.inputs)
        return cls(node, sent, numbers, (plain, back, node.weights, sent.kind, sent.shape))

    def like(self, other: _Site, tolerance: float) -> bool:
        """True if this is the other again."""
        pairs = zip(self.numbers.values(), other.numbers.values(), strict=True)
        return self.form == other.form and all(abs(x - y) <= tolerance * math.hypot(dx, dy) for (x, dx), (y, dy) in pairs)


def _changed(layer: Any, numbers: dict[str, float]) -> Layer:
    return replace(layer, **numbers) if numbers else layer


def _drawn(layer: Layer, received: Sequence[Signal], sent: Signal, source: Layer | None) -> dict[str, tuple[float, float]]:
    """Numbers of weights and biases, with the standard errors of their estimates from so many normal ones."""
    rows = sent.shape[0]
    if isinstance(layer, Linear):
        n = received[0].size
        return {
            "gain": (layer.gain, layer.gain / math.sqrt(2 * n * rows)),
            "mean_gain": (layer.mean_gain_of(n), layer.gain / math.sqrt(rows)),
            "bias_std": (layer.bias_std, layer.bias_std / math.sqrt(2 * rows)),
        }
    if isinstance(layer, Sum) and isinstance(source, Linear):
        return {"constant": (layer.constant, source.bias_std / math.sqrt(rows))}
    return {}


def _repeats(sites: Sequence[_Site], tolerance: float) -> list[range]:
    """The nodes of each repeat of the smallest block that repeats over more than half of all layers of neurons, if any does."""
    neurons = [site.node.operation.spikes for site in sites]
    for period in range(1, len(sites) // 2 + 1):
        for first, last in _alike(sites, period, tolerance):
            most = 2 * sum(neurons[first : last + 1]) > sum(neurons)
            if cuts := [cut for cut in range(first - 1, last - 2 * period + 1) if most and _closed(sites, cut, period)]:
                # behind neurons a rate is the whole state; currents may have a mean besides
                cut = min(cuts, key=lambda cut: (not neurons[cut], sites[cut].sent.kind != "spikes"))
                return [range(start, start + period) for start in range(cut + 1, last - period + 2, period)]
    return []


def _alike(sites: Sequence[_Site], period: int, tolerance: float) -> Iterator[tuple[int, int]]:
    """First and last nodes of all runs of two periods at least, in which each node is as that of the first period."""
    first = 1
    for number in range(1 + period, len(sites) + 1):
        if number == len(sites) or not sites[number].like(sites[first + (number - first) % period], tolerance):
            if number - first >= 2 * period:
                yield first, number - 1
            first = number - period + 1


def _closed(sites: Sequence[_Site], cut: int, period: int) -> bool:
    """True if the nodes of a period behind a cut receive signals of each other and of the cut, and send one like it."""
    before, after = sites[cut].sent, sites[cut + period].sent
    fits = (before.kind, before.shape) == (after.kind, after.shape) and after.kind in ("currents", "spikes")
    return (
        fits and len(after.shape) == 1 and all(min(sites[cut + k].node.inputs, default=0) >= cut for k in range(1, period + 1))
    )


def _block(sites: Sequence[_Site], repeats: list[range], tolerance: float) -> RepeatedBlock:
    """The block of these repeats, with averages of their numbers."""
    cut = repeats[0].start - 1
    nodes = [Node(Source(replace(sites[cut].sent, weighted=True)), (), "block")]
    for copies in zip(*repeats, strict=True):
        node, numbers = sites[copies[0]].node, [sites[copy].numbers for copy in copies]
        average = {name: _average(name, np.array([of[name] for of in numbers]), tolerance) for name in numbers[0]}
        inputs = tuple(source - cut for source in node.inputs)
        nodes.append(replace(node, operation=_changed(node.operation, average), inputs=inputs))
    return RepeatedBlock([node.operation for node in nodes[1:]], Graph(nodes))


def _average(name: str, numbers: np.ndarray, tolerance: float) -> float:
    """The mean over repeats; 0 for a mean of weights or biases that is no larger than if theirs were 0."""
    value, error = numbers.mean(axis=0).tolist()
    absent = name in ("mean_gain", "constant") and abs(value) <= tolerance * error / math.sqrt(len(numbers))
    return 0.0 if absent else value
