r"""The chain of a network in time, drawn: second moments of the spikes of every layer, of many networks, without their weights.

Given the spikes ``S`` (neurons × steps) of a layer, the rows of the next weight matrix are independent, so the currents of its
neurons are i.i.d. For any reset

.. math:: M_{l+1} = \frac1n \sum_i s_i s_i^T, \qquad s_i \text{ the spikes under } N(0, \lambda^2 (g^2 M_l + \sigma_b^2))

Steps are drawn causally, from the lower triangular factor of the covariance, so that the first steps do not depend on how many
follow. Normal numbers have 2¹⁶ equally likely levels, in single precision: probabilities of a spike are within 8e-6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from varflow._checks import DomainError, frozen
from varflow._shared import one_thread
from varflow.model.drives import Given, SpikeTrains
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.theory.deep.look import in_units
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.responses.step import NeuronState, step

TOGETHER = 2**18  # normal numbers of the networks drawn together: a layer of them stays in the cache


class NormalLevels:
    """A stream of standard normal numbers, from a table of levels: a fifth of the time of exact ones; and memory used again."""

    def __init__(self, *seed: int):
        self.bits = np.random.SFC64(np.random.SeedSequence(seed))
        self.memory = np.empty((2, 0), np.float32)

    def room(self, which: int, *shape: int) -> np.ndarray:
        """One of two arrays, which the next call overwrites: the first touch of new memory costs as much as the arithmetic."""
        size = math.prod(shape)
        if self.memory.shape[1] < size:
            self.memory = np.empty((2, size), np.float32)
        return self.memory[which, :size].reshape(shape)

    def __call__(self, *shape: int) -> np.ndarray:
        out = self.room(0, *shape)
        which = self.bits.random_raw(-(-out.size // 4)).view(np.uint16)[: out.size]
        return np.take(_levels(), which.reshape(shape), mode="clip", out=out)


@lru_cache(maxsize=1)
def _levels() -> np.ndarray:
    """Means of a standard normal number in 2¹⁶ equally likely cells, to variance 1."""
    edges = ndtri(np.arange(2**16 + 1) / 2**16)
    means = -np.diff(np.exp(-(edges**2) / 2))
    return frozen(means / means.std(), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnChain:
    """A plain chain in units of its threshold; entry ``l`` of widths and gains is of layer ``l + 1``.

    Attributes
    ----------
    neuron : Neuron
        With threshold and input scale 1.
    drive : ndarray, shape (inputs, steps, steps)
        Covariances of the currents into layer 1.
    bias : float
        Variance of the biases.
    """

    neuron: Neuron
    drive: np.ndarray
    widths: tuple[int, ...]
    gains: tuple[float, ...]
    bias: float

    @classmethod
    def of(cls, network: Network) -> DrawnChain:
        """The chain of a network; DomainError if currents given the spikes below are not i.i.d. and normal."""
        neuron, law, drive = plain_chain(network).neuron, network.weight_law, network.drive
        equal = not (neuron.heterogeneous or neuron.reset_rule.counts or neuron.delay or mean_of(neuron.threshold) <= 0)
        if not (equal and law.normal_given_spikes) or network.mean_gain or isinstance(drive, Given | SpikeTrains):
            rule = "must have normal weights of mean 0, and equal neurons with θ > 0, no delay and at most one spike per step"
            raise DomainError("network", network, f"{rule}, under normal currents or inputs; vf.simulate measures any network")
        unit, theta = in_units(neuron)
        scale, widths = neuron.input_scale / theta, tuple(network.widths.tolist())
        driven, gains = scale**2 * drive.covariance(network.steps), tuple((scale * network.gains).tolist())
        return cls(unit, driven, widths, gains, (scale * network.bias_std) ** 2)

    def next(self, moments: np.ndarray, layer: int, normals: NormalLevels) -> np.ndarray:
        """Second moments of a layer above others; layers count from 0."""
        return self._layer(self.gains[layer] ** 2 * moments + self.bias, layer, normals)

    def _layer(self, covariance: np.ndarray, layer: int, normals: NormalLevels) -> np.ndarray:
        if self.neuron.filters:
            K = synapse(self.neuron, self.drive.shape[-1])
            covariance = K @ covariance @ K.T
        fired = trains(self.neuron, covariance, self.widths[layer], normals).swapaxes(0, 1)
        return (fired @ fired.swapaxes(1, 2)).astype(float) / self.widths[layer]

    def layers(self, networks: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Second moments of every layer, of shape (networks, steps, steps); silent networks are left out once that is final."""
        normals = NormalLevels(*seed)
        moments = self._layer(self.drive[np.arange(networks) % len(self.drive)], 0, normals)
        yield moments
        for layer in range(1, len(self.widths)):
            moments = moments if self.bias else moments[moments.any(axis=(1, 2))]
            if not len(moments):
                return
            moments = self.next(moments, layer, normals)
            yield moments

    def chunks(self, networks: int) -> list[int]:
        """Numbers of networks that are drawn together."""
        most = max(TOGETHER // (self.drive.shape[-1] * max(self.widths)), 1)
        return [min(most, networks - start) for start in range(0, networks, most)]


def trains(neuron: Neuron, covariance: np.ndarray, width: int, normals: NormalLevels) -> np.ndarray:
    """Spikes of ``width`` neurons under currents of these covariances (networks, steps, steps); (steps, networks, width)."""
    networks, steps, _ = covariance.shape
    drawn, currents = normals(networks, steps, width), normals.room(1, steps, networks, width)
    with one_thread():
        factor = causal_factor(covariance).astype(np.float32)
        np.matmul(factor, drawn, out=currents.swapaxes(0, 1))
    rest = np.zeros((networks, width), np.float32)
    state = NeuronState(rest, rest)
    for current in currents:  # overwritten by the spikes
        state = step(neuron, state, current)
        current[...] = state.s
    return currents
