r"""Networks that differ only in their gain, propagated through their layers together, for inverse problems in time.

Threshold and input scale set units: with ``θ > 0`` everything depends on ``λ g/θ`` and on the drive times ``λ/θ``. A delay only
shifts time from layer to layer, so steps are counted from the arrival of the first spikes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.drive_kinds import Drive, Given
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import late_steps
from varflow.theory.in_time.currents import past_synapse
from varflow.theory.in_time.differences import Differences, differences
from varflow.theory.in_time.orthants import Orthants
from varflow.theory.in_time.response_choice import response as response_of
from varflow.theory.in_time.responses import LayerState, Response
from varflow.theory.in_time.stepping import refractory

__all__ = [
    "ALIVE",
    "EXTINCT",
    "Descent",
    "descend",
    "drive_covariance",
    "driven",
    "in_units",
    "is_drawn",
    "late",
    "layer",
    "response_for",
    "sustained",
]

ALIVE = 1e-3  # firing rate below which a step is silent: live rates are near 0.1, and below the critical gain rates collapse
EXTINCT = 1e-12  # rates below this in all steps cannot recover: no further layers are computed
RUNAWAY = 1e12  # variance in units of θ² above which multi-spike activity grows without bound


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """Deep layers of networks of several gains; axes (replicas, gains, steps).

    Attributes
    ----------
    firing_rate, variance : ndarray
        Means over the last ``window`` layers. 0 where a network died, ``inf`` where it grew without bound.
    last : ndarray
        Firing rates of the last layer.
    coincidences : ndarray, shape (replicas, gains, steps, steps)
        Second moments ``E[S_t S_t']`` of the last layer.
    """

    firing_rate: np.ndarray
    variance: np.ndarray
    last: np.ndarray
    coincidences: np.ndarray

    @property
    def alive(self) -> np.ndarray:
        """Which steps of the last layer are alive."""
        return self.last > ALIVE


def in_units(neuron: Neuron) -> Neuron:
    """The same neuron with threshold 1, input scale 1 and no delay."""
    return replace(neuron, threshold=1.0, input_scale=1.0, delay=0)


def drive_covariance(drive: Drive, steps: int) -> np.ndarray:
    """Covariance of layer 1's currents, averaged over a batch of inputs; (steps, steps)."""
    if isinstance(instance("drive", drive, Drive), Given):
        raise DomainError("drive", drive, "has no covariance in time: use currents, white noise, inputs or spike trains")
    return drive.covariance(steps).mean(axis=0)


def response_for(neuron: Neuron, steps: int, *, points: int, scrambles: int, seed: int) -> Response:
    """The response for this neuron."""
    network = Network(width=1, depth=1, gain=1.0, neuron=neuron, steps=steps)
    return response_of(network, "auto", points=points, scrambles=scrambles, seed=seed)


def is_drawn(response: Response) -> bool:
    """Whether the response samples, and so has noise."""
    return not isinstance(response, Orthants)


def layer(
    neuron: Neuron, response: Response, covariance: np.ndarray, number: int, currents: Differences | None = None
) -> LayerState:
    """One layer under currents with this covariance, (replicas, gains, steps, steps), and mean 0."""
    mean = np.zeros(covariance.shape[:-1])
    currents = differences(mean, covariance) if currents is None else currents
    return response(*past_synapse(neuron, mean, covariance), number, currents)


def driven(neuron: Neuron, response: Response, covariance: np.ndarray) -> LayerState:
    """Layer 1 under drives with these covariances (drives, steps, steps)."""
    return layer(neuron, response, covariance[None], 0)


def descend(
    neuron: Neuron,
    response: Response,
    below: LayerState | np.ndarray,
    gains: np.ndarray,
    *,
    layers: int,
    window: int = 1,
    above: int = 1,
) -> Descent:
    r"""Propagate through ``layers`` layers at every gain, and average the last ``window``.

    .. math:: M_{l+1} = F(g^2 M_l), \qquad M(t, t') = E[S_t S_{t'}]

    ``below`` is the layer to start from, or its second moments; the first layer computed has number ``above``. Gains whose
    network dies (rates below ``EXTINCT``) or runs away leave the iteration.
    """
    start = below.coincidences if isinstance(below, LayerState) else below
    steps, shape = start.shape[-1], (response.replicas, len(gains))
    M, carried = np.array(np.broadcast_to(start, (*shape, steps, steps))), None
    if isinstance(below, LayerState) and below.square_change is not None and below.rate_change is not None:
        carried = [np.array(np.broadcast_to(x, (*shape, *x.shape[2:]))) for x in (below.square_change, below.rate_change)]
    last = np.array(np.diagonal(M, axis1=-2, axis2=-1))
    rate, variance = np.zeros((*shape, steps)), np.zeros((*shape, steps))
    active = np.arange(len(gains))
    for number in range(layers):
        covariance = gains[active, None, None] ** 2 * M[:, active]
        wild = covariance.max(axis=(0, 2, 3), initial=0.0) > RUNAWAY
        rate[:, active[wild]] = variance[:, active[wild]] = last[:, active[wild]] = np.inf
        active, covariance = active[~wild], covariance[:, ~wild]
        if not len(active):
            break
        currents = None
        if carried is not None:
            increment_var, var_change = (
                values[:, active] * gains[active].reshape(-1, *[1] * (values.ndim - 2)) ** 2 for values in carried
            )
            currents = Differences(increment_var, var_change, np.zeros_like(var_change))
        state = layer(neuron, response, covariance, above + number, currents)
        if carried is not None:
            carried[0][:, active], carried[1][:, active] = state.square_change, state.rate_change
        M[:, active], last[:, active] = state.coincidences, state.firing_rate
        if number >= layers - window:
            rate[:, active] += state.firing_rate / window
            variance[:, active] += state.variance / window
        extinct = state.firing_rate.max(axis=(0, 2)) < EXTINCT
        for values in (M, last, rate, variance):
            values[:, active[extinct]] = 0.0
        active = active[~extinct]
    return Descent(rate, variance, last, M)


def sustained(neuron: Neuron, living: np.ndarray) -> np.ndarray:
    """Which steps (…, steps) sustain activity: living ones, or, if neurons cannot spike twice in a row, pairs with one."""
    if living.shape[-1] > 1 and refractory(neuron):
        return living[..., 1:] | living[..., :-1]
    return living


def late(values: np.ndarray) -> np.ndarray:
    """The late half of the steps (last axis): steps 11 to 20 of 20."""
    return values[..., late_steps(values.shape[-1])]
