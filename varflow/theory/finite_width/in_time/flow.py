"""Second moments of spikes of all layers at infinite width, about which finite networks are expanded, inputs in one index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.drives import Inputs
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron
from varflow.theory.deep.look import ALIVE
from varflow.theory.layer import CountedLayer, layers
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.filters import exponential_filter
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.quasi_monte_carlo import causal_factor, innovations
from varflow.theory.signals.index import replicated
from varflow.theory.walks.signals import Blocks, signals_walk


def flow(network: Network, responses: Responses) -> tuple[Any, list[np.ndarray]]:
    """What the drive sends, and ``M`` of every layer, (replicas, size, size), over the index of inputs and steps."""
    inputs = np.arange(network.drive.n_inputs) if network.drive.n_inputs > 1 else None
    blocks = Blocks.of(network, Effort(responses), inputs)
    ((start, batching),) = blocks
    walk = blocks.walk(batching, record=lambda state, grid: state.second_moments[:, 0])
    signals_walk(blocks.graph, start, walk)
    return start, [
        np.broadcast_to(replicated(M, responses.scrambles), (responses.scrambles, *M.shape[1:])) for M in walk.records
    ]


@dataclass(frozen=True, slots=True)
class Weights:
    """What a layer's currents are made of: ``Σ = G² M + σ²``, past the synapse.

    Attributes
    ----------
    square : float
        ``G² = λ² g²``.
    bias : float
        ``λ² σ_b²``.
    kurtosis : float
        Excess kurtosis of a weight.
    """

    neuron: Neuron
    steps: int
    square: float
    bias: float
    kurtosis: float

    @classmethod
    def into(cls, layer: CountedLayer, neuron: Neuron, steps: int) -> Weights:
        one = float(layer.excess_kurtosis(np.ones(1))[0]) * (1 + layer.bias_variance / layer.weight_variance) ** 2
        if not np.isfinite(one):
            raise DomainError("weights", layer.law, "must have a fourth moment for a series in 1/n")
        return cls(neuron, steps, layer.weight_variance * layer.fan_in, layer.bias_variance, one)

    def factor(self, M: np.ndarray) -> np.ndarray:
        """``L`` of the currents above spikes of these second moments; DomainError if steps are silent or the same."""
        silent = np.diagonal(M) < ALIVE
        if silent.any():
            raise self._refused(silent, "silent: a series in 1/n needs every step alive, so raise gain or drive")
        L = self.factor_of(self.square * M + self.bias)
        same = innovations(L) == 0
        if same.any():
            raise self._refused(same, "the same as earlier ones: leave them out")
        return L

    def factor_of(self, covariance: np.ndarray) -> np.ndarray:
        """``L`` of currents that have this covariance before the synapse."""
        A = self._synapse(len(covariance))
        return causal_factor(A @ covariance @ A.T)

    def in_innovations(self, L: np.ndarray) -> np.ndarray:
        """``K``: a change ``D`` of ``M`` changes the covariance of the currents by ``K D Kᵀ`` in units of the innovations."""
        return np.linalg.solve(L, self.square**0.5 * self._synapse(len(L)))

    def _synapse(self, size: int) -> np.ndarray:
        return exponential_filter(self.neuron.synaptic_decay, min(self.steps, size), max(size // self.steps, 1))

    def _refused(self, places: np.ndarray, rule: str) -> DomainError:
        steps = sorted(set((np.flatnonzero(places) % self.steps + 1).tolist()))
        return DomainError("steps", self.steps, f"has steps ({', '.join(map(str, steps))}) that are {rule}")


def weights_between(network: Network) -> list[Weights]:
    """Weights into layers 2 … depth; DomainError for networks without a series in ``1/n`` in time."""
    plain_chain(network)
    neuron, law, drive = network.neuron, network.weight_law, network.drive
    if neuron.reset_rule.counts:
        raise DomainError("reset", neuron.reset, "is not supported at finite width: neurons must spike at most once per step")
    if neuron.delay:
        raise DomainError("delay", neuron.delay, "must be 0: with a delay the first steps of deep layers are silent")
    if network.mean_gains.any():
        raise DomainError("mean_gain", float(network.mean_gains[-1]), "must be 0 for a series in 1/n over several steps")
    if law.core.lattice is not None or law.in_degree is not None or law.core.skewness:
        rule = "must be symmetric and continuous, without a fixed in-degree: others shift rates by more than 1/n"
        raise DomainError("weights", network.weights, rule)
    if drive.n_inputs > 1 and not isinstance(drive, Inputs):
        raise DomainError("drive", drive, "must be made by vf.drives.inputs, or have one input")
    if network.depth == 1:
        raise DomainError("depth", 1, "must be at least 2: layer 1 is not driven by spikes")
    return [Weights.into(layer, neuron, network.steps) for layer in layers(network)]
