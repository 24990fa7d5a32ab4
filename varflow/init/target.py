"""The gain that gives a layer its late firing rate or variance, in time and at infinite width.

One place for every such question of ``init_model`` and ``audit``. "Late" is the second half of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from varflow._checks import ConvergenceError, DomainError, require
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import gain_for_rate as memoryless_gain
from varflow.init.in_time import gain_for_rate, gain_for_variance
from varflow.init.population import Response, respond
from varflow.init.prediction import late
from varflow.model.distributions import distribution
from varflow.model.neurons import Neuron
from varflow.theory.maps import multiplier

__all__ = ["Deep", "deep_layer", "layer_gain", "run_deep"]

SIZE = 2**14  # of a population that stands for infinite width
POINTS = 2**11  # of the theory's quasi-Monte Carlo
SETTLED = 8  # layers that are averaged over, and that pass at least before
CLOSE = 0.02  # relative, of the smallest gain that keeps activity
MARGINAL = 0.9  # multiplier beside the edge below which activity dies
HIGHEST = 1e6


@dataclass(frozen=True, slots=True)
class Deep:
    """A deep layer that keeps its late firing rate and variance from layer to layer at a constant gain.

    ``multiplier`` is what a small deviation is multiplied by per layer; ``on_target`` says whether the target itself is kept.
    Where it is not, the gain is the smallest found that keeps more.
    """

    gain: float
    firing_rate: float
    variance: float
    multiplier: float
    on_target: bool


@lru_cache(maxsize=256)
def deep_layer(neuron: Neuron, steps: int, quantity: str, target: float, depth: int) -> Deep:
    """The gain with which the layers from ``depth`` on have a late ``quantity`` ("firing_rate" or "variance"); no bias,
    mean-zero weights. Where the theory knows no such gain, the smallest that keeps more.
    """
    name = quantity.removeprefix("firing_")
    options: Any = {"steps": steps, "depth": max(depth, SETTLED), "points": POINTS, "scrambles": 2, name: target}
    try:
        if steps == 1 or neuron.memoryless:
            return _memoryless(neuron, name, target)
        found = gain_for_rate(neuron, **options) if name == "rate" else gain_for_variance(neuron, **options)
        return Deep(found.gain, found.firing_rate, found.variance, found.multiplier, True)
    except DomainError:
        start = 2.5 * max(abs(neuron.threshold), 1e-3) / neuron.input_scale
        gain = _smallest_keeping(lambda g: run_deep(neuron, steps, g, depth)[quantity] - target, start)
        kept = run_deep(neuron, steps, gain, depth)
        return Deep(gain, kept["firing_rate"], kept["variance"], MARGINAL, False)


def _memoryless(neuron: Neuron, name: str, target: float) -> Deep:
    """One step, or steps that repeat the first."""
    if neuron.reset == "multi_spike":
        raise DomainError("reset", neuron.reset, "counts more than one spike")
    theta = neuron.threshold
    gain = memoryless_gain(target, threshold=theta) if name == "rate" else preserving_gain(threshold=theta, variance=target)
    variance = gain**2 * target if name == "rate" else target
    m = multiplier(distribution("normal"), variance, theta, gain)
    if abs(m) >= 1:
        raise DomainError(name, target, "is not kept: the fixed point is unstable")
    return Deep(gain / neuron.input_scale, variance / gain**2, variance, m, True)


def _late(values: Any) -> float:
    return float(values[..., late(values.shape[-1])].mean())


def run_deep(neuron: Neuron, steps: int, gain: float, depth: int) -> dict[str, float]:
    """Late rate and variance of the layers from ``depth`` on, in a network with one gain, driven by constant currents into a
    rate of 0.2; what only fades slowly has faded there.
    """
    torch = require("torch", "torch")
    generator = torch.Generator().manual_seed(0)
    drive, at = layer_gain(neuron, torch.ones(1, steps, steps, dtype=torch.float64), "firing_rate", 0.2, SIZE)
    response, found = at(drive), []
    zero = torch.zeros(1, steps, dtype=torch.float64)
    for _ in range(max(depth, SETTLED) + SETTLED):
        response = respond(neuron, gain**2 * response.coincidences, zero, SIZE, generator)
        found.append((_late(response.rate), _late(response.variance)))
    rate, variance = (sum(column) / SETTLED for column in zip(*found[-SETTLED:], strict=True))
    return {"firing_rate": rate, "variance": variance}


def _smallest_keeping(excess: Callable[[float], float], start: float) -> float:
    """The smallest gain at which an excess is not negative, to ``CLOSE``, where it may jump."""
    lo, hi = start / 1.05, start
    while excess(hi) < 0:
        lo, hi = hi, hi * 1.2
        if hi > HIGHEST:
            raise ConvergenceError("activity is kept at no gain")
    while lo < hi and excess(lo) >= 0:
        lo, hi = lo / 1.2, lo
        if lo < 1 / HIGHEST:
            raise ConvergenceError("activity is kept at every gain")
    while hi / lo > 1 + CLOSE:
        middle = math.sqrt(lo * hi)
        lo, hi = (lo, middle) if excess(middle) >= 0 else (middle, hi)
    return hi


def layer_gain(
    neuron: Neuron, moments: Any, quantity: str, target: float, size: int, *, seed: int = 0, start: float = 1.0
) -> tuple[float, Callable[[float], Response]]:
    """The gain for a late quantity of a layer, averaged over populations and sites, given the moments of what it receives, and
    the layer's response as a function of the gain.

    ``moments`` of shape (..., T, T) are covariances of the currents at gain 1. The random numbers are the same at every gain,
    so the quantity is a continuous rising function of it, up to steps of one spike.
    """
    torch = require("torch", "torch")
    steps = moments.shape[-1]
    zero = torch.zeros(moments.shape[:-1], dtype=moments.dtype, device=moments.device)

    def at(gain: float) -> Response:
        generator = torch.Generator(moments.device).manual_seed(seed)
        return respond(neuron, gain**2 * moments, zero, size, generator)

    def excess(gain: float) -> float:
        response = at(gain)
        values = response.rate if quantity == "firing_rate" else response.variance
        return float(values[..., late(steps)].mean()) - target

    gain = _root(excess, start, what=f"{quantity} {target:g}")
    return gain, at


def _root(excess: Callable[[float], float], start: float, what: str, accuracy: float = 1e-3) -> float:
    """Where a rising function of the gain passes 0: a bracket around the start, then regula falsi (Illinois) in log gain."""
    lo = hi = start
    at_lo = at_hi = excess(start)
    factor = 1.1
    while at_lo > 0:
        hi, at_hi, lo = lo, at_lo, lo / factor
        at_lo, factor = excess(lo), factor**1.6
        if lo < 1 / HIGHEST:
            raise ConvergenceError(f"{what} is exceeded at every gain")
    while at_hi <= 0:
        lo, at_lo, hi = hi, at_hi, hi * factor
        at_hi, factor = excess(hi), factor**1.6
        if hi > HIGHEST:
            raise ConvergenceError(f"{what} is reached at no gain")
    while hi / lo > 1 + accuracy:
        share = min(max(at_lo / (at_lo - at_hi), 0.02), 0.98)
        middle = lo * (hi / lo) ** share
        value = excess(middle)
        if value <= 0:
            lo, at_lo, at_hi = middle, value, at_hi / 2
        else:
            hi, at_hi, at_lo = middle, value, at_lo / 2
    return math.sqrt(lo * hi)
