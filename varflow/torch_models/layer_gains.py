"""Gains of a traced model's layers: for deep layers from a fixed point, for input-driven layers from the wanted rate.

Deep layers use the solver of :func:`varflow.gain_for_rate` with fewer points. "Late" is the second half of the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import gain_for_rate as memoryless_gain
from varflow.init.in_time import attainable_range, wanted_of
from varflow.model.distributions import distribution
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.results import late_steps
from varflow.theory.flow.neurons import Neurons
from varflow.theory.flow.signals import Currents, Grid
from varflow.theory.in_time.chosen_gain import Wanted, drive_strength
from varflow.theory.in_time.last_layers import DeepLayers
from varflow.theory.in_time.steady_gain import KEPT, at_gain, steady
from varflow.theory.maps import multiplier
from varflow.theory.roots import first_to_hold, rising_root
from varflow.torch_models.evaluation import Evaluation
from varflow.torch_models.prediction import MOST_INPUTS
from varflow.torch_models.traced import Trace, TracedLayer
from varflow.torch_models.wiring import Moments

__all__ = ["MANY", "Deep", "attainable_rates", "deep_layer", "layer_gain", "run_deep", "settles"]

POINTS, SCRAMBLES = 2**11, 2  # of quasi-Monte Carlo: gains within about 0.3 %
TOLERANCE = 2e-3  # relative, of the value: networks of a model's widths scatter more
SHORTEST, LONGEST = 8, 96  # depths of the network in which a gain is sought; others are clipped
REPEATING = 16  # depth from which all layers must have the value; in shallower networks the last ones suffice
ENERGIES = 8  # groups of inputs and positions of like variance that stand for all of a driven layer
RATE = 0.2  # firing rate of the driven layer
LOWEST = 1e-3  # smallest late rate that the points resolve
LARGEST = 1e4  # gain of a driven layer, in thresholds, at which its rate has saturated
DRIFT = 0.3  # largest relative deviation over the depth for spike counts, which have no stable rate
MANY, LARGE = 8.0, 100.0  # largest number of spikes per step, and largest variance in units of θ², that are searched
NEARLY = 0.9  # fraction of the smallest attainable value from which the nearest one kept is sought
EDGE = 1.05  # accuracy, as a ratio, of the lowest value that is sustained


@dataclass(frozen=True, slots=True)
class Deep:
    """The fixed point of deep layers at a constant gain: late firing rate and variance.

    ``multiplier`` is the factor on a small deviation per layer. ``on_target`` says whether the target is sustained, else this
    is the nearest value above it that is. ``settles`` says whether layers return to it; else it holds in the mean over networks
    and for this depth only, and each network drifts.
    """

    gain: float
    firing_rate: float
    variance: float
    multiplier: float
    on_target: bool
    settles: bool


@lru_cache(maxsize=256)
def deep_layer(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Deep:
    """The gain at which deep layers have a late ``quantity`` ("firing_rate" or "variance"); no bias, weights of mean 0.

    If no constant gain sustains it over ``depth`` layers (deviations grow, or steps die one after the other), the nearest value
    above it that one sustains; ``ConvergenceError`` if there is none.
    """
    if depth != _clipped(depth):  # one search for all of them
        return deep_layer(neuron, steps, quantity, target, _clipped(depth))
    if steps == 1 or neuron.memoryless:
        try:
            return _memoryless(neuron, quantity, target)
        except DomainError:
            pass
    wanted = _wanted(neuron, steps, quantity, target, depth)
    drive = _drive(neuron, steps, quantity, target)
    found = _kept(neuron, wanted, drive)
    if found is not None:
        return found
    least, most = attainable_rates(neuron, steps, depth)
    if quantity == "firing_rate":
        wanted, highest = replace(wanted, value=max(target, NEARLY * least)), 0.9 * min(most, MANY)
    else:
        highest = LARGE
    nearest = _lowest_kept(neuron, wanted, highest, drive)
    if nearest is None:
        raise ConvergenceError(f"no gain sustains a late {quantity} of {target:g} or more")
    return replace(nearest, on_target=False)


def _clipped(depth: int) -> int:
    return min(max(depth, SHORTEST), LONGEST)


def _wanted(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Wanted:
    name = quantity.removeprefix("firing_")
    wanted = wanted_of(name, target, neuron, steps, _clipped(depth), points=POINTS, scrambles=SCRAMBLES, seed=0)
    return replace(wanted, tolerance=TOLERANCE)


@lru_cache(maxsize=256)
def _drive(neuron: Neuron, steps: int, quantity: str, target: float) -> float:
    """The drive that gives a layer the value, whatever the depth."""
    return drive_strength(_wanted(neuron, steps, quantity, target, SHORTEST))


def _kept(neuron: Neuron, wanted: Wanted, drive: float) -> Deep | None:
    """The gain that sustains a value over the depth, or None."""
    counts, repeating = neuron.reset_rule.counts, wanted.depth >= REPEATING
    refined = (0.0 if counts else KEPT) if repeating else 1.0  # largest deviation allowed
    found, room = steady(wanted, drive, farthest=refined), DRIFT if counts else KEPT
    repeats = abs(found.chosen / wanted.value - 1) <= room and found.network.alive
    kept, m = repeats if repeating else found.reached, found.guess.multiplier
    return _deep(found.network, neuron, m) if kept and m < 1 + 1 / wanted.depth else None


def _deep(found: DeepLayers, neuron: Neuron, m: float = math.nan) -> Deep:
    theta = neuron.threshold
    rate, variance = (float(values[:, late_steps(values.shape[1])].mean()) for values in (found.firing_rate, found.variance))
    return Deep(found.gain * theta / neuron.input_scale, rate, theta**2 * variance, m, True, settles(neuron, m))


def _lowest_kept(neuron: Neuron, wanted: Wanted, highest: float, drive: float = 1.0) -> Deep | None:
    """The lowest value at or above the wanted one that a constant gain sustains, within a few per cent."""

    @cache
    def kept(value: float) -> Deep | None:
        nonlocal drive  # that of the last value is near
        try:
            aim = replace(wanted, value=value)
            drive = drive_strength(aim, drive)
            found = _kept(neuron, aim, drive)
        except ConvergenceError:
            return None
        return found if found and (found.settles or neuron.reset_rule.counts) else None

    _, lowest = first_to_hold(lambda values: [kept(float(values[0])) is not None], wanted.value, highest, EDGE, at_once=1)
    return kept(lowest)


@lru_cache(maxsize=64)
def attainable_rates(neuron: Neuron, steps: int, depth: int) -> tuple[float, float]:
    """The smallest late rate with which a network survives ``depth`` layers, and that in the limit of large gains: ``inf`` with
    several spikes per step, which have no smallest one either.
    """
    if depth != _clipped(depth):
        return attainable_rates(neuron, steps, _clipped(depth))
    if neuron.reset_rule.counts:
        return 0.0, math.inf
    wanted = _wanted(neuron, steps, "firing_rate", RATE, depth)
    return attainable_range(wanted, 1.0).ends(wanted.quantity)


def settles(neuron: Neuron, multiplier: float = 0.0) -> bool:
    """Whether deep layers return to their fixed point, given its multiplier.

    Neurons with several spikes per step do not: ``⌊H/θ⌋ ≈ H/θ - 1/2``, a rectifier with an offset, so strong layers pass on
    a larger fraction than weak ones and deviations grow, if slowly.
    """
    return multiplier < 1 and not neuron.reset_rule.counts


def _memoryless(neuron: Neuron, quantity: str, target: float) -> Deep:
    """The same for a single step, or steps that repeat the first."""
    name = quantity.removeprefix("firing_")
    if neuron.reset_rule.counts:
        raise DomainError("reset", neuron.reset, "counts more than one spike")
    theta = neuron.threshold
    gain = memoryless_gain(target, threshold=theta) if name == "rate" else preserving_gain(threshold=theta, variance=target)
    variance = gain**2 * target if name == "rate" else target
    m = multiplier(distribution("normal"), theta / variance**0.5, variance**0.5, gain)
    if abs(m) >= 1:
        raise DomainError(name, target, "is not sustained: the fixed point is unstable")
    return Deep(gain / neuron.input_scale, variance / gain**2, variance, m, True, True)


def run_deep(neuron: Neuron, steps: int, gain: float, depth: int) -> Deep:
    """Late rate and variance of deep layers of a network with one gain, driven by constant currents to a rate of 0.2;
    transients have decayed. The multiplier is not known.
    """
    wanted, drive = _wanted(neuron, steps, "firing_rate", RATE, depth), _drive(neuron, steps, "firing_rate", RATE)
    try:
        found = _deep(at_gain(wanted, gain * neuron.input_scale / neuron.threshold, drive), neuron)
    except ConvergenceError:
        if not neuron.reset_rule.counts:
            raise
        return Deep(gain, math.inf, math.inf, math.nan, True, False)  # counts grow without bound
    return replace(found, gain=gain, settles=settles(neuron))


def layer_gain(trace: Trace, layer: TracedLayer, rate: float) -> float:
    """The gain at which an input-driven layer has a late rate, averaged over inputs and positions.

    Points of quasi-Monte Carlo are the same at every gain, so the rate is a rising step function of it. Measured against
    direct sampling, for dense layers and maps, constant and varying inputs: rates within 0.5 %.
    """
    currents, sizes = _alike(_at_gain_one(trace, layer))
    neurons, late = Neurons(POINTS // SCRAMBLES, SCRAMBLES, 0), late_steps(trace.steps)

    def excess(gain: float) -> float:
        state, _ = neurons.fire(Spike(layer.neuron), currents.scaled(gain), 0)
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
    currents = Evaluation(replace(trace, layers=[layer]), moments, MOST_INPUTS).currents(layer)
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
