"""The walk through a graph, with what operations use there: random numbers, and the quantities measured in
every layer of neurons, named as in an ``Ensemble``.

Signals between layers are numbers, whole ones of a unit where they can be, so that their sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.graph import Node
from varflow.model.network import Network
from varflow.simulation.streams import Draws, Streams


def names(steps: int, second_moments: bool = True) -> dict[str, int]:
    """The measured quantities and their numbers of step axes."""
    if steps == 1:
        return {"variance": 0, "firing_rate": 0}
    return {"variance": 1, "firing_rate": 1, "potential_mean": 1} | ({"second_moments": 2} if second_moments else {})


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Networks that are simulated together, ``streams.repeats`` of each at a time.

    Attributes
    ----------
    places : tuple of int
        Their indices in the user's sequence.
    widths : tuple of int
        Of the deepest network.
    """

    networks: tuple[Network, ...]
    places: tuple[int, ...]
    widths: tuple[int, ...]
    streams: Streams
    dtype: torch.dtype

    @property
    def steps(self) -> int:
        return self.networks[0].steps

    @property
    def numbers(self) -> int:
        """Numbers of one network that are held at once: the potentials of a layer."""
        return self.steps * max(self.widths)


class Measures:
    """Quantities of shape (depth, networks, configurations, steps…), zero until recorded."""

    def __init__(self, batch: Batch, networks: int, configurations: int, second_moments: bool):
        shape = (len(batch.widths), networks, configurations)
        self.widths, self.networks, self.steps = batch.widths, networks, batch.steps
        self.tables = {
            name: torch.zeros((*shape, *[self.steps] * max(axes, 1)), dtype=torch.float64, device=batch.streams.device)
            for name, axes in names(self.steps, second_moments).items()
        }
        self.tables["variance"][np.equal(self.widths, 1)] = math.nan  # one neuron has no sample variance, even 0

    def gram(self, spikes: torch.Tensor) -> torch.Tensor | None:
        """``Σ_i S_ti S_t'i``, if second moments are kept."""
        return (spikes @ spikes.mT).double() if "second_moments" in self.tables else None

    def record(
        self,
        layer: int,
        place: torch.Tensor | None,
        membranes: torch.Tensor | None,
        counts: torch.Tensor,
        gram: torch.Tensor | None,
    ) -> None:
        """Record a layer of the configurations at ``place``: spikes per step, and their :meth:`gram` matrix if it is kept.

        Without a place, the second axis is one of probes, and their mean is recorded. Without membranes, those of a layer stay.

        Overwrites ``membranes``.
        """
        width = self.widths[layer]
        values = {"firing_rate": counts / width}
        if self.steps > 1 and membranes is not None:
            values["potential_mean"] = membranes.mean(-1)
        if gram is not None and "second_moments" in self.tables:
            values["second_moments"] = gram / width
        if width > 1 and membranes is not None:
            values["variance"] = _sample_variance(membranes)
        for name, quantity in values.items():
            if place is None:
                self.tables[name][layer] = quantity.mean(1, keepdim=True)
            else:
                self.tables[name][layer].index_copy_(1, place, quantity.double())

    def by_configuration(self) -> dict[str, np.ndarray]:
        """Arrays of shape (configurations, networks, depth[, steps…])."""
        tables = {name: table.movedim(2, 0).movedim(1, 2) for name, table in self.tables.items()}
        return {name: (table if self.steps > 1 else table[..., 0]).cpu().numpy() for name, table in tables.items()}


def _sample_variance(membranes: torch.Tensor) -> torch.Tensor:
    """Variance with ddof = 1. Overwrites ``membranes``: allocation would cost more than the arithmetic."""
    deviation = membranes.sub_(membranes.mean(-1, keepdim=True))
    return deviation.square_().sum(-1) / (membranes.shape[-1] - 1)


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

    Examples
    --------
    >>> import torch, varflow as vf
    >>> spikes = vf.simulation.Flow(torch.tensor([[[[0.0], [1.0]]]]), unit=0.5)
    >>> spikes.shape, spikes.real.flatten()
    ((1,), tensor([0.0000, 0.5000], dtype=torch.float64))
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
    generator : torch.Generator
        Random numbers of a user's own layers, which draw from it in turn.
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
    generator: torch.Generator = field(init=False)
    shared: dict[str, Draws] = field(default_factory=dict)
    spiking: int = 0

    def __post_init__(self) -> None:
        self.draws, self.neurons = self.stream("weights"), self.stream("neurons")
        self.generator = self.streams.generator(self.chunk, "own")

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
