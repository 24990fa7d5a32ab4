r"""Max pools backwards: the gradient of each window goes to its maximum, at each step alone; to the first one among equals.

Of spikes, which one is the maximum depends on the membranes below, so that the choice enters the average over the sampled
points of the neurons. With ``m_i(w)`` 1 where number ``i`` is the maximum of window ``w``,

.. math:: G^\delta(i, j) = \sum_{w, w', t, t'} G(w t, w' t')\, \mathrm{E}[J_{t i}\, m_t(w)\, m_{t'}(w')\, J_{t' j}]

and gradients from above are independent of the choice, since weights are. On large maps each window is followed on its
own, ``w = w'``, which is exact behind weights. Neurons that receive maxima of currents send gradients back to the current
that was the largest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow.model.layers import Spike
from varflow.model.surrogate import Surrogate
from varflow.theory.flow.maxima import Windows, drawn
from varflow.theory.flow.neurons import Neurons, replicated
from varflow.theory.flow.signals import Currents, Grid, Spikes, Window
from varflow.theory.gradients.jacobians import carried_back, carried_back_alone, jacobians, with_input
from varflow.theory.gradients.maps import under_tap
from varflow.theory.gradients.signals import Gradients
from varflow.theory.in_time.quasi_monte_carlo import in_threads
from varflow.theory.in_time.stepping import Population, stepped

__all__ = ["Chosen", "ChosenAlone", "alone_back", "joined_back", "maxima_back", "maximum_back"]


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

    def back(
        self, layer: Spike, received: Currents, number: int, neurons: Neurons, surrogate: Surrogate, detached: bool
    ) -> Gradients:
        """Gradients by the currents of layer ``number``, from those received, past the input scale."""
        neuron, grid = layer.neuron, received.grid
        z, currents = neurons.currents_at_points(neuron, received, number)
        replicas, groups, size, points = currents.shape
        pairs = [under_tap(self.window, tap, grid) for tap in self.window.taps]
        below, above = (np.concatenate(side) for side in zip(*pairs, strict=True))
        tap = np.repeat(np.arange(len(pairs)), [len(inside) for inside, _ in pairs])[:, None]
        G = replicated(self.above.together.moments, replicas)[..., above[:, None], above]
        G = np.broadcast_to(G, (replicas, groups, *G.shape[2:]))

        def one(index: int) -> np.ndarray:
            at, group = divmod(index, groups)
            population = with_input(neuron, Population.of(neuron, z[at, size:]))
            each = currents[at, group].reshape(-1, grid.steps, points).astype(np.float32)
            returned, start = np.zeros(G.shape[2:]), 0
            for J, _ in jacobians(population, each, surrogate, detached=detached):
                end = start + J.shape[-1]
                kept = self.taps[at, group][above, start:end] == tap
                arriving = _later(J, neuron.delay)[below[:: grid.steps] // grid.steps]
                returned += carried_back(arriving * kept.reshape(-1, grid.steps, 1, end - start), G[at, group])
                start = end
            moments = np.zeros((size, size))
            np.add.at(moments, (below[:, None], below), returned / points)
            return moments

        moments = np.reshape(in_threads(one, replicas * groups, None), (replicas, groups, size, size))
        return Gradients(moments, grid, received.channels)


def maximum_back(window: Window, gradients: Gradients, spikes: Spikes, x: np.ndarray) -> Gradients:
    """Gradients by the spikes below a max pool, drawn at all positions together."""
    grid, x = spikes.grid, x - (x.min() - 1)  # above the zeros of the padding
    taps = np.argmax([window.at(tap, x, grid, -2) for tap in window.taps], axis=0).astype(np.uint16)
    nothing = np.zeros((1, x.shape[1], grid.size, grid.size))
    return Gradients(nothing, grid, spikes.channels, chosen=(Chosen(gradients, window, taps),))


@dataclass(frozen=True, slots=True, eq=False)
class ChosenAlone:
    """The same on large maps, where each window is followed on its own.

    Attributes
    ----------
    above : Gradients
        ``apart``.
    window : Window
    windows : Windows
        What the neurons below receive.
    grid : Grid
        Of the map below, ``apart``.
    """

    above: Gradients
    window: Window
    windows: Windows
    grid: Grid

    def times(self, factor: float) -> ChosenAlone:
        return replace(self, above=self.above.times(factor))

    def back(
        self, layer: Spike, received: Currents, number: int, neurons: Neurons, surrogate: Surrogate, detached: bool
    ) -> Gradients:
        """Gradients by the currents of layer ``number``."""
        at_points, neuron = drawn(layer, self.windows, number, neurons), layer.neuron
        replicas, classes, taps, steps, points = at_points.currents.shape
        G = replicated(at_points.alike.averaged(self.above.moments), replicas)

        def one(at: int) -> np.ndarray:
            values = at_points.synapse @ at_points.currents[at]
            spikes = _later(stepped(at_points.neurons[at], values)[1].swapaxes(1, 2), neuron.delay).swapaxes(1, 2)
            first, start, split = spikes.argmax(axis=1), 0, np.zeros((taps, classes, steps, steps))
            probes = values.reshape(-1, steps, points)
            for J, _ in jacobians(with_input(neuron, at_points.neurons[at]), probes, surrogate, detached=detached):
                end = start + J.shape[-1]
                arriving = _later(J, neuron.delay).reshape(classes, taps, *J.shape[1:])
                for tap in range(taps):
                    kept = (first[..., start:end] == tap)[:, :, None]
                    split[tap] += carried_back_alone(arriving[:, tap] * kept, G[at % len(G)])
                start = end
            return split / points

        whole = np.stack(in_threads(one, replicas, None))[:, :, at_points.alike.which].swapaxes(1, 2)
        return _joined(self.window, whole, self.grid, self.windows.channels)


def alone_back(window: Window, gradients: Gradients, windows: Windows, grid: Grid) -> Gradients:
    """Gradients by the spikes below a max pool of a large map; ``grid`` is ``apart``."""
    lead = gradients.moments.shape[1] // windows.grid.positions
    nothing = np.zeros((1, lead * grid.positions, grid.steps, grid.steps))
    return Gradients(nothing, grid, windows.channels, chosen=(ChosenAlone(gradients, window, windows, grid),))


def maxima_back(
    layer: Spike, gradients: Gradients, windows: Windows, number: int, neurons: Neurons, surrogate: Surrogate, detached: bool
) -> Gradients:
    """Gradients by maxima of currents, and, in ``split``, by the currents of each window, of shape (replicas, groups, taps,
    steps, steps).
    """
    at_points = drawn(layer, windows, number, neurons)
    largest, which = at_points.largest, at_points.currents.argmax(axis=2)
    replicas, classes, steps, points = largest.shape
    taps = windows.currents.grid.positions
    G = replicated(at_points.alike.averaged(gradients.earlier(layer.neuron.delay).moments), replicas)

    def one(at: int) -> np.ndarray:
        found, start = np.zeros((1 + taps, classes, steps, steps)), 0
        for J, _ in jacobians(with_input(layer.neuron, at_points.neurons[at]), largest[at], surrogate, detached=detached):
            end = start + J.shape[-1]
            found[0] += carried_back_alone(J, G[at % len(G)])
            for tap in range(taps):
                kept = (which[at, ..., start:end] == tap)[:, None]
                found[1 + tap] += carried_back_alone(J * kept, G[at % len(G)])
            start = end
        return found / points

    whole = np.stack(in_threads(one, replicas, None))[:, :, at_points.alike.which]
    return Gradients(whole[:, 0], windows.grid, windows.channels, split=whole[:, 1:].swapaxes(1, 2))


def joined_back(window: Window, gradients: Gradients, grid: Grid) -> Gradients | None:
    """Gradients by the currents below a max pool; ``grid`` is ``apart``."""
    return None if gradients.split is None else _joined(window, gradients.split, grid, gradients.channels)


def _joined(window: Window, split: np.ndarray, grid: Grid, channels: int) -> Gradients:
    """The sum over windows; gradients by different ones are uncorrelated."""
    places, steps = window.places(grid), grid.steps
    split = split.reshape(len(split), -1, *places.shape, steps, steps)
    moments = np.zeros((grid.positions, *split.shape[:2], steps, steps))
    np.add.at(moments, places, np.moveaxis(split, (2, 3), (0, 1)))
    return Gradients(np.moveaxis(moments, 0, 2).reshape(len(split), -1, steps, steps), grid, channels)


def _later(J: np.ndarray, delay: int) -> np.ndarray:
    """Jacobians of the spikes that arrive ``delay`` steps later."""
    if not delay:
        return J
    return np.concatenate([np.zeros_like(J[:, :delay]), J[:, :-delay]], axis=1)
