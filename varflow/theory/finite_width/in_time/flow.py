"""Second moments of spikes of all layers at infinite width, about which finite networks are expanded, inputs in one index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.drives import Inputs
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron
from varflow.theory.deep.look import ALIVE
from varflow.theory.layer import CountedLayer, layers
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.quasi_monte_carlo import causal_factor, innovations
from varflow.theory.signals.places import aligned
from varflow.theory.walks.signals import Blocks, signals_walk

SILENT = (  # from layer to layer silence spreads to later steps, so that these have no fixed point either
    "silent: a series in 1/n needs every step alive, so raise gain or drive; "
    "vf.survival(network, alive=…) draws such networks, and vf.corrected_gain(neuron=…, alive=…) gives the gain to stay alive"
)


def flow(network: Network, responses: Responses) -> tuple[Any, list[np.ndarray]]:
    """Signal of the drive, and ``M`` of every layer, (replicas, size, size), over the index of inputs and steps."""
    inputs = np.arange(network.drive.n_inputs) if network.drive.n_inputs > 1 else None
    blocks = Blocks.of(network, Effort(responses), inputs)
    ((start, batching),) = blocks
    walk = blocks.walk(batching, record=lambda state, grid: state.second_moments[:, 0])
    signals_walk(blocks.graph, start, walk)
    return start, aligned(*walk.records, least=responses.scrambles)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Weights into a layer of neurons, whose currents have the covariance ``Σ = λ² (g² M + σ_b²)`` before the synapse."""

    layer: CountedLayer
    neuron: Neuron
    steps: int

    @property
    def square(self) -> float:
        """``λ² g²``."""
        return self.layer.weight_variance * self.layer.fan_in

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis of a weight."""
        return float(replace(self.layer, bias_variance=0.0).excess_kurtosis(np.ones(1))[0])

    def factor(self, M: np.ndarray) -> np.ndarray:
        """``L`` of the currents above spikes of these second moments; DomainError if steps are silent or the same."""
        L = self.factor_of(self.square * M + self.layer.bias_variance)
        for places, rule in (
            (np.diagonal(M) < ALIVE, SILENT),
            (innovations(L) == 0, "the same as earlier ones: leave them out"),
        ):
            if places.any():
                steps = sorted(set((np.flatnonzero(places) % self.steps + 1).tolist()))
                raise DomainError("steps", self.steps, f"has steps ({', '.join(map(str, steps))}) that are {rule}")
        return L

    def factor_of(self, covariance: np.ndarray) -> np.ndarray:
        """``L`` of currents that have this covariance before the synapse."""
        A = self._synapse(len(covariance))
        return causal_factor(A @ covariance @ A.T)

    def in_innovations(self, L: np.ndarray) -> np.ndarray:
        """``K``: a change ``D`` of ``M`` changes the covariance of the currents by ``K D Kᵀ`` in units of the innovations."""
        return np.linalg.solve(L, self.square**0.5 * self._synapse(len(L)))

    def _synapse(self, size: int) -> np.ndarray:
        return synapse(self.neuron, min(self.steps, size), max(size // self.steps, 1))


def weights_between(network: Network) -> list[LayerWeights]:
    """Weights into layers 2 … depth; DomainError for networks without a series in ``1/n`` in time."""
    neuron, drive, law = plain_chain(network).neuron, network.drive, network.weight_law
    reset, several = neuron.reset_rule, drive.n_inputs > 1 and not isinstance(drive, Inputs)
    skewed = law.core.lattice is not None or law.in_degree is not None or law.core.skewness != 0
    for uncovered, of, name, rule in (
        (
            reset.counts or reset.lasting,
            neuron,
            "reset",
            "must spike at most once per step, without refractory steps, adaptation or register",
        ),
        (neuron.delay, neuron, "delay", "must be 0: with a delay the first steps of deep layers are silent"),
        (network.depth == 1, network, "depth", "must be at least 2: layer 1 is not driven by spikes"),
        (network.mean_gains.any(), network, "mean_gain", "must be 0 for a series in 1/n over several steps"),
        (
            skewed,
            network,
            "weights",
            "must be continuous and symmetric, not of a fixed in-degree: others shift rates by more than 1/n",
        ),
        (np.isinf(law.core.excess_kurtosis), network, "weights", "must have a fourth moment for a series in 1/n"),
        (several, network, "drive", "must be made by vf.drives.inputs if several"),
    ):
        if uncovered:
            raise DomainError(name, getattr(of, name), rule)
    return [LayerWeights(layer, neuron, network.steps) for layer in layers(network)]
