"""Claim: over a hundred layers the variance follows the exact law, at the preserving gain and at Kaiming's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from scipy.stats import norm

import varflow as vf
from validation.claim import Claim, Error, Judgement, Progress
from validation.power import DRAWS

RULES: dict[str, Callable[[float], float]] = {
    "preserving": lambda threshold: vf.gain(threshold=threshold),
    "kaiming": lambda threshold: 2**0.5,
}
NAMES = {"preserving": "preserving", "kaiming": "Kaiming's"}
START, GROWTH, LARGEST = 0.005, 1.25, 0.5  # errors among whose simulations the critical deviation is found
STEP = 0.3  # of the critical deviation, in standard errors


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every rule of the gain and every threshold.

    ``probed``: curves whose sensitivity to the gain is found; ``errors`` puts the gain of single curves off.
    """

    width: int
    repeats: int = 20
    depth: int = 100
    rules: tuple[str, ...] = tuple(RULES)
    thresholds: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
    probed: tuple[tuple[str, float], ...] = (("preserving", 0.1), ("preserving", 1.0), ("kaiming", 0.5))
    errors: tuple[tuple[str, float, float], ...] = ()
    false_alarm: float = 0.01

    def networks(self) -> dict[tuple[str, float], vf.Network]:
        """The network of every curve."""
        scale = {(rule, threshold): 1 + error for rule, threshold, error in self.errors}
        return {
            (rule, threshold): vf.Network(
                width=self.width,
                depth=self.depth,
                gain=RULES[rule](threshold) * scale.get((rule, threshold), 1.0),
                neuron=vf.Neuron(threshold),
            )
            for rule in self.rules
            for threshold in self.thresholds
        }

    @property
    def each(self) -> float:
        """False-alarm rate of one curve."""
        return self.false_alarm / (len(self.rules) * len(self.thresholds))


def theory(settings: Settings) -> list[vf.Profile]:
    return [vf.finite_width(network) for network in settings.networks().values()]


def simulate(settings: Settings, seed: int, progress: Progress) -> tuple[vf.Ensemble, ...]:
    networks = list(settings.networks().values())
    return vf.simulate(networks, repeats=settings.repeats, seed=seed, progress=partial(progress, "simulating"))


