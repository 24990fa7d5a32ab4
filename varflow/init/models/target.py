"""The gain that gives a layer its late firing rate or variance, in time and at infinite width.

One place for every such question of ``init_model`` and ``audit``. "Late" is the second half of the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from varflow._checks import ConvergenceError, DomainError, require
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import gain_for_rate as memoryless_gain
from varflow.init.models.deep import Layers, rising_root
from varflow.init.models.population import factor, stepped
from varflow.init.models.prediction import late
from varflow.model.distributions import distribution
from varflow.model.neurons import Neuron
from varflow.theory.maps import multiplier

__all__ = ["Deep", "deep_layer", "highest_rate", "layer_gain", "reach", "run_deep", "settles"]

SIZE = 2**15  # neurons that stand for infinite width, over all populations
RATE = 0.2  # of layers that activity is to go on from
KEPT = 0.05  # relative, of the target: what a constant gain may miss it by
DRIFTING = 16  # layers: fewer need not repeat one another, if their late mean is the target
LOWEST = 1e-3  # late rate, below which the points of a deep layer are too few
LARGEST = 1e4  # gain, in thresholds, at which rates no longer rise
HALVINGS = 7  # of the logarithm of the range in which the lowest rate is looked for
UPWARD = 1.1  # ratio of the targets that are tried where the wanted one is not kept


@dataclass(frozen=True, slots=True)
class Deep:
    """A deep layer that keeps its late firing rate and variance from layer to layer at a constant gain.

    ``multiplier`` is what a small deviation is multiplied by per layer; ``on_target`` says whether the target itself is kept.
    Where it is not, the nearest above it is. ``settles`` says whether layers return to it: else it is kept in the mean over
    networks and for this depth, and each network drifts.
    """

    gain: float
    firing_rate: float
    variance: float
    multiplier: float
    on_target: bool
    settles: bool


@lru_cache(maxsize=256)
def deep_layer(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Deep:
    """The gain with which deep layers have a late ``quantity`` ("firing_rate" or "variance"); no bias, mean-zero weights.

    Where no constant gain keeps it over ``depth`` layers (deviations grow, or first steps die and the next ones with them), the
    nearest above it that one keeps. Raises ``ConvergenceError`` where none does.
    """
    if steps == 1 or neuron.memoryless:
        try:
            return _memoryless(neuron, quantity, target)
        except DomainError:
            pass
    layers = Layers(neuron, steps, depth)
    aim = target if quantity == "firing_rate" else target / neuron.input_scale**2
    found, wanted = _keeping(layers, quantity, aim), aim
    while found is None:
        aim *= UPWARD
        found = _keeping(layers, quantity, aim)
    return replace(found, on_target=aim == wanted)


def _keeping(layers: Layers, quantity: str, aim: float) -> Deep | None:
    """The gain that keeps an aim over the depth of the layers, if one does; variances are those of ``H/λ``."""
    neuron, scale = layers.neuron, layers.neuron.input_scale**2
    found = layers.choosing(quantity, aim)
    m = layers.multiplier(found)
    if m < 1 + 1 / layers.depth and abs(layers.at_gain(found.gain, found.firing_rate)[quantity] / aim - 1) < KEPT:
        return Deep(found.gain, found.firing_rate, scale * found.variance, m, True, settles(neuron, m))
    if layers.depth < DRIFTING:
        gain = rising_root(lambda g: layers.at_gain(g, RATE)[quantity] - aim, found.gain, f"{quantity} {aim:g}")
        kept = layers.at_gain(gain, RATE)
        if abs(kept[quantity] / aim - 1) < KEPT:
            return Deep(gain, kept.firing_rate, scale * kept.variance, m, True, settles(neuron, m))
    return None


@lru_cache(maxsize=64)
def highest_rate(neuron: Neuron, steps: int, depth: int) -> float:
    """The late rate at gains so large that it rises no more; without end for several spikes per step."""
    if neuron.reset_rule.counts:
        return math.inf
    return Layers(neuron, steps, depth).at_gain(LARGEST * max(neuron.threshold, 1.0) / neuron.input_scale, RATE).firing_rate


@lru_cache(maxsize=64)
def reach(neuron: Neuron, steps: int, depth: int) -> tuple[Deep, float]:
    """The lowest late rate that a constant gain keeps over ``depth`` layers, to within 5 % and not below ``LOWEST``, and the
    highest rate that there is.
    """
    layers, highest = Layers(neuron, steps, depth), highest_rate(neuron, steps, depth)
    low, high, lowest = LOWEST, 0.9 * min(highest, 1.0), _tried(layers, LOWEST)
    for _ in range(0 if lowest else HALVINGS):
        aim = math.sqrt(low * high)
        found = _tried(layers, aim)
        low, high, lowest = (low, aim, found) if found else (aim, high, lowest)
    return lowest or deep_layer(neuron, steps, "firing_rate", high, depth), highest


def _tried(layers: Layers, rate: float) -> Deep | None:
    try:
        return _keeping(layers, "firing_rate", rate)
    except ConvergenceError:
        return None


def settles(neuron: Neuron, multiplier: float = 0.0) -> bool:
    """Whether deep layers return to what they keep, given what a deviation grows by.

    Neurons of several spikes per step are rectifiers less half a spike: strong layers pass on a larger share than weak ones,
    so they return to nothing, however slowly they leave it.
    """
    return multiplier < 1 and not neuron.reset_rule.counts


def _memoryless(neuron: Neuron, quantity: str, target: float) -> Deep:
    """One step, or steps that repeat the first."""
    name = quantity.removeprefix("firing_")
    if neuron.reset_rule.counts:
        raise DomainError("reset", neuron.reset, "counts more than one spike")
    theta = neuron.threshold
    gain = memoryless_gain(target, threshold=theta) if name == "rate" else preserving_gain(threshold=theta, variance=target)
    variance = gain**2 * target if name == "rate" else target
    m = multiplier(distribution("normal"), variance, theta, gain)
    if abs(m) >= 1:
        raise DomainError(name, target, "is not kept: the fixed point is unstable")
    return Deep(gain / neuron.input_scale, variance / gain**2, variance, m, True, True)


def run_deep(neuron: Neuron, steps: int, gain: float, depth: int) -> dict[str, float]:
    """Late rate and variance of deep layers, in a network with one gain, driven by constant currents into a rate of 0.2; what
    only fades slowly has faded there.
    """
    kept = Layers(neuron, steps, depth).at_gain(gain, RATE)
    return {"firing_rate": kept.firing_rate, "variance": neuron.input_scale**2 * kept.variance}


def layer_gain(neuron: Neuron, moments: Any, rate: float, *, seed: int = 0) -> float:
    """The gain for a late rate of a layer, averaged over populations and sites, given the moments of what it receives.

    ``moments`` of shape (..., T, T) are covariances of the currents at gain 1. The random numbers are the same at every gain,
    so the rate is a rising function of it in steps of one spike.
    """
    torch = require("torch", "torch")
    steps, populations = moments.shape[-1], math.prod(moments.shape[:-2])
    size = (*moments.shape[:-1], max(SIZE // populations, 64))
    generator = torch.Generator(moments.device).manual_seed(seed)
    currents = factor(torch, moments).float() @ torch.randn(size, generator=generator, device=moments.device)

    H, S = torch.empty_like(currents), torch.empty_like(currents)  # once: new memory costs as much as what is done in it

    def excess(gain: float) -> float:
        stepped(torch, neuron, torch.mul(currents, gain, out=H), out=S)
        return float(S[..., late(steps), :].mean()) - rate

    start = max(neuron.threshold / neuron.input_scale, 1e-3) / math.sqrt(float(moments.diagonal(dim1=-2, dim2=-1).mean()))
    try:
        return rising_root(excess, start, f"firing rate {rate:.3g}")
    except ConvergenceError as error:
        raise ConvergenceError(f"{error}, large gains give {excess(LARGEST * start) + rate:.3g}") from None
