"""The walk of a signal over a graph, from the drive through every node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.extensions import map_of, missing
from varflow.model.graph import Graph, Path
from varflow.model.layers import Linear, Measured, Spike
from varflow.theory.operations.spike import fire
from varflow.theory.operations.table import FORWARD, Uncovered
from varflow.theory.operations.visit import Visit, Walk
from varflow.theory.operations.weights import weighted
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.signals.moments import Currents, Spikes
from varflow.theory.signals.windows import Grid

__all__ = ["driven_layer", "next_layer", "signals_walk"]


def signals_walk(graph: Graph, start: Any, walk: Walk, *, keep: bool = False) -> list[Visit]:
    """Every node in order with what it received and sent, or without ``keep`` the last; a signal is forgotten after its last
    reader. ``start``: what the drive sends.
    """
    sent, last, passed, visits = {0: start}, graph.last_reader, 0, []
    leaving = None if isinstance(graph, Path) else graph.leaving
    numbers = next(graph.shapes()).kind == "input"
    for number, node in enumerate(graph):
        if number == 0:
            continue
        received = tuple(sent[source] for source in node.inputs)
        visit = Visit(number, node, passed, received, walk, of_numbers=numbers and node.inputs == (0,))
        visit = replace(visit, sent=_sent(visit))
        sent[number] = visit.sent
        if node.operation.spikes:
            passed += 1
            walk.passed(visit.kept.get("state"), getattr(visit.sent, "grid", None))
        elif number == leaving and visit.sent is not None:
            walk.left(visit.sent)
        for source in node.inputs:
            if last[source] == number:
                sent.pop(source, None)
        visits = visits if keep else []
        visits.append(visit)
    return visits


def _sent(visit: Visit) -> Any:
    """What a node sends; None if theory does not know it."""
    walk, operation = visit.walk, visit.node.operation
    if any(each is None for each in visit.received) and not isinstance(operation, Measured):
        return None
    forward = map_of("forward", FORWARD, operation)
    try:
        if forward is None:
            raise Uncovered(visit.node.name, operation, missing(operation, "forward"))
        return forward(operation, visit.received, visit)
    except Uncovered as error:
        if walk.gaps is None:
            raise DomainError(error.argument, error.value, error.rule) from None
        walk.gaps[visit.number] = error.rule
        return None


def driven_layer(spike: Spike, covariance: np.ndarray, neurons: Neurons) -> LayerState:
    """Layer 1 under Gaussian currents of mean 0 and this covariance (replicas, groups, steps, steps)."""
    grid = Grid(1, 1, 1, covariance.shape[-1])
    return fire(spike, Currents(np.zeros(covariance.shape[:-1]), covariance, grid, 1), 0, neurons)[0]


def next_layer(
    linear: Linear, spike: Spike, below: LayerState, neurons: Neurons, number: int, gain: float | np.ndarray = 1.0
) -> LayerState:
    """Layer ``number`` of a chain, with weights ``gain`` times as strong as ``linear``'s, in each replica and group."""
    grid, width = Grid(1, 1, 1, below.firing_rate.shape[-1]), linear.width or 1
    spikes = Spikes(below.firing_rate, below.second_moments, grid, width, changes=below.changes).later(spike.neuron.delay)
    return fire(spike, weighted(linear, spikes, width).scaled(gain), number, neurons)[0]
