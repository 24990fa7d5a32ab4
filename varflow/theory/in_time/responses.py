"""What one layer makes of its currents in time: the shape of that answer, and what gives it.

At infinite width a layer is one Gaussian process of filtered currents and one law of membranes and spikes. A *response*
turns the first into the second. Which one suits which neuron is said in ``methods``; ``recursion`` goes down the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from varflow.theory.in_time.differences import Differences

__all__ = ["LayerState", "Response"]


@dataclass(frozen=True, slots=True)
class LayerState:
    """Membranes and spikes of a layer of infinitely many neurons. Leading axes: (replicas, kinds of input).

    Attributes
    ----------
    variance, potential_mean : ndarray, shape (replicas, kinds, steps)
        Of the membrane ``H_t`` at the spike test.
    firing_rate : ndarray, shape (replicas, kinds, steps)
        ``E[S_t]``.
    coincidences : ndarray, shape (replicas, kinds, steps, steps)
        ``M(t, t') = E[S_t S_t']``: all that the next layer feels, where the weights have mean 0.
    grain : float
        The share of neurons that one point of the integration stands for; 0 where there are none.
    mismatch, grown : ndarray, optional, shapes of coincidences and rates
        ``E[(S_t - S_t')²]`` and ``E[S_t] - E[S_{t-1}]`` with digits of their own, from a response that has them.
    """

    variance: np.ndarray
    potential_mean: np.ndarray
    firing_rate: np.ndarray
    coincidences: np.ndarray
    grain: float = field(default=0.0, kw_only=True)
    mismatch: np.ndarray | None = field(default=None, kw_only=True)
    grown: np.ndarray | None = field(default=None, kw_only=True)


class Response(Protocol):
    """One layer: from the law of its filtered currents ``c_t`` (input scale included) to its membranes and spikes.

    Attributes
    ----------
    replicas : int
        Independent copies of the whole network that the response computes with, each with numbers of its own: they go
        through all layers side by side, so that their scatter contains what depth makes of numerical errors. 1 where the
        response is deterministic.
    """

    @property
    def replicas(self) -> int: ...

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int, currents: Differences | None = None) -> LayerState:
        """The state of layer ``layer`` (0 is the driven one).

        ``mean`` has shape (replicas, kinds, steps), ``covariance`` (replicas, kinds, steps, steps); a first axis of 1 stands
        for replicas that are still alike. What steps of the unfiltered currents differ by is for a response that is exact.
        """
        ...
