r"""The gradients of a traced model at infinite width: each operation of its graph is a map of ``theory.operations``, backwards.

From a normal readout of the last spikes, ``G(t, t') = 1`` for every neuron, down to the currents of every layer. On maps
positions are followed apart, and two of them together where pools give them correlated gradients. Layers below an operation
that theory does not know are not known either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce, singledispatchmethod
from graphlib import TopologicalSorter
from typing import Any

import numpy as np

from varflow.model.layers import BatchNorm, Conv, LayerNorm, Pool
from varflow.model.merges import Concat, Product, Sum
from varflow.model.surrogate import Surrogate
from varflow.theory.maps.maxima import Windows
from varflow.theory.maps.maxima_backward import maxima_back, maxima_joined, maximum_back
from varflow.theory.operations.batch_norm import batch_back, running_scale
from varflow.theory.operations.layer_norm import over_neurons
from varflow.theory.operations.pool import averaged_back
from varflow.theory.operations.spike import fired_back
from varflow.theory.operations.weights import convolved_back, weighted_back
from varflow.theory.responses.back_propagation import Sampling
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Spikes
from varflow.theory.signals.windows import Grid, Window
from varflow.torch_models.prediction.evaluation import Evaluation, linear_of
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender
from varflow.torch_models.tracing.traced import TracedLayer
from varflow.torch_models.tracing.weights import window_of

__all__ = ["Backwards"]

Vertex = Origin | str  # an operation; a layer of neurons or weights, by name
Found = Gradients | None  # None where theory does not know them


class Backwards:
    """Gradients of one model, from an evaluation of its signals and the surrogate of every layer of neurons.

    Attributes
    ----------
    layers : dict of TracedLayer to Gradients
        By the currents of every layer; those that theory does not know are left out.
    uncovered : list of str
        What gradients cannot be followed through although the signals below are known, in words.
    """

    def __init__(self, evaluation: Evaluation, surrogates: Mapping[TracedLayer, Surrogate | None]):
        self.signals, self.surrogates, self.trace = evaluation, surrogates, evaluation.trace
        self.place = {layer.neuron_name: number for number, layer in enumerate(self.trace.layers)}
        self.owner = {name: layer for layer in reversed(self.trace.layers) for name in layer.names}
        self.layers: dict[TracedLayer, Gradients] = {}
        self.uncovered: list[str] = []
        self._descend()

    def norms(self) -> list[float]:
        """``√(Σ_t Σ_j δ²)`` of every layer, root mean square over inputs; NaN where theory does not know it."""
        return [self._norm(self.layers.get(layer)) for layer in self.trace.layers]

    def _norm(self, found: Found) -> float:
        if found is None:
            return math.nan
        energy = np.trace(found.over_steps, axis1=-2, axis2=-1)  # (replicas, groups)
        return math.sqrt(float(energy.mean()) * max(energy.shape[1] / self.signals.used, 1.0))

    # The way down.

    def _descend(self) -> None:
        """Every vertex after all that it feeds."""
        arrived: dict[Vertex, list[Found]] = {layer.neuron_name: [self._readout(layer)] for layer in self.trace.last}
        for vertex in TopologicalSorter(self._above(list(arrived))).static_order():
            found = arrived.pop(vertex)
            whole = reduce(_sum, found)
            below = self._below(vertex)
            for each, gradients in zip(below, self._returned(vertex, whole, len(below)), strict=True):
                arrived.setdefault(each, []).append(gradients)

    def _above(self, ends: Sequence[Vertex]) -> dict[Vertex, set[Vertex]]:
        """What every vertex feeds."""
        above: dict[Vertex, set[Vertex]] = {end: set() for end in ends}
        waiting = list(ends)
        while waiting:
            vertex = waiting.pop()
            for each in self._below(vertex):
                if each not in above:
                    above[each] = set()
                    waiting.append(each)
                above[each].add(vertex)
        return above

    def _below(self, vertex: Vertex) -> list[Vertex]:
        """What a vertex receives; weights and neurons not the inputs of the model."""
        if isinstance(vertex, Origin):
            return [_vertex(origin) for origin in vertex.inputs]
        if vertex in self.place:
            layer = self.trace.layers[self.place[vertex]]
            if not self._followed(layer):
                return self._earlier(layer)
            origins = self.trace.fed[vertex].origins if layer.spiking.entry is not None else (layer.origin,)
        else:
            origins = self.trace.fed[vertex].origins if vertex in self.owner else ()
        return [_vertex(origin) for origin in origins if origin is not None and origin.sources != {INPUT}]

    def _followed(self, layer: TracedLayer) -> bool:
        """Whether the theory of gradients knows a layer, and what it receives comes from layers before it."""
        if layer not in self.signals.fired or self.surrogates.get(layer) is None:
            return False
        return all(len(fed.origins) == 1 for fed in layer.fed) and self._sources(layer) <= {
            INPUT, *(each.neuron_name for each in self.trace.layers[: self.place[layer.neuron_name]])
        }  # fmt: skip

    def _sources(self, layer: TracedLayer) -> set[str]:
        """Names of the layers that it receives from, by weights or directly; ``""`` for tensors of unknown origin."""
        origins = [layer.origin, *(origin for fed in layer.fed for origin in fed.origins)]
        return {name for origin in origins if origin is not None for name in _names(origin) if name not in self.trace.fed}

    def _earlier(self, layer: TracedLayer) -> list[Vertex]:
        """The layers and weights before it that it may receive from."""
        before = self.trace.layers[: self.place[layer.neuron_name]]
        names = {*self._sources(layer), *layer.feeding}
        every = "" in names
        neurons = [each.neuron_name for each in before if every or each.neuron_name in names]
        weights = [name for each in before for name in each.names if every or name in names]
        return list(dict.fromkeys([*neurons, *weights]))

    def _readout(self, layer: TracedLayer) -> Found:
        """A normal readout of a layer's spikes, the same at all steps."""
        fired = self.signals.fired.get(layer)
        if fired is None:
            return None
        grid, steps = _alone(fired.currents.grid), fired.currents.grid.steps
        groups = fired.state.firing_rate[0].size // steps
        return Gradients(np.ones((1, groups, steps, steps)), grid, fired.currents.channels)

    def _returned(self, vertex: Vertex, gradients: Found, number: int) -> list[Found]:
        """By all that a vertex receives."""
        if gradients is None:
            return [None] * number
        if isinstance(vertex, Origin):
            found = self.through(vertex.operation, gradients, vertex)
            named = isinstance(vertex.operation, Pool) or bool(self.signals.in_common(vertex))
            if found is None and (named or self.signals.signal(vertex) is not None):
                self.uncovered.append(vertex.through[-1])
            return [None] * number if found is None else found
        if vertex in self.place:
            return self._of_neurons(self.trace.layers[self.place[vertex]], gradients, number)
        return [self._of_weights(vertex, gradients)] if number else []

    # Neurons and weights.

    def _of_neurons(self, layer: TracedLayer, gradients: Gradients, number: int) -> list[Found]:
        fired, surrogate = self.signals.fired.get(layer), self.surrogates.get(layer)
        if fired is not None and surrogate is None:
            self.uncovered.append(f"the surrogate of {layer.neuron_name}")
        if fired is None or surrogate is None or not self._followed(layer):
            return [None] * number
        currents = fired.currents
        above = _on_map(gradients, _alone(currents.grid), currents.channels)
        if above is None:
            return [None] * number
        windows = isinstance(currents, Windows)
        points = self.signals.fewer if windows or currents.grid.per_position else self.signals.neurons(currents.grid)
        sampling = Sampling(fired.number, points, surrogate, fired.spike.neuron.reset_detached)
        if windows:
            self.layers[layer] = found = maxima_back(fired.spike, above, currents, sampling)
            return [found] * number
        found, _ = fired_back(fired.spike, above, currents, fired.state, sampling)
        self.layers[layer] = found
        if layer.spiking.entry is None or not number:
            return [found] * number
        return [weighted_back(linear_of(layer.spiking.entry), found, self.signals.arrived[layer.neuron_name].per_position())]

    def _of_weights(self, name: str, gradients: Gradients) -> Found:
        """None also if theory does not know what they receive."""
        received = self.signals.arrived.get(name)
        if received is None or len(self.trace.fed[name].origins) > 1:
            return None
        described, spikes = self.signals.described(name), received.per_position()
        if isinstance(described, Conv):
            return convolved_back(described, window_of(self.signals.module(name)), gradients, spikes)
        return weighted_back(described, gradients, spikes)

    # Operations.

    @singledispatchmethod
    def through(self, operation: Any, gradients: Gradients, origin: Origin) -> list[Found] | None:
        """By all signals below an operation."""
        return None

    @through.register
    def _(self, operation: Sum, gradients: Gradients, origin: Origin) -> list[Found] | None:
        return None if self.signals.in_common(origin) else [gradients.times(factor**2) for factor in operation.factors]

    @through.register
    def _(self, operation: Product, gradients: Gradients, origin: Origin) -> list[Found] | None:
        x, y = (self.signals.signal(each) for each in origin.inputs)
        if not (isinstance(x, Spikes) and isinstance(y, Spikes)) or gradients.routed or self.signals.in_common(origin):
            return None
        return [*(gradients.times(each.moments, each.between) for each in (y.per_position(), x.per_position()))]

    @through.register
    def _(self, operation: Concat, gradients: Gradients, origin: Origin) -> list[Found] | None:
        sizes = [signal.channels for each in origin.inputs if (signal := self.signals.signal(each)) is not None]
        return [replace(gradients, channels=gradients.channels * size // sum(sizes)) for size in sizes]

    @through.register
    def _(self, operation: Pool, gradients: Gradients, origin: Origin) -> list[Found] | None:
        signal = self.signals.signal(origin.inputs[0])
        if signal is None or gradients.routed:
            return None
        grid = replace(signal.grid, per_position=True)
        window = Window(*operation.windows(grid.shape))
        above = _on_map(gradients, window.smaller(grid), signal.channels)
        if above is None:
            return None
        if operation.kind == "average":
            return [averaged_back(window, above, grid)]
        if isinstance(signal, Currents):
            return [maxima_joined(window, above, grid) if above.split is not None else None]
        if not isinstance(signal, Spikes) or signal.sampled is None:
            return None
        return [maximum_back(window, above, signal).per_position()]

    @through.register
    def _(self, operation: BatchNorm, gradients: Gradients, origin: Origin) -> list[Found] | None:
        signal, overlaps = self.signals.signal(origin.inputs[0]), self.signals.overlaps
        if not isinstance(signal, Currents):
            return None
        if operation.statistics is not None:
            return [gradients.times(running_scale(operation, operation.statistics[1]) ** 2)]
        after, unit = self.signals.signal(origin), operation.gamma**2 or 1.0
        assert isinstance(after, Currents)
        scale = overlaps.statistics(operation, origin.inputs[0], signal).scale
        square, size = overlaps.mean_square(origin, after)
        covariance = after.per_position().covariance / unit
        return [batch_back(gradients, covariance, scale, np.full_like(scale, square / unit**2), size)]

    @through.register
    def _(self, operation: LayerNorm, gradients: Gradients, origin: Origin) -> list[Found] | None:
        signal = self.signals.signal(origin.inputs[0])
        return [gradients.rescaled(over_neurons(operation, signal.per_position())[1])] if isinstance(signal, Currents) else None


def _sum(one: Found, other: Found) -> Found:
    """Of gradients that come through different weights."""
    return None if one is None or other is None else one + other


def _vertex(origin: Origin) -> Vertex:
    return origin.operation.name if isinstance(origin.operation, Sender) else origin


def _names(origin: Origin) -> set[str]:
    """Of all sources, also the one of tensors of unknown origin."""
    return {each.operation.name for each in origin.ancestors if isinstance(each.operation, Sender)}


def _alone(grid: Grid) -> Grid:
    """With positions apart."""
    return replace(grid, per_position=grid.positions > 1)


def _on_map(gradients: Gradients, grid: Grid, channels: int) -> Found:
    """Gradients by what a map of this grid sends; those by a flattened map, the same for all its numbers."""
    if gradients.grid.positions == grid.positions:
        return replace(gradients, grid=grid)
    if gradients.grid.positions == 1 and gradients.channels == channels * grid.positions:
        return Gradients(np.repeat(gradients.moments, grid.positions, axis=1), grid, channels)
    return None