def judge(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> Judgement:
    """``vf.compare`` for every curve, all layers and quantities; Bonferroni over curves. Shown: the last layer's variance."""
    pairs = list(zip(theory, measured, strict=True))
    worst = min(vf.compare(profile, ensemble, false_alarm=settings.each).p_value for profile, ensemble in pairs)
    mean = np.array([profile.variance[-1] for profile in theory])
    error = np.array([profile.variance_std[-1] for profile in theory]) / np.sqrt(settings.repeats)
    seen = np.array([ensemble.variance[:, -1].mean() for ensemble in measured])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(seen == mean, 0.0, (seen - mean) / error)
    points = tuple(f"{rule}, θ = {threshold:g}" for rule, threshold in settings.networks())
    return Judgement(min(1.0, worst * len(pairs)), points, mean, seen, error, z)


def draw(settings: Settings, theory: list[vf.Profile], seed: int) -> tuple[vf.Ensemble, ...]:
    return tuple(_law(profile)(settings.repeats, seed) for profile in theory)


def _law(profile: vf.Profile) -> Callable[..., vf.Ensemble]:
    assert profile.sample is not None
    return profile.sample


def _gain_of(rule: str, threshold: float) -> Error:
    """A wrong gain in one curve alone; caught if that curve's own comparison rejects."""
    curve = (rule, threshold)

    def wrong(settings: Settings, error: float) -> Settings:
        return replace(settings, errors=((*curve, error),))

    def rejected(settings: Settings) -> Callable[[float, int], bool]:
        @lru_cache(maxsize=4)
        def draws(error: float) -> list[vf.Ensemble]:
            law = _law(vf.finite_width(wrong(settings, error).networks()[curve]))
            return list(_parts(law(settings.repeats * DRAWS, 1), settings.repeats))

        right = vf.finite_width(settings.networks()[curve])
        largest = _largest_deviation(right)
        critical = _critical(right, lambda error: draws(error)[:6], largest, settings.each)
        return lambda error, seed: largest(draws(error)[seed]) >= critical

    return Error(f"the gain of the {rule} curve at θ = {threshold:g}", wrong, rejected)


def _parts(ensemble: vf.Ensemble, repeats: int) -> Iterator[vf.Ensemble]:
    """Simulations of ``repeats`` networks each, out of one drawn all at once."""
    for first in range(0, ensemble.repeats, repeats):
        part = slice(first, first + repeats)
        yield replace(ensemble, variance=ensemble.variance[part], firing_rate=ensemble.firing_rate[part])


def _largest_deviation(profile: vf.Profile) -> Callable[[vf.Ensemble], float]:
    """The statistic of ``vf.compare``, the calibration kept short: its first draws are remembered."""
    remembered = replace(profile, sample=lru_cache(maxsize=1)(_law(profile)))
    return lambda ensemble: max(abs(z) for _, z in vf.compare(remembered, ensemble, false_alarm=0.5).worst.values())


def _critical(
    profile: vf.Profile,
    draws: Callable[[float], list[vf.Ensemble]],
    largest: Callable[[vf.Ensemble], float],
    false_alarm: float,
) -> float:
    """A deviation that ``vf.compare``, at its full length, rejects, as it does every larger one; the smallest to a STEP."""
    error, tried = START, 0.95 * norm.isf(false_alarm / (6 * profile.network.depth))
    while error <= LARGEST:
        for ensemble in sorted(draws(error), key=largest):
            deviation = largest(ensemble)
            if deviation >= tried:
                if not vf.compare(profile, ensemble, false_alarm=false_alarm).passed:
                    return deviation
                tried = deviation + STEP
        error *= GROWTH
    return float("inf")


def reading(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> str:
    """What the two panels show, with the numbers; the leak at the largest threshold by name."""
    curves = dict(zip(settings.networks(), zip(theory, measured, strict=True), strict=True))
    parts = [_panel(rule, {key[1]: pair for key, pair in curves.items() if key[0] == rule}) for rule in settings.rules]
    last = ("preserving", max(settings.thresholds))
    judged = "Judged are all layers of all curves, and rate and survival beside the variance"
    parts.append(f"{judged}; the smallest errors are those of {len(settings.probed)} curves of {len(curves)}.")
    return " ".join([*parts, _leak(*curves[last])] if last in curves else parts)


def _panel(rule: str, curves: dict[float, tuple[vf.Profile, vf.Ensemble]]) -> str:
    values = ", ".join(
        f"{profile.variance[-1]:.3g} ({ensemble.variance[:, -1].mean():.3g}) at θ = {threshold:g}"
        for threshold, (profile, ensemble) in curves.items()
    )
    return f"Mean variance in the last layer, {NAMES[rule]} gain, exact (simulated): {values}."


def _leak(profile: vf.Profile, ensemble: vf.Ensemble) -> str:
    network, alive = profile.network, profile.survival
    half = network.depth // 2
    hazard = 1 - (alive[-1] / alive[half - 1]) ** (1 / (network.depth - half))
    points = vf.fixed_points(threshold=network.neuron.threshold, gain=float(network.gains[-1]))
    top = points[-1]
    silent = int(ensemble.repeats - ensemble.survival[:, -1].sum())
    return (
        f"What looks flat at θ = {network.neuron.threshold:g} is a slow leak. At infinite width V = {top.variance:.4g} is "
        f"stable (multiplier {top.multiplier:.4g}), but the basin of silence reaches up to V = {points.basin_edge:.4g}, and "
        f"networks of width {network.widths[-1]} wander over that edge: {100 * (1 - alive[half - 1]):.2g} % are silent by "
        f"layer {half}, {100 * (1 - alive[-1]):.2g} % by layer {network.depth} ({silent} of {ensemble.repeats} simulated), and "
        f"between them {100 * hazard:.2g} % of the living ones fall silent in every layer, half in about "
        f"{float(f'{np.log(2) / hazard:.2g}'):,.0f} layers. "
        f"A network that lives looks flat: the mean variance over those is {profile.variance[-1] / alive[-2]:.3g} in "
        f"the last layer, over all of them {profile.variance[-1]:.3g}."
    )


CLAIM = Claim(
    name="figure_2",
    statement="Over 100 layers Var[u] of the paper's six thresholds follows the exact finite-width law: kept by the gain "
    "g² = 1/P(u > θ) up to a leak that the law gives, and decaying under Kaiming's g² = 2.",
    source="micheli2024, figure 2; the law is derived in vf.finite_width; he2015 for the other gain",
    quantity="mean variance of the last layer's potentials",
    budgets={"quick": Settings(width=300, repeats=10, probed=(("preserving", 1.0),)), "standard": Settings(width=1000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(_gain_of(*curve) for curve in settings.probed),
    draw=draw,
    reading=reading,
)
