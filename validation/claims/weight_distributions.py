"""Claim: for any distribution of the weights, the spike count has the distribution of its chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import scipy.stats

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.goodness import Fit
from validation.sidak import sidak
from validation.work import Work

DISTRIBUTIONS: dict[str, Any] = {
    "normal": "normal",
    "uniform": "uniform",
    "sign": "sign",
    "ternary, density 1/2": vf.weights.ternary(0.5),
    "sparse normal, density 0.3": vf.weights.sparse(0.3),
    "normal, in-degree 6": vf.weights.fixed_in_degree(6),
    "exponential": "exponential",
    "log-normal, σ = 1/2": vf.weights.lognormal(0.5),
    "Laplace": scipy.stats.laplace(),
}


@dataclass(frozen=True, slots=True)
class Settings:
    repeats: int
    widths: tuple[int, ...] = (12, 20)
    layers: tuple[int, ...] = (2, 3, 6)
    threshold: float = 0.7
    scale: float = 1.0  # multiplies the threshold at fixed gain: an error
    false_alarm: float = 1e-3

    def networks(self) -> dict[str, vf.Network]:
        """One network per distribution and width, mean weight 0, at the gain that preserves the variance of wide ones."""
        return {
            f"{name}, n = {width}": self.network(distribution, width)
            for name, distribution in DISTRIBUTIONS.items()
            for width in self.widths
        }

    def network(self, distribution: Any, width: int) -> vf.Network:
        gain, neuron = vf.gain(threshold=self.threshold), vf.Neuron(self.threshold * self.scale)
        return vf.Network(width=width, depth=max(self.layers), gain=gain, neuron=neuron, weights=distribution, mean_gain=0.0)

    def points(self) -> tuple[str, ...]:
        return tuple(f"{name}, layer {layer}" for name in self.networks() for layer in self.layers)


@lru_cache(maxsize=2)
def theory(settings: Settings) -> list[Fit]:
    """The exact distribution of the count at every point, with its test."""
    draws = int(np.ceil(4 * len(settings.points()) / settings.false_alarm))
    return [Fit(distribution, settings.repeats, draws) for distribution in distributions(settings)]


def distributions(settings: Settings) -> list[np.ndarray]:
    chains = [vf.SpikeChain(network).propagate() for network in settings.networks().values()]
    return [chain[layer - 1].mass for chain in chains for layer in settings.layers]


def impostor(name: str, settings: Settings) -> list[Fit]:
    """The theory with the chain of normal weights for one distribution."""
    right = dict(zip(settings.points(), theory(settings), strict=True))
    return [right[point.replace(f"{name}, n", "normal, n")] for point in settings.points()]


def simulate(settings: Settings, seed: int, work: Work) -> list[np.ndarray]:
    """Histogram of spike counts at every point, in networks with real weight matrices, drawn anew for each distribution."""
    networks = list(settings.networks().values())
    seeds = range(len(networks) * seed, len(networks) * (seed + 1))
    ensembles = [
        work.simulate([network], repeats=settings.repeats, seed=own)[0] for network, own in zip(networks, seeds, strict=True)
    ]
    counts = [np.rint(ensemble.spikes).astype(int)[:, layer - 1] for ensemble in ensembles for layer in settings.layers]
    sizes = [int(network.widths[0]) + 1 for network in networks for _ in settings.layers]
    return [np.bincount(seen, minlength=size) for seen, size in zip(counts, sizes, strict=True)]


def judge(settings: Settings, theory: list[Fit], measured: list[np.ndarray]) -> Judgement:
    """Pearson's test at every point, Šidák over them."""
    worst = min(fit.p_value(counts) for fit, counts in zip(theory, measured, strict=True))
    mean, std = np.array([_moments(fit.distribution) for fit in theory]).T
    seen = np.array([_moments(counts / counts.sum())[0] for counts in measured])
    error = std / np.sqrt(settings.repeats)
    return Judgement(sidak(worst, len(measured)), settings.points(), mean, seen, error, (seen - mean) / error)


def _moments(distribution: np.ndarray) -> tuple[float, float]:
    values = np.arange(len(distribution))
    mean = float(values @ distribution)
    return mean, float(np.sqrt((values - mean) ** 2 @ distribution))


def draw(settings: Settings, theory: list[Fit], seed: int) -> list[np.ndarray]:
    """Draws from the distribution at each point; layers are independent here, but in a simulation of the same networks."""
    return _drawn(settings.repeats, [fit.distribution for fit in theory], seed)


def _drawn(repeats: int, distributions: list[np.ndarray], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng([3, seed])
    return [rng.multinomial(repeats, distribution / distribution.sum()) for distribution in distributions]


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, scale=settings.scale * (1 + error))


def rejected(settings: Settings) -> Callable[[float, int], bool]:
    """Whether counts drawn from the wrong distributions reject the right theory; these need no tests of their own."""
    in_error = lru_cache(maxsize=4)(lambda error: distributions(wrong(settings, error)))

    def falls(error: float, seed: int) -> bool:
        counts = _drawn(settings.repeats, in_error(error), seed)
        return judge(settings, theory(settings), counts).p_value <= settings.false_alarm

    return falls


def reading(settings: Settings, theory: list[Fit], measured: list[np.ndarray]) -> str:
    last = [
        i
        for i, point in enumerate(settings.points())
        if point.endswith(f"n = {settings.widths[0]}, layer {max(settings.layers)}")
    ]
    silent = "; ".join(
        f"{name} {theory[i].distribution[0]:.4f} ({measured[i][0] / measured[i].sum():.4f})"
        for name, i in zip(DISTRIBUTIONS, last, strict=True)
    )
    return (
        f"{settings.repeats} networks per distribution and width, all of the same gain and mean 0. Silent by layer "
        f"{max(settings.layers)} at width {settings.widths[0]}, exact (simulated): {silent}. At infinite width these networks "
        "are all alike."
    )


def _control(name: str) -> Control:
    return Control(f"the chain of normal weights for {name}", partial(impostor, name))


CLAIM = Claim(
    name="weight_distributions",
    statement="In networks of width 12 and 20 the spike count has the distribution of the chain K' | K ~ Binomial(n, π_K), "
    "π_K = P(sum of K weights > θ), for nine distributions of the weights.",
    source="derived in vf.SpikeChain",
    quantity="mean spike count",
    budgets={"quick": Settings(repeats=10_000, widths=(12,)), "standard": Settings(repeats=40_000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the threshold", wrong, rejected),),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=400, widths=(8,), layers=(2, 3)),
    dependent="layers belong to the same networks",
    controls=tuple(_control(name) for name in DISTRIBUTIONS if name != "normal"),
)
