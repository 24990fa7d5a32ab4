"""What a drive sends to a network: its inputs in blocks, and the signal with which the walk of each begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.drive_kinds import Drive, Given, Inputs
from varflow.model.drive_kinds import Spikes as Trains
from varflow.model.graph import Graph, graph_of, independent
from varflow.model.network import Network
from varflow.theory.maps.patches import of_numbers
from varflow.theory.operations.visit import Batching, Effort
from varflow.theory.signals.moments import Currents, GivenCurrents, Signal, Spikes
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, PairMoments
from varflow.theory.signals.windows import Grid

__all__ = ["Blocks"]

ON_MAPS = 2**10  # points at each position of a large map
AT_ONCE = 2**19  # inputs × steps² computed together, so that a batch does not fill the memory


@dataclass(frozen=True, slots=True)
class Blocks:
    """A network and its drive, inputs that are independent of each other in blocks that fit into the memory.

    Attributes
    ----------
    graph : Graph
    effort : Effort
        With fewer points at each position of large maps.
    normalised : bool
        True if a batch is normalised, so that its inputs depend on each other.
    per_position : bool
        True if maps are so large that each position is followed on its own, which a BatchNorm over the batch prevents.
    """

    network: Network
    graph: Graph
    effort: Effort
    normalised: bool
    per_position: bool
    drives: list[Drive]

    @classmethod
    def of(cls, network: Network, effort: Effort, rows: np.ndarray | None = None) -> Blocks:
        """The blocks of a network; with ``rows`` these inputs only, together."""
        graph = independent(graph_of(network))
        normalised = over_batch(graph)
        positions = max(int(np.prod(shape[1:])) for shape in network.shapes)
        per_position = not normalised and rows is None and effort.per_position(Grid(1, positions, 1, network.steps))
        if per_position:
            effort = replace(effort, neurons=effort.neurons.at_most(ON_MAPS))
        drives = [network.drive.of_rows(rows)] if rows is not None else _drives(network, normalised, positions)
        return cls(network, graph, effort, normalised or rows is not None, per_position, drives)

    def __len__(self) -> int:
        return len(self.drives)

    def __iter__(self) -> Iterator[tuple[Any, Batching]]:
        """The signal with which the walk of each block begins, and how its batch is known."""
        for drive in self.drives:
            exchangeable = over_batch(self.graph) and drive.n_inputs == 1 and not isinstance(drive, Inputs)
            yield self._start(drive, exchangeable), Batching(exchangeable)

    def _start(self, drive: Drive, exchangeable: bool) -> Signal | GivenCurrents:
        """What some of the inputs send: in one group if they depend on each other, else one each."""
        first, steps = self.graph[0].operation.sends, self.network.steps
        if isinstance(drive, Given):
            reader = next(node.operation for node in self.graph if 0 in node.inputs)
            if not reader.spikes or self.normalised:
                rule = "must be a Spike without recurrent weights, and no BatchNorm may follow, for a drive of given currents"
                raise DomainError("layers", reader, rule)
            return GivenCurrents(drive, first.size)
        channels, height, columns = first.shape if len(first.shape) == 3 else (first.size, 1, 1)
        inputs = 2 if exchangeable else drive.n_inputs if self.normalised else 1
        grid = Grid(inputs, height, columns, steps, self.per_position)
        if first.kind == "currents":
            covariance = _covariance_of_currents(drive, steps, self.normalised, exchangeable)
            pairs = PairMoments(grid.shape, partial(_independent, covariance, grid)) if self.per_position else None
            covariance = _at_every_position(covariance, grid)
            return Currents(np.zeros(covariance.shape[:-1]), covariance, grid, channels, pairs=pairs)
        if isinstance(drive, Inputs):
            x = drive.frames(steps).reshape(drive.n_inputs, steps, channels, grid.positions)
            return of_numbers(x.transpose(0, 3, 1, 2), grid)
        return Spikes(*_of_trains(drive, steps, self.normalised, exchangeable), grid, channels)


def over_batch(graph: Graph) -> bool:
    """True if a node normalises over a batch of inputs."""
    return any(node.operation.over_batch for node in graph)


def _drives(network: Network, normalised: bool, positions: int) -> list[Drive]:
    kinds = network.drive.n_inputs
    size = kinds if normalised else max(1, AT_ONCE // (positions * network.steps) ** 2)
    return [network.drive.of_rows(slice(first, first + size)) for first in range(0, kinds, size)]


def _independent(covariance: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Covariances of different positions, of independent currents."""
    groups = covariance.shape[1] * (1 if offset is ALL_PAIRS else grid.positions)
    return np.zeros((1, groups, grid.steps, grid.steps))


def _covariance_of_currents(drive: Drive, steps: int, together: bool, exchangeable: bool) -> np.ndarray:
    """Shape (1, groups, inputs × steps, inputs × steps)."""
    own = drive.covariance(steps)
    if not together:
        return own[None]
    if isinstance(drive, Inputs):
        x = drive.input_gain * drive.frames(steps).reshape(-1, drive.fan_in)
        return (x @ x.T / drive.fan_in)[None, None]
    between = np.zeros((steps, steps))
    if isinstance(drive, Trains):
        between = np.full((steps, steps), drive.input_gain**2 * np.mean(drive.rates[0] ** 2))
    if not exchangeable:
        raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
    return np.block([[own[0], between], [between, own[0]]])[None, None]


def _at_every_position(covariance: np.ndarray, grid: Grid) -> np.ndarray:
    """The covariance of independent currents at every position."""
    if grid.positions == 1:
        return covariance
    if grid.per_position:
        return np.repeat(covariance, grid.positions, axis=1)
    steps, eye = grid.steps, np.eye(grid.positions)
    blocks = covariance.reshape(*covariance.shape[:2], grid.inputs, steps, grid.inputs, steps)
    whole = np.einsum("rgasbt,xy->rgaxsbyt", blocks, eye)
    return whole.reshape(*covariance.shape[:2], grid.size, grid.size)


def _of_trains(drive: Drive, steps: int, together: bool, exchangeable: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of the drive's spikes over the inputs of a neuron."""
    assert isinstance(drive, Trains)
    if together and not exchangeable:
        raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
    rates, square = drive.rates.mean(axis=1), np.mean(drive.rates**2, axis=1)
    own = square[:, None, None] + np.eye(steps) * (drive.second_moments.mean(axis=1) - square)[:, None, None]
    if exchangeable:
        between = np.full((steps, steps), square[0])
        return np.full((1, 1, 2 * steps), rates[0]), np.block([[own[0], between], [between, own[0]]])[None, None]
    return np.repeat(rates[:, None], steps, axis=1)[None], own[None]
