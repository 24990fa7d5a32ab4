"""Inverse problems of neurons with memory at finite width: gain, threshold and width by the survival of networks drawn.

Networks have equal layers, normal weights and no bias. Steps count from the first arrival, so a delay has no effect. Everything
depends on ``λ g/θ`` and on the drive times ``λ/θ``. Layer 1 is blamed where it is what dies: no gain changes its spikes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from varflow._checks import DomainError, choice, integer, need, probability, refuse
from varflow._display import percent
from varflow.init.crossing import Crossing
from varflow.init.gains import ONLY_WITH_MEMORY, steps_of, without_memory
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.over_neurons import mean_of, times
from varflow.results import Estimate
from varflow.results.export import CRITERIA
from varflow.theory.finite_width.in_time.drawn import DrawnChain
from varflow.theory.finite_width.in_time.survival import survivors

FAR = 40.0  # factor of the start within which an answer is sought
START = 2.5  # gain, in units of θ/λ
NARROW = 100  # width where the search starts
MANY = 1000  # networks that tell whether a target is attainable


def aimed(threshold: Any, width: int, depth: int, target: float, weights: Any, *in_time: Any) -> Any:
    """Aim for a neuron with memory; for another neuron the threshold of its currents, ``θ/λ``; else the threshold.

    ``in_time``: neuron, steps, alive, drive, networks and seed.
    """
    neuron, steps, alive, drive, networks, seed = in_time
    networks, seed = integer("networks", networks, minimum=100), integer("seed", seed, minimum=0)
    if neuron is None:
        refuse(ONLY_WITH_MEMORY, steps=steps, alive=alive, drive=drive)
        return threshold
    refuse("conflicts with neuron=…, which has one", threshold=threshold)
    neuron = replace(as_neuron(neuron), delay=0)
    if without_memory(neuron, steps := steps_of(neuron, steps)):
        refuse("counts for neurons with memory: this answer is for vf.drives.currents()", drive=drive)
        return times(neuron.threshold, 1 / neuron.input_scale)
    need("is missing: the criteria of survival differ by orders of magnitude; see vf.survival", alive=alive)
    choice("alive", alive, CRITERIA)
    width, depth = integer("width", width, minimum=1), integer("depth", depth, minimum=2)
    dynamics = {"neuron": neuron, "steps": steps, "drive": currents() if drive is None else drive, "weights": weights}
    unit, target = mean_of(neuron.threshold) / neuron.input_scale, probability("survival_target", target, open_ends=True)
    return Aim(DrawnChain.of(Network(width=width, depth=depth, gain=unit, **dynamics)), unit, alive, target, networks, seed)


@dataclass(frozen=True, slots=True)
class Aim:
    """Networks of one neuron, and the part of them that should be alive in the last layer.

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
        return self._solved("gain", lambda x: self._at(START * math.exp(x)), START * self.unit, 1)

    def threshold(self, gain: float, threshold: float) -> Estimate:
        """The largest threshold with which as many survive, in place of the neuron's ``threshold``; ``x = ln(threshold/θ)``."""
        return self._solved("threshold", lambda x: self._at(gain * math.exp(x) / self.unit, math.exp(x)), threshold, -1)

    def width(self, gain: float) -> Estimate:
        """The smallest width of all layers with which as many survive."""
        found = self._solved("width", lambda x: self._at(gain / self.unit, width=math.ceil(NARROW * math.exp(x))), NARROW, 1)
        return replace(found, value=math.ceil(found.value))

    def _at(self, gain: float, drive: float = 1.0, width: int | None = None, depth: int | None = None) -> DrawnChain:
        """Networks of a gain in units of ``θ/λ``, under a drive this much stronger."""
        widths = (width or self.chain.widths[0],) * (depth or len(self.chain.widths))
        return replace(self.chain, gains=(gain,) * len(widths), drive=drive**2 * self.chain.drive, widths=widths)

    def _crossing(self, at: Callable[[float], DrawnChain]) -> tuple[Crossing, float, float]:
        """The search, the crossing and its standard error."""
        drawn = lambda x, networks, seed: survivors(at(x), self.alive, networks, self.seed + seed)[-1]  # noqa: E731
        crossing = Crossing(drawn, self.target, math.log(FAR))
        return crossing, *crossing.find(self.networks)

    def _solved(self, quantity: str, at: Callable[[float], DrawnChain], start: float, power: int) -> Estimate:
        """``start · e^(power x)`` at the crossing."""
        if quantity != "width":
            self._attainable(at(math.log(FAR)))
        crossing, x, error = self._crossing(at)
        value = start * math.exp(power * min(x, math.log(FAR)))
        if math.isinf(x):
            raise DomainError("survival_target", self.target, f"is not reached up to {quantity} {value:.4g}: raise the gain")
        method = f"{sum(networks for *_, networks in crossing.seen)} networks drawn"
        return Estimate(quantity, value, value * error, self.alive, method)

    def _attainable(self, best: DrawnChain) -> None:
        """Raise if too few networks survive in the best case; layer 1 is to blame if it is what dies."""
        alive = survivors(best, self.alive, MANY, self.seed) / MANY
        if alive[-1] + 3 * math.sqrt(alive[-1] * (1 - alive[-1]) / MANY) >= self.target:
            return
        rule = f"is not attainable at width {best.widths[0]} with {self.alive} alive: "
        if alive[0] > (1 + alive[-1]) / 2:
            rule += f"the highest survival in layer {len(alive)} is {percent(alive[-1])}"
        else:
            _, x, _ = self._crossing(lambda x: self._at(1.0, math.exp(x), depth=1))
            rule += f"only {percent(alive[0])} of the networks are alive in layer 1, where no gain acts; "
            rule += "no drive helps" if math.isinf(x) else f"multiply the drive (the input gain) by {math.exp(x):.3g} or more"
        raise DomainError("survival_target", self.target, f"{rule}; or widen the layers")
