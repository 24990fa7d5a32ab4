r"""Graphs of networks: of plain chains, of layers in a row, of nodes by name; and rows in their simplest form.

Pools before the first weights become another input, as they are arithmetic on the numbers of the drive, and a plain chain is
known as one, since theory has faster and exact answers for it.

A row of layers is a path. A residual block is its branch and a node that joins it with what the branch received,

=================  ===========================================
currents           ``Sum((keep, 1))``
spikes, ``add``    ``Sum((1, 1))``
spikes, ``and``    ``Product()``
spikes, ``iand``   ``Sum((-1,), 1)`` of the branch, ``Product()``
=================  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.drive_kinds import Drive, Inputs, SpikeTrains
from varflow.model.graph import Graph, Node, sent_by
from varflow.model.layers import Linear, Pool, Residual, Spike
from varflow.model.merges import Product, Sum
from varflow.model.signals import Layer, Signal, Source, first_signal, own_gain


def pooled_first(layers: Sequence[Layer], drive: Drive) -> tuple[tuple[Layer, ...], Drive]:
    """The layers after leading Pools of a given input, and the drive with the pooled input."""
    layers = tuple(layers)
    while isinstance(layers[0], Pool) and isinstance(drive, Inputs) and len(layers) > 1:
        own_gain(layers[0], drive)
        before = Signal("input", drive.shape or (drive.fan_in,))
        after = layers[0].after(before)
        spiking_shapes(of_layers(layers[:2], before, 1))  # numbers need weights before neurons
        x = _pooled(layers[0], drive.x.reshape(*drive.x.shape[:-1], *before.shape))
        unit = float(np.sqrt(np.mean(x**2)))
        drive = replace(drive, x=x.reshape(*drive.x.shape[:-1], -1), input_gain=1 / unit if unit else 1.0, shape=after.shape)
        layers = layers[1:]
    return layers, drive


def _pooled(pool: Pool, x: np.ndarray) -> np.ndarray:
    """Averages or maxima over the windows of the last two axes."""
    size, (down, along), padding, _ = pool.windows(x.shape[-2:])
    edges = [(0, 0)] * (x.ndim - 2) + [(pad, pad) for pad in padding]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), size, axis=(-2, -1))[..., ::down, ::along, :, :]
    return windows.mean(axis=(-2, -1)) if pool.kind == "average" else windows.max(axis=(-2, -1))


def as_chain(layers: Sequence[Layer], width: int | None, drive: Drive) -> dict[str, Any] | None:
    """The arguments of the plain chain ``[Spike] + (depth - 1) · [Linear, Spike]`` that is the same network, or None."""
    if getattr(drive, "shape", None) is not None:
        return None
    first, *others = layers
    into = None  # the weights from the drive
    if isinstance(first, Linear) and isinstance(drive, Inputs):
        if first.bias_std or first.mean_gain_of(drive.fan_in):
            return None
        into, layers, drive = first, others, replace(drive, input_gain=first.gain)
    spikes = [layer for layer in layers[::2] if isinstance(layer, Spike)]
    linears = [layer for layer in layers[1::2] if isinstance(layer, Linear)]
    if not len(layers) % 2 or len(spikes) + len(linears) < len(layers):
        return None
    weighted = linears if into is None else [into, *linears]
    equal_spikes = len(set(spikes)) == len({layer.neuron.detach_reset for layer in spikes}) == 1
    if any((layer.rows, layer.biases) != ("free", "normal") for layer in weighted) or spikes[0].recurrent or not equal_spikes:
        return None
    if len({layer.law for layer in weighted}) > 1 or len({(layer.bias_std, layer.mean_gain) for layer in linears}) > 1:
        return None
    driven = (into.width if into else None) or drive.width or width
    widths = (driven, *(layer.width or width for layer in linears))
    gains = [layer.gain for layer in linears]
    chain: dict[str, Any] = {
        "width": widths[0] if len(set(widths)) == 1 else widths,
        "depth": len(spikes),
        "gain": (gains[0] if gains else 1.0) if len(set(gains)) <= 1 else (gains[0], *gains),
        "neuron": spikes[0].neuron,
        "weights": weighted[-1].weights if weighted else "normal",
        "bias_std": linears[0].bias_std if linears else 0.0,
        "mean_gain": linears[0].mean_gain if linears else None,
        "drive": drive,
    }
    return chain


def _check_residual(layer: Residual, shortcut: Signal, branch: Signal) -> None:
    if shortcut.kind == "currents" and layer.merge != "add":
        raise DomainError("merge", layer.merge, "is for spikes; currents are added")
    if shortcut.kind == "spikes" and layer.keep != 1:
        raise DomainError("keep", layer.keep, "is for currents; a shortcut of spikes has no factor")
    if (branch.kind, branch.shape) != (shortcut.kind, shortcut.shape):
        raise DomainError("layers", layer, f"must have a branch that returns {shortcut}, not {branch}")


class Builder:
    """Nodes gathered one after the other, and the signals that they send."""

    def __init__(self, source: Source):
        self.nodes, self.sent = [Node(source, (), "drive")], [source.sends]

    def add(self, operation: Layer, *inputs: int, name: str, width: int | None = None, **given: Any) -> int:
        """The number of a new node."""
        node = Node(operation, inputs, name, width, given=given)
        self.sent.append(sent_by(node, [self.sent[source] for source in inputs], [self.nodes[source] for source in inputs]))
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
        # A Linear without its own width has as many neurons as it receives, or on maps those of the network.
        end = self.through(layer.branch, at, width if len(signal.shape) == 3 else signal.size, f"{name}.branch")
        _check_residual(layer, signal, self.sent[end])
        if layer.merge == "add":
            return self.add(Sum((layer.keep, 1.0)), at, end, name=name)
        if layer.merge == "iand":
            end = self.add(Sum((-1.0,), 1.0), end, name=f"{name}.complement")
        return self.add(Product(), at, end, name=name)


def chain_parts(chain: Any) -> tuple[Spike, list[Linear]]:
    """The Spike of every layer and the Linears between them, for a network that is a plain chain."""
    common = {"weights": chain.weights, "mean_gain": chain.mean_gain, "bias_std": chain.bias_std}
    linear = cache(lambda width, gain: Linear(width, gain=gain, **common))
    pairs = zip(chain.widths[1:].tolist(), chain.gains[1:].tolist(), strict=True)
    return Spike(chain.neuron), [linear(*pair) for pair in pairs]


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
    builder = Builder(source)
    for name in _in_order(described):
        layer, *inputs = described[name]
        add = builder.residual if isinstance(layer, Residual) else builder.add
        numbers[name] = add(layer, *(numbers[source] for source in inputs), name=name, width=width)
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
    placed = {"drive": None}
    while waiting := [name for name in described if name not in placed]:
        before = len(placed)
        for name in waiting:
            if placed.keys() >= set(described[name][1:]):
                placed[name] = None
        if len(placed) == before:
            rule = "receive signals of each other in a circle: recurrent weights are Spike(recurrent_gain=…)"
            raise DomainError("nodes", waiting, rule)
    return list(placed)[1:]


def of_layers(layers: Sequence[Layer], start: Signal, width: int | None) -> Graph:
    """The graph of layers in a row, of which the first receives ``start``."""
    if not any(isinstance(layer, Residual) for layer in layers):
        nodes = (Node(layer, (place,), f"layers[{place}]", width) for place, layer in enumerate(layers))
        return Graph([Node(Source(start), (), "drive"), *nodes])
    builder = Builder(Source(start))
    builder.through(layers, 0, width, "layers")
    return Graph(builder.nodes)


def spiking_shapes(graph: Graph) -> list[tuple[int, ...]]:
    """Shape of every layer of neurons, in order of execution; DomainError if operations do not fit each other."""
    return [sent.shape for node, _, sent in graph.sites() if node.operation.spikes]
