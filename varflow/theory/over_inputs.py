"""The profile of a network at infinite width, from the variance and rate of each of its inputs."""

from __future__ import annotations

import numpy as np

from varflow.model.network import Network
from varflow.results import Profile
from varflow.results.ensemble import spread

__all__ = ["over_inputs"]


def over_inputs(
    network: Network,
    per_input: dict[str, np.ndarray],
    alive: np.ndarray,
    *,
    potential_mean: np.ndarray | None = None,
    coincidences: np.ndarray | None = None,
    effective_width: np.ndarray | None = None,
    error: dict[str, np.ndarray] | None = None,
) -> Profile:
    """Averages over the first axis of ``per_input`` (``variance``, ``firing_rate``) and of ``alive``, the fraction alive.

    Over several steps also the mean potential and the second moments of spikes; on maps the effective width. ``error``:
    numerical standard errors.
    """
    variance, rate = per_input["variance"], per_input["firing_rate"]
    return Profile(
        network,
        variance.mean(axis=0),
        spread(variance, ddof=0),
        rate.mean(axis=0),
        spread(rate, ddof=0),
        alive.mean(axis=0),
        per_input=per_input | {"survival": alive} if len(alive) > 1 else {},
        silent_variance=np.nan if network.layers else (network.neuron.input_scale * network.bias_std) ** 2,
        potential_mean=potential_mean,
        coincidences=coincidences,
        effective_width=effective_width,
        error=error or {},
    )
