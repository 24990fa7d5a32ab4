"""Inverse problems of neurons with memory at finite width: gain, threshold and width by the survival of networks drawn.

Networks have equal layers, normal weights and no bias. Everything depends on ``λ g/θ`` and on the drive times ``λ/θ``. Layer 1
is blamed where it is what dies: no gain changes its spikes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._display import percent
from varflow.init.crossing import Crossing
from varflow.results.estimate import Estimate
from varflow.theory.finite_width.in_time.drawn import DrawnChain
from varflow.theory.finite_width.in_time.survival import survivors

FAR = 20.0  # gains and thresholds are sought within this factor of the start
START = 2.5  # gain, in units of θ/λ
NARROW, WIDEST = 100, 2**12  # widths: where the search starts, and the largest that is drawn
MANY = 4000  # networks that tell whether a target is attainable


@dataclass(frozen=True, slots=True)
class Aim:
    """Networks with gain 1 in units of ``θ/λ``, and the part of them that should be alive in the last layer.

    Attributes
    ----------
    unit : float
        ``θ/λ`` of the neuron.
    networks, seed : int
        Networks at each of five places about the answer.
    """

    chain: DrawnChain
    unit: float
    alive: str
    target: float
    networks: int
    seed: int

    def gain(self) -> Estimate:
        """The smallest gain with which as many survive."""
        self._attainable(self._with_gain(math.log(FAR * START)))
        return self._solved("gain", self._with_gain, math.log(START), self.unit)

    def threshold(self, gain: float, threshold: float) -> Estimate:
        """The largest threshold with which as many survive, in place of the neuron's."""
        lower = lambda x: self._with(gain * math.exp(x) / self.unit, math.exp(x))  # noqa: E731  x = -ln(θ/threshold)
        self._attainable(lower(math.log(FAR)))
        return self._solved("threshold", lower, 0.0, threshold, falling=True)

    def width(self, gain: float) -> Estimate:
        """The smallest width of all layers with which as many survive."""
        wide = lambda x: replace(  # noqa: E731
            self._with(gain / self.unit), widths=(max(round(math.exp(x)), 1),) * len(self.chain.widths)
        )
        found = self._solved("width", wide, math.log(NARROW), 1.0, furthest=math.log(WIDEST))
        return replace(found, value=math.ceil(found.value))

    def _with(self, gain: float, drive: float = 1.0) -> DrawnChain:
        return replace(self.chain, gains=(gain,) * len(self.chain.gains), drive=drive**2 * self.chain.drive)

    def _with_gain(self, x: float) -> DrawnChain:
        return self._with(math.exp(x))

    def _drawn(self, at: Callable[[float], DrawnChain], x: float, networks: int, seed: int) -> float:
        return float(survivors(at(x), self.alive, networks, self.seed + seed)[-1])

    def _crossing(self, at: Callable[[float], DrawnChain], furthest: float) -> Crossing:
        return Crossing(partial(self._drawn, at), self.target, furthest)

    def _solved(
        self, quantity: str, at: Callable[[float], DrawnChain], start: float, scale: float, *, furthest: float | None = None,
        falling: bool = False,
    ) -> Estimate:
        """``scale · eˣ`` at the crossing, or ``scale · e⁻ˣ``."""
        crossing = self._crossing(at, start + math.log(FAR) if furthest is None else furthest)
        x, error = crossing.find(start, self.networks)
        if math.isinf(x):
            rule = f"is not reached with any {quantity} tried, the last {scale * math.exp(crossing.furthest):.4g}: raise the gain"
            raise DomainError("survival_target", self.target, rule)
        value = scale * math.exp(-x if falling else x)
        return Estimate(quantity, value, value * error, self.alive, f"{crossing.networks} networks drawn from the exact chain")

    def _attainable(self, best: DrawnChain) -> None:
        """Raise if too few networks survive in the best case; layer 1 is to blame if it is what dies."""
        alive = survivors(best, self.alive, MANY, self.seed) / MANY
        if alive[-1] + 3 * math.sqrt(alive[-1] * (1 - alive[-1]) / MANY) >= self.target:
            return
        n, shown = best.widths[0], f"at width {best.widths[0]} with {self.alive} alive"
        if alive[0] > (1 + alive[-1]) / 2:
            highest = f"the highest survival in layer {len(alive)} is {percent(alive[-1])}"
            raise DomainError("survival_target", self.target, f"is not attainable {shown}: {highest}; widen the layers")
        layer = lambda x: replace(self._with(1.0, math.exp(x)), widths=(n,), gains=(1.0,))  # noqa: E731
        x, _ = self._crossing(layer, math.log(FAR)).find(0.0, self.networks)
        needed = "no drive helps" if math.isinf(x) else f"multiply the drive by {math.exp(x):.3g} or more (the input gain)"
        rule = f"is not attainable {shown}: only {percent(alive[0])} of the networks are alive in layer 1, where no gain acts"
        raise DomainError("survival_target", self.target, f"{rule}; {needed}, or widen the layers")
