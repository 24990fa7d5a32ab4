r"""Deep layers in time at infinite width, quickly: what they keep at a gain, and the gain with which they keep it.

The state of a layer is ``M(t, t') = E[S_t S_t']``; the next one draws currents of covariance ``g² M``. Instead of trying gains,
every layer chooses the one that gives it the wanted rate. That fixes the direction in which deviations grow, so the states
settle within a few layers, stable or not, and so do the gains, to the one at which a layer repeats the one below.

A few tenths of a second and about 0.2 % in the gain; ``varflow.gain_for_rate`` is slower and states its error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from varflow._checks import ConvergenceError, require
from varflow.init.models.population import factor, stepped
from varflow.init.models.prediction import late
from varflow.model.neurons import Neuron

__all__ = ["Layers", "State", "rising_root"]

POINTS = 2**12
EDGE = 1e-9  # of a uniform number from 0 and 1: beyond it no normal number is of use
ACCURACY = 3e-3  # relative, of the target in one layer; many are averaged
SECANTS = 5  # before a bracket is looked for
LONGEST, SHORTEST = 96, 8  # layers
AVERAGED = 12  # last layers, at most half of them
DEVIATION, ROUNDS = 0.2, 8  # relative, and layers it is followed for; the second half is measured
HIGHEST = 1e6


@dataclass(frozen=True, slots=True)
class State:
    """Late rate and variance (of ``H/λ``) of a layer or the mean over deep ones, and the coincidences of the last one."""

    gain: float
    firing_rate: float
    variance: float
    coincidences: Any

    def __getitem__(self, quantity: str) -> float:
        return self.firing_rate if quantity == "firing_rate" else self.variance


class Layers:
    """Layers of one neuron without bias, below one that is driven by constant currents.

    Every layer integrates over the same Sobol points with signs flipped afresh: points frozen over depth would repeat their
    error in every layer.
    """

    def __init__(self, neuron: Neuron, steps: int, depth: int, seed: int = 0):
        torch = self.torch = require("torch", "torch")
        self.neuron, self.steps = neuron, steps
        self.depth = min(max(depth, SHORTEST), LONGEST)
        uniform = torch.quasirandom.SobolEngine(steps, scramble=True, seed=seed).draw(POINTS, dtype=torch.float64)
        self.points = torch.special.ndtri(uniform.clamp(EDGE, 1 - EDGE)).T.float().contiguous()
        self.H, self.S = (torch.empty_like(self.points) for _ in range(2))  # room, taken once
        self.signs = 2.0 * torch.randint(0, 2, (self.depth + 1, steps, 1), generator=torch.Generator().manual_seed(seed)) - 1

    def above(self, coincidences: Any, number: int) -> Callable[[float], State]:
        """Layer ``number`` above spikes with these coincidences, as a function of its gain."""
        currents = factor(self.torch, coincidences).float() @ (self.points * self.signs[number])

        def at(gain: float) -> State:
            H, S = stepped(self.torch, self.neuron, self.torch.mul(currents, gain, out=self.H), out=self.S)
            half = late(self.steps)
            power = float(self.torch.linalg.vector_norm(H[half])) ** 2 / H[half].numel()
            variance = power - float((H[half].mean(-1) ** 2).mean())  # the currents' mean is 0, that of H not
            return State(gain, float(S[half].mean()), variance, (S @ S.T / S.shape[-1]).double())

        return at

    def driven(self, quantity: str, target: float) -> State:
        """A layer that constant currents drive to a target."""
        at = self.above(self.torch.ones(self.steps, self.steps, dtype=self.torch.float64), 0)
        start = self.neuron.threshold / self.neuron.input_scale
        return at(rising_root(lambda g: at(g)[quantity] - target, max(start, 1e-3), f"{quantity} {target:g}"))

    def choosing(self, quantity: str, target: float) -> State:
        """Deep layers each of which chooses the gain that gives it the target."""
        state, found = self.driven(quantity, target), []
        gain = 2.5 * max(abs(self.neuron.threshold), 1e-3) / self.neuron.input_scale
        for number in range(1, self.depth + 1):
            state = self._chosen(self.above(state.coincidences, number), quantity, target, gain)
            gain = state.gain
            found.append(state)
        return self._mean(found)

    def _chosen(self, at: Callable[[float], State], quantity: str, target: float, start: float) -> State:
        """The layer at the target: secants in logarithms from a gain that is nearly right, else a bracket."""
        state, slope = at(start), 1.0
        for _ in range(SECANTS):
            if not 0.2 < state[quantity] / target < 5:
                break
            off = math.log(state[quantity] / target)
            if abs(off) < ACCURACY:
                return state
            before, state = (state.gain, off), at(state.gain * math.exp(-off / slope))
            if 0 < state[quantity] != target:
                rise = (math.log(state[quantity] / target) - before[1]) / math.log(state.gain / before[0])
                slope = min(max(rise, 0.2), 5.0)
        return at(rising_root(lambda g: at(g)[quantity] - target, start, f"{quantity} {target:g}", ACCURACY))

    def at_gain(self, gain: float, rate: float) -> State:
        """Deep layers of one gain, below one that fires at a rate."""
        state, found = self.driven("firing_rate", rate), []
        for number in range(1, self.depth + 1):
            state = self.above(state.coincidences, number)(gain)
            found.append(state)
        return self._mean(found)

    def _mean(self, found: list[State]) -> State:
        last = found[-min(AVERAGED, len(found) // 2) :]
        logs, rates, variances = zip(*((math.log(s.gain), s.firing_rate, s.variance) for s in last), strict=True)
        gain, rate, variance = (sum(column) / len(last) for column in (logs, rates, variances))
        return State(math.exp(gain), rate, variance, found[-1].coincidences)

    def multiplier(self, state: State) -> float:
        """What a small deviation of a state that is kept grows by from layer to layer: power iteration on differences. It is
        relative to what the layer makes of the state itself: the points' own error falls out.
        """
        M, norm = state.coincidences, self.torch.linalg.matrix_norm
        repeated = float(norm(self.above(M, 1)(state.gain).coincidences))
        if not repeated:
            return 0.0
        deviation, growth = DEVIATION * M, []
        for _ in range(ROUNDS):
            above, below = (self.above(M + sign * deviation, 1)(state.gain).coincidences for sign in (1, -1))
            response = (above - below) / 2
            growth.append(float(norm(response) / norm(deviation)))
            if not growth[-1]:
                return 0.0
            deviation = response * (DEVIATION * norm(M) / norm(response))
        return math.prod(growth[ROUNDS // 2 :]) ** (2 / ROUNDS) * float(norm(M)) / repeated


def rising_root(excess: Callable[[float], float], start: float, what: str, accuracy: float = 1e-3) -> float:
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
