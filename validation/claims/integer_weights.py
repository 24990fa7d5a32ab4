"""Claim: networks of integer weights live and fire as the exact chain says, at the integer threshold of vf.quantise alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.claims import weight_distributions
from validation.claims.weight_distributions import draw, simulate, theory, wrong
from validation.goodness import Fit
from validation.sidak import sidak

BITS = (2, 3, 4, 8)
MOVED = {2: (1, -1), 3: (1, -1), 4: (1, -1), 8: (12, -12)}  # of 8 bits a tenth: one step in 113 is not seen in 300 networks
CAUCHY = "Cauchy"


@dataclass(frozen=True, slots=True)
class Settings(weight_distributions.Settings):
    """``repeats`` networks of each number of bits, at ``moved`` steps from the best, and of Cauchy weights."""

    repeats: int = 300
    widths: tuple[int, ...] = (100,)
    layers: tuple[int, ...] = (10, 100)
    threshold: float = 1.0
    target: float = 0.99
    moved: tuple[int, int] = (0, 0)  # bits, and steps by which their integer threshold is moved

    def networks(self) -> dict[str, vf.Network]:
        neuron, depth, width = vf.Neuron(self.threshold * self.scale), max(self.layers), self.widths[0]
        found = {f"{bits} bits": (vf.weights.quantised(bits), self.gain_of(bits)) for bits in BITS}
        found[CAUCHY] = vf.weights.cauchy(), _cauchy_gain(self.threshold, width, depth, self.target)
        return {
            name: vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, weights=weights)
            for name, (weights, gain) in found.items()
        }

    def gain_of(self, bits: int) -> float:
        k = _threshold_of(self.threshold, self.widths[0], max(self.layers), bits, self.target)
        moved = self.moved[1] if self.moved[0] == bits else 0
        return vf.weights.quantised(bits).std * np.sqrt(self.widths[0]) * self.threshold / (k + moved - 0.5)


@cache
def _threshold_of(threshold: float, width: int, depth: int, bits: int, target: float) -> int:
    found = vf.quantise(threshold=threshold, width=width, depth=depth, bits=bits, survival_target=target)
    return found.integer_threshold


@cache
def _cauchy_gain(threshold: float, width: int, depth: int, target: float) -> float:
    options = {"survival_target": 0.9 * target, "weights": vf.weights.cauchy()}
    return vf.corrected_gain(threshold=threshold, width=width, depth=depth, **options)


def judge(settings: Settings, theory: list[Fit], measured: list[np.ndarray]) -> Judgement:
    """Pearson's test of the counts, and the exact binomial one of the networks alive, which cells of counts may hide."""
    from scipy.stats import binomtest

    judged = weight_distributions.judge(settings, theory, measured)
    chances = [min(float(fit.distribution[1:].sum()), 1.0) for fit in theory]
    alive = [
        float(binomtest(int(counts[1:].sum()), int(counts.sum()), chance).pvalue)
        for counts, chance in zip(measured, chances, strict=True)
    ]
    return replace(judged, p_value=min(1.0, 2 * min(judged.p_value, sidak(min(alive), len(alive)))))


def moved(bits: int, steps: int, settings: Settings) -> list[Fit]:
    """The theory with the integer threshold of one number of bits moved."""
    return theory(replace(settings, moved=(bits, steps)))


def normal_for_cauchy(settings: Settings) -> list[Fit]:
    """The theory with the chain of normal weights for Cauchy ones, at the same gain."""
    right, cauchy = theory(settings), settings.networks()[CAUCHY]
    chain = vf.SpikeChain(replace(cauchy, weights="normal")).propagate()
    normal = [Fit(chain[layer - 1].mass, settings.repeats, right[-1].draws) for layer in settings.layers]
    return [*right[: -len(normal)], *normal]


def reading(settings: Settings, theory: list[Fit], measured: list[np.ndarray]) -> str:
    last = slice(len(settings.layers) - 1, None, len(settings.layers))
    alive = [1 - fit.distribution[0] for fit in theory[last]]
    seen = [1 - counts[0] / counts.sum() for counts in measured[last]]
    words = "; ".join(
        f"{name} {100 * promised:.4g} % ({100 * found:.4g} %)"
        for name, promised, found in zip(settings.networks(), alive, seen, strict=True)
    )
    return (
        f"{settings.repeats} networks of width {settings.widths[0]} each, with the largest integer threshold that keeps "
        f"{100 * settings.target:g} % alive at layer {max(settings.layers)}. Alive there, exact (simulated): {words}."
    )


CLAIM = Claim(
    name="integer_weights",
    statement="In networks of width 100 with weights of 2, 3, 4 and 8 bits at the integer threshold of vf.quantise, and with "
    "Cauchy weights, the spike count has the distribution of the chain in layers 10 and 100; one integer more or less is "
    "rejected (of 8 bits a tenth).",
    source="derived in vf.quantise",
    quantity="mean spike count",
    budgets={"quick": Settings(widths=(40,), layers=(10, 20), target=0.9), "standard": Settings()},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the threshold", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(widths=(20,), layers=(2, 4), target=0.8),
    conservative="counts are discrete, and two tests share a level",
    dependent="layers belong to the same networks",
    controls=(
        *(
            Control(f"{bits} bits at k {steps:+d}", partial(moved, bits, steps))
            for bits, both in MOVED.items()
            for steps in both
        ),
        Control("the chain of normal weights for Cauchy ones", normal_for_cauchy),
    ),
)
