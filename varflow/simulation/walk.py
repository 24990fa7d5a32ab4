"""The walk through a graph, with what operations use there: random numbers, and the place where neurons are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.graph import Node
from varflow.model.network import Network
from varflow.simulation.streams import Draws, Streams

Record = Callable[[int, Tensor | None, Tensor], bool]


@dataclass(slots=True, eq=False)
class ChunkWalk:
    """One chunk of networks on its way.

    Attributes
    ----------
    probes : int
        Inputs sent through each network.
    conditional : bool
        True if currents are drawn given the signal below, where that is exact and costs less.
    record : callable
        Of the number of a layer, its membranes (None: those recorded stay) and spikes; False if they are not finite.
    draws, neurons : Draws
        Random numbers of weights, and of neurons that differ.
    shared : dict of str to Draws
        Random numbers of weights that several nodes share, from their beginning, by the key of these nodes.
    spiking : int
        Layers of neurons passed.
    """

    network: Network
    streams: Streams
    chunk: int
    dtype: torch.dtype
    conditional: bool
    probes: int
    record: Record
    stop: Event
    draws: Draws = field(init=False)
    neurons: Draws = field(init=False)
    shared: dict[str, Draws] = field(default_factory=dict)
    spiking: int = 0

    def __post_init__(self) -> None:
        self.draws, self.neurons = self.stream("weights"), self.stream("neurons")

    @property
    def steps(self) -> int:
        return self.network.steps

    def stream(self, purpose: str) -> Draws:
        """The random numbers of this chunk for a purpose, from their beginning."""
        return self.streams.draws(self.chunk, purpose, dtype=self.dtype, stop=self.stop)

    def draws_of(self, node: Node) -> Draws:
        """Random numbers of a node's weights: the same for all nodes that share theirs."""
        if node.weights in self.shared:
            return self.shared[node.weights].copy()
        if node.weights:
            self.shared[node.weights] = self.draws.copy()
        return self.draws

    def measure(self, membranes: Tensor | None, spikes: Tensor) -> None:
        """Record the next layer of neurons."""
        if not self.record(self.spiking, membranes, spikes):
            raise self.explosion()
        self.spiking += 1

    def measure_again(self, spikes: Tensor) -> None:
        """Record merged spikes in place of those of the last layer."""
        self.spiking -= 1
        self.measure(None, spikes)

    def explosion(self) -> DomainError:
        return DomainError("layers", self.network.layers, "make signals grow beyond double precision; lower their gains")
