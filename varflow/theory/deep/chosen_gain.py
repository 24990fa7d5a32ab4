"""Layers that choose their gain: each takes the gain that gives it the wanted late rate or variance.

This suppresses the leading deviation, so that gains and states converge within a few layers, stable or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from varflow._checks import ConvergenceError
from varflow._progress import Report, unreported
from varflow.model.neurons import Neuron
from varflow.theory.deep.fixed_point import leading_multiplier
from varflow.theory.deep.many_gains import above, driven
from varflow.theory.deep.one_gain import WINDOW, every_step
from varflow.theory.deep.sustained import HIGHEST
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.roots import rising_root

__all__ = ["LONGEST", "Guess", "Quantity", "Wanted", "chosen_gains", "drive_strength", "driven_state", "guessed"]

START = 2.5  # gain from which the first search starts, in units of θ/λ
FEW = 2**10  # points of small networks
LONGEST = 48  # most layers that choose their gain
NOISE = 2.0  # standard errors within which windows agree
EXACT = 1e-9  # relative change of the gain at which it has converged, without sampling
SECANTS = 6  # steps of the secant method before bracketing
CLOSE = 1e-2  # relative deviation of a layer's value for which its gain is corrected to first order
ACCURACY = 2e-4  # relative, of bracketed drives and gains
FLATTEST, STEEPEST = 0.2, 5.0  # bounds of d ln value/d ln g of one layer, which noise may hide
ROUNDS, DEVIATION = 8, 0.2  # power iteration for the multiplier: rounds; relative deviation, large against the sampling error

Quantity = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of firing rates and variances (…, steps): what is wanted (…)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A wanted late rate or variance of the neuron with θ = λ = 1, in a network of some depth.

    ``coarse`` is used to find the gain, ``fine`` to refine it, up to a relative deviation ``tolerance``.
    """

    value: float
    quantity: Quantity
    neuron: Neuron
    shape: np.ndarray  # covariance of the drive over steps, of unit second moment
    depth: int
    coarse: Neurons
    fine: Neurons
    tolerance: float = 3e-4

    def in_part(self, part: int) -> Wanted:
        """In the first of so many parts of the steps, and as many parts of the layers, with few points."""
        steps, few = len(self.shape) // part, replace(self.coarse, points=min(self.coarse.points, FEW))
        return replace(self, shape=self.shape[:steps, :steps], depth=self.depth // part, coarse=few)

    def of(self, state: LayerState) -> np.ndarray:
        """The wanted quantity of a layer, one value per replica."""
        return self.quantity(state.firing_rate, state.variance)[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """Where layers that choose their gain end, above layer 1 under a drive of some ``strength``.

    ``slope`` is ``d ln value/d ln g`` of one layer, ``multiplier`` the leading one of the layer map, and ``every_step`` whether
    all steps are alive.
    """

    strength: float
    first: LayerState
    log_gain: float
    slope: float
    multiplier: float
    every_step: bool


def guessed(wanted: Wanted, strength: float, report: Report = unreported) -> Guess:
    """The gain that layers choose; ConvergenceError if none gives a layer the wanted value."""
    first = driven_state(wanted, wanted.coarse, strength)
    log_g, state, slope = _choosing(wanted, first, report)
    m, alive = _multiplier(wanted, math.exp(log_g), state), every_step(wanted.neuron, state.firing_rate)
    return Guess(strength, first, log_g, slope, m, alive)


def chosen_gains(wanted: Wanted, strengths: Sequence[float]) -> tuple[list[float], np.ndarray, LayerState]:
    """The gain that each layer above the driven one chooses under the first drive, down to the wanted depth; the value of all
    layers under every drive, shape (depth, drives); and the last layer. ConvergenceError if no gain gives a layer the value.
    """
    state = driven(wanted.neuron, wanted.coarse, np.square(strengths)[:, None, None] * wanted.shape)
    states, gains, slope = [state], [START], 1.0
    for number in range(1, wanted.depth):
        start = np.full(wanted.coarse.replicas(wanted.neuron, len(wanted.shape)), math.log(gains[-1]))
        _, chosen, slope = _chosen(wanted, states[-1], start, slope, number)
        gains.append(math.exp(float(chosen.mean())))
        states.append(_above(wanted, wanted.coarse, states[-1], gains[-1], number))
    values = [wanted.quantity(state.firing_rate, state.variance).mean(axis=0) for state in states]
    return gains[1:], np.array(values), states[-1]


def drive_strength(wanted: Wanted, guess: float = 1.0) -> float:
    """Standard deviation of the drive that gives layer 1 the wanted value."""
    excess = lambda s: float(wanted.of(driven_state(wanted, wanted.coarse, s)).mean()) - wanted.value  # noqa: E731
    return rising_root(excess, guess, ACCURACY)


def driven_state(wanted: Wanted, neurons: Neurons, strength: float) -> LayerState:
    """Layer 1 under a drive of this strength."""
    return driven(wanted.neuron, neurons, strength**2 * wanted.shape[None])


def _above(wanted: Wanted, neurons: Neurons, below: LayerState, gain: np.ndarray | float, number: int) -> LayerState:
    """The layer above, each replica with its own gain."""
    return above(wanted.neuron, neurons, below, np.reshape(gain, (-1, 1)), number)


def _choosing(wanted: Wanted, state: LayerState, report: Report) -> tuple[float, LayerState, float]:
    """Layers that choose their gain, until it converges: ln g, the last state, and d ln value/d ln g of one layer."""
    gains: list[np.ndarray] = []
    start, slope = np.full(wanted.coarse.replicas(wanted.neuron, len(wanted.shape)), math.log(START)), 1.0
    for number in range(1, LONGEST + 1):
        state, start, slope = _chosen(wanted, state, start, slope, number)
        gains.append(start)
        report(number)
        if _settled(gains):
            break
    return float(np.mean(gains[-WINDOW:])), state, slope


def _settled(gains: list[np.ndarray]) -> bool:
    if len(gains) > 1 and np.abs(gains[-1] - gains[-2]).max() < EXACT:
        return True
    if len(gains) < 2 * WINDOW or len(gains) % 2 or len(gains[0]) == 1:
        return False
    change = np.mean(gains[-WINDOW:], axis=0) - np.mean(gains[-2 * WINDOW : -WINDOW], axis=0)
    scatter = np.std(np.diff(gains[-2 * WINDOW :], axis=0)) / math.sqrt(WINDOW * len(change))
    return bool(abs(change.mean()) <= NOISE * scatter)


def _chosen(
    wanted: Wanted, below: LayerState, start: np.ndarray, slope: float, number: int
) -> tuple[LayerState, np.ndarray, float]:
    """A layer near the wanted value, its ln g corrected to first order, and d ln value/d ln g: secants from the gain below."""
    log_g, before = start, None
    for _ in range(SECANTS):
        state = _above(wanted, wanted.coarse, below, np.exp(log_g), number)
        values = wanted.of(state)
        if not (np.all(values > 0) and np.all(np.isfinite(values))):
            break
        off = np.log(values / wanted.value)
        if before is not None and abs(moved := float((log_g - before[0]).mean())) > CLOSE / 2:
            slope = min(max(float((off - before[1]).mean()) / moved, FLATTEST), STEEPEST)
        if np.abs(off).max() < CLOSE:
            return state, log_g - off / slope, slope
        before, log_g = (log_g, off), log_g - np.clip(off / slope, -1.0, 1.0)
    excess = lambda g: float(wanted.of(_above(wanted, wanted.coarse, below, g, number)).mean()) - wanted.value  # noqa: E731
    try:
        g = rising_root(excess, math.exp(float(start.mean())), ACCURACY)
    except ConvergenceError:
        if number > WINDOW:
            raise
        return _above(wanted, wanted.coarse, below, HIGHEST, number), start, slope  # the next layers may reach the value
    return _above(wanted, wanted.coarse, below, g, number), np.full_like(start, math.log(g)), slope


def _multiplier(wanted: Wanted, gain: float, state: LayerState) -> float:
    def step(below: LayerState, number: int) -> LayerState:
        return _above(wanted, wanted.coarse, below, gain, number)

    return leading_multiplier(step, state, 1, rounds=ROUNDS, size=DEVIATION)[0]
