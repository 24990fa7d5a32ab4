"""The walk of a signal over a graph, from what the drive sends through every node; inputs of the drive in blocks. Where
something unknown lies before, walks begin with activations that were measured: their moments over channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow.model.build import graph_of
from varflow.model.drive_kinds import Drive, Given, Inputs, SpikeTrains
from varflow.model.graph import Graph, covered, enter, from_outside, independent, wrong_return
from varflow.model.layers import Linear, Measured, Spike
from varflow.model.network import Network
from varflow.model.signals import numbers_of
from varflow.theory.operations.spike import GivenCurrents, fire
from varflow.theory.operations.visit import BY_OVERLAP, IN_INDEX, INFINITE, Batching, Effort, Visit, Walk, WayBack
from varflow.theory.operations.weights import weighted
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals import places
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Signal, Spikes, at_every_position, held
from varflow.theory.signals.places import ALL_PAIRS, Activations, Grid, Offset, Overlap, PairMoments

ON_MAPS = 2**10  # points at each position of a large map
AT_ONCE = 2**19  # inputs × steps² computed together, so that a batch does not fill the memory


def signals_walk(graph: Graph, start: Any, walk: Walk, *, keep: bool = False) -> list[Visit]:
    """Every node in order with what it received and sent, or without ``keep`` the last. ``start``: what the drive sends."""
    return list(deque(visited(graph, start, walk), None if keep else 1))


def visited(graph: Graph, start: Any, walk: Walk) -> Iterator[Visit]:
    """Each node with what it received and sent, which is forgotten after its last reader."""
    sent, last, passed, leaving = {0: start}, graph.last_reader, 0, 0
    of_inputs = getattr(getattr(graph[0].operation, "sends", None), "kind", "") == "input"
    for number, node in enumerate(graph):
        if number == 0:
            continue
        received = tuple(sent[source] for source in node.inputs)
        visit = Visit(number, node, passed, received, walk, reads_inputs=of_inputs and node.inputs == (0,))
        visit.sent = sent[number] = _sent(visit, graph)
        if node.operation.spikes:
            passed += 1
            walk.passed(visit.kept.get("state"), getattr(visit.sent, "grid", None))
        elif node.operation.merges and isinstance(visit.sent, Spikes):
            leaving = leaving or graph.leaving
            if number == leaving:
                walk.left(visit.sent)
        for source in node.inputs:
            if last[source] == number:
                sent.pop(source, None)
        yield visit


def _sent(visit: Visit, graph: Graph) -> Any:
    """The signal that a node sends; None if theory does not know it."""
    operation = visit.node.operation
    if any(each is None for each in visit.received) and not isinstance(operation, Measured):
        return None
    sent = visit.passed("forward", visit.walk.gaps, visit.received, visit)
    if from_outside(type(operation)) and visit.node_number not in (visit.walk.gaps or ()):
        _check_sent(visit, sent, graph)
    return sent


def _check_sent(visit: Visit, sent: Any, graph: Graph) -> None:
    """DomainError if what a layer from outside sends is no signal, or another than its ``after`` says."""
    expected = next(islice(graph.shapes(), visit.node_number, None))
    if not hasattr(sent, "grid"):
        raise wrong_return("forward", visit.node, sent, "the signal that it sends, vf.theory.Currents or Spikes")
    shape = (sent.channels, *(sent.grid.shape if len(expected.shape) > 1 or sent.grid.positions > 1 else ()))
    alike = shape == expected.shape and isinstance(sent, Currents) == (expected.kind == "currents")
    if visit.walk.gaps is None and expected.kind in ("currents", "spikes") and not alike:
        shown = f"{type(sent).__name__} of shape {shape}"
        raise DomainError(
            visit.node.name, visit.node.operation, f"has a forward that returns {shown}; its after says {expected}"
        )


def driven_layer(spike: Spike, covariance: np.ndarray, responses: Responses) -> LayerState:
    """Layer 1 under Gaussian currents of mean 0 and this covariance (replicas, groups, steps, steps)."""
    grid = Grid(1, 1, 1, covariance.shape[-1])
    return fire(spike, Currents(np.zeros(covariance.shape[:-1]), covariance, grid, 1), 0, responses)[0]


def next_layer(linear: Linear, spike: Spike, responses: Responses, below: LayerState, number: int) -> LayerState:
    """Layer ``number`` of a chain, above another."""
    grid, width = Grid(1, 1, 1, below.firing_rate.shape[-1]), linear.width or 1
    spikes = Spikes(below.firing_rate, below.second_moments, grid, width, changes=below.changes).later(spike.neuron.delay)
    return fire(spike, weighted(linear, spikes, width), number, responses)[0]


# Where walks begin.


@dataclass(frozen=True, slots=True)
class Blocks:
    """A network and its drive, inputs that are independent of each other in blocks that fit into the memory.

    Attributes
    ----------
    graph : Graph
    effort : Effort
        With fewer points at each position of large maps.
    inputs_together : bool
        True if all inputs are in one index, as those that a BatchNorm over the batch makes depend on each other.
    per_position : bool
        True if maps are so large that each position is followed on its own; never where inputs are together.
    by_overlap : int
        Number of inputs of a batch that is known by overlaps, each followed alone; else 0.
    """

    network: Network
    graph: Graph
    effort: Effort
    inputs_together: bool
    per_position: bool
    by_overlap: int
    drives: list[Drive]

    @classmethod
    def of(cls, network: Network, effort: Effort, inputs: np.ndarray | None = None) -> Blocks:
        """The blocks of a network; with ``inputs`` these only, together."""
        graph = graph_of(network)
        graph = graph if graph.in_a_row else independent(graph)
        covered(graph[1:], "forward")
        normalised, positions = graph.over_batch, max(int(np.prod(shape[1:])) for shape in network.shapes)
        by_overlap = _inputs_by_overlap(network, graph, positions, effort) if normalised and inputs is None else 0
        together = inputs is not None or (normalised and not by_overlap)
        per_position = not together and effort.per_position(Grid(1, positions, 1, network.steps))
        if per_position:
            effort = replace(effort, responses=effort.responses.at_most(ON_MAPS))
        drives = [network.drive.of_rows(inputs)] if inputs is not None else _drives(network, normalised, positions)
        return cls(network, graph, effort, together, per_position, by_overlap, drives)

    def __len__(self) -> int:
        return len(self.drives)

    def __iter__(self) -> Iterator[tuple[Any, Batching]]:
        """The signal with which the walk of each block begins, and how its batch is known."""
        for drive in self.drives:
            infinite = self.graph.over_batch and drive.n_inputs == 1 and not isinstance(drive, Inputs)
            kind = BY_OVERLAP if self.by_overlap else INFINITE if infinite else IN_INDEX
            yield self.start(drive, infinite=infinite), kind

    def walk(self, batching: Batching, report: Report = unreported, **options: Any) -> Walk:
        """A walk through one of the blocks."""
        return Walk(self.effort, batching, self.by_overlap, self.network.steps, report, **options)

    def start(self, drive: Drive, *, infinite: bool) -> Signal | GivenCurrents:
        """The signal that some of the inputs send: in one group if they depend on each other, else one each."""
        first, steps = self.graph[0].operation.sends, self.network.steps
        if isinstance(drive, Given):
            for reader in (node.operation for node in self.graph if 0 in node.inputs):
                if not reader.spikes or getattr(reader, "recurrent", False) or self.graph.over_batch:
                    rule = (
                        "must be a Spike without recurrent weights, and no BatchNorm may follow, for a drive of given currents"
                    )
                    raise DomainError("layers", reader, rule)
            return GivenCurrents(drive, first.size)
        if self.inputs_together and not infinite and not isinstance(drive, Inputs):
            raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
        channels, height, columns = first.shape if len(first.shape) == 3 else (first.size, 1, 1)
        inputs = 2 if infinite else drive.n_inputs if self.inputs_together else 1
        grid = Grid(inputs, height, columns, steps, self.per_position)
        if first.kind == "currents":
            covariance = _covariance_of_currents(drive, steps, self.inputs_together)
            pairs = PairMoments(grid.shape, partial(_independent, covariance, grid)) if self.per_position else None
            covariance = at_every_position(covariance, grid)
            return Currents(np.zeros(covariance.shape[:-1]), covariance, grid, channels, pairs=pairs)
        if isinstance(drive, Inputs):
            x = drive.frames(steps).reshape(drive.n_inputs, steps, channels, grid.positions)
            if self.by_overlap:
                return measured(x.swapaxes(0, 1), grid, overlaps=True)
            return of_activations(x.transpose(0, 3, 1, 2), grid)
        return Spikes(*_of_trains(drive, steps, infinite), grid, channels)


def _inputs_by_overlap(network: Network, graph: Graph, positions: int, effort: Effort) -> int:
    """Number of inputs of a batch that is known by overlaps: measured, or too large for one index; else 0."""
    of_nodes = [x.shape[1] for node in graph if (x := numbers_of(node.operation)) is not None]
    inputs = max([*of_nodes, network.drive.n_inputs])
    given = inputs > 1 and (of_nodes or isinstance(network.drive, Inputs))
    return inputs if of_nodes or (given and inputs * positions * network.steps > effort.largest_batch) else 0


def _drives(network: Network, normalised: bool, positions: int) -> list[Drive]:
    kinds = network.drive.n_inputs
    size = kinds if normalised else max(1, AT_ONCE // (positions * network.steps) ** 2)
    return [network.drive.of_rows(slice(first, first + size)) for first in range(0, kinds, size)]


def _independent(covariance: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Covariances of different positions, of independent currents."""
    groups = covariance.shape[1] * (1 if offset is ALL_PAIRS else grid.positions)
    return np.zeros((1, groups, grid.steps, grid.steps))


