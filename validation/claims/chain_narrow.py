"""Claim: in a layer of twelve neurons the spike count has exactly the chain's law, in every shape of it, at every depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.stats import binom, norm

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement, Progress
from validation.goodness import Fit

EXACT = 1e-12  # within which two ways of computing the same moments must agree


@dataclass(frozen=True, slots=True)
class Settings:
    repeats: int
    width: int = 12
    thresholds: tuple[float, ...] = (0.5, 1.0)
    layers: tuple[int, ...] = (2, 3, 5, 10, 20)
    scale: float = 1.0  # of the thresholds, the gains staying: an error
    false_alarm: float = 1e-3

    def networks(self, weights: str = "normal") -> list[vf.Network]:
        """One network per threshold, at the gain that preserves the variance there."""
        return [
            vf.Network(
                width=self.width,
                depth=max(self.layers),
                gain=vf.gain(threshold=threshold),
                neuron=vf.Neuron(threshold * self.scale),
                weights=weights,
            )
            for threshold in self.thresholds
        ]

    def points(self) -> tuple[str, ...]:
        return tuple(f"θ = {threshold:g}, layer {layer}" for threshold in self.thresholds for layer in self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """The law of the spike count at every threshold and layer, and how far varflow's moments are from it."""

    fits: list[Fit]
    disagreement: float


def theory(settings: Settings) -> Law:
    """The law from the definition, a matrix of binomials, beside ``vf.finite_width``."""
    draws = int(np.ceil(4 * len(settings.points()) / settings.false_alarm))
    fits, disagreement = [], 0.0
    for network in settings.networks():
        laws = count_laws(network)
        disagreement = max(disagreement, _disagreement(laws, vf.finite_width(network)))
        fits += [Fit(laws[layer - 1], settings.repeats, draws) for layer in settings.layers]
    return Law(fits, disagreement)


def count_laws(network: vf.Network) -> np.ndarray:
    """``P(K_l = k)`` for every layer and count, straight from the definition of the layer: row l - 1 is layer l."""
    n, theta = int(network.widths[0]), network.neuron.threshold
    active = np.arange(1, n + 1)
    chance = np.append(0.0, norm.sf(theta / (float(network.gains[0]) / np.sqrt(n) * np.sqrt(active))))
    step = binom.pmf(np.arange(n + 1), n, chance[:, None])
    laws = [binom.pmf(np.arange(n + 1), n, norm.sf(theta))]
    for _ in range(network.depth - 1):
        laws.append(laws[-1] @ step)
    return np.array(laws)


def _disagreement(laws: np.ndarray, profile: vf.Profile) -> float:
    """Largest difference of mean and standard deviation of the rate and of survival, layer by layer."""
    rates = np.arange(laws.shape[1]) / (laws.shape[1] - 1)
    mean = laws @ rates
    std = np.sqrt(laws @ rates**2 - mean**2)
    here, there = np.array([mean, std, 1 - laws[:, 0]]), [profile.firing_rate, profile.firing_rate_std, profile.survival]
    return float(np.abs(here - there).max())


def simulate(settings: Settings, seed: int, progress: Progress, weights: str = "normal") -> list[np.ndarray]:
    """How often each spike count was seen, per threshold and layer, in networks with real weight matrices."""
    networks = settings.networks(weights)
    ensembles = vf.simulate(networks, repeats=settings.repeats, seed=seed, progress=partial(progress, "simulating"))
    counts = [np.rint(ensemble.spikes).astype(int)[:, layer - 1] for ensemble in ensembles for layer in settings.layers]
    return [np.bincount(seen, minlength=settings.width + 1) for seen in counts]


def judge(settings: Settings, theory: Law, measured: list[np.ndarray]) -> Judgement:
    """Pearson's statistic per threshold and layer, Bonferroni over them; 0 if varflow's moments are not the law's."""
    worst = min(fit.p_value(counts) for fit, counts in zip(theory.fits, measured, strict=True))
    p_value = min(1.0, worst * len(measured)) if theory.disagreement <= EXACT else 0.0
    expected = [_moments(fit.law) for fit in theory.fits]
    mean, std = np.array(expected).T
    seen = np.array([_moments(counts / counts.sum())[0] for counts in measured])
    error = std / np.sqrt(settings.repeats)
    return Judgement(p_value, settings.points(), mean, seen, error, (seen - mean) / error)


def _moments(law: np.ndarray) -> tuple[float, float]:
    values = np.arange(len(law))
    mean = float(values @ law)
    return mean, float(np.sqrt((values - mean) ** 2 @ law))


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, scale=settings.scale * (1 + error))


def draw(settings: Settings, theory: Law, seed: int) -> list[np.ndarray]:
    """Counts drawn from each layer's law; layers independent of each other, as Bonferroni does not care."""
    rng = np.random.default_rng([1, seed])
    return [rng.multinomial(fit.sample, fit.law / fit.law.sum()) for fit in theory.fits]


def reading(settings: Settings, theory: Law, measured: list[np.ndarray]) -> str:
    silent = ", ".join(
        f"{fit.law[0]:.4f} ({counts[0] / counts.sum():.4f}) at {point}"
        for fit, counts, point in zip(theory.fits, measured, settings.points(), strict=True)
        if point.endswith(f" {max(settings.layers)}")
    )
    return (
        f"{settings.repeats} networks of {settings.width} neurons per layer. Share of silent networks, exact (simulated): "
        f"{silent}. The law comes from a matrix of binomials written in the claim itself. Mean and standard deviation of the "
        f"rate and survival of vf.finite_width must agree with it within {EXACT:g} in every layer; they do so within "
        f"{theory.disagreement:.1g}."
    )


CLAIM = Claim(
    name="chain_narrow",
    statement="In networks of width 12 the number of spikes of a layer has the law of the chain "
    "K' | K ~ Binomial(n, Q(θ/(σ_w √K))), in distribution and not only on average, at layers 2, 3, 5, 10 and 20.",
    source="derived in vf.finite_width; micheli2024, figure 4, shows the effect of width and gives no law",
    quantity="mean spike count",
    budgets={"quick": Settings(repeats=20_000), "standard": Settings(repeats=60_000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the threshold", wrong),),
    draw=draw,
    reading=reading,
    controls=(
        Control("the law of width one more", lambda settings: theory(replace(settings, width=settings.width + 1))),
        Control(
            "networks with uniform weights of the same gain, judged by the law for normal ones",
            theory,
            lambda settings, seed: simulate(settings, seed, lambda *_: None, weights="uniform"),
        ),
    ),
)
