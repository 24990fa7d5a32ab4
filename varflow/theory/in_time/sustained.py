r"""Which late rates and variances a constant gain sustains: those of networks whose late steps live in the last layer.

Just below the smallest such gain ``g_c`` a network dies slowly: near the fixed point that vanishes there, deviations obey
``dx/dl = x² + c (g_c - g)``, and to pass takes ``N ≈ π/√(c (g_c - g))`` layers. So ``1/N²`` falls linearly with the gain, and
the lifetimes of two networks that die early give the gain at which one lives to the last layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from varflow.model.neurons import Neuron
from varflow.theory.flow.neurons import Neurons
from varflow.theory.in_time.one_gain import Propagated, propagated
from varflow.theory.in_time.responses import LayerState

__all__ = ["HIGHEST", "Sustained", "sustained_range"]

LOWEST, HIGHEST = 0.05, 1e3  # gains, in units of θ/λ, that are searched
GUESS = 2.0  # first gain tried, in these units; the smallest of memoryless neurons is 2.4565
FARTHER = 1.3  # largest ratio of the next gain to one that dies
ROUGH = 2**9  # points for the smallest gain
EDGE = 1.003  # accuracy of the smallest gain, as a ratio
ROUGH_EDGE = 1.05  # the same where values grow without bound, which have no smallest stationary one


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


def sustained_range(neuron: Neuron, neurons: Neurons, first: LayerState, depth: int) -> Sustained:
    """For the neuron with θ = λ = 1, and the driven layer ``first``."""
    rough = replace(neurons, points=min(neurons.points, ROUGH))
    most = propagated(neuron, neurons, first, HIGHEST, depth, settling=True)
    endless = not np.isfinite(most.firing_rate).all()
    least = _smallest(lambda gain: propagated(neuron, rough, first, gain, depth), depth, ROUGH_EDGE if endless else EDGE)
    return Sustained(least, most, endless)


def _smallest(network: Callable[[float], Propagated], depth: int, edge: float) -> Propagated:
    """The network of the smallest gain, to a ratio, that lives clearly to its depth."""
    tried, before, dead, least = network(GUESS), None, None, None
    while True:
        if tried.lifetime >= depth:
            least = tried
        else:
            before, dead = dead, tried
        if dead is None:
            gain = tried.gain / 2
        else:
            gain = max(_expected(before, dead, depth), edge * dead.gain)
            if least is not None:
                gain = min(gain, math.sqrt(dead.gain * least.gain), least.gain / edge)
        if not LOWEST < gain < HIGHEST or (dead and least and least.gain <= edge * dead.gain):
            return network(edge * least.gain) if least else tried  # beside the edge itself, where the last layers die
        tried = network(gain)


def _expected(before: Propagated | None, dead: Propagated, depth: int) -> float:
    """The gain at which ``1/N²``, on the straight line through two networks that die, has fallen to that of the depth."""
    if before is None or before.gain > dead.gain:
        return FARTHER * dead.gain
    one, other, last = (1 / max(layers, 1) ** 2 for layers in (before.lifetime, dead.lifetime, depth))
    if one <= other:  # lifetimes scatter
        return dead.gain
    return min(dead.gain + (other - last) / (one - other) * (dead.gain - before.gain), FARTHER * dead.gain)
