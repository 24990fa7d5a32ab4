"""Gains of a traced model's layers: for deep networks one, from a fixed point; in networks of few layers, and for input-driven
layers, each from the wanted rate.

Deep networks use the solver of :func:`varflow.gain_for_rate` with fewer points. "Late" is the second half of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.init.gains import at_fixed_point, without_memory
from varflow.init.in_time import question_of
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.results import late_steps
from varflow.theory.deep.gain_for_value import ACCURACY, VALUE_TOLERANCE, Slope, attainable, drive_strength, search, solve
from varflow.theory.deep.look import Question, Seen, driven, looking, next_of_gain
from varflow.theory.operations.spike import fire
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import rising_root
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import Grid
from varflow.torch_models.prediction.signals import MOST_INPUTS, InfiniteWidth
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.weights import Moments

POINTS, SCRAMBLES = 2**11, 2  # of quasi-Monte Carlo: gains within about 0.3 %
SHORTEST, LONGEST = 2, 96  # depths of the network in which a gain is sought; others are clipped
DEEP = 8  # smallest depth whose last layers count as deep
REPEATING = 16  # depth from which one gain must give all layers the value; in shallower networks each may have its own
WEAKER, STRONGER, GROWN = 0.9, 1.1, math.e  # drives of such a network; largest growth over its layers of what they change
ENERGIES = 8  # groups of inputs and positions of like variance that stand for all of a driven layer
RATE = 0.2  # firing rate of the driven layer
LOWEST = 1e-3  # smallest late rate that the points resolve
LARGEST = 1e4  # gain of a driven layer, in thresholds, at which its rate has saturated
DRIFT = 0.3  # largest relative deviation over the depth for spike counts, which have no stable rate
MANY, LARGE = 8.0, 100.0  # largest number of spikes per step, and largest variance in units of θ², that are searched
NEARLY = 0.9  # fraction of the smallest attainable value from which the nearest one kept is sought
STRIDE = 0.4  # change of ln(value) from try to try for the lowest value that is sustained
EDGE = 1.05  # accuracy, as a ratio, of the lowest value that is sustained


@dataclass(frozen=True, slots=True)
class Deep:
    """Late firing rate and variance of deep layers at one gain; or of the last of a few layers that need a gain each, from the
    second layer on.

    ``multiplier`` is the factor on a small deviation per layer. ``on_target`` says whether the target is sustained, else this
    is the nearest value above it that is. ``settles`` says whether layers return to it; else it holds in the mean over networks
    and for this depth only, and each network drifts.
    """

    gains: tuple[float, ...]
    firing_rate: float
    variance: float
    multiplier: float
    on_target: bool
    settles: bool

    @property
    def gain(self) -> float:
        """The gain of the deepest layer."""
        return self.gains[-1]

    def gain_of(self, layer: int) -> float:
        """The gain of the layer of this number, the driven one being 0."""
        return self.gains[min(max(layer, 1), len(self.gains)) - 1]


@lru_cache(maxsize=256)
def deep_layer(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Deep:
    """The gain at which deep layers have a late ``quantity`` ("firing_rate" or "variance"); no bias, weights of mean 0.

    If it is not sustained over ``depth`` layers (deviations grow, or steps die one after the other), the nearest value above it
    that is; ``ConvergenceError`` if there is none.
    """
    if depth != _clipped(depth):  # one search for all of them
        return deep_layer(neuron, steps, quantity, target, _clipped(depth))
    if without_memory(neuron, steps):
        with suppress(DomainError):
            found = at_fixed_point(neuron, fan_in=None, depth=depth, **{quantity.removeprefix("firing_"): target})
            if found.stable and (m := found.multiplier) is not None:
                return Deep((found.gain,), found.firing_rate, found.variance, m, True, True)
    question, drive = _question(neuron, steps, quantity, target, depth), _drive(neuron, steps, quantity, target)
    if (found := _sustained(neuron, question, drive)) is not None:
        return found
    least, most = attainable_rates(neuron, steps, depth)
    if quantity == "firing_rate":
        question, highest = replace(question, value=max(target, NEARLY * least)), 0.9 * min(most, MANY)
    else:
        highest = LARGE
    nearest = _lowest_sustained(neuron, question, highest, drive)
    if nearest is None:
        raise ConvergenceError(f"no gain sustains a late {quantity} of {target:g} or more")
    return replace(nearest, on_target=False)


def _clipped(depth: int) -> int:
    return min(max(depth, SHORTEST), LONGEST)


def _responses() -> Responses:
    return Responses(POINTS, SCRAMBLES, 0)


def _question(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Question:
    return question_of(quantity, target, neuron, np.ones((steps, steps)), _clipped(depth))


@lru_cache(maxsize=256)
def _drive(neuron: Neuron, steps: int, quantity: str, target: float) -> float:
    """The drive that gives a layer the value, whatever the depth."""
    return drive_strength(_question(neuron, steps, quantity, target, SHORTEST), _responses())


def _sustained(neuron: Neuron, question: Question, drive: float) -> Deep | None:
    """The gain that sustains a value over the depth, or else those that few layers need; None if none do."""
    try:
        found = solve(question, _responses(), drive)
    except ConvergenceError:
        found = None
    if found and found.strength == drive and found.multiplier < 1 + 1 / question.depth:
        room = DRIFT if neuron.reset_rule.counts else VALUE_TOLERANCE
        if abs(found.seen.halfway / question.value - 1) <= room:
            return _deep(neuron, (found.seen.gain,), found.seen.state, found.multiplier)
    return None if question.depth >= REPEATING else _layer_by_layer(neuron, question, drive)


def _layer_by_layer(neuron: Neuron, question: Question, drive: float) -> Deep | None:
    """The gains that give every layer the value; None if the change by a weaker or stronger drive grows ``GROWN`` times."""
    unit, responses, gains = question.neuron, _responses(), [1.0]
    states = [driven(unit, responses, (factor * drive) ** 2 * question.drive) for factor in (1.0, WEAKER, STRONGER)]
    first, value = _deviations(question, states), question.value
    for number in range(1, question.depth):
        layer = lambda gain, below, number=number: next_of_gain(unit, responses, gain, below, number)  # noqa: E731
        excess = lambda gain, layer=layer, below=states[0]: float(question.values(layer(gain, below)).mean()) - value  # noqa: E731
        try:
            gains.append(rising_root(excess, gains[-1], ACCURACY))
        except ConvergenceError:
            return None
        states = [layer(gains[-1], state) for state in states]
    grown = float((_deviations(question, states) / first).max())
    m = grown ** (1 / (question.depth - 1))
    return _deep(neuron, gains[1:], states[0], m) if grown < GROWN else None


def _deviations(question: Question, states: Sequence[LayerState]) -> np.ndarray:
    """Distances of ln(value) from that of the first layer, of the others."""
    own, *others = (max(float(question.values(state).mean()), np.finfo(float).tiny) for state in states)
    return np.abs(np.log(np.array(others) / own))


def _deep(neuron: Neuron, gains: Sequence[float], state: LayerState, m: float = math.nan) -> Deep:
    """The answer for gains in units of θ/λ, with the moments of a layer's state."""
    theta, late = neuron.threshold, late_steps(state.firing_rate.shape[-1])
    rate, variance = (float(values[:, 0, late].mean()) for values in (state.firing_rate, state.variance))
    own = tuple(gain * theta / neuron.input_scale for gain in gains)
    return Deep(own, rate, theta**2 * variance, m, True, settles(neuron, m))


