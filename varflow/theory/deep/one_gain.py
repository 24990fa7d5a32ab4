"""A network with one gain in every layer, propagated to its depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow.model.neurons import Neuron
from varflow.theory.deep.fixed_point import unchanged
from varflow.theory.deep.many_gains import ALIVE, EXTINCT, RUNAWAY, above, late, sustained
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons

__all__ = ["WINDOW", "Propagated", "every_step", "lasting", "propagated"]

WINDOW = 6  # layers averaged; layers have converged when two windows agree
SILENT = 12  # layers whose late half is not all alive, after which a network is dead


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """The deep layers of a network; arrays have a first axis of replicas.

    Attributes
    ----------
    gain : float
        In units of θ/λ.
    firing_rate, variance : ndarray, shape (replicas, steps)
        Means over the last layers, or of the last one where layers still change; ``inf`` if activity grew without bound.
    last : ndarray, shape (replicas, steps)
        Rates of the last layer that was computed.
    halfway : tuple of two ndarrays
        Rates and variances at half the depth.
    lifetime : int
        The last layer whose late steps are alive; the depth if they are in all layers.
    kept : LayerState
        The layer that was asked for, or the last one that was computed before it.
    """

    gain: float
    firing_rate: np.ndarray
    variance: np.ndarray
    last: np.ndarray
    halfway: tuple[np.ndarray, np.ndarray]
    lifetime: int
    kept: LayerState


def propagated(
    neuron: Neuron, neurons: Neurons, first: LayerState, gain: float, depth: int, *, settling: bool = False, keep: int = 1
) -> Propagated:
    """A network above the driven layer ``first``: to its depth, its death or, if layers are known to converge, until its rates
    no longer change and every step is alive. ``keep`` is the number of a layer that is returned as a whole.
    """
    states, halfway, kept, number, lifetime = [first], first, first, 1, 0
    while True:
        rates = states[-1].firing_rate[:, 0]
        lifetime = number if lasting(neuron, rates).all() else lifetime
        halfway = states[-1] if number <= depth // 2 + 1 else halfway
        kept = states[-1] if number <= keep else kept
        dead = number - lifetime >= SILENT or float(rates.max()) < EXTINCT
        every, windows = every_step(neuron, rates), (states[:WINDOW], states[WINDOW:])
        still = every and (number <= 2 * WINDOW or unchanged(*map(_mean, windows)))
        settled = settling and still and number > 2 * WINDOW
        if dead or settled or number == depth:
            break
        if gain**2 * float(states[-1].second_moments.max()) > RUNAWAY:
            endless = np.full(rates.shape, np.inf)
            return Propagated(gain, endless, endless, endless, (endless, endless), depth, kept)
        states = [*states[1 - 2 * WINDOW :], above(neuron, neurons, states[-1], np.full((1, 1), gain), number)]
        number += 1
    deep = states[-max(min(2 * WINDOW, (depth - 1) // 2), 1) if still and not dead else -1 :]
    rate, variance = _mean(deep), np.mean([state.variance[:, 0] for state in deep], axis=0)
    lifetime = depth if settled and lifetime == number else lifetime
    middle = halfway.firing_rate[:, 0], halfway.variance[:, 0]
    return Propagated(gain, rate, variance, states[-1].firing_rate[:, 0], middle, lifetime, kept)


def lasting(neuron: Neuron, rates: np.ndarray) -> np.ndarray:
    """Whether the late half of the steps is alive, for rates (…, steps)."""
    return np.asarray(sustained(neuron, late(rates) > ALIVE).all(axis=-1))


def every_step(neuron: Neuron, rates: np.ndarray) -> bool:
    """Whether all steps are alive, for rates (…, steps); otherwise silence spreads, in later layers to later steps."""
    return bool(np.all(sustained(neuron, rates > ALIVE)))


def _mean(states: list[LayerState]) -> np.ndarray:
    return np.mean([state.firing_rate[:, 0] for state in states], axis=0)
