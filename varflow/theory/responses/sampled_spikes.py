"""Moments of the spikes at sampled currents themselves: small differences between inputs are those of the same points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow.model.neurons import Neuron
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.signals.moments import Currents


@dataclass(slots=True)
class SampledSpikes(Responses):
    """Responses by Gram matrices of sampled spikes, where they are not exact.

    The factor of the currents is triangular, so that what comes later in the index is drawn given what comes before: currents
    that hardly differ then hardly differ at each point.

    Parameters
    ----------
    own_width : bool
        True: each replica is a network that has as many neurons in a layer as the signal says, with currents of their own.
    """

    own_width: bool = False

    def state(self, neuron: Neuron, currents: Currents, number: int) -> LayerState:
        if not (self.own_width or self.samples(neuron, currents.grid.steps)):
            return Responses.state(self, neuron, currents, number)
        spikes = self.drawn(neuron, currents, number)
        moments, unknown = spikes.astype(float) @ spikes.swapaxes(-1, -2), np.full(spikes.shape[:-1], np.nan)
        points = spikes.shape[-1]
        return LayerState(unknown, unknown, spikes.mean(axis=-1, dtype=float), moments / points, point_fraction=1 / points)

    def currents_at_points(self, neuron: Neuron, currents: Currents, number: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.own_width:
            return Responses.currents_at_points(self, neuron, currents, number)
        size, rng = currents.grid.size, np.random.default_rng([self.seed, 4, number])
        mean, covariance = self.past_synapse(neuron, currents)
        z = rng.standard_normal((self.scrambles, size + neuron.differing, currents.channels))
        return z, causal_factor(covariance) @ z[:, None, :size] + mean[..., None]
