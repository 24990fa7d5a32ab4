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

__all__ = ["Drawn", "Windows", "drawn", "fire_maxima"]


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Currents within windows, with the groups ``(input, window)`` and the index ``(tap, step)``; ``grid`` (``apart``) is that
    of the windows.
    """

    currents: Currents
    grid: Grid

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


def drawn(layer: Spike, windows: Windows, number: int, neurons: Neurons) -> Drawn:
    """Sampled currents for layer ``number`` of neurons."""
    alike = Alike.of(replace(windows.currents, grid=windows.grid))
    mean, factor = alike.averaged(windows.currents.mean), causal_factor(alike.averaged(windows.currents.covariance))
    rng, neuron = np.random.default_rng([neurons.seed, 4, number]), layer.neuron
    size = neurons.scrambles, *mean.shape[1:], neurons.points
    currents = factor.astype(np.float32) @ rng.standard_normal(size, np.float32) + mean[..., None].astype(np.float32)
    parameters = rng.standard_normal((neurons.scrambles, neuron.differing, neurons.points), np.float32)
    within = currents.reshape(*size[:2], -1, windows.grid.steps, neurons.points)
    synapse = neuron.input_scale * exponential_filter(neuron.synaptic_decay, windows.grid.steps)
    return Drawn([Population.of(neuron, each) for each in parameters], within, synapse.astype(np.float32), alike)


def fire_maxima(layer: Spike, windows: Windows, number: int, neurons: Neurons) -> tuple[LayerState, Spikes]:
    """Layer ``number`` of neurons, which receive the maxima: its state over all windows, and the spikes that arrive at the next
    layer.
    """
    at_points = drawn(layer, windows, number, neurons)
    H, S = map(np.stack, zip(*map(stepped, at_points.neurons, at_points.largest), strict=True))
    coincidences = S @ S.swapaxes(-1, -2) / neurons.points
    state = LayerState(H.var(axis=-1), H.mean(axis=-1), S.mean(axis=-1), coincidences, point_fraction=1 / neurons.points)
    state = state.of_groups(at_points.alike.which)
    return state, Spikes(state.firing_rate, state.coincidences, windows.grid, windows.channels).later(layer.neuron.delay)
