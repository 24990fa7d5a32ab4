"""Walks over a graph and visits of its nodes: effort, batch, signals received and sent, and the way back of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from varflow._progress import Report, unreported
from varflow.model.graph import Node
from varflow.model.surrogate import Surrogate
from varflow.theory.maps.variance_classes import JOINT
from varflow.theory.responses.back_propagation import Slopes
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import Grid

__all__ = ["Batching", "Effort", "Visit", "Walk", "WayBack"]


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of a walk: all in which the audit of a model differs from ``mean_field``.

    Attributes
    ----------
    neurons : Neurons
        With the points of quasi-Monte Carlo.
    fewer : Neurons, optional
        For an index of more than ``many`` entries, since rates are averages over positions.
    jitter : float
        Relative variance added to currents at several positions, so that their covariance is factored quickly.
    joint : int
        Positions × steps of a map up to which positions are followed jointly.
    increments : bool
        False drops increments over steps before weights.
    pools : bool
        False: pools on large maps are left to be measured, since pairs of positions through several layers take seconds.
    windows : int, optional
        Largest number of entries in the covariances of all windows of a maximum of currents.
    batch : int
        Inputs × positions × steps of a batch up to which its inputs are followed jointly where a BatchNorm makes them depend on
        each other; of a larger one each alone, with the overlap of two.
    """

    neurons: Neurons
    fewer: Neurons | None = None
    many: int = 0
    jitter: float = 0.0
    joint: int = JOINT
    increments: bool = True
    pools: bool = True
    windows: int | None = None
    batch: int = 2**11

    def of(self, grid: Grid) -> Neurons:
        """Responses over an index of this size."""
        return self.neurons if self.fewer is None or grid.size <= self.many else self.fewer

    def per_position(self, grid: Grid) -> bool:
        """True if each position of such a map is followed on its own."""
        return grid.positions > 1 and grid.positions * grid.steps > self.joint

    def back(self, grid: Grid) -> Neurons:
        """Responses along which gradients return."""
        return self.fewer if self.fewer is not None and grid.per_position else self.of(grid)


@dataclass(frozen=True, slots=True)
class Batching:
    """Knowledge of the batch of a BatchNorm.

    Attributes
    ----------
    exchangeable : bool
        True if the last two inputs of the index stand for infinitely many independent ones; else all inputs are in it.
    inputs : int
        Number of inputs in the batch, where each is followed alone with the overlap of two.
    overlaps : bool
        True if such overlaps are followed.
    """

    exchangeable: bool = False
    inputs: int = 1
    overlaps: bool = False


@dataclass(slots=True)
class Walk:
    """A walk over the nodes of a graph, and what they share on the way.

    Attributes
    ----------
    effort : Effort
    batching : Batching
    steps : int, optional
        Steps of the network: weights send as many, also of numbers that are the same at all of them.
    report : callable
        Told the number of layers of neurons passed.
    row : callable
        What is kept of each layer of neurons, from its state and the grid of its index.
    rows : list
        What was kept; None of a layer that is unknown.
    gaps : dict, optional
        Words of each node that theory could not follow; None to raise instead.
    """

    effort: Effort
    batching: Batching = Batching()
    steps: int | None = None
    report: Report = unreported
    row: Callable[[LayerState, Grid], Any] = lambda state, grid: state
    rows: list[Any] = field(default_factory=list)
    gaps: dict[int, str] | None = None
    last: tuple[LayerState, Grid] | None = None

    def passed(self, state: LayerState | None, grid: Grid | None) -> None:
        """Keep a layer of neurons; None if it is unknown."""
        if state is None or grid is None:
            self.last = None
            self.rows.append(None)
        else:
            self.last = state, grid
            self.rows.append(self.row(state, grid))
        self.report(len(self.rows))

    def left(self, spikes: Any) -> None:
        """Put spikes that leave the network behind merges in place of those of the last layer of neurons."""
        if self.last is not None:
            moments = {"firing_rate": spikes.mean, "second_moments": spikes.moments, "pairs": spikes.pairs}
            self.rows[-1] = self.row(replace(self.last[0], **moments, changes=None), spikes.grid)


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A node as a walk has passed it.

    Attributes
    ----------
    number : int
        Of the node.
    node : Node
    layer : int
        Number of layers of neurons before it.
    received : tuple of signals
    walk : Walk
    sent : signal, optional
    kept : dict
        What ``forward`` leaves for ``backward``.
    of_numbers : bool
        True if it receives the numbers of a drive.
    """

    number: int
    node: Node
    layer: int
    received: tuple[Any, ...]
    walk: Walk
    sent: Any = None
    kept: dict[str, Any] = field(default_factory=dict)
    of_numbers: bool = False


@dataclass(slots=True, eq=False)
class WayBack:
    """The way of gradients back over the nodes of a walk.

    Attributes
    ----------
    walk : Walk
        The forward pass.
    surrogate_of : callable
        ``ψ``, of ``H - θ``, for each number of a node; None if it is unknown.
    detached : bool, optional
        True if resets are detached; by default each neuron says so.
    per_position : bool
        True if gradients are followed at each position of a map also where signals are followed jointly.
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

    def keep(self, number: int, gradients: Gradients, slopes: Slopes | None) -> None:
        """Keep the gradients by the currents of a layer of neurons."""
        self.layers[number] = gradients, slopes
        self.report(len(self.layers))
