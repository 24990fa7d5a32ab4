"""One layer in terms of the membrane: the parameters of ``u | K ~ N(λ μ K, λ² (σ_w² K + σ_b²))``.

Given the count ``K`` of spikes below, the potentials of a layer with independent normal weights are independent normals.
Infinite and finite width read the same record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow._checks import DomainError
from varflow.model.network import Network

__all__ = ["Layer", "driven_threshold", "driven_variances", "layers", "one_step"]


@dataclass(frozen=True, slots=True)
class Layer:
    """Parameters of a layer, input scale included."""

    fan_in: int
    width: int
    weight_variance: float
    weight_mean: float
    bias_variance: float
    threshold: float
    fires_at_rest: bool

    def conditional_variance(self, counts: np.ndarray) -> np.ndarray:
        """``C = λ² (σ_w² K + σ_b²)``."""
        return self.weight_variance * counts + self.bias_variance

    def standardised_threshold(self, counts: np.ndarray) -> np.ndarray:
        """``z = (θ - λ μ K)/√C``; ``±inf`` where the potential is a constant, by whether that constant fires."""
        margin = self.threshold - self.weight_mean * counts
        return _standardised(margin, self.conditional_variance(counts), self.fires_at_rest)


def _standardised(margin: np.ndarray, variance: np.ndarray, fires_at_rest: bool) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = margin / np.sqrt(variance)
    return np.where(variance > 0, z, -np.inf if fires_at_rest else np.inf)


def layers(network: Network) -> list[Layer]:
    """Layers 2 … depth of a network, in terms of the membrane (input scale included)."""
    scale, neuron = network.neuron.input_scale, network.neuron
    return [
        Layer(
            fan_in=int(fan_in),
            width=int(width),
            weight_variance=float(scale * gain) ** 2 / int(fan_in),
            weight_mean=scale * network.mean_gain / int(fan_in),
            bias_variance=(scale * network.bias_std) ** 2,
            threshold=neuron.threshold,
            fires_at_rest=neuron.fires_at(0.0),
        )
        for fan_in, width, gain in zip(network.widths[:-1], network.widths[1:], network.gains[1:], strict=True)
    ]


def driven_variances(network: Network) -> np.ndarray:
    """Variance of the driven layer's membrane, one entry per kind of input."""
    return network.neuron.input_scale**2 * network.drive.current_variances


def driven_threshold(network: Network) -> np.ndarray:
    """``θ`` in standard deviations of the driven layer's membrane, one entry per kind of input."""
    neuron, variances = network.neuron, driven_variances(network)
    return _standardised(np.full_like(variances, neuron.threshold), variances, neuron.fires_at(0.0))


def one_step(network: Network) -> None:
    """Refuse what the memoryless theory does not describe."""
    if network.steps > 1:
        raise DomainError("steps", network.steps, "must be 1: the theory of one layer's spike count holds for one time step")
    if network.neuron.reset == "multi_spike":
        raise DomainError("reset", "multi_spike", "is not a count of spiking neurons: one spike per neuron is needed")
    if network.neuron.delay:
        raise DomainError("delay", network.neuron.delay, "must be 0: at the first step nothing has arrived yet")
