"""Maxima of Gaussian currents over the windows of a map, and neurons that receive them, at sampled points.

Within a window all pairs of positions and steps are followed, different windows each on its own; windows of like variance
respond alike. A maximum is not Gaussian, so that membranes are stepped at points. Each class of windows has points of its own:
averages over a map then have less noise than each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from varflow.model.layers import Spike
from varflow.theory.flow.alike import Alike
from varflow.theory.flow.between import FAR, Between, Offset, known_pairs
from varflow.theory.flow.neurons import PAIRS, Neurons
from varflow.theory.flow.patches import about_means, at_places, together
from varflow.theory.flow.signals import Currents, Grid, Spikes, Window
from varflow.theory.in_time.filters import exponential_filter
from varflow.theory.in_time.quasi_monte_carlo import causal_factor
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import Population, stepped

__all__ = ["Drawn", "Windows", "drawn_windows", "fire_maxima"]


FEWER = 4  # factor by which pairs of windows have fewer points: the next layer averages over many distances


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Currents within windows, with the groups ``(input, window)`` and the index ``(tap, step)``; ``grid`` (``apart``) is that
    of the windows. ``two``: those of windows ``w`` and ``w + d`` together, index ``(window, tap, step)``.
    """

    currents: Currents
    grid: Grid
    two: Callable[[Offset], Currents] | None = None

    @classmethod
    def of(cls, signal: Currents, window: Window) -> Windows:
        """Of a map whose positions are ``apart``."""
        places, grid = window.places(signal.grid), window.smaller(signal.grid)
        each = at_places(signal, places)

        def two(offset: Offset) -> Currents:
            if offset is FAR:
                mean, own = (
                    x.reshape(len(x), -1, grid.positions, *x.shape[2:]).mean(axis=2) for x in (each.mean, each.covariance)
                )
                return together((mean, mean), (own, own), np.tile(signal.between(FAR), (places.shape[1],) * 2), each)
            both = places[known_pairs(offset, grid.shape).T]
            return at_places(signal, both.reshape(len(both), -1))

        return cls(each, grid, two)

    @property
    def channels(self) -> int:
        return self.currents.channels


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Currents within windows at sampled points, and neurons that receive them, in each replica.

    Attributes
    ----------
    neurons : list of Population
    currents : ndarray, shape (replicas, classes, taps, steps, points)
    synapse : ndarray, shape (steps, steps)
        The synaptic filter, times the input scale.
    alike : Alike
        The classes of windows.
    """

    neurons: list[Population]
    currents: np.ndarray
    synapse: np.ndarray
    alike: Alike

    @property
    def largest(self) -> np.ndarray:
        """The maximum of each window, past the synapse."""
        return self.synapse @ self.currents.max(axis=2)


def drawn(layer: Spike, currents: Currents, alike: Alike, number: int, neurons: Neurons) -> Drawn:
    """Sampled currents for layer ``number`` of neurons, from those of all groups, index ``(tap, step)``."""
    mean, factor = alike.averaged(currents.mean), causal_factor(alike.averaged(currents.covariance))
    rng, neuron, steps = np.random.default_rng([neurons.seed, 4, number]), layer.neuron, currents.grid.steps
    size = neurons.scrambles, *mean.shape[1:], neurons.points
    sampled = factor.astype(np.float32) @ rng.standard_normal(size, np.float32) + mean[..., None].astype(np.float32)
    parameters = rng.standard_normal((neurons.scrambles, neuron.differing, neurons.points), np.float32)
    within = sampled.reshape(*size[:2], -1, steps, neurons.points)
    synapse = neuron.input_scale * exponential_filter(neuron.synaptic_decay, steps)
    return Drawn([Population.of(neuron, each) for each in parameters], within, synapse.astype(np.float32), alike)


def drawn_windows(layer: Spike, windows: Windows, number: int, neurons: Neurons) -> Drawn:
    """In classes of windows of like variance."""
    return drawn(layer, windows.currents, Alike.of(replace(windows.currents, grid=windows.grid)), number, neurons)


def fire_maxima(layer: Spike, windows: Windows, number: int, neurons: Neurons) -> tuple[LayerState, Spikes]:
    """Layer ``number`` of neurons, which receive the maxima: its state over all windows, and the spikes that arrive at the next
    layer.
    """
    at_points, two = drawn_windows(layer, windows, number, neurons), windows.two
    H, S = map(np.stack, zip(*map(stepped, at_points.neurons, at_points.largest), strict=True))
    coincidences = S @ S.swapaxes(-1, -2) / neurons.points
    state = LayerState(H.var(axis=-1), H.mean(axis=-1), S.mean(axis=-1), coincidences, point_fraction=1 / neurons.points)
    state = state.of_groups(at_points.alike.which)

    pairs = (
        None
        if two is None
        else Between(windows.grid.shape, partial(_between, layer, two, state.firing_rate, windows.grid, number, neurons))
    )
    spikes = Spikes(state.firing_rate, state.coincidences, windows.grid, windows.channels, pairs=pairs)
    return state, spikes.later(layer.neuron.delay)


def _between(
    layer: Spike,
    two: Callable[[Offset], Currents],
    rate: np.ndarray,
    grid: Grid,
    number: int,
    neurons: Neurons,
    offset: Offset,
) -> np.ndarray:
    return about_means(_between_windows(layer, two(offset), number, neurons), rate, offset, grid)


def _between_windows(layer: Spike, two: Currents, number: int, neurons: Neurons) -> np.ndarray:
    """Covariances of the spikes of two windows, shape (replicas, groups, steps, steps)."""
    half, steps = two.grid.size // 2, two.grid.steps
    like = np.einsum("rgij->g", two.covariance[..., :half, half:])[None]
    fewer = replace(neurons, points=max(neurons.points // FEWER, 2))
    at_points = drawn(layer, two, Alike.classes(like, PAIRS), number, fewer)
    I = at_points.currents.reshape(*at_points.currents.shape[:2], 2, half // steps, steps, -1)
    largest = at_points.synapse @ I.max(axis=3)
    S = np.stack([stepped(own, each)[1] for own, each in zip(at_points.neurons, largest, strict=True)])
    S -= S.mean(axis=-1, keepdims=True)
    return (S[:, :, 0] @ S[:, :, 1].swapaxes(-1, -2) / (S.shape[-1] - 1))[:, at_points.alike.which]
