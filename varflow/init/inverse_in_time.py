r"""Inverse problems of neurons with memory at finite width: gain, threshold and width by the survival of networks drawn.

Networks have equal layers, normal weights and no bias. Steps count from the first arrival, so a delay has no effect. Everything
depends on ``λ g/θ`` and on the drive times ``λ/θ``. Layer 1 is blamed where it is what dies: no gain changes its spikes.

The crossing of a target by a survival that is measured on networks drawn is found by a bracket, then logistic fits that move
to it,

.. math:: \mathrm{logit}\, P(x) \approx a + b\, d + c\, d^2, \qquad d = s (x - x_0)

near the target, by maximum likelihood with a weak prior; ``s`` is the slope of the fit before. In ``x = ln g`` it is 36 to 290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit

from varflow._checks import DomainError, choice, integer, need, probability, refuse
from varflow._display import percent
from varflow._progress import Progress, Report, check_progress, reporter
from varflow.init.gains import ONLY_WITH_MEMORY, steps_of, without_memory
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.over_neurons import mean_of, times
from varflow.results import Estimate
from varflow.results.export import CRITERIA
from varflow.theory.finite_width.in_time.drawn import DrawnChain
from varflow.theory.finite_width.in_time.survival import survivors

FEW = 64  # networks that tell on which side of one half a survival is
BRACKET = 0.02  # bracket of one half
SLOPE, LEAST, MOST = 40.0, 0.5, 2e3  # of the logit: the first guess, and between which it is believed
PLACES = 0.9 * np.arange(-2.0, 3.0)  # of a round about the crossing, in logits
ROUNDS = (0.05, 0.1, 0.3, 1.0)  # networks at each place of a round, as a fraction of those of the last
REACH = 6.0  # logits from the crossing within which networks count for the fit
PRIOR = np.array([0.01, 1.0, 100.0])  # precision of a about the target, of b about 1, and of c about 0


@dataclass(slots=True)
class Crossing:
    """The search for the ``x`` at which survival, which rises with it, is ``target``.

    Attributes
    ----------
    drawn : callable
        Number of survivors among so many networks drawn at ``x``; with the number of those looks, for its seed.
    furthest : float
        The largest ``x``, and ``-x``, of the bracket.
    report : callable
        Called after every look.
    """

    drawn: Callable[[float, int, int], float]
    target: float
    furthest: float
    report: Report
    seen: list[tuple[float, float, int]] = field(default_factory=list)

    def look(self, x: float, networks: int) -> float:
        """Survival at ``x``."""
        alive = self.drawn(x, networks, len(self.seen))
        self.seen.append((x, alive, networks))
        self.report(len(self.seen))
        return alive / networks

    def find(self, networks: int) -> tuple[float, float]:
        """The crossing and its standard error; infinite if it lies beyond the furthest ``x``."""
        half = self._half()
        if half > self.furthest - BRACKET:
            return math.inf, 0.0
        x, error, slope = half + float(logit(self.target)) / SLOPE / 2, 0.0, SLOPE
        for part in ROUNDS:
            for place in PLACES:
                self.look(x + place / slope, max(round(part * networks), FEW))
            x, error, slope = self._fitted(x, slope)
        return (x, error) if x < self.furthest else (math.inf, 0.0)

    def _half(self) -> float:
        """The ``x`` at which about half of the networks are alive."""
        lower, upper = -self.furthest, self.furthest
        while upper - lower > BRACKET:
            middle = (lower + upper) / 2
            lower, upper = (middle, upper) if self.look(middle, FEW) < 0.5 else (lower, middle)
        return (lower + upper) / 2

    def _fitted(self, x: float, slope: float) -> tuple[float, float, float]:
        """Crossing, its standard error and the slope there, from all networks drawn near ``x``."""
        places, alive, networks = np.array(self.seen).T
        near = abs(slope * (places - x)) < REACH
        d, alive, networks = slope * (places - x)[near], alive[near], networks[near]
        powers, level = np.stack([np.ones_like(d), d, d**2], axis=1), float(logit(self.target))
        fit, mean, information = np.array([level, 1.0, 0.0]), np.array([level, 1.0, 0.0]), np.diag(PRIOR)
        for _ in range(30):
            P = expit(powers @ fit)
            information = (powers.T * (networks * P * (1 - P))) @ powers + np.diag(PRIOR)
            step = np.linalg.solve(information, powers.T @ (alive - networks * P) - PRIOR * (fit - mean))
            fit = fit + step / max(1.0, float(abs(step).max()))
        at, steepness = 0.0, 1.0
        for _ in range(20):
            steepness = max(fit[1] + 2 * fit[2] * at, LEAST / slope)
            at = float(np.clip(at - (fit @ [1.0, at, at**2] - level) / steepness, -REACH, REACH))
        direction = np.array([1.0, at, at**2])
        error = math.sqrt(direction @ np.linalg.solve(information, direction)) / (slope * steepness)
        return x + at / slope, error, float(np.clip(slope * steepness, LEAST, MOST))


FAR = 40.0  # factor of the start within which an answer is sought
START = 2.5  # gain, in units of θ/λ
NARROW = 100  # width where the search starts
ABOVE = "give a gain further above the critical one of infinite width, vf.temporal_critical_gain(neuron, steps=…)"
MANY = 1000  # networks that tell whether a target is attainable


def aimed(threshold: Any, width: int, depth: int, target: float, weights: Any, *in_time: Any) -> Any:
    """Aim for a neuron with memory; for another neuron the threshold of its currents, ``θ/λ``; else the threshold.

    ``in_time``: neuron, steps, alive, drive, networks, seed and progress.
    """
    neuron, steps, alive, drive, networks, seed, progress = in_time
    check_progress(progress)
    networks, seed = integer("networks", networks, minimum=100), integer("seed", seed, minimum=0)
    if neuron is None:
        refuse(ONLY_WITH_MEMORY, steps=steps, alive=alive, drive=drive)
        return threshold
    refuse("conflicts with neuron=…, which has one", threshold=threshold)
    neuron = replace(as_neuron(neuron), delay=0)
    if without_memory(neuron, steps := steps_of(neuron, steps)):
        refuse("counts for neurons with memory: this answer is for vf.drives.currents()", drive=drive)
        return times(neuron.threshold, 1 / neuron.input_scale)
    rule = "is missing: 'every late step' for a readout of single steps, 'a late step' for a sum over steps; see vf.survival"
    need(rule, alive=alive)
    choice("alive", alive, CRITERIA)
    width, depth = integer("width", width, minimum=1), integer("depth", depth, minimum=2)
    dynamics = {"neuron": neuron, "steps": steps, "drive": currents() if drive is None else drive, "weights": weights}
    unit, target = mean_of(neuron.threshold) / neuron.input_scale, probability("survival_target", target, open_ends=True)
    chain = DrawnChain.of(Network(width=width, depth=depth, gain=unit, **dynamics))
    return Aim(chain, unit, alive, target, networks, seed, progress)


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
    progress: Progress

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
        looks = math.ceil(math.log2(2 * math.log(FAR) / BRACKET)) + len(ROUNDS) * len(PLACES)
        with reporter(self.progress, looks, "ensembles") as report:
            crossing = Crossing(drawn, self.target, math.log(FAR), report)
            return crossing, *crossing.find(self.networks)

    def _solved(self, quantity: str, at: Callable[[float], DrawnChain], start: float, power: int) -> Estimate:
        """``start · e^(power x)`` at the crossing."""
        if quantity != "width":
            self._attainable(at(math.log(FAR)))
        crossing, x, error = self._crossing(at)
        value = start * math.exp(power * min(x, math.log(FAR)))
        if math.isinf(x):
            raise DomainError("survival_target", self.target, f"is not reached up to {quantity} {value:.4g}: {ABOVE}")
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
