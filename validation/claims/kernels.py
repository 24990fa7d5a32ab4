"""Claim: spikes of two inputs coincide, through more than twenty layers, as in the sampled networks of ``vf.kernel``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.work import Work

BLOCK = 50  # networks
NULL = 999  # comparisons drawn to calibrate one
LAYERS = (1, 3, 6, 12)  # compared, and the last


@dataclass(frozen=True, slots=True)
class Case:
    """A plain chain, and the correlation of the two inputs' currents in layer 1."""

    neuron: vf.Neuron
    square: float
    overlap: float
    steps: int = 1

    def network(self, width: int, depth: int) -> vf.Network:
        return vf.Network(width=width, depth=depth, gain=self.square**0.5, neuron=self.neuron, steps=self.steps)


PAPER, LEAKY = vf.gain(threshold=1.0) ** 2, vf.neurons.snntorch_leaky(0.5)
CASES = {
    "memoryless, ρ = 0.9": Case(vf.Neuron(1.0), PAPER, 0.9),
    "memoryless, ρ = 0": Case(vf.Neuron(1.0), PAPER, 0.0),
    "snnTorch Leaky, β = 0.5, ρ = 0.9": Case(LEAKY, 8.0, 0.9, steps=5),
    "reset to zero, β = 0.5, ρ = 0": Case(vf.Neuron(1.0, decay=0.5, reset="zero"), PAPER, 0.0, steps=5),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` networks of every case. ``sampled``: networks of the theory. ``probed``: cases in which the smallest error
    caught is searched.

    Wrong theories: ``changed``, a case with a factor on its gain and a term added to the inputs' correlation, ``wider``
    networks, and ``infinite`` width.
    """

    width: int
    repeats: int
    sampled: int
    depth: int = 24
    probed: tuple[str, ...] = tuple(CASES)
    changed: tuple[tuple[str, float, float], ...] = ()
    wider: float = 1.0
    infinite: bool = False
    false_alarm: float = 0.01

    @property
    def layers(self) -> np.ndarray:
        return np.array([*(layer for layer in LAYERS if layer < self.depth), self.depth]) - 1

    def points(self) -> tuple[str, ...]:
        squares = ("", ", squared")
        return tuple(f"{name}, layer {layer + 1}{square}" for name in CASES for square in squares for layer in self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """The points of sampled networks, an array (points, networks) per case: layers, which share a network, then squares."""

    cases: list[np.ndarray]

    @property
    def value(self) -> np.ndarray:
        return np.concatenate([each.mean(axis=1) for each in self.cases])

    @property
    def scatter(self) -> np.ndarray:
        """Standard deviation between networks."""
        return np.concatenate([each.std(axis=1) for each in self.cases])

    def error(self, repeats: int) -> np.ndarray:
        """Standard error of the difference between the means of ``repeats`` real networks and of the sampled ones."""
        return self.scatter * np.sqrt(1 / repeats + 1 / self.cases[0].shape[1])

    def means(self, networks: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Means of that many networks drawn from these, shape (draws, points)."""
        size = self.cases[0].shape[1]
        weights = [rng.multinomial(networks, np.full(size, 1 / size), size=draws) / networks for _ in self.cases]
        return np.concatenate([w @ each.T for w, each in zip(weights, self.cases, strict=True)], axis=1)


@lru_cache(maxsize=8)
def null(theory: Sampled, repeats: int) -> np.ndarray:
    """``max |z|`` of comparisons of as many networks, drawn from the sampled ones, with these; sorted."""
    rng, size = np.random.default_rng([2, repeats]), theory.cases[0].shape[1]
    apart = (theory.means(repeats, NULL, rng) - theory.value) * np.sqrt(1 + repeats / size)
    return np.sort(np.abs(standardised(apart, theory.error(repeats))).max(axis=1))


def standardised(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """In standard errors; rounding counts as no difference."""
    difference = np.where(np.abs(difference) < 1e-12, 0.0, difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / error)


def theory(settings: Settings) -> Sampled:
    changed = {name: (factor, added) for name, factor, added in settings.changed}
    plain = replace(settings, changed=(), probed=())
    return Sampled([squared(_sampled(name, *changed.get(name, (1.0, 0.0)), plain)) for name in CASES])


@cache
def _sampled(name: str, factor: float, added: float, settings: Settings) -> np.ndarray:
    """``M_ab``, mean over steps, of networks that ``vf.kernel`` samples, shape (layers, networks)."""
    case, width = CASES[name], round(settings.wider * settings.width)
    rho = np.clip(case.overlap + added, -1.0, 1.0)
    pair = vf.drives.inputs(np.sqrt(2) * np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]]), 1.0)
    network = replace(case, square=case.square * factor**2).network(width, settings.depth)
    if settings.infinite:
        samples = np.repeat(vf.kernel(network, pair, points=2**10).moments[None], settings.sampled, axis=0)
    else:
        samples = np.asarray(vf.kernel(network, pair, repeats=settings.sampled, seed=7).samples)
    samples = samples[:, settings.layers].reshape(settings.sampled, -1, 2, case.steps, 2, case.steps)
    return np.einsum("rltt->lr", samples[:, :, 0, :, 1]) / case.steps


def squared(moments: np.ndarray) -> np.ndarray:
    """With their squares, which tell the scatter between networks, below."""
    return np.concatenate([moments, moments**2])


def simulate(settings: Settings, seed: int, work: Work) -> np.ndarray:
    """Moments of networks with real weight matrices, shape (points, repeats)."""
    shape = {"width": settings.width, "depth": settings.depth, "seed": seed}
    blocks = range(-(-settings.repeats // BLOCK))
    found = iter(
        work.results(moments, [shape | {"case": name, "block": b} for name in CASES for b in blocks], what="simulating")
    )
    each = [np.concatenate([next(found)["moments"] for _ in blocks])[: settings.repeats, settings.layers].T for _ in CASES]
    return np.concatenate([squared(rows) for rows in each])


def moments(case: str, width: int, depth: int, seed: int, block: int) -> dict[str, np.ndarray]:
    """A block of networks: second moments of two inputs in every layer."""
    import torch

    from validation.torch_networks import Networks

    stream, rho = np.random.SeedSequence([seed, list(CASES).index(case), block]).generate_state(1)[0], CASES[case].overlap
    networks = Networks(CASES[case].network(width, depth), BLOCK, int(stream))
    return {"moments": networks.second_moments(torch.tensor([[1.0, rho], [rho, 1.0]])).numpy().astype(float)}


def judge(settings: Settings, theory: Sampled, measured: np.ndarray) -> Judgement:
    """The largest deviation of a mean, calibrated by networks drawn from the sampled ones."""
    seen, error = measured.mean(axis=1), theory.error(settings.repeats)
    z = standardised(seen - theory.value, error)
    beyond = NULL - np.searchsorted(null(theory, settings.repeats), np.abs(z).max())
    return Judgement(float(beyond + 1) / (NULL + 1), settings.points(), theory.value, seen, error, z)


def draw(settings: Settings, theory: Sampled, seed: int) -> np.ndarray:
    """Networks from the sampled ones, about a mean as uncertain as theirs."""
    rng, size = np.random.default_rng([1, seed]), theory.cases[0].shape[1]
    shift = theory.means(size, 1, rng)[0] - theory.value
    chosen = [each[:, rng.integers(size, size=settings.repeats)] for each in theory.cases]
    return np.concatenate(chosen) + shift[:, None]


def reading(settings: Settings, theory: Sampled, measured: np.ndarray) -> str:
    layers, plain = settings.layers, replace(settings, probed=(), infinite=True)
    limits = [squared(_sampled(name, 1.0, 0.0, plain))[:, 0] for name in CASES]
    shown = zip(settings.points(), theory.value, measured, theory.scatter, np.concatenate(limits), strict=True)
    rows = ["| two inputs | sampled | real matrices | scatter, sampled | real | infinite width |", "|---|---|---|---|---|---|"]
    for point, value, seen, scatter, limit in shown:
        bar, seen_scatter = seen.std(ddof=1) / np.sqrt(len(seen)), seen.std()
        if not point.endswith("squared"):
            row = f"{value:.4f} | {seen.mean():.4f} ± {bar:.4f} | {scatter:.4f} | {seen_scatter:.4f} | {limit:.4f}"
            rows.append(f"| {point} | {row} |")
    return (
        f"M_ab, mean over steps, θ = 1, width {settings.width}, layers {layers[0] + 1} to {layers[-1] + 1}; "
        f"{settings.repeats} networks with real matrices, {settings.sampled} sampled ones. Infinite width has no scatter "
        "between networks, so that what can be read from its kernels is a bound.\n\n" + "\n".join(rows)
    )


def _gain_of(name: str) -> Error:
    return Error(f"the gain, {name}", lambda settings, error: replace(settings, changed=((name, 1 + error, 0.0),)))


def _control(what: str, **changed: Any) -> Control:
    return Control(what, lambda settings: theory(replace(settings, **changed)))


CLAIM = Claim(
    name="kernels",
    statement="Second moments of the spikes of two inputs in networks with real weight matrices have the mean and the scatter "
    "of the networks that vf.kernel(…, repeats=) samples without matrices, in every layer, with and without memory.",
    source="derived in vf.kernel; lee2018 and matthews2018 for infinite width and smooth units",
    quantity="second moment of the spikes of two inputs, mean over steps",
    budgets={
        "quick": Settings(width=100, repeats=150, sampled=400, probed=tuple(CASES)[:1]),
        "standard": Settings(width=300, repeats=400, sampled=2000, depth=30, probed=tuple(CASES)[::2]),
    },
    devices=("cpu",),
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(_gain_of(name) for name in settings.probed),
    draw=draw,
    reading=reading,
    cheap=Settings(width=50, repeats=50, sampled=4000, depth=6),
    controls=(
        _control("inputs of correlation 0.8 instead of 0.9", changed=(("snnTorch Leaky, β = 0.5, ρ = 0.9", 1.0, -0.1),)),
        _control("inputs of correlation 0.3 instead of 0", changed=(("memoryless, ρ = 0", 1.0, 0.3),)),
        _control("infinite width", infinite=True),
        _control("networks twice as wide", wider=2.0),
    ),
)
