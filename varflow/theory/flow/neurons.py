"""Layers of neurons at infinite width: from the moments of currents to those of spikes, by the method that fits the neuron.

One step without spike counts, or several without reset: bivariate orthants of all pairs of probes and steps. A reset or
recurrent weights: quasi-Monte Carlo.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy.special import ndtr

from varflow._checks import DomainError
from varflow._memory import room
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.theory.flow.recurrence import recurrent_layer
from varflow.theory.flow.signals import Currents, Spikes
from varflow.theory.in_time.currents import past_synapse
from varflow.theory.in_time.orthants import Orthants, both_or_one, standardised_threshold
from varflow.theory.in_time.quasi_monte_carlo import QuasiMonteCarlo, causal_factor, normal_points
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import stepped

__all__ = ["Neurons", "one_step", "replicated"]

LONGEST = 2048  # probes × steps: the work grows with their square or cube
NUMBERS = 2**26  # normal numbers of all points: 256 MB


@dataclass(frozen=True, slots=True)
class Neurons:
    """Responses of every layer of one walk, with the points that they share.

    Parameters
    ----------
    points, scrambles, seed : int
        Of quasi-Monte Carlo; fewer points if they would not fit into ``NUMBERS``.
    """

    points: int
    scrambles: int
    seed: int
    _normals: dict[int, np.ndarray] = field(default_factory=dict)

    def fire(self, layer: Spike, currents: Currents, number: int) -> tuple[LayerState, Spikes]:
        """Layer ``number`` of neurons: its state over the whole index, and the spikes that arrive at the next layer."""
        grid, neuron = currents.grid, layer.neuron
        if grid.size > LONGEST:
            rule = f"needs moments over {grid.size} probes and steps, at most {LONGEST}: take fewer steps, inputs or positions"
            raise DomainError("layers", layer, rule)
        room("layers", layer, 40 * currents.covariance.size, "second moments over probes and steps")
        probes = grid.size // grid.steps
        scale = neuron.input_scale
        mean, covariance = past_synapse(neuron, scale * currents.mean, scale**2 * currents.covariance, probes)
        drawn = layer.recurrent or neuron.reset_rule.counts or (grid.steps > 1 and not neuron.reset_rule.absent)
        if drawn:
            mean, covariance = (replicated(values, self.scrambles) for values in (mean, covariance))
        if layer.recurrent:
            if neuron.synaptic_decay:
                raise DomainError("layers", layer, "cannot have a synaptic filter together with recurrent weights in theory")
            state = recurrent_layer(layer, mean, covariance, grid.steps, self._sampling(neuron, grid.size, grid.steps), number)
        elif drawn:
            state = self._sampling(neuron, grid.size, grid.steps)(mean, covariance, number)
        elif grid.steps == 1:
            state = one_step(neuron, mean, covariance)
        else:
            state = Orthants(neuron, grid.steps, probes)(mean, covariance, number)
        draw = None if layer.recurrent else partial(self._drawn, neuron, mean, covariance, grid.steps, number)
        spikes = Spikes(state.firing_rate, state.coincidences, grid, currents.channels, draw)
        return state, spikes.later(neuron.delay)

    def _sampling(self, neuron: Neuron, size: int, steps: int) -> QuasiMonteCarlo:
        if size not in self._normals:
            points = min(self.points, 2 ** int(np.log2(max(NUMBERS // (size * self.scrambles), 1))))
            self._normals[size] = normal_points(size, points=points, scrambles=self.scrambles, seed=self.seed)
        return QuasiMonteCarlo(neuron, self._normals[size], self.seed, steps=steps)

    def _drawn(self, neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, steps: int, number: int) -> np.ndarray:
        """Spikes at sampled currents, shape (scrambles, groups, i, points)."""
        sampling = self._sampling(neuron, mean.shape[-1], steps)
        replicas, size, points = sampling.normals.shape
        mean, covariance = (replicated(values, replicas) for values in (mean, covariance))
        z = (sampling.normals * sampling.signs(number)[..., None])[:, None]
        currents = causal_factor(covariance) @ z + mean[..., None]
        runs = currents.reshape(*currents.shape[:2], size // steps, steps, points)
        spikes = stepped(replace(neuron, input_scale=1.0, synaptic_decay=0.0), runs)[1]
        return spikes.reshape(replicas, currents.shape[1], size, points).astype(np.float32)


def replicated(values: np.ndarray, replicas: int) -> np.ndarray:
    """Replicas, the first axis, repeated up to this number; one that stands for all stays one."""
    return values if len(values) in (1, replicas) else values[np.arange(replicas) % len(values)]


def one_step(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray) -> LayerState:
    r"""One step of neurons that spike at most once, at several probes.

    .. math:: e_i = Q(h_i), \qquad M_{ij} = P(H_i > \theta, H_j > \theta) = L(h_i, h_j; \rho_{ij}), \qquad
              h_i = (\theta - \mu_i)/\sigma_i
    """
    variance = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0)
    h, std = standardised_threshold(neuron, mean, variance), np.sqrt(variance)
    rate = ndtr(-h)
    size = h.shape[-1]
    M = np.zeros(covariance.shape)
    M[..., np.arange(size), np.arange(size)] = rate
    if size > 1:
        i, j = np.triu_indices(size, 1)
        both = std[..., i] * std[..., j]
        rho = np.divide(covariance[..., i, j], both, out=np.zeros(both.shape), where=both > 0)
        rho = np.clip(rho, -1, 1)
        M[..., i, j] = M[..., j, i] = both_or_one(h[..., i], h[..., j], h[..., j] - h[..., i], 1 - rho, 1 + rho)[0]
    return LayerState(variance, mean, rate, M)