def _covariance_of_currents(drive: Drive, steps: int, together: bool) -> np.ndarray:
    """Shape (1, groups, inputs × steps, inputs × steps)."""
    one_input = drive.checked_covariance(steps)
    if not together:
        return one_input[None]
    if isinstance(drive, Inputs):
        x = drive.input_gain * drive.frames(steps).reshape(-1, drive.fan_in)
        return (x @ x.T / drive.fan_in)[None, None]
    between = np.zeros((steps, steps))
    if isinstance(drive, SpikeTrains):
        between = np.full((steps, steps), drive.input_gain**2 * np.mean(drive.rates[0] ** 2))
    return np.block([[one_input[0], between], [between, one_input[0]]])[None, None]


def _of_trains(drive: Any, steps: int, infinite: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of the spikes of ``SpikeTrains`` over the inputs of a neuron."""
    rates, square = drive.rates.mean(axis=1), np.mean(drive.rates**2, axis=1)
    one_input = square[:, None, None] + np.eye(steps) * (drive.second_moments.mean(axis=1) - square)[:, None, None]
    if infinite:
        between = np.full((steps, steps), square[0])
        return np.full((1, 1, 2 * steps), rates[0]), np.block([[one_input[0], between], [between, one_input[0]]])[None, None]
    return np.repeat(rates[:, None], steps, axis=1)[None], one_input[None]


def forward(layer: Measured, received: tuple[Any, ...], visit: Visit) -> Any:
    """The moments over channels of activations that were measured; of a Fallback, what it receives if that is known, with the
    overlap by which a batch is.
    """
    walk = visit.walk
    followed = received and (walk.batching is not BY_OVERLAP or getattr(received[0], "overlap", None) is not None)
    if received and ((received[0] is not None and followed) or layer.x is None):  # a Fallback of which there is no need
        return received[0]
    steps = walk.steps or len(layer.x)
    height, width = layer.x.shape[3:] if layer.x.ndim == 5 else (1, 1)
    grid = Grid(1, height, width, steps)
    return measured(layer.x, replace(grid, per_position=walk.effort.per_position(grid)), overlaps=walk.batching is BY_OVERLAP)


def measured(x: np.ndarray, grid: Grid, *, overlaps: bool) -> Spikes:
    """Moments over the channels of activations (steps, inputs, channels, …), of one step if they are the same at all. Where the
    axes after channels are no positions of the grid, they are rows, which count as inputs.
    """
    of = x.reshape(*x.shape[:3], -1).transpose(1, 3, 0, 2)  # (inputs, positions, steps, channels)
    spikes = of_activations(of, replace(grid, steps=len(x)))
    if not overlaps:
        return spikes
    spikes = replace(spikes, overlap=_overlap(of, grid))
    return spikes if places.told_apart(spikes.grid) == places.told_apart(grid) else held(spikes, grid.steps)


def of_activations(x: np.ndarray, grid: Grid) -> Spikes:
    """Moments over the channels of activations (inputs, positions, steps, channels)."""
    each = x.reshape(-1, grid.size, x.shape[-1])
    pairs = PairMoments(grid.shape, lambda offset: _products(x, offset, grid)) if grid.per_position else None
    return Spikes(each.mean(axis=-1)[None], (each @ each.swapaxes(-1, -2) / x.shape[-1])[None], grid, x.shape[-1], pairs=pairs)


def _products(x: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    _, positions, steps, channels = x.shape
    if offset is ALL_PAIRS:
        sums, same_position = x.sum(axis=1), np.einsum("apsc,aptc->ast", x, x)
        return ((sums @ sums.swapaxes(-1, -2) - same_position) / (channels * positions * (positions - 1)))[None]
    here, there = places.known_pairs(offset, grid.shape)
    return places.on_map((x[:, here] @ x[:, there].mT / channels).reshape(1, -1, steps, steps), offset, grid)


def _overlap(x: np.ndarray, grid: Grid) -> Overlap:
    """The overlap of different inputs, and the activations themselves at all steps."""
    inputs, positions, _, channels = x.shape
    at_all_steps = np.broadcast_to(x, (inputs, positions, grid.steps, channels)) if x.shape[2] == 1 else x
    of = x  # rows of an input: each has overlaps with its own of other inputs
    if positions == grid.positions:
        of = x.reshape(inputs, 1, -1, channels) if places.told_apart(grid) else x.mean(axis=1, keepdims=True)
    sums, same_input = of.sum(axis=0), np.einsum("bric,brjc->ij", of, of)
    pairs = max(inputs * (inputs - 1), 1) * of.shape[1] * channels
    return Overlap(((np.einsum("ric,rjc->ij", sums, sums) - same_input) / pairs)[None], Activations(at_all_steps, grid))


def passed_back(layer: Measured, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """The gradients as they are: a Fallback passes on what it receives."""
    return [gradients for _ in visit.received]


enter(Measured, forward=forward, backward=passed_back)
