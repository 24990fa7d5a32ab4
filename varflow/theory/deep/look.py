"""A look at a network of equal layers with one gain: what layer ``depth`` does, and which steps live there.

Threshold and input scale set units: with ``θ > 0`` everything depends on ``λ g/θ`` and on the drive times ``λ/θ``. A delay only
shifts time from layer to layer, so steps are counted from the arrival of the first spikes. Networks of all gains share their
points and signs, so that what is seen is a function of the gain, with jumps of order 1/points: searches need no averages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.drive_kinds import Drive, Given
from varflow.model.layers import Linear, Spike
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of, times
from varflow.results import late_steps
from varflow.theory.operations.spike import LONGEST
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.step import held_steps
from varflow.theory.signals.places import standard_error
from varflow.theory.walks.signals import driven_layer, next_layer

ALIVE = 1e-3  # firing rate below which a step is silent: live rates are near 0.1, and below the critical gain rates collapse
EXTINCT = 1e-12  # rates below this in all steps cannot recover: no further layers are computed
RUNAWAY = 1e12  # variance in units of θ² above which multi-spike activity grows without bound
EXACT = 1e-7  # change of rates between groups below which a deterministic iteration has settled
NOISE = 3.0  # standard errors below which a change is noise (root mean square over steps), with sampling
AGREED = 2.0  # standard errors up to which late values of two windows agree: a slow drift is averaged no longer
TINY = float(np.finfo(float).tiny)
ROUNDING = 1e-6  # standard errors below which a step has no noise, in single precision
STILL = 0.3  # of the noise of the others, up to which the rates of such steps may change
EARLY = 2.5  # of 1/points, by which the smallest gain is too large (measured)
WINDOW = 6  # layers averaged against noise: they have settled when two windows agree
MOMENTS = ("variance", "potential_mean", "firing_rate", "second_moments")  # of a layer's state
SILENT = 2 * WINDOW  # layers in which a network is silent before it counts as dead: every other layer of a gate may be


def in_units(neuron: Neuron) -> tuple[Neuron, float]:
    """The neuron with mean threshold 1, input scale 1 and no delay, and its own mean threshold."""
    theta = mean_of(neuron.threshold)
    return replace(neuron, threshold=times(neuron.threshold, 1 / theta), input_scale=1.0, delay=0, synaptic_delay=0), theta


def drive_covariance(drive: Drive | None, steps: int) -> np.ndarray:
    """Covariance of layer 1's currents, averaged over a batch of inputs; (steps, steps). By default they are constant."""
    if steps > LONGEST:
        raise DomainError("steps", steps, f"must be at most {LONGEST}; if activity becomes stationary, fewer show it")
    if drive is None:
        return np.ones((steps, steps))
    if isinstance(instance("drive", drive, Drive), Given):
        raise DomainError("drive", drive, "has no covariance in time: use currents, white noise, inputs or spike trains")
    return drive.covariance(steps).mean(axis=0)


def steady(covariance: np.ndarray) -> bool:
    """True if a drive has the same variance at every step."""
    variance = np.diagonal(covariance)
    return bool(np.allclose(variance, variance[0]))


def driven(neuron: Neuron, responses: Responses, covariance: np.ndarray) -> LayerState:
    """Layer 1 under a drive of this covariance (steps, steps)."""
    return driven_layer(Spike(neuron), covariance[None, None], responses)


def next_of_gain(neuron: Neuron, responses: Responses, gain: float, below: LayerState, number: int) -> LayerState:
    """Layer ``number`` above another, through weights of mean 0 and this gain: ``Cov[I_t, I_t'] = g² M(t, t')``."""
    return next_layer(Linear(gain=gain), Spike(neuron), responses, below, number)


def sustained(neuron: Neuron, rates: np.ndarray) -> np.ndarray:
    """Rates of steps (…, steps), or whether they live; if neurons are held after a spike, the largest of as many and one."""
    held = min(held_steps(neuron), rates.shape[-1] - 1)
    return np.lib.stride_tricks.sliding_window_view(rates, held + 1, -1).max(axis=-1) if held > 0 else rates


