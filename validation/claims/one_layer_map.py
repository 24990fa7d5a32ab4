"""Claim: one layer maps potentials of variance V, of any built-in distribution, to variance g² Q(θ/√V)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.sidak import sidak
from validation.work import Work

# Standardised draws from numpy's own generators: nothing here comes from varflow.
DRAWS: dict[str, Callable[[np.random.Generator, Any], np.ndarray]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "uniform": lambda rng, size: rng.uniform(-(3**0.5), 3**0.5, size),
    "laplace": lambda rng, size: rng.laplace(0.0, 0.5**0.5, size),
    "logistic": lambda rng, size: rng.logistic(0.0, 3**0.5 / np.pi, size),
    "student_t(5)": lambda rng, size: rng.standard_t(5, size) * (3 / 5) ** 0.5,
}
CHUNK = 500  # layers drawn at a time


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` layers of ``width`` neurons and as many inputs, for every distribution, threshold and variance."""

    repeats: int
    width: int = 50
    distributions: tuple[str, ...] = tuple(DRAWS)
    thresholds: tuple[float, ...] = (0.5, 1.0, 1.5)
    variances: tuple[float, ...] = (0.5, 1.0, 2.0)
    gain: float = 2.0
    false_alarm: float = 1e-3

    def cases(self) -> list[tuple[str, float, float]]:
        return list(product(self.distributions, self.thresholds, self.variances))


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """A mean for every case, and its standard error."""

    mean: np.ndarray
    error: np.ndarray


def theory(settings: Settings, distribution: str | None = None) -> Means:
    """``g² Q(θ/√V)``; ``distribution`` replaces all. The standard error is exact, from the binomial spike count."""
    thresholds, variances = np.array(list(product(settings.thresholds, settings.variances))).T
    names = [_distribution(distribution or name) for name in settings.distributions]
    mean = np.concatenate(
        [vf.variance_map(variances, threshold=thresholds, gain=settings.gain, distribution=name) for name in names]
    )
    rate = mean / settings.gain**2
    square = mean**2 + settings.gain**4 * rate * (1 - rate) / settings.width
    return Means(mean, np.sqrt((square * (1 + 2 / (settings.width - 1)) - mean**2) / settings.repeats))


def _distribution(name: str) -> Any:
    return vf.distributions.student_t(5) if name == "student_t(5)" else vf.distribution(name)


def simulate(settings: Settings, seed: int, work: Work) -> Means:
    """Sample variance of the potentials of many layers, new potentials and weights for every case."""
    cases = [{"settings": settings, "seed": seed, "case": case} for case in range(len(settings.cases()))]
    return Means(*np.array(work.results(measured, cases, what="simulating")).T)


def measured(settings: Settings, seed: int, case: int) -> list[float]:
    """The mean sample variance of one case, by its index, and the standard error."""
    rng = np.random.default_rng([3, seed, case])
    chunks = [min(CHUNK, settings.repeats - first) for first in range(0, settings.repeats, CHUNK)]
    seen = np.concatenate([_layers(rng, settings, settings.cases()[case], repeats) for repeats in chunks])
    return [float(seen.mean()), float(seen.std(ddof=1) / np.sqrt(len(seen)))]


def _layers(rng: np.random.Generator, settings: Settings, case: tuple[str, float, float], repeats: int) -> np.ndarray:
    """Input potentials, spikes, weight matrix, output potentials, their sample variance: the definition, line by line."""
    distribution, threshold, variance = case
    n = settings.width
    below = variance**0.5 * DRAWS[distribution](rng, (repeats, n, 1))
    spikes = (below > threshold).astype(float)
    weights = settings.gain / n**0.5 * rng.standard_normal((repeats, n, n), dtype=np.float32)
    return (weights @ spikes)[..., 0].var(axis=1, ddof=1)


def judge(settings: Settings, theory: Means, measured: Means) -> Judgement:
    """Deviations in exact standard errors, Šidák over the independent cases; a spike rejects a theory that says 0."""
    from scipy.special import ndtr

    difference = measured.mean - theory.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0.0, difference / theory.error)
    p_value = sidak(2 * ndtr(-np.abs(z).max()), len(z))
    points = tuple(
        f"{distribution}, θ = {threshold:g}, V = {variance:g}" for distribution, threshold, variance in settings.cases()
    )
    return Judgement(p_value, points, theory.mean, measured.mean, theory.error, z)


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, gain=settings.gain * (1 + error))


def draw(settings: Settings, theory: Means, seed: int) -> Means:
    """Means over so many layers are normal, with the exact standard error."""
    return Means(theory.mean + theory.error * np.random.default_rng([1, seed]).standard_normal(len(theory.mean)), theory.error)


def reading(settings: Settings, theory: Means, measured: Means) -> str:
    with np.errstate(invalid="ignore"):
        precision = 100 * np.nanmax(measured.error / theory.mean)
    cases = zip(settings.cases(), theory.mean, strict=True)
    zero = "; ".join(f"{distribution}, θ = {t:g}, V = {v:g}" for (distribution, t, v), mean in cases if mean == 0)
    spikeless = np.all(measured.mean[theory.mean == 0] == 0)
    beyond = f" Beyond the support ({zero}) there must be no spike: {'none was found' if spikeless else 'some were found'}."
    return (
        f"{len(theory.mean)} cases of distribution, threshold and variance, {settings.repeats} independent layers each; the "
        f"mean is known to {precision:.2g} % in the worst case. The expectation is exact at any width, here {settings.width}. "
        "Only the potentials that *enter* the layer have the named distribution; those that leave it are nearly normal."
        + (beyond if zero else "")
    )


def _one_distribution(name: str) -> Control:
    """The map of the normal distribution instead of the right one, for one distribution only."""

    def only(settings: Settings) -> Means:
        right, normal = theory(settings), theory(settings, "normal")
        chosen = np.array([distribution == name for distribution, _, _ in settings.cases()])
        return Means(np.where(chosen, normal.mean, right.mean), right.error)

    return Control(f"the normal map for {name} potentials", only)


CLAIM = Claim(
    name="one_layer_map",
    statement="One layer with independent normal weights maps potentials of variance V and standardised tail Q to potentials "
    "of mean variance F(V) = g² Q(θ/√V), for normal, uniform, Laplace, logistic and Student (5 d.o.f.) potentials.",
    source="micheli2024, Var[u_l] = n Var[w] P(u > θ), for normal potentials; derived in vf.variance_map for the others",
    quantity="mean variance of the next layer's potentials",
    budgets={"quick": Settings(repeats=1500), "standard": Settings(repeats=8000)},
    devices=("cpu",),
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the gain", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=200, width=20, thresholds=(0.5, 1.0), variances=(1.0,)),
    controls=tuple(_one_distribution(name) for name in DRAWS if name != "normal"),
)