def _lowest_sustained(neuron: Neuron, question: Question, highest: float, drive: float = 1.0) -> Deep | None:
    """The lowest value at or above the wanted one that is sustained, to a ratio of ``EDGE``, and not above the highest."""
    few, lowest = question.depth < REPEATING, question.value

    @cache
    def sustained(x: float) -> Deep | None:
        aim = replace(question, value=math.exp(x))
        try:
            found = (_layer_by_layer if few else _sustained)(neuron, aim, drive_strength(aim, _responses(), drive))
        except ConvergenceError:
            return None
        return found if found and (few or found.settles or neuron.reset_rule.counts) else None

    def look(x: float) -> Seen:
        """A miss of constant size, so that small steps lead up to the first that is sustained: not all above it are."""
        step = np.array([STRIDE if sustained(x) else -STRIDE])
        return Seen(x, step, np.ones(1), None, math.nan, 1)  # pyright: ignore[reportArgumentType]

    ends = math.log(lowest), math.log(max(highest, lowest))
    found = search(look, ends[0], accuracy=0.0, width=math.log(EDGE), slope=Slope(1.0), stride=STRIDE, limits=ends).upper
    return sustained(found.x) if found else None


@lru_cache(maxsize=64)
def attainable_rates(neuron: Neuron, steps: int, depth: int) -> tuple[float, float]:
    """The smallest late rate with which a network of one gain survives ``depth`` layers, and that in the limit of large gains:
    ``inf`` with several spikes per step. These have no smallest one, nor have few layers, each with a gain of its own.
    """
    if neuron.reset_rule.counts:
        return 0.0, math.inf
    question = _question(neuron, steps, "firing_rate", RATE, depth)
    least, _, most = attainable(question, _responses())
    return least if question.depth >= REPEATING else 0.0, most


