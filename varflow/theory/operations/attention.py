r"""Attention of spikes: sums of their products over tokens, and neurons that receive them.

.. math:: I_c(i) = s \sum_j v_c(j) \sum_a k_a(j)\, q_a(i)

``q``, ``k`` and ``v`` are independent given the inputs, as their weights are, and so are channels; the spikes of one channel at
different tokens are not, and few of them are added up: the sums are not Gaussian. They are drawn, with as many channels in each
head as there are, from the spikes of all tokens and steps together, and neurons are stepped with them. Backwards, gradients by
the spikes of these neurons are drawn too and return through the same sums, independent of the weights above and of each other.
Left out: gradients that reach the channels of a head depend on each other, and those by ``v`` on the membranes below, through
the sums. Norms by ``q`` and ``k`` come out too large, by up to a quarter, those by ``v`` too small, by up to an eighth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow.model.attention import Attention, Chunk
from varflow.model.graph import Uncovered, enter
from varflow.model.layers import Spike
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.responses.back_propagation import Sampling
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.step import Population, stepped
from varflow.theory.signals.counted import ON_MAPS, uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Spikes
from varflow.theory.signals.places import Grid, replicated

CHANNELS = 2**8  # of each signal that are drawn, at least


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Sums of products of spikes, ``drawn`` at points: (replicas, groups, i, points), all positions of an input in one index.
    ``grid``: that of the neurons that receive them, with each position on its own if it was so below.
    """

    drawn: np.ndarray
    grid: Grid
    channels: int

    def per_position(self) -> Products:
        """Sums of which each position on its own is wanted."""
        return replace(self, grid=replace(self.grid, per_position=self.grid.positions > 1))

    def received(self, layer: Spike, number: int, seed: int) -> tuple[list[Population], np.ndarray]:
        """Neurons of each replica, and currents past the synapse: (replicas, sequences, steps, points)."""
        neuron, replicas, points = layer.neuron, len(self.drawn), self.drawn.shape[-1]
        parameters = np.random.default_rng([seed, 6, number]).standard_normal((replicas, neuron.differing, points))
        K = neuron.input_scale * synapse(neuron, self.grid.steps)
        currents = K @ self.drawn.reshape(replicas, -1, self.grid.steps, points)
        return [Population.of(neuron, each) for each in parameters], currents

    def fire(self, layer: Spike, number: int, responses: Responses) -> tuple[LayerState, Spikes]:
        """Layer ``number`` of neurons, which receive such sums."""
        values = zip(*map(stepped, *self.received(layer, number, responses.seed)), strict=True)
        H, S = (np.stack(each).reshape(self.drawn.shape) for each in values)
        state = LayerState.at_points(H, S)
        spikes = Spikes(state.firing_rate, state.second_moments, replace(self.grid, per_position=False), self.channels)
        spikes = spikes.per_position() if self.grid.per_position else spikes
        variance, mean = (values.reshape(spikes.mean.shape) for values in (state.variance, state.potential_mean))
        state = LayerState(variance, mean, spikes.mean, spikes.moments, point_fraction=state.point_fraction)
        return state, spikes.later(layer.neuron.delay)

    def back(self, layer: Spike, above: Gradients, sampling: Sampling) -> Gradients:
        """Gradients by the sums, from those by spikes, which are drawn."""
        neurons, currents = self.received(layer, sampling.number, sampling.responses.seed)
        values, vectors = np.linalg.eigh(above.earlier(layer.neuron.delay).positions_together().moments)
        root = replicated(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :], len(neurons))
        normals = np.random.default_rng([sampling.responses.seed, 7, sampling.number]).standard_normal(self.drawn.shape)
        e = (root @ normals).reshape(currents.shape)
        back = np.empty(currents.shape)
        for own, c, drawn, sent in zip(neurons, currents, e, back, strict=True):
            for part, J, _ in sampling.jacobians(layer.neuron, own, c):
                sent[..., part] = np.einsum("ptsx,ptx->psx", J, drawn[..., part])
        return of_points(back.reshape(self.drawn.shape), self.grid, self.channels)