def late(values: np.ndarray) -> np.ndarray:
    """The late half of the steps (last axis): steps 11 to 20 of 20."""
    return values[..., late_steps(values.shape[-1])]


def unchanged(before: np.ndarray, after: np.ndarray) -> bool:
    """True if rates (replicas, steps) changed by no more than numerical noise, and those of steps without noise, such as the
    first one, by much less: close to a critical gain they drift for many layers, then die.
    """
    change, noise = (after - before).mean(axis=0), standard_error(after - before)
    typical, exact = np.sqrt(np.mean(noise**2)), noise < ROUNDING
    drifting = np.abs(change[exact]).max(initial=0.0) > EXACT + STILL * typical
    return not drifting and bool(np.sqrt(np.mean(change**2)) <= EXACT + NOISE * typical)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Question asked of networks that differ only in their gain; units are θ = λ = 1.

    Attributes
    ----------
    neuron : Neuron
    drive : ndarray, shape (steps, steps)
        Covariance of the currents into layer 1. Where a strength is sought for them, their mean variance is 1.
    depth : int
    quantity : str
        ``firing_rate`` or ``variance``, of the late half of the steps.
    value : float
        Wanted; not used where only lifetimes are.
    spared : int
        Number of first steps that need not live in layer ``depth``.
    settling : bool
        True if networks in which no step is silent end where layers no longer change.
    some : bool
        True if one of the steps that are not spared suffices.
    """

    neuron: Neuron
    drive: np.ndarray
    depth: int
    quantity: str = "firing_rate"
    value: float = math.nan
    spared: int = 0
    settling: bool = True
    some: bool = False

    @property
    def steps(self) -> int:
        return len(self.drive)

    def driven_by(self, factor: float) -> Question:
        """The question under currents ``factor`` times as strong."""
        return replace(self, drive=factor**2 * self.drive)

    def in_part(self, divisor: int) -> Question:
        """The question for the first steps and layers, divided by ``divisor``; the late half of these steps must live."""
        steps = self.steps // divisor
        return replace(self, drive=self.drive[:steps, :steps], depth=self.depth // divisor, spared=steps // 2)

    def values(self, state: LayerState) -> np.ndarray:
        """The quantity in a layer, one value per replica."""
        return late(getattr(state, self.quantity)[:, 0]).mean(axis=-1)

    def weakest(self, state: LayerState) -> np.ndarray:
        """The smallest rate of the steps that must live, or the largest where one suffices; one per replica."""
        rates = sustained(self.neuron, state.firing_rate[:, 0][..., self.spared :])
        return rates.max(axis=-1) if self.some else rates.min(axis=-1, initial=1.0)

    def early_death(self, responses: Responses) -> float:
        """Relative error of the smallest gain that lives: with few points it is too large, as lingering networks die early."""
        sampled = self.steps > 1 and responses.samples(self.neuron, self.steps)
        return EARLY / responses.points if sampled else 0.0

    def silent(self, state: LayerState) -> np.ndarray:
        """The steps that are silent in some replica; from layer to layer silence then spreads to later ones."""
        return np.flatnonzero(~sustained(self.neuron, np.asarray((state.firing_rate[:, 0] > ALIVE).all(axis=0))))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The network with gain ``exp(x)``.

    Attributes
    ----------
    off : ndarray, shape (replicas,)
        ``ln(value/wanted)`` in layer ``depth``; infinite if counts of spikes grow without bound.
    lifetime : ndarray, shape (replicas,)
        Layer, between two, in which the first of the steps that must live dies, over the depth; above 1 if it would below it.
    state : LayerState
        Layer ``depth``; where layers settle before it, the mean of the last two windows.
    halfway : float
        The value at half the depth.
    layers : int
        Number of layers computed.
    """

    x: float
    off: np.ndarray
    lifetime: np.ndarray
    state: LayerState
    halfway: float
    layers: int

    @property
    def gain(self) -> float:
        return math.exp(self.x)

    @property
    def alive(self) -> bool:
        return bool((self.lifetime >= 1).all())

    @property
    def miss(self) -> float:
        """Mean of ``off`` over replicas; in networks that die, ln of the shortest lifetime."""
        return float(self.off.mean()) if self.alive else math.log(self.lifetime.min())

    @property
    def error(self) -> float:
        """Standard error of :attr:`miss`."""
        return float(standard_error(self.off)) if np.isfinite(self.off).all() else math.inf

    def of_lifetime(self) -> Seen:
        """The network as one whose value is its median lifetime; what lives much longer than the depth is all the same."""
        return replace(self, off=np.array([min(math.log(np.median(self.lifetime)), 1.0)]), lifetime=np.ones(1))

    @property
    def too_low(self) -> bool:
        """True if the gain is too small, as that of a network that dies."""
        return not self.alive or self.miss < 0


