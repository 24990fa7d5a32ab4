"""Walks over a graph and visits of its nodes: effort, batch, signals received and sent, and the way back of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from varflow._progress import Report, unreported
from varflow.model.graph import Node, Uncovered
from varflow.model.surrogate import Surrogate
from varflow.theory.maps.positions import TOGETHER
from varflow.theory.responses.back_propagation import Slopes
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.places import Grid


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of a walk: all in which the audit of a model differs from ``mean_field``.

    Attributes
    ----------
    responses : Responses
        With the points of quasi-Monte Carlo.
    fewer : Responses, optional
        For an index of more than ``many`` entries, since rates are averages over positions.
    jitter : float
        Relative variance added to currents at several positions, so that their covariance is factored quickly.
    largest_map : int
        Positions × steps of a map up to which all its positions are in one index.
    increments : bool
        False drops increments over steps before weights.
    pools : bool
        False: pools on large maps are left to be measured, since pairs of positions through several layers take seconds.
    windows : int, optional
        Largest number of entries in the covariances of all windows of a maximum of currents.
    largest_batch : int
        Inputs × positions × steps of a batch up to which all its inputs are in one index where a BatchNorm makes them depend on
        each other; of a larger one each alone, with the overlap of two.
    """

    responses: Responses
    fewer: Responses | None = None
    many: int = 0
    jitter: float = 0.0
    largest_map: int = TOGETHER
    increments: bool = True
    pools: bool = True
    windows: int | None = None
    largest_batch: int = 2**11

    def of(self, grid: Grid) -> Responses:
        """Responses over an index of this size."""
        return self.responses if self.fewer is None or grid.size <= self.many else self.fewer

    def per_position(self, grid: Grid) -> bool:
        """True if each position of such a map is followed on its own."""
        return grid.positions > 1 and grid.positions * grid.steps > self.largest_map

    def back(self, grid: Grid) -> Responses:
        """Responses along which gradients return."""
        return self.fewer if self.fewer is not None and grid.per_position else self.of(grid)


class Batching(Enum):
    """Ways in which a walk knows the batch of a BatchNorm."""

    IN_INDEX = "all its inputs are in the index"
    INFINITE = "the last two inputs of the index, which are alike, are two of infinitely many independent ones"
    BY_OVERLAP = "each input is followed alone, with the overlap of two"


IN_INDEX, INFINITE, BY_OVERLAP = Batching


@dataclass(slots=True)
class Walk:
    """A walk over the nodes of a graph, and what they share on the way.

    Attributes
    ----------
    effort : Effort
    batching : Batching
    batch_size : int
        Number of inputs of a batch that is known by overlaps.
    steps : int, optional
        Steps of the network: weights send as many, also of numbers that are the same at all of them.
    report : callable
        Told the number of layers of neurons passed.
    record : callable
        From the state of a layer of neurons, and the grid of its index, to what is kept of it.
    records : list
        Those of all layers passed; None of a layer that is unknown.
    gaps : dict, optional
        Words of each node that theory could not follow; None to raise instead.
    """

    effort: Effort
    batching: Batching = IN_INDEX
    batch_size: int = 1
    steps: int | None = None
    report: Report = unreported
    record: Callable[[LayerState, Grid], Any] = lambda state, grid: state
    records: list[Any] = field(default_factory=list)
    gaps: dict[int, str] | None = None
    last: tuple[LayerState, Grid] | None = None

    def passed(self, state: LayerState | None, grid: Grid | None) -> None:
        """Keep a layer of neurons; None if it is unknown."""
        if state is None or grid is None:
            self.last = None
            self.records.append(None)
        else:
            self.last = state, grid
            self.records.append(self.record(state, grid))
        self.report(len(self.records))

    def left(self, spikes: Any) -> None:
        """Put spikes that leave the network after merges in place of those of the last layer of neurons."""
        if self.last is not None:
            moments = {"firing_rate": spikes.mean, "second_moments": spikes.moments, "pairs": spikes.pairs}
            self.records[-1] = self.record(replace(self.last[0], **moments, changes=None), spikes.grid)


@dataclass(slots=True, eq=False)
class Visit:
    """A node as a walk has passed it.

    Attributes
    ----------
    node_number : int
    node : Node
    layer_number : int
        Number of the layer of neurons at this node, or next after it; 0 is the first.
    received : tuple of signals
    walk : Walk
    sent : signal, optional
    kept : dict
        What ``forward`` leaves for ``backward``.
    reads_inputs : bool
        True if it receives the inputs of a drive themselves.
    """

    node_number: int
    node: Node
    layer_number: int
    received: tuple[Any, ...]
    walk: Walk
    sent: Any = None
    kept: dict[str, Any] = field(default_factory=dict)
    reads_inputs: bool = False

    def passed(self, part: str, gaps: dict[int, str] | None, *received: Any) -> Any:
        """Answer of one of the node's maps; None, with the reason among the gaps, if theory does not know it."""
        try:
            return self.node.map(part)(self.node.operation, *received)
        except Uncovered as error:
            if gaps is None:
                raise
            gaps[self.node_number] = error.rule


@dataclass(slots=True, eq=False)
class WayBack:
    """The way of gradients back over the nodes of a walk.

    Attributes
    ----------
    walk : Walk
        The forward pass.
    surrogate_of : callable
        ``ψ``, of ``H - θ``, for the number of a node; None if it is unknown.
    detached : bool, optional
        True if resets are detached; by default each neuron says so.
    per_position : bool
        True if gradients are followed at each position of a map also where signals have all positions in one index: in audits,
        which know a batch by overlaps.
    scatter, norms : bool
        True if the scatter between networks, and gradients by weights, are wanted too.
    report : callable
        Told the number of layers of neurons passed.
    layers : dict
        Gradients and slopes of every layer of neurons, by the number of its node, the last layer first.
    weights : list of ndarray, shape (replicas, groups, inputs, inputs)
        ``E⟨∂L_a/∂W, ∂L_b/∂W⟩`` of every layer with weights, the last layer first.
    gaps : dict, optional
        Words of each node that gradients could not pass; None to raise instead.
    """

    walk: Walk
    surrogate_of: Callable[[int], Surrogate | None]
    detached: bool | None = None
    per_position: bool = False
    scatter: bool = True
    norms: bool = True
    report: Report = unreported
    layers: dict[int, tuple[Gradients, Slopes | None]] = field(default_factory=dict)
    weights: list[Any] = field(default_factory=list)
    gaps: dict[int, str] | None = None

    def laid_out(self, signal: Any) -> Any:
        """A signal in the layout of the gradients."""
        return signal.per_position() if self.per_position and hasattr(signal, "per_position") else signal

    def keep(self, node_number: int, gradients: Gradients, slopes: Slopes | None) -> None:
        """Keep the gradients by the currents of a layer of neurons."""
        self.layers[node_number] = gradients, slopes
        self.report(len(self.layers))
