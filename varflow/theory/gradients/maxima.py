r"""Max pools backwards: the gradient of each window goes to its maximum, at each step alone; to the first one among equals.

Of spikes, which one is the maximum depends on the membranes below, so that the choice enters the average over the sampled
points of the neurons. With ``m_i(w)`` 1 where number ``i`` is the maximum of window ``w``,

.. math:: G^\delta(i, j) = \sum_{w, w', t, t'} G(w t, w' t')\, \mathrm{E}[J_{t i}\, m_t(w)\, m_{t'}(w')\, J_{t' j}]

and gradients from above are independent of the choice, since weights are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.layers import Spike
from varflow.model.surrogate import Surrogate
from varflow.theory.flow.maxima import Maxima, largest_at_points
from varflow.theory.flow.neurons import Neurons, replicated
from varflow.theory.flow.signals import Currents, Grid, Spikes, Window
from varflow.theory.gradients.jacobians import carried_back, carried_back_alone, jacobians
from varflow.theory.gradients.maps import under_tap
from varflow.theory.gradients.signals import Gradients
from varflow.theory.in_time.quasi_monte_carlo import in_threads
from varflow.theory.in_time.stepping import Population

__all__ = ["Chosen", "chosen_back", "joined_back", "maxima_back", "maximum_back"]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Gradients by the maxima over windows of spikes, before the choice.

    Attributes
    ----------
    above : Gradients
    window : Window
    taps : ndarray of int, shape (replicas, groups, i, points)
        The tap of each window that is its maximum, at every sampled point of the neurons below.
    """

    above: Gradients
    window: Window
    taps: np.ndarray

    def times(self, factor: float) -> Chosen:
        return replace(self, above=self.above.times(factor))


def maximum_back(window: Window, gradients: Gradients, spikes: Spikes, drawn: np.ndarray) -> Gradients:
    """Gradients by the spikes below a max pool, drawn at all positions together."""
    grid, x = spikes.grid, drawn - (drawn.min() - 1)  # above the zeros of the padding
    taps = np.argmax([window.at(tap, x, grid, -2) for tap in window.taps], axis=0).astype(np.uint16)
    nothing = np.zeros((1, x.shape[1], grid.size, grid.size))
    return Gradients(nothing, grid, spikes.channels, chosen=(Chosen(gradients, window, taps),))


def chosen_back(
    layer: Spike, chosen: Chosen, received: Currents, number: int, neurons: Neurons, surrogate: Surrogate, detached: bool
) -> np.ndarray:
    """Moments of the gradients by the currents of layer ``number``, past the input scale."""
    neuron, grid = layer.neuron, received.grid
    own = {"input_scale": neuron.input_scale, "synaptic_decay": neuron.synaptic_decay}
    z, currents = neurons.currents_at_points(neuron, received, number)
    replicas, groups, size, points = currents.shape
    pairs = [under_tap(chosen.window, tap, grid) for tap in chosen.window.taps]
    below, above = (np.concatenate(side) for side in zip(*pairs, strict=True))
    tap = np.repeat(np.arange(len(pairs)), [len(inside) for inside, _ in pairs])[:, None]
    G = replicated(chosen.above.together.moments, replicas)[..., above[:, None], above]
    G = np.broadcast_to(G, (replicas, groups, *G.shape[2:]))

    def one(index: int) -> np.ndarray:
        at, group = divmod(index, groups)
        population = replace(Population.of(neuron, z[at, size:]), **own)
        drawn = currents[at, group].reshape(-1, grid.steps, points).astype(np.float32)
        returned, start = np.zeros(G.shape[2:]), 0
        for J, _ in jacobians(population, drawn, surrogate, detached=detached):
            end = start + J.shape[-1]
            kept = chosen.taps[at, group][above, start:end] == tap
            arriving = _later(J, neuron.delay)[below[:: grid.steps] // grid.steps]
            returned += carried_back(arriving * kept.reshape(-1, grid.steps, 1, end - start), G[at, group])
            start = end
        moments = np.zeros((size, size))
        np.add.at(moments, (below[:, None], below), returned / points)
        return moments

    return np.reshape(in_threads(one, replicas * groups, None), (replicas, groups, size, size))


def _later(J: np.ndarray, delay: int) -> np.ndarray:
    """Jacobians of the spikes that arrive ``delay`` steps later."""
    if not delay:
        return J
    return np.concatenate([np.zeros_like(J[:, :delay]), J[:, :-delay]], axis=1)


def maxima_back(
    layer: Spike, gradients: Gradients, maxima: Maxima, number: int, neurons: Neurons, surrogate: Surrogate, detached: bool
) -> Gradients:
    """Gradients by maxima of currents, and, in ``split``, by the currents of each window, of shape (replicas, groups, taps,
    steps, steps).
    """
    largest, grid = largest_at_points(layer, maxima, number, neurons), maxima.grid
    own = {"input_scale": layer.neuron.input_scale, "synaptic_decay": layer.neuron.synaptic_decay}
    replicas, classes, steps, points = largest.values.shape
    number_of_taps = maxima.currents.grid.positions
    G = replicated(largest.alike.averaged(gradients.earlier(layer.neuron.delay).moments), replicas)
    G = np.broadcast_to(G, (replicas, classes, steps, steps))

    def one(at: int) -> np.ndarray:
        found, start = np.zeros((1 + number_of_taps, classes, steps, steps)), 0
        for J, _ in jacobians(replace(largest.neurons[at], **own), largest.values[at], surrogate, detached=detached):
            end = start + J.shape[-1]
            found[0] += carried_back_alone(J, G[at])
            for tap in range(number_of_taps):
                kept = largest.taps[at, :, None, :, start:end] == tap
                found[1 + tap] += carried_back_alone(J * kept, G[at])
            start = end
        return found / points

    whole = np.stack(in_threads(one, replicas, None), axis=0)[:, :, largest.alike.which]
    return Gradients(whole[:, 0], grid, maxima.channels, split=whole[:, 1:].swapaxes(1, 2))


def joined_back(window: Window, gradients: Gradients, grid: Grid) -> Gradients | None:
    """Gradients by the currents below a max pool, those of windows that overlap uncorrelated; ``grid`` is ``apart``."""
    if gradients.split is None:
        return None
    map_, steps = Grid(1, grid.height, grid.width, 1), grid.steps
    split = gradients.split.reshape(len(gradients.split), -1, window.smaller(map_).positions, len(window.taps), steps, steps)
    moments = np.zeros((*split.shape[:2], grid.positions, steps, steps))
    for number, tap in enumerate(window.taps):
        below, windows = under_tap(window, tap, map_)
        moments[:, :, below] += split[:, :, windows, number]
    return Gradients(moments.reshape(len(split), -1, steps, steps), grid, gradients.channels)
