"""Maxima of Gaussian currents over the windows of a map, and neurons that receive them, at sampled points.

Within a window all pairs of positions and steps are followed, different windows each on its own; windows of like currents
respond alike. A maximum is not Gaussian, so that membranes are stepped at points. Each class of windows has points of its own:
averages over a map then have less noise than each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from varflow._shared import one_thread
from varflow.model.layers import Spike
from varflow.theory.maps.patches import at_places, classes_of_pairs, covariance_of_windows, with_means
from varflow.theory.maps.positions import IN_WINDOWS, PAIRS
from varflow.theory.maps.variance_classes import VarianceClasses
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses, points_within
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.responses.step import Population
from varflow.theory.responses.stepping import stepped
from varflow.theory.signals.index import Grid
from varflow.theory.signals.moments import Currents, Spikes
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, PairMoments, known_pairs
from varflow.theory.signals.windows import Window

FEWER = 4  # factor by which pairs of windows have fewer points: the next layer averages over many distances


@dataclass(frozen=True, slots=True, eq=False)
class WindowedCurrents:
    """Currents within windows, with the groups ``(input, window)`` and the index ``(tap, step)``; ``grid`` is that
    of the windows, each on its own. ``between``: covariances with those of windows ``w + d``, where both lie on the map.
    """

    currents: Currents
    grid: Grid
    between: Callable[[Offset], np.ndarray] | None = None

    @classmethod
    def of(cls, signal: Currents, window: Window) -> WindowedCurrents:
        """Windows of a map whose positions are followed each on its own."""
        places, grid = window.places(signal.grid), window.smaller(signal.grid)

        def between(offset: Offset) -> np.ndarray:
            if offset is ALL_PAIRS:
                return np.tile(signal.between(ALL_PAIRS), (places.shape[1],) * 2)
            here, there = known_pairs(offset, grid.shape)
            return covariance_of_windows(signal, places[here], places[there])

        return cls(at_places(signal, places), grid, between)

    @property
    def on_map(self) -> Currents:
        """The currents as those of the positions of a map."""
        return replace(self.currents, grid=self.grid)

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
    classes : VarianceClasses
        The classes of windows.
    """

    neurons: list[Population]
    currents: np.ndarray
    synapse: np.ndarray
    classes: VarianceClasses

    @property
    def largest(self) -> np.ndarray:
        """The maximum of each window, past the synapse."""
        return self.synapse @ self.currents.max(axis=2)


def drawn(layer: Spike, currents: Currents, classes: VarianceClasses, number: int, responses: Responses) -> Drawn:
    """Sampled currents for layer ``number`` of neurons, from those of each class, index ``(tap, step)``."""
    mean, factor = currents.mean, causal_factor(currents.covariance)
    rng, neuron, steps = np.random.default_rng([responses.seed, 4, number]), layer.neuron, currents.grid.steps
    size = responses.scrambles, *mean.shape[1:], responses.points
    with one_thread():
        sampled = factor.astype(np.float32) @ rng.standard_normal(size, np.float32) + mean[..., None].astype(np.float32)
    parameters = rng.standard_normal((responses.scrambles, neuron.differing, responses.points), np.float32)
    within = sampled.reshape(*size[:2], -1, steps, responses.points)
    K = neuron.input_scale * synapse(neuron, steps)
    return Drawn([Population.of(neuron, each) for each in parameters], within, K.astype(np.float32), classes)


def drawn_windows(layer: Spike, windows: WindowedCurrents, number: int, responses: Responses) -> Drawn:
    """Currents and neurons of windows, drawn in classes of like currents."""
    classes = VarianceClasses.of(windows.on_map, responses.scrambles, responses.seed)
    currents = classes.currents(windows.currents)
    most = points_within(IN_WINDOWS, responses.scrambles * currents.mean[0].size)
    return drawn(layer, currents, classes, number, responses.at_most(most))


def fire_maxima(layer: Spike, windows: WindowedCurrents, number: int, responses: Responses) -> tuple[LayerState, Spikes]:
    """Layer ``number`` of neurons, which receive the maxima: its state over all windows, and the spikes that arrive at the next
    layer.
    """
    at_points = drawn_windows(layer, windows, number, responses)
    H, S = map(np.stack, zip(*map(stepped, at_points.neurons, at_points.largest), strict=True))
    points = S.shape[-1]
    state = LayerState(
        H.var(axis=-1), H.mean(axis=-1), S.mean(axis=-1), S @ S.swapaxes(-1, -2) / points, point_fraction=1 / points
    )
    state = state.of_groups(at_points.classes.which)
    pairs = None
    if windows.between is not None:
        pairs = PairMoments(windows.grid.shape, partial(_between, layer, windows, state.firing_rate, number, responses))
    spikes = Spikes(state.firing_rate, state.second_moments, windows.grid, windows.channels, pairs=pairs)
    return state, spikes.later(layer.neuron.delay)


def _between(
    layer: Spike, windows: WindowedCurrents, rate: np.ndarray, number: int, responses: Responses, offset: Offset
) -> np.ndarray:
    """``M_d`` of the spikes: their covariance in classes of pairs of windows, and the means that are known."""
    assert windows.between is not None
    steps, between = windows.grid.steps, windows.between(offset)
    inputs = windows.currents.mean.shape[1] // windows.grid.positions
    classes, two = classes_of_pairs(
        windows.on_map, offset, between, max(PAIRS // inputs, 1), responses.scrambles, responses.seed
    )
    at_points = drawn(layer, two, classes, number, responses.at_most(max(responses.points // FEWER, 2)))
    replicas, number_of_classes, places, _, points = at_points.currents.shape
    I = at_points.currents.reshape(replicas, number_of_classes, 2, places // 2, steps, points)
    largest = at_points.synapse @ I.max(axis=3)
    S = np.stack([stepped(own, each)[1] for own, each in zip(at_points.neurons, largest, strict=True)])
    S -= S.mean(axis=-1, keepdims=True)
    covariance = S[:, :, 0] @ S[:, :, 1].swapaxes(-1, -2) / (points - 1)
    return with_means(covariance[:, classes.which], rate, offset, windows.grid)
