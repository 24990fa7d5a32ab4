"""Networks made of ``vf.layers``: one walk over their graph, for both engines.

The engines differ only in how layers with random weights are drawn: by real weights, or given the signal below. A chunk of
networks is always simulated whole, so that sums of real numbers do not depend on how many networks were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varflow.campaign import Cancelled
from varflow.model.build import graph_of
from varflow.model.drives import Given, Inputs
from varflow.model.graph import Graph, Node, covered
from varflow.model.layers import Conv, Linear, Spike
from varflow.model.network import Network
from varflow.simulation.operations import simulate
from varflow.simulation.streams import BLOCK, Streams, drawn_together
from varflow.simulation.walk import Batch, ChunkWalk, Flow, Measures, Record
from varflow.simulation.weighted import Wiring

_BATCH = 256  # inputs of a random drive that a BatchNorm sees: its mean and variance are then off by O(1/256)
_FEWEST_INPUTS, _NUMBERS = 16, 2**24  # fewer inputs, at least 16, if a signal of 256 had more numbers than this (128 MiB)
_STREAM = {"dense": 2**41, "conditional": 2**42}  # above every stream number of a weight distribution


@dataclass(frozen=True, slots=True, eq=False)
class Layered(Batch):
    """Simulations of one network made of layers, as :class:`varflow.simulation.dense.DenseNetworks` of a plain chain.

    Attributes
    ----------
    probes : int
        Inputs sent through each network.
    held : int
        Numbers of one network held at once: the largest signal, and the shortcuts around it.
    """

    graph: Graph
    conditional: bool
    probes: int
    held: int

    @property
    def numbers(self) -> int:
        return self.held

    @property
    def drawn(self) -> int:
        """About the numbers that one network draws."""
        return self.numbers * len(self.widths)

    @torch.inference_mode()
    def simulate(self, chunk: int, wanted: int, stop: Event, second_moments: bool = True) -> dict[str, np.ndarray]:
        """The measured quantities, each of shape (1, wanted, depth[, steps…])."""
        measures = Measures(self, wanted, 1, second_moments)
        self.send(chunk, partial(_record, measures), stop)
        return measures.by_configuration()

    def send(self, chunk: int, record: Record, stop: Event) -> None:
        """Send the networks of a chunk through their graph, and record every layer of neurons."""
        (network,) = self.networks
        through(self.graph, ChunkWalk(network, self.streams, chunk, self.dtype, self.conditional, self.probes, record, stop))


def _record(measures: Measures, layer: int, membranes: Tensor | None, spikes: Tensor) -> bool:
    spikes = spikes[: measures.networks]
    counts = spikes.sum(-1, dtype=torch.float64)
    if not (counts.isfinite().all() and (membranes is None or membranes.sum().isfinite())):
        return False
    potentials = None if membranes is None else membranes[: measures.networks]
    measures.record(layer, None, potentials, counts, measures.gram(spikes))
    return True


def batch_of(
    network: Network, place: int = 0, *, probes: int = 0, engine: str, seed: int, device: str = "cpu", dtype: str = "float32"
) -> Layered:
    """Simulations of one network; ``probes``: inputs sent through it, by default as many as its layers need."""
    where, conditional, graph = torch.device(device), engine == "conditional", graph_of(network, first_weights=True)
    drive: Any = network.drive
    covered([Node(drive, name="drive"), *graph[1:]], "simulate")
    probes = probes or _probes(network, graph)
    largest, weights = _sizes(graph, conditional, probes * network.steps)
    one = probes * network.steps * largest
    networks = drawn_together(one, BLOCK[where.type] // max(1, weights))
    streams, widths = Streams.of(networks, BLOCK[where.type], where, seed, _STREAM[engine]), tuple(network.widths.tolist())
    held = one * _held(graph)
    return Layered((network,), (place,), widths, streams, getattr(torch, dtype), graph, conditional, probes, held)


def _sizes(graph: Graph, conditional: bool, frames: int) -> tuple[int, int]:
    """Numbers of the largest signal at one step of a probe, and weights of the largest layer that has real ones."""
    largest = weights = 1
    for node, inputs, sent in graph.sites():
        operation, largest = node.operation, max(largest, sent.size)
        if isinstance(operation, (Linear, Conv)):
            wiring = Wiring.of(operation, inputs[0].shape, sent.shape)
            drawn = conditional and not node.weights and wiring.conditional(frames)
            weights = weights if drawn else max(weights, wiring.groups * wiring.rows * wiring.fan_in)
        if isinstance(operation, Spike) and operation.recurrent and not (conditional and frames < sent.size):
            weights = max(weights, sent.size**2)
    return largest, weights


def _held(graph: Graph) -> int:
    """Signals held at once, that of the node at work not counted."""
    last_reader, held, most = graph.last_reader, 0, 1
    for number, node in enumerate(graph):
        most = max(most, held)
        held += (last_reader[number] != number) - sum(last_reader[source] == number for source in set(node.inputs))
    return most


def _probes(network: Network, graph: Graph) -> int:
    """Inputs sent through each network: one, or for a BatchNorm its batch."""
    drive = network.drive
    if not any(node.operation.over_batch for node in graph):
        return 1
    if isinstance(drive, (Given, Inputs)):
        return drive.n_inputs
    largest = max(signal.size for signal in graph.shapes())
    batch = max(_FEWEST_INPUTS, min(_BATCH, _NUMBERS // (network.steps * largest)))
    return -(-batch // drive.n_inputs) * drive.n_inputs  # every row of rates equally often


def through(graph: Graph, walk: ChunkWalk) -> None:
    """Every node in order. If the network ends in a merge, the spikes that leave it count as those of its last layer."""
    last_reader, leaving, held = graph.last_reader, graph.leaving, dict[int, Flow]()
    for number, (node, _, sent) in enumerate(graph.sites()):
        if walk.stop.is_set():
            raise Cancelled
        flows = tuple(held[source] for source in node.inputs)
        flow = simulate(node, flows, walk, sent)
        if node.operation.merges and not flow.values.sum().isfinite():
            raise walk.explosion()
        if number == leaving and node.operation.merges:
            walk.measure_again(flow.real.flatten(3))
        held = {source: signal for source, signal in held.items() if last_reader[source] > number}
        if last_reader[number] > number:
            held[number] = flow
