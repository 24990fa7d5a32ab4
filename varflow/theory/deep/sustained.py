r"""Which late rates and variances a constant gain sustains: those of networks whose late steps live in the last layer.

Just below the smallest such gain ``g_c`` a network dies slowly, in one of two ways. Near the fixed point that vanishes there,
deviations obey ``dx/dl = x² + c (g_c - g)``, and to pass takes ``N ≈ π/√(c (g_c - g))`` layers, so ``1/N²`` falls linearly with
the gain. And where late steps live without the first ones, steps die one after the other at a constant speed in steps per
layer. Both need nearly the same gain in half the layers with half the steps, where networks cost a quarter to an eighth: the
smallest gain there is where the search starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from varflow.model.neurons import Neuron
from varflow.theory.deep.one_gain import Propagated, propagated
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons

__all__ = ["HIGHEST", "Sustained", "sustained_range"]

LOWEST, HIGHEST = 0.05, 1e3  # gains, in units of θ/λ, that are searched
GUESS = 2.0  # first gain tried, in these units; the smallest of memoryless neurons is 2.4565
SHORT = 12  # layers and steps of the smallest networks
NEAR, FAR = 1.3, 2.0  # largest ratios of the next gain to one that dies, and of one that lives to the next
ROUGH = 2**9  # points
MANY = 30  # steps, from which networks are expensive
EDGE, ROUGH_EDGE = 1.003, 1.015  # accuracy of the smallest gain, as a ratio: with few and with many steps
ENDLESS_EDGE = 1.05  # the same where values grow without bound, without a smallest one; a quarter of the points do


@dataclass(frozen=True, slots=True, eq=False)
class Sustained:
    """Networks of the smallest gain that sustains activity and of ``HIGHEST``, and whether activity grows without bound there,
    as counts of spikes do.
    """

    least: Propagated
    most: Propagated
    endless: bool

    def ends(self, quantity: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Smallest and largest value of a quantity of firing rates and variances (…, steps)."""
        least, most = (float(quantity(of.firing_rate, of.variance).mean()) for of in (self.least, self.most))
        return least, most


def sustained_range(
    neuron: Neuron,
    neurons: Neurons,
    first: LayerState,
    depth: int,
    *,
    start: float | None = None,
    enough: Callable[[Sustained], bool] | None = None,
) -> Sustained:
    """For the neuron with θ = λ = 1, and the driven layer ``first``. The search for the smallest gain goes from ``start``, if
    it is known for fewer layers and steps, and ends at any living network with which the range is ``enough``.
    """
    rough = replace(neurons, points=min(neurons.points, ROUGH))
    most = propagated(neuron, neurons, first, HIGHEST, depth, settling=True)
    endless = not np.isfinite(most.firing_rate).all()
    edge = ROUGH_EDGE if enough or first.firing_rate.shape[-1] >= MANY else EDGE
    if endless:
        edge, rough = ENDLESS_EDGE, replace(rough, points=max(rough.points // 4, 1))
    stop = enough and (lambda least: enough(Sustained(least, most, endless)))
    least = _smallest(neuron, rough, first, depth, edge, start, stop)
    if edge == EDGE:  # clear of the edge itself, where the last layers die
        least = propagated(neuron, rough, first, edge * least.gain, depth)
    return Sustained(least, most, endless)


def _smallest(
    neuron: Neuron,
    neurons: Neurons,
    first: LayerState,
    depth: int,
    edge: float,
    start: float | None = None,
    stop: Callable[[Propagated], bool] | None = None,
) -> Propagated:
    """The network of the smallest gain that lives to its depth, both to a ratio."""
    if min(depth, first.firing_rate.shape[-1]) >= 2 * SHORT + (SHORT if start else 0) // 2:
        half = first.of_steps(first.firing_rate.shape[-1] // 2)
        start = _smallest(neuron, neurons, half, depth // 2, edge, start).gain
    gain, up, down = (GUESS, NEAR, FAR) if start is None else (start, edge, edge)
    before, dead, least = None, None, None
    while True:
        tried = propagated(neuron, neurons, first, gain, depth)
        if tried.lifetime >= (2 - edge) * depth:
            least = tried
            if stop and stop(least):
                return least
        else:
            before, dead = dead, tried
        if dead is None:
            gain, down = gain / down, min(down**2, FAR)
        else:
            gain, up = min(max(_expected(before, dead, depth), edge * dead.gain), up * dead.gain), min(up**2, NEAR)
            if least is not None:
                gain = min(gain, math.sqrt(dead.gain * least.gain))
        if not LOWEST < gain < HIGHEST or (dead and least and least.gain <= edge * dead.gain):
            return least or tried


def _expected(before: Propagated | None, dead: Propagated, depth: int) -> float:
    """The gain at which ``1/N²``, on the straight line through two networks that die, has fallen to that of the depth."""
    if before is None or before.gain > dead.gain:
        return math.inf
    one, other, last = (1 / max(layers, 1) ** 2 for layers in (before.lifetime, dead.lifetime, depth))
    if one <= other:  # lifetimes scatter
        return dead.gain
    return dead.gain + (other - last) / (one - other) * (dead.gain - before.gain)
