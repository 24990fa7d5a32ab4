"""Claim: in layers of twelve neurons the spike count has exactly the distribution of the chain, at every depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom, norm

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.goodness import Fit
from validation.sidak import sidak
from validation.work import Work

EXACT = 1e-12  # to which two computations of the same moments must agree


@dataclass(frozen=True, slots=True)
class Settings:
    repeats: int
    width: int = 12
    thresholds: tuple[float, ...] = (0.5, 1.0)
    layers: tuple[int, ...] = (2, 3, 5, 10, 20)
    scale: float = 1.0  # multiplies the thresholds at fixed gains: an error
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
class Chain:
    """Distribution of the spike count in layer 1, and transition matrix to the next layer, from the definition."""

    start: np.ndarray
    step: np.ndarray

    def distributions(self, depth: int) -> np.ndarray:
        """``P(K_l = k)``; row l - 1 is layer l."""
        distributions = [self.start]
        for _ in range(depth - 1):
            distributions.append(distributions[-1] @ self.step)
        return np.array(distributions)


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """The chain at every threshold, a test at every threshold and layer, and the deviation of varflow's moments."""

    chains: list[Chain]
    fits: list[Fit]
    disagreement: float


def theory(settings: Settings) -> Distribution:
    """The distribution from the definition, a matrix of binomials, compared with ``vf.finite_width``."""
    draws = int(np.ceil(4 * len(settings.points()) / settings.false_alarm))
    chains, fits, disagreement = [], [], 0.0
    for network in settings.networks():
        chains.append(chain_of(network))
        distributions = chains[-1].distributions(network.depth)
        disagreement = max(disagreement, _disagreement(distributions, vf.finite_width(network)))
        fits += [Fit(distributions[layer - 1], settings.repeats, draws) for layer in settings.layers]
    return Distribution(chains, fits, disagreement)


def chain_of(network: vf.Network) -> Chain:
    """``K_1 ~ Binomial(n, Q(θ))`` and ``K' | K ~ Binomial(n, Q(θ/(σ_w √K)))``, with ``K' = 0`` for ``K = 0``."""
    n, theta = int(network.widths[0]), network.neuron.threshold
    counts = np.arange(n + 1)
    chance = np.append(0.0, norm.sf(theta / (float(network.gains[0]) / np.sqrt(n) * np.sqrt(counts[1:]))))
    return Chain(binom.pmf(counts, n, norm.sf(theta)), binom.pmf(counts, n, chance[:, None]))


def _disagreement(distributions: np.ndarray, profile: vf.Profile) -> float:
    """Largest difference of mean and standard deviation of the rate and of survival, layer by layer."""
    rates = np.arange(distributions.shape[1]) / (distributions.shape[1] - 1)
    mean = distributions @ rates
    std = np.sqrt(distributions @ rates**2 - mean**2)
    here, there = (
        np.array([mean, std, 1 - distributions[:, 0]]),
        [profile.firing_rate, profile.firing_rate_std, profile.survival],
    )
    return float(np.abs(here - there).max())


def simulate(settings: Settings, seed: int, work: Work, weights: str = "normal") -> list[np.ndarray]:
    """Histogram of spike counts, per threshold and layer, in networks with real weight matrices of their own."""
    networks = settings.networks(weights)
    seeds = range(len(networks) * seed, len(networks) * (seed + 1))
    ensembles = [
        work.simulate([network], repeats=settings.repeats, seed=own)[0] for network, own in zip(networks, seeds, strict=True)
    ]
    counts = [np.rint(ensemble.spikes).astype(int)[:, layer - 1] for ensemble in ensembles for layer in settings.layers]
    return [np.bincount(seen, minlength=settings.width + 1) for seen in counts]


def judge(settings: Settings, theory: Distribution, measured: list[np.ndarray]) -> Judgement:
    """Pearson's test per threshold and layer, Šidák over them; p = 0 if varflow's moments deviate."""
    worst = min(fit.p_value(counts) for fit, counts in zip(theory.fits, measured, strict=True))
    p_value = sidak(worst, len(measured)) if theory.disagreement <= EXACT else 0.0
    expected = [_moments(fit.distribution) for fit in theory.fits]
    mean, std = np.array(expected).T
    seen = np.array([_moments(counts / counts.sum())[0] for counts in measured])
    error = std / np.sqrt(settings.repeats)
    return Judgement(p_value, settings.points(), mean, seen, error, (seen - mean) / error)


def _moments(distribution: np.ndarray) -> tuple[float, float]:
    values = np.arange(len(distribution))
    mean = float(values @ distribution)
    return mean, float(np.sqrt((values - mean) ** 2 @ distribution))


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, scale=settings.scale * (1 + error))


def draw(settings: Settings, theory: Distribution, seed: int) -> list[np.ndarray]:
    """Draws from the chain."""
    rng = np.random.default_rng([1, seed])
    return [counts for chain in theory.chains for counts in _walk(rng, chain, settings)]


def _walk(rng: np.random.Generator, chain: Chain, settings: Settings) -> list[np.ndarray]:
    rows = chain.step / chain.step.sum(axis=1, keepdims=True)
    walk = [rng.multinomial(settings.repeats, chain.start / chain.start.sum())]
    for _ in range(max(settings.layers) - 1):
        walk.append(rng.multinomial(walk[-1], rows).sum(axis=0))
    return [walk[layer - 1] for layer in settings.layers]


def reading(settings: Settings, theory: Distribution, measured: list[np.ndarray]) -> str:
    silent = ", ".join(
        f"{fit.distribution[0]:.4f} ({counts[0] / counts.sum():.4f}) at {point}"
        for fit, counts, point in zip(theory.fits, measured, settings.points(), strict=True)
        if point.endswith(f" {max(settings.layers)}")
    )
    return (
        f"{settings.repeats} networks of {settings.width} neurons per layer. Fraction of silent networks, exact (simulated): "
        f"{silent}. The distribution comes from a matrix of binomials written in the claim itself. Mean and standard deviation "
        f"of the rate and survival of vf.finite_width must agree with it within {EXACT:g} in every layer; they do so within "
        f"{theory.disagreement:.1g}."
    )


CLAIM = Claim(
    name="chain_narrow",
    statement="In networks of width 12 the number of spikes of a layer has the distribution of the chain "
    "K' | K ~ Binomial(n, Q(θ/(σ_w √K))), not only its mean, at layers 2, 3, 5, 10 and 20.",
    source="derived in vf.finite_width; micheli2024, figure 4, shows the effect of width without a theory",
    quantity="mean spike count",
    budgets={"quick": Settings(repeats=20_000), "standard": Settings(repeats=60_000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the threshold", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=500, layers=(2, 3, 5)),
    controls=(
        Control("the theory of layers one neuron wider", lambda settings: theory(replace(settings, width=settings.width + 1))),
        Control(
            "networks with uniform weights of the same gain, compared with the theory of normal ones",
            theory,
            lambda settings, seed, work: simulate(settings, seed, work, weights="uniform"),
        ),
    ),
)
