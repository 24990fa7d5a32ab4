"""The interface of a *response*: the map from a layer's filtered currents, a Gaussian process, to its membranes and spikes.

``response_choice`` chooses one for a neuron; ``recursion`` iterates it over layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from varflow.theory.in_time.differences import Differences

__all__ = ["LayerState", "Response"]


@dataclass(frozen=True, slots=True)
class LayerState:
    """Membranes and spikes of a layer of infinitely many neurons. Leading axes: (replicas, inputs).

    Attributes
    ----------
    variance, potential_mean : ndarray, shape (replicas, inputs, steps)
        Of the membrane ``H_t`` at the spike test.
    firing_rate : ndarray, shape (replicas, inputs, steps)
        ``E[S_t]``.
    coincidences : ndarray, shape (replicas, inputs, steps, steps)
        ``M(t, t') = E[S_t S_t']``: all that the next layer depends on, if weights have mean 0.
    point_fraction : float
        Fraction of neurons that one sampling point represents; 0 without sampling.
    square_change, rate_change : ndarray, optional, shapes of coincidences and rates
        ``E[(S_t - S_t')²]`` and ``E[S_t] - E[S_{t-1}]``, free of cancellation, from responses that compute them.
    """

    variance: np.ndarray
    potential_mean: np.ndarray
    firing_rate: np.ndarray
    coincidences: np.ndarray
    point_fraction: float = field(default=0.0, kw_only=True)
    square_change: np.ndarray | None = field(default=None, kw_only=True)
    rate_change: np.ndarray | None = field(default=None, kw_only=True)


class Response(Protocol):
    """From the moments of a layer's filtered currents ``c_t`` (input scale included) to its membranes and spikes.

    Attributes
    ----------
    replicas : int
        Independent numerical copies of the whole network, followed through all layers, so that their scatter shows how
        numerical errors grow with depth. 1 for a deterministic response.
    """

    @property
    def replicas(self) -> int: ...

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int, currents: Differences | None = None) -> LayerState:
        """The state of layer ``layer`` (0 is the driven one).

        ``mean`` has shape (replicas, inputs, steps), ``covariance`` (replicas, inputs, steps, steps); a first axis of 1 means
        that replicas are still equal. ``currents``, the increments of unfiltered currents, is used by exact responses.
        """
        ...
