"""Maxima of Gaussian currents over the windows of a map, and neurons that receive them, at sampled points.

Within a window all pairs of positions and steps are followed, different windows each on its own; windows of like variance
respond alike. A maximum is not Gaussian, so that membranes are stepped at points. Each class of windows has points of its own:
averages over a map then have less noise than each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.layers import Spike
from varflow.theory.flow.alike import Alike
from varflow.theory.flow.neurons import Neurons
from varflow.theory.flow.signals import Currents, Grid, Spikes
from varflow.theory.in_time.filters import exponential_filter
from varflow.theory.in_time.quasi_monte_carlo import causal_factor
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import Population, stepped

__all__ = ["Largest", "Maxima", "fire_maxima", "largest_at_points"]


@dataclass(frozen=True, slots=True, eq=False)
class Maxima:
    """Maxima over windows; ``currents`` have the groups ``(input, window)`` and the index ``(tap, step)``, ``grid`` (``apart``)
    is that of the windows.
    """

    currents: Currents
    grid: Grid

    @property
    def channels(self) -> int:
        return self.currents.channels


@dataclass(frozen=True, slots=True, eq=False)
class Largest:
    """Maxima at sampled points, and neurons that receive them, in each replica.

    Attributes
    ----------
    neurons : list of Population
    values : ndarray, shape (replicas, classes, steps, points)
        Of the maxima, past the synapse and times the input scale.
    taps : ndarray of int
        Which current of the window is the largest, the same shape.
    alike : Alike
        The classes of windows.
    """

    neurons: list[Population]
    values: np.ndarray
    taps: np.ndarray
    alike: Alike


def largest_at_points(layer: Spike, maxima: Maxima, number: int, neurons: Neurons) -> Largest:
    """Sampled maxima that layer ``number`` of neurons receives."""
    alike = Alike.of(replace(maxima.currents, grid=maxima.grid))
    mean, factor = alike.averaged(maxima.currents.mean), causal_factor(alike.averaged(maxima.currents.covariance))
    rng, neuron = np.random.default_rng([neurons.seed, 4, number]), layer.neuron
    size = neurons.scrambles, *mean.shape[1:], neurons.points
    currents = factor.astype(np.float32) @ rng.standard_normal(size, np.float32) + mean[..., None].astype(np.float32)
    within = currents.reshape(*size[:2], -1, maxima.grid.steps, neurons.points)
    parameters = rng.standard_normal((neurons.scrambles, neuron.differing, neurons.points), np.float32)
    synapse = neuron.input_scale * exponential_filter(neuron.synaptic_decay, maxima.grid.steps)
    values = synapse.astype(np.float32) @ within.max(axis=2)
    return Largest([Population.of(neuron, each) for each in parameters], values, within.argmax(axis=2), alike)


def fire_maxima(layer: Spike, maxima: Maxima, number: int, neurons: Neurons) -> tuple[LayerState, Spikes]:
    """Layer ``number`` of neurons: its state over all windows, and the spikes that arrive at the next layer."""
    largest = largest_at_points(layer, maxima, number, neurons)
    H, S = map(np.stack, zip(*map(stepped, largest.neurons, largest.values), strict=True))
    coincidences = S @ S.swapaxes(-1, -2) / neurons.points
    state = LayerState(H.var(axis=-1), H.mean(axis=-1), S.mean(axis=-1), coincidences, point_fraction=1 / neurons.points)
    state = state.of_groups(largest.alike.which)
    return state, Spikes(state.firing_rate, state.coincidences, maxima.grid, maxima.channels).later(layer.neuron.delay)
