"""Moments of the spikes at sampled currents themselves: small differences between inputs are those of the same points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow.model.neurons import Neuron
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.signals.moments import PLACES, Currents


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
        means, moments = [], []
        for group in range(currents.mean.shape[1]):  # all at once would fill the memory
            one = np.s_[:, group : group + 1]
            spikes = self.drawn(
                neuron, currents.with_moments(currents.mean[one], currents.covariance[one], **dict.fromkeys(PLACES)), number
            )
            means.append(spikes.mean(axis=-1, dtype=float))
            moments.append(spikes.astype(float) @ spikes.swapaxes(-1, -2) / spikes.shape[-1])
        mean = np.concatenate(means, axis=1)
        return LayerState(np.full_like(mean, np.nan), np.full_like(mean, np.nan), mean, np.concatenate(moments, axis=1))

    def currents_at_points(self, neuron: Neuron, currents: Currents, number: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.own_width:
            return Responses.currents_at_points(self, neuron, currents, number)
        size, rng = currents.grid.size, np.random.default_rng([self.seed, 4, number])
        mean, covariance = self.past_synapse(neuron, currents)
        z = rng.standard_normal((self.scrambles, size + neuron.differing, currents.channels))
        return z, causal_factor(covariance) @ z[:, None, :size] + mean[..., None]
