r"""Networks that differ only in their gain, propagated through their layers together, for inverse problems in time.

Threshold and input scale set units: with ``θ > 0`` everything depends on ``λ g/θ`` and on the drive times ``λ/θ``. A delay only
shifts time from layer to layer, so steps are counted from the arrival of the first spikes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.drive_kinds import Drive, Given
from varflow.model.layers import Linear, Spike
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of, times
from varflow.results import late_steps
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.responses.step import refractory
from varflow.theory.walks.signals import driven_layer, next_layer

__all__ = [
    "ALIVE",
    "EXTINCT",
    "above",
    "descend",
    "drive_covariance",
    "driven",
    "in_units",
    "late",
    "sustained",
]

UNIT = Linear(1, gain=1.0)
ALIVE = 1e-3  # firing rate below which a step is silent: live rates are near 0.1, and below the critical gain rates collapse
EXTINCT = 1e-12  # rates below this in all steps cannot recover: no further layers are computed
RUNAWAY = 1e12  # variance in units of θ² above which multi-spike activity grows without bound


def in_units(neuron: Neuron) -> tuple[Neuron, float]:
    """The same neuron with mean threshold 1, input scale 1 and no delay; and its mean threshold."""
    theta = mean_of(neuron.threshold)
    return replace(neuron, threshold=times(neuron.threshold, 1 / theta), input_scale=1.0, delay=0), theta


def drive_covariance(drive: Drive, steps: int) -> np.ndarray:
    """Covariance of layer 1's currents, averaged over a batch of inputs; (steps, steps)."""
    if isinstance(instance("drive", drive, Drive), Given):
        raise DomainError("drive", drive, "has no covariance in time: use currents, white noise, inputs or spike trains")
    return drive.covariance(steps).mean(axis=0)


def driven(neuron: Neuron, neurons: Neurons, covariance: np.ndarray) -> LayerState:
    """Layer 1 under drives with these covariances (drives, steps, steps)."""
    return driven_layer(Spike(neuron), covariance[None], neurons)


def above(neuron: Neuron, neurons: Neurons, below: LayerState, gain: float | np.ndarray, number: int) -> LayerState:
    """Layer ``number``, with its own gain in each replica and group."""
    return next_layer(UNIT, Spike(neuron), below, neurons, number, gain)


def descend(neuron: Neuron, neurons: Neurons, first: LayerState, gains: np.ndarray, *, layers: int) -> np.ndarray:
    r"""Which steps are alive after ``layers`` layers at every gain, shape (replicas, gains, steps).

    .. math:: M_{l+1} = F(g^2 M_l), \qquad M(t, t') = E[S_t S_{t'}]

    ``first`` is the driven layer. Gains whose network dies (rates below ``EXTINCT``) or runs away leave the iteration.
    """
    steps = first.firing_rate.shape[-1]
    last = np.array(np.broadcast_to(first.firing_rate, (neurons.replicas(neuron, steps), len(gains), steps)))
    active, state = np.arange(len(gains)), first.of_groups(np.zeros(len(gains), int))
    for number in range(1, layers + 1):
        wild = (gains[active] ** 2 * state.second_moments.max(axis=(0, 2, 3), initial=0.0)) > RUNAWAY
        last[:, active[wild]] = np.inf
        state, active = state.of_groups(~wild), active[~wild]
        if not len(active):
            break
        state = above(neuron, neurons, state, gains[active], number)
        last[:, active] = state.firing_rate
        extinct = state.firing_rate.max(axis=(0, 2)) < EXTINCT
        last[:, active[extinct]] = 0.0
        state, active = state.of_groups(~extinct), active[~extinct]
    return last > ALIVE


def sustained(neuron: Neuron, living: np.ndarray) -> np.ndarray:
    """Which steps (…, steps) sustain activity: living ones, or, if neurons cannot spike twice in a row, pairs with one."""
    if living.shape[-1] > 1 and refractory(neuron):
        return living[..., 1:] | living[..., :-1]
    return living


def late(values: np.ndarray) -> np.ndarray:
    """The late half of the steps (last axis): steps 11 to 20 of 20."""
    return values[..., late_steps(values.shape[-1])]
