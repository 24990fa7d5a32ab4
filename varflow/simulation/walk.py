"""The walk through a graph, with what operations use there: random numbers, and the place where neurons are measured.

Signals between layers are numbers, whole ones of a unit where they can be, so that their sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.graph import Node
from varflow.model.network import Network
from varflow.simulation.streams import Draws, Streams

_LARGEST_RATIO = 2**20  # of two units: whole numbers this much larger stay far below 2^53
Record = Callable[[int, Tensor | None, Tensor], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Currents or spikes of every network, probe (an input) and step.

    Attributes
    ----------
    values : Tensor, shape (networks, probes, steps, *shape)
        In float32 only zeros and ones.
    unit : float, optional
        The signal is ``unit × values`` with whole numbers ``values``, whose weighted sums are exact. None: any real numbers.
    """

    values: Tensor
    unit: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[3:])

    @property
    def real(self) -> Tensor:
        values = self.values.double()
        return values if self.unit in (None, 1.0) else values * self.unit


def scaled(flow: Flow, factor: float) -> Flow:
    """``factor × flow``; whole numbers stay whole."""
    if factor == 1:
        return flow
    if flow.unit is None or not flow.unit * abs(factor):
        return Flow(flow.values * (factor if flow.unit is None else 0.0), flow.unit)
    return Flow(flow.values if factor > 0 else -flow.values.double(), flow.unit * abs(factor))


def added(x: Flow, y: Flow) -> Flow:
    """``x + y``, in whole numbers if one unit is a multiple of the other."""
    if x.unit and y.unit:
        unit = min(x.unit, y.unit)
        n, m = (round(other.unit / unit) for other in (x, y) if other.unit)
        if max(n, m) <= _LARGEST_RATIO and math.isclose(n * unit, x.unit) and math.isclose(m * unit, y.unit):
            return Flow(n * x.values.double() + m * y.values.double(), unit)
    return Flow(x.real + y.real)


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
