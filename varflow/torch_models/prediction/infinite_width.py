"""A traced model at infinite width: the walk of signals over its graph, and that of gradients back.

Where theory does not know what weights receive, it goes on from the moments of what they did receive in the traced pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from varflow.model.graph import Graph, Node
from varflow.model.layers import Pool, Unknown
from varflow.model.sources import numbers_of
from varflow.model.surrogate import Surrogate
from varflow.theory.maps.variance_classes import JOINT
from varflow.theory.operations.visit import Batching, Effort, Visit, Walk, WayBack
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import Grid
from varflow.theory.signals.moments import Signal
from varflow.theory.signals.overlap import told_apart
from varflow.theory.walks.gradients import gradients_walk
from varflow.theory.walks.signals import signals_walk
from varflow.torch_models.tracing.origins import INPUT, Sender
from varflow.torch_models.tracing.read import ReadModel, read_trace
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.weights import Moments

__all__ = ["InfiniteWidth", "effort_for"]

POINTS, SCRAMBLES = 2**10, 2  # of quasi-Monte Carlo: rates within about 1 %
MANY, FEWER = 64, 2**8  # positions × steps above which fewer points do, since rates are averages over positions
JITTER = 1e-7  # relative variance that is added to currents at several positions
WINDOWS = 2**25  # numbers in the covariances of all windows of a maximum


def effort_for(graph: Graph) -> Effort:
    """The effort of an audit: without pools, which join positions, each position of a map is followed on its own."""
    pooled = any(isinstance(node.operation, Pool) for node in graph)
    return Effort(
        Neurons(POINTS, SCRAMBLES, 0),
        Neurons(FEWER, SCRAMBLES, 0),
        MANY,
        jitter=JITTER,
        joint=JOINT if pooled else 0,
        increments=False,
        pools=False,
        windows=WINDOWS,
        batch=0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class InfiniteWidth:
    """Signals of one model under some of the inputs of its batch: all nodes of its graph as the walk has passed them."""

    trace: Trace
    model: ReadModel
    visits: Sequence[Visit]

    @classmethod
    def of(cls, trace: Trace, moments: Mapping[str, Moments], most: int) -> InfiniteWidth:
        """The walk through a model with these moments of its weight modules, under so many inputs at most."""
        model = read_trace(trace, moments, most)
        normalised = any(node.operation.over_batch for node in model.graph)
        dense = all(hasattr(weight, "in_features") for layer in trace.layers for weight in layer.weights)
        batching = Batching(inputs=model.inputs, overlaps=normalised or dense)
        walk = Walk(effort_for(model.graph), batching, trace.steps, gaps={})
        return cls(trace, model, signals_walk(model.graph, None, walk, keep=True))

    def visit(self, layer: TracedLayer) -> Visit:
        """The node of a layer of neurons."""
        return self.visits[self.model.neurons[self.trace.layers.index(layer)] - 1]

    def currents(self, layer: TracedLayer) -> Signal | None:
        """Currents that a layer receives; None where theory does not know them."""
        return self.visit(layer).received[0]

    def states(self) -> list[tuple[LayerState, Grid] | None]:
        """Every layer in order; None where theory does not know it."""
        left = [self.visit(layer).kept for layer in self.trace.layers]
        return [(of["state"], of["received"].grid) if "state" in of else None for of in left]

    @property
    def restarted(self) -> list[str]:
        """Weight modules whose inputs theory does not know and took as they were."""
        fallbacks = [visit for visit in self.visits if visit.number in self.model.received and visit.received[:1] == (None,)]
        names = [self.model.received[visit.number] for visit in fallbacks]
        return [name for name in names if all(layer.neuron_name != name for layer in self.trace.layers)]

    def overlap(self, layer: TracedLayer) -> float:
        """``Σ_t E[S_a·S_b] / Σ_t E[|S|²]`` of two inputs; NaN for one, and on maps whose positions are not told apart."""
        visit = self.visit(layer)
        overlap = getattr(visit.sent, "overlap", None)
        if overlap is None or self.model.inputs < 2 or not told_apart(visit.kept["received"].grid):
            return math.nan
        square = np.trace(visit.kept["state"].second_moments.mean(axis=(0, 1)))
        return float(np.trace(overlap.between.mean(axis=0)) / square) if square else math.nan

    # Gradients.

    def gradients(self, surrogates: Sequence[Surrogate | None]) -> tuple[list[float], list[str]]:
        """``√(Σ_t Σ_j δ²)`` of every layer, root mean square over inputs, for a normal readout of the last spikes, NaN where
        theory does not know it; and what it cannot follow gradients through although the signals below are known, in words.
        """
        by_number = dict(zip(self.model.neurons, surrogates, strict=True))
        way = WayBack(self.visits[0].walk, by_number.get, per_position=True, scatter=False, norms=False, gaps={})
        readouts = {self.visit(layer).number: self._readout(layer) for layer in self.trace.last}
        readouts |= {self.visit(layer).number: None for layer in self.trace.layers if not self._complete(layer)}
        gradients_walk(self.visits, readouts, way)
        returned = [way.layers.get(number) for number in self.model.neurons]
        uncovered = [self._words(self.model.graph[number], by_number.get(number)) for number in way.gaps or ()]
        return [math.nan if each is None else self._norm(each[0]) for each in returned], list(filter(None, uncovered))

    def _readout(self, layer: TracedLayer) -> Gradients | None:
        """Gradients by the spikes of a layer of a normal readout, the same at all steps."""
        visit = self.visit(layer)
        if "state" not in visit.kept:
            return None
        received, state = visit.kept["received"], visit.kept["state"]
        grid = replace(received.grid, per_position=received.grid.positions > 1)
        groups = state.firing_rate[0].size // grid.steps
        return Gradients(np.ones((1, groups, grid.steps, grid.steps)), grid, received.channels)

    def _complete(self, layer: TracedLayer) -> bool:
        """True if all that a layer receives, the same at all steps, comes from layers before it."""
        earlier = self.trace.layers[: self.trace.layers.index(layer)]
        origins = [layer.origin, *(origin for fed in layer.fed for origin in fed.origins)]
        senders = {
            each.operation.name
            for origin in origins
            if origin is not None
            for each in origin.ancestors
            if isinstance(each.operation, Sender)
        }
        before = {INPUT, *(each.neuron_name for each in earlier), *self.trace.fed}
        return senders <= before and all(len(fed.origins) == 1 for fed in layer.fed)

    def _words(self, node: Node, surrogate: Surrogate | None) -> str:
        """Name of what gradients cannot be followed through; empty for what the audit names as unknown to theory."""
        if node.operation.spikes:
            return "" if surrogate else f"the surrogate of {node.name}"
        named = not isinstance(node.operation, Unknown) or node.operation.words in self.model.dependent
        return node.name if named else ""

    def _norm(self, gradients: Gradients) -> float:
        energy = np.trace(gradients.over_steps, axis1=-2, axis2=-1)  # (replicas, groups)
        used = [x.shape[1] for node in self.model.graph if (x := numbers_of(node.operation)) is not None]
        return math.sqrt(float(energy.mean()) * max(energy.shape[1] / used[-1], 1.0))