Look = Callable[[float], Seen]  # at the network of ln g


def looking(question: Question, responses: Responses) -> Look:
    """Looks at networks with these points above one driven layer."""
    first, replicas = driven(question.neuron, responses, question.drive), responses.replicas(question.neuron, question.steps)
    return partial(_look, question, responses, of_replicas(first, replicas))


def _look(question: Question, responses: Responses, first: LayerState, x: float) -> Seen:
    """A network to its depth, to its death, or until every step lives and layers no longer change."""
    gain, depth = math.exp(x), question.depth
    states, values, weakest = [first], [question.values(first)], question.weakest(first)
    lifetime = np.where(weakest > ALIVE, np.inf, 0.5)
    while True:
        number, last = len(values), states[-1]
        settled = question.settling and 2 * WINDOW < number < depth and _settled(question, states, values)
        dead = number - lifetime.max() >= SILENT or float(last.firing_rate.max()) < EXTINCT
        endless = gain**2 * float(last.second_moments.max()) > RUNAWAY
        if settled or dead or endless or number == depth:
            break
        states = [*states[1 - 2 * WINDOW :], next_of_gain(question.neuron, responses, gain, last, number)]
        values.append(question.values(states[-1]))
        before, weakest = weakest, question.weakest(states[-1])
        lifetime = np.where(np.maximum(before, weakest) > ALIVE, number + _crossing(before, weakest), lifetime)
    state = average(states) if settled else last
    off = np.log(np.maximum(question.values(state), TINY) / question.value) + (math.inf if endless else 0.0)
    lifetime, halfway = np.where(settled or endless, np.inf, lifetime / depth), values[min(depth // 2, number - 1)]
    return Seen(x, off, lifetime, state, float(halfway.mean()), number)


def _crossing(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The layers after which rates fall to ``ALIVE``, their logarithms on a straight line; infinite if they do not fall."""
    fall = np.log(np.maximum(before, TINY) / np.maximum(after, TINY))
    return np.divide(np.log(np.maximum(before, TINY) / ALIVE), fall, out=np.full(len(fall), np.inf), where=fall > 0)


def _settled(question: Question, states: list[LayerState], values: list[np.ndarray]) -> bool:
    """True if every step lives and the later half of these layers is as the earlier one.

    Rates that agree do not suffice: where a deviation decays slowly, each step changes by less than its noise, and their mean
    by more.
    """
    if len(question.silent(states[-1])):
        return False
    change = np.mean(values[-WINDOW:], axis=0) - np.mean(values[-2 * WINDOW : -WINDOW], axis=0)
    if abs(float(change.mean())) > EXACT + AGREED * float(standard_error(change)):
        return False
    return unchanged(*(average(half).firing_rate[:, 0] for half in (states[:WINDOW], states[WINDOW:])))


def average(states: list[LayerState]) -> LayerState:
    """Means of the moments over layers."""
    return LayerState(*(np.mean([getattr(state, name) for state in states], axis=0) for name in MOMENTS))


def of_replicas(state: LayerState, number: int) -> LayerState:
    """The state with an entry for each of so many replicas; a layer under a constant drive has one for all."""
    moments = {name: getattr(state, name)[:number] for name in MOMENTS}
    return replace(state, **{name: np.broadcast_to(each, (number, *each.shape[1:])) for name, each in moments.items()})
