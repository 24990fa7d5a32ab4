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
from varflow.theory.flow.neurons import Neurons, replicated
from varflow.theory.flow.signals import Currents, Spikes, Window
from varflow.theory.gradients.jacobians import carried_back, jacobians
from varflow.theory.gradients.maps import under_tap
from varflow.theory.gradients.signals import Gradients
from varflow.theory.in_time.quasi_monte_carlo import in_threads
from varflow.theory.in_time.stepping import Population

__all__ = ["Chosen", "chosen_back", "maximum_back"]


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
    z, currents = neurons.currents_at_points(neuron, received, number)
    replicas, groups, size, points = currents.shape
    pairs = [under_tap(chosen.window, tap, grid) for tap in chosen.window.taps]
    below, above = (np.concatenate(side) for side in zip(*pairs, strict=True))
    tap = np.repeat(np.arange(len(pairs)), [len(inside) for inside, _ in pairs])[:, None]
    G = replicated(chosen.above.together.moments, replicas)[..., above[:, None], above]
    G = np.broadcast_to(G, (replicas, groups, *G.shape[2:]))

    def one(index: int) -> np.ndarray:
        at, group = divmod(index, groups)
        population = replace(Population.of(neuron, z[at, size:]), input_scale=neuron.input_scale)
        drawn = currents[at, group].reshape(-1, grid.steps, points).astype(np.float32)
        returned, start = np.zeros(G.shape[2:]), 0
        for J, _ in jacobians(replace(population, synaptic_decay=neuron.synaptic_decay), drawn, surrogate, detached=detached):
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
