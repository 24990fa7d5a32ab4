"""Claim: with Kaiming's gain activity dies above θ = 0.5757, in the layer that the exact chain predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

import varflow as vf
from validation.claim import Claim, Error, Judgement
from validation.goodness import Fit
from validation.sidak import sidak
from validation.work import Work

KAIMING = 2**0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """Networks of each width, at each threshold, followed for ``depth`` layers."""

    widths: tuple[int, ...]
    repeats: tuple[int, ...]
    thresholds: tuple[float, ...] = (0.6, 0.7, 0.85, 1.0)
    depth: int = 60
    gain: float = KAIMING
    false_alarm: float = 1e-3

    def cases(self) -> list[tuple[int, vf.Network]]:
        """Number of networks, and their description, for every width and threshold."""
        return [
            (repeats, vf.Network(width=width, depth=self.depth, gain=self.gain, neuron=vf.Neuron(threshold)))
            for width, repeats in zip(self.widths, self.repeats, strict=True)
            for threshold in self.thresholds
        ]


def theory(settings: Settings) -> list[Fit]:
    """Distribution of the layer of death, ``P(T = l) = P(K_{l-1} > 0) - P(K_l > 0)``; last entry: alive in the last layer."""
    cases = settings.cases()
    draws = int(np.ceil(4 * len(cases) / settings.false_alarm))
    return [Fit(_death_distribution(vf.finite_width(network).survival), repeats, draws) for repeats, network in cases]


def _death_distribution(survival: np.ndarray) -> np.ndarray:
    alive = np.concatenate([[1.0], survival])
    return np.append(np.maximum(-np.diff(alive), 0.0), survival[-1])


def simulate(settings: Settings, seed: int, work: Work) -> list[np.ndarray]:
    """Numbers of networks that die in layer 1, 2, … and that survive, for every case; real weight matrices."""
    measured = []
    for width, repeats in zip(settings.widths, settings.repeats, strict=True):
        networks = [network for _, network in settings.cases() if network.width == width]
        ensembles = work.simulate(networks, repeats=repeats, seed=seed, what=f"simulating width {width}")
        measured += [_death_counts(ensemble) for ensemble in ensembles]
    return measured


def _death_counts(ensemble: vf.Ensemble) -> np.ndarray:
    dead = np.column_stack([ensemble.survival == 0, np.ones(ensemble.repeats, dtype=bool)])
    return np.bincount(dead.argmax(axis=1), minlength=dead.shape[1])


def judge(settings: Settings, theory: Sequence[Fit], measured: Sequence[np.ndarray]) -> Judgement:
    """Pearson's test for every case, Šidák over the cases; stated is the mean layer of death."""
    worst = min(fit.p_value(counts) for fit, counts in zip(theory, measured, strict=True))
    layers = np.arange(1, settings.depth + 2)
    mean = np.array([layers @ fit.distribution for fit in theory])
    spread = np.array([np.sqrt(layers**2 @ fit.distribution - (layers @ fit.distribution) ** 2) for fit in theory])
    error = spread / np.sqrt([counts.sum() for counts in measured])
    seen = np.array([layers @ counts / counts.sum() for counts in measured])
    points = tuple(f"n = {network.width}, θ = {network.neuron.threshold:g}" for _, network in settings.cases())
    return Judgement(sidak(worst, len(theory)), points, mean, seen, error, (seen - mean) / error)


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, gain=settings.gain * (1 + error))


def draw(settings: Settings, theory: Sequence[Fit], seed: int) -> list[np.ndarray]:
    """Draws from the exact distribution; thresholds are independent here, but share weights in the simulation."""
    rng = np.random.default_rng([1, seed])
    return [rng.multinomial(fit.sample, fit.distribution / fit.distribution.sum()) for fit in theory]


def reading(settings: Settings, theory: Sequence[Fit], measured: Sequence[np.ndarray]) -> str:
    """The layer by which half of the networks are silent, predicted and simulated."""
    rows = []
    for width in settings.widths:
        parts = []
        for (_, network), fit, counts in zip(settings.cases(), theory, measured, strict=True):
            if network.width == width:
                parts.append(
                    f"{_median(fit.distribution)} ({_median(counts / counts.sum())}) at θ = {network.neuron.threshold:g}"
                )
        rows.append(f"width {width}: " + ", ".join(parts))
    edge = settings.gain / vf.critical_gain(threshold=1.0)
    return (
        f"At infinite width silence is the only fixed point above θ = {edge:.7f}. The layer by which half of the networks are "
        f"silent, exact (simulated): {'; '.join(rows)}. Compared is the whole distribution of that layer, not only its median."
    )


def _median(distribution: np.ndarray) -> int:
    return int(np.argmax(np.cumsum(distribution) >= 0.5)) + 1


CLAIM = Claim(
    name="kaiming_death_depth",
    statement="With Kaiming's gain, g² = 2, and a threshold above the critical 0.5757, activity dies, and the layer in which "
    "each network falls silent has the distribution of the exact chain, P(T = l) = P(K_{l-1} > 0) - P(K_l > 0).",
    source="he2015 for the gain; micheli2024, figure 2, right, shows the decay; the distribution is derived in vf.finite_width",
    quantity="mean layer of death",
    budgets={
        "quick": Settings(widths=(30, 100), repeats=(4000, 800)),
        "standard": Settings(widths=(100, 300, 1000), repeats=(3000, 600, 120)),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the gain", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(widths=(20, 30), repeats=(400, 400), depth=20),
    dependent="thresholds of a width share weights",
)