def settles(neuron: Neuron, multiplier: float = 0.0) -> bool:
    """True if deep layers return to their fixed point, given its multiplier.

    Neurons with several spikes per step do not: ``⌊H/θ⌋ ≈ H/θ - 1/2``, a rectifier with an offset, so strong layers pass on
    a larger fraction than weak ones and deviations grow, if slowly.
    """
    return multiplier < 1 and not neuron.reset_rule.counts


def run_deep(neuron: Neuron, steps: int, gain: float, depth: int) -> Deep:
    """Late rate and variance of deep layers of a network with one gain, driven by constant currents to a rate of 0.2;
    transients have decayed. The multiplier is not known.
    """
    question = _question(neuron, steps, "firing_rate", RATE, max(depth, DEEP))
    look = looking(question.driven_by(_drive(neuron, steps, "firing_rate", RATE)), _responses())
    seen = look(math.log(gain * neuron.input_scale / neuron.threshold))
    if math.isinf(seen.miss):
        return Deep((gain,), math.inf, math.inf, math.nan, True, False)  # counts grow without bound
    return replace(_deep(neuron, (seen.gain,), seen.state), gains=(gain,), settles=settles(neuron))


def layer_gain(trace: Trace, layer: TracedLayer, rate: float) -> float:
    """The gain at which an input-driven layer has a late rate, averaged over inputs and positions.

    Points of quasi-Monte Carlo are the same at every gain, so the rate is a rising step function of it. Measured against
    direct sampling, for dense layers and maps, constant and varying inputs: rates within 0.5 %.
    """
    currents, sizes = _alike(_at_gain_one(trace, layer))
    responses, late = Responses(POINTS // SCRAMBLES, SCRAMBLES, 0), late_steps(trace.steps)

    def excess(gain: float) -> float:
        state, _ = fire(Spike(layer.neuron), currents.scaled(gain), 0, responses)
        return float(np.average(state.firing_rate[..., late].mean((0, 2)), weights=sizes)) - rate

    variance = np.diagonal(currents.covariance, axis1=-2, axis2=-1)
    start = max(layer.neuron.threshold / layer.neuron.input_scale, 1e-3) / math.sqrt(variance.mean())
    try:
        return rising_root(excess, start, 1e-3)
    except ConvergenceError:
        most = excess(LARGEST * start) + rate
        raise ConvergenceError(f"no gain reaches firing rate {rate:.3g}; large gains give {most:.3g}") from None


def _at_gain_one(trace: Trace, layer: TracedLayer) -> Currents:
    """Currents of an input-driven layer, a group for every input and position."""
    moments = {name: Moments(1, 1.0) for name in layer.names}
    currents = InfiniteWidth.of(replace(trace, layers=[layer]), moments, MOST_INPUTS).visit(layer).received[0]
    if not isinstance(currents, Currents) or currents.grid.size > trace.steps:
        raise ConvergenceError(f"the currents of {layer.name} are not those of independent weights")
    return currents


def _alike(currents: Currents) -> tuple[Currents, list[int]]:
    """Groups of like variance averaged, so that ``ENERGIES`` are left; and their sizes."""
    variance = np.einsum("rgtt->g", currents.covariance)
    parts = np.array_split(np.argsort(variance, kind="stable"), min(ENERGIES, len(variance)))
    mean, covariance = (
        np.stack([values[:, part].mean(axis=1) for part in parts], axis=1) for values in (currents.mean, currents.covariance)
    )
    return Currents(mean, covariance, Grid(1, 1, 1, currents.grid.steps), currents.channels), [len(part) for part in parts]