def forward(layer: Attention, received: tuple[Any, ...], visit: Visit) -> Products:
    """The sums, from drawn spikes; these are kept."""
    first = received[0]
    if any(not isinstance(each, Spikes) or each.sampled is None for each in received):
        raise Uncovered("layers", layer, "needs spikes that can be drawn, straight from neurons without recurrent weights")
    visit.kept["drawn"] = x = [in_heads(each, each.channels // layer.heads) for each in received]
    sums = layer.scale * together(layer.kind, x)
    grid = replace(first.grid, height=1, width=1, per_position=False) if layer.kind == "channel" else first.grid
    return Products(at_points(sums, grid), grid, layer.heads if layer.kind == "token" else first.channels)


def in_heads(spikes: Any, size: int) -> np.ndarray:
    """Drawn spikes of heads of so many channels, for which points stand: (replicas, inputs, steps, heads, channels, tokens)."""
    grid = spikes.grid
    x = spikes.sampled(*[np.arange(grid.positions)[None]] * grid.per_position, channels=max(size, CHANNELS))
    heads = x.shape[-1] // size
    return x[..., : heads * size].reshape(len(x), -1, grid.positions, grid.steps, heads, size).transpose(0, 1, 3, 4, 5, 2)


def at_points(sums: np.ndarray, grid: Grid) -> np.ndarray:
    """Sums of heads over the joint index: (replicas, groups, i, points)."""
    size, points = grid.inputs * grid.positions * grid.steps, sums.shape[3] * sums.shape[4]
    return sums.transpose(0, 1, 5, 2, 3, 4).reshape(len(sums), -1, size, points)


def together(kind: str, x: Sequence[np.ndarray]) -> np.ndarray:
    """The sums in each head, without the scale."""
    if kind == "dot":
        q, k, v = x
        return v @ k.mT @ q
    return x[0].sum(axis=-2 if kind == "token" else -1, keepdims=True)


# Backwards.


def of_points(drawn: np.ndarray, grid: Grid, channels: int) -> Gradients:
    """Gradients that are drawn; ``split``: at points."""
    joint = replace(grid, per_position=False)
    return Gradients(drawn @ drawn.mT / drawn.shape[-1], joint, channels, split=drawn)


def backward(layer: Attention, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by ``q``, ``k`` and ``v``: through the sums that were drawn."""
    if gradients.split is None:
        raise Uncovered("layers", layer, "must be followed by a Spike")
    x, grid = visit.kept["drawn"], visit.received[0].grid
    *lead, steps, heads, _, _ = x[0].shape
    sums = gradients.split.reshape(*lead, -1, steps, heads, gradients.split.shape[-1] // heads).transpose(0, 1, 3, 4, 5, 2)
    drawn = (at_points(layer.scale * each, grid) for each in apart(layer.kind, x, sums))
    found = [replace(of_points(each, grid, visit.received[0].channels), split=None) for each in drawn]
    return [each.per_position() for each in found] if way.per_position or grid.per_position else found


def apart(kind: str, x: Sequence[np.ndarray], by_sums: np.ndarray) -> list[np.ndarray]:
    """Gradients by each factor, from those by the sums."""
    if kind != "dot":
        return [np.broadcast_to(by_sums, x[0].shape)]
    q, k, v = x
    by_pairs = by_sums @ q.mT
    return [k @ (v.mT @ by_sums), by_pairs.mT @ v, by_pairs @ k]


# Parts.


def part_of(layer: Chunk, received: tuple[Any], visit: Visit) -> Spikes:
    """One of the parts of a layer, with points of its own."""
    (spikes,) = received

    def sampled(*at: Any, channels: int = 0) -> np.ndarray:
        x = spikes.sampled(*at, channels=layer.chunks * channels)
        return np.array_split(x, layer.chunks, axis=-1)[layer.number]

    return replace(spikes, channels=spikes.channels // layer.chunks, sampled=spikes.sampled and sampled)


def part_back(layer: Chunk, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by a whole layer, of which the other parts receive none."""
    return [replace(gradients.times(1 / layer.chunks), channels=gradients.channels * layer.chunks)]


enter(Chunk, forward=part_of, backward=part_back, count=uncounted("divides a layer, whose count does not say where spikes are"))
enter(Attention, forward=forward, backward=backward, count=uncounted(ON_MAPS))
