"""Claim: over 100 layers the variance follows the exact theory, at the preserving gain and at Kaiming's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import varflow as vf
from validation.claim import Claim, Judgement
from validation.curves import drawn, gain_of, judged
from validation.work import Work

RULES: dict[str, Callable[[float], float]] = {
    "preserving": lambda threshold: vf.gain(threshold=threshold),
    "kaiming": lambda threshold: 2**0.5,
}
NAMES = {"preserving": "preserving", "kaiming": "Kaiming's"}


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every rule of the gain and every threshold.

    ``probed``: curves whose sensitivity to the gain is measured; ``errors`` changes the gain of single curves.
    """

    width: int
    repeats: int = 20
    depth: int = 100
    rules: tuple[str, ...] = tuple(RULES)
    thresholds: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
    probed: tuple[tuple[str, float], ...] = (("preserving", 0.1), ("preserving", 1.0), ("kaiming", 0.5))
    errors: tuple[tuple[tuple[str, float], float], ...] = ()
    false_alarm: float = 0.01

    def networks(self) -> dict[tuple[str, float], vf.Network]:
        """The network of every curve."""
        wrong = dict(self.errors)
        return {
            (rule, threshold): vf.Network(
                width=self.width,
                depth=self.depth,
                gain=RULES[rule](threshold) * (1 + wrong.get((rule, threshold), 0.0)),
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


def simulate(settings: Settings, seed: int, work: Work) -> tuple[vf.Ensemble, ...]:
    return work.simulate(list(settings.networks().values()), repeats=settings.repeats, seed=seed)


def judge(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> Judgement:
    points = [f"{rule}, θ = {threshold:g}" for rule, threshold in settings.networks()]
    return judged(theory, measured, points, settings.each)


def draw(settings: Settings, theory: list[vf.Profile], seed: int) -> tuple[vf.Ensemble, ...]:
    return drawn(theory, settings.repeats, seed)


def reading(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> str:
    """The numbers of the two panels, and the leak at the largest threshold."""
    curves = dict(zip(settings.networks(), zip(theory, measured, strict=True), strict=True))
    parts = [_panel(rule, {key[1]: pair for key, pair in curves.items() if key[0] == rule}) for rule in settings.rules]
    last = ("preserving", max(settings.thresholds))
    judged = "Compared are variance, rate and survival in all layers of all curves"
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
        f"The curve at θ = {network.neuron.threshold:g} looks flat but is a slow leak. At infinite width "
        f"V = {top.variance:.4g} is stable (multiplier {top.multiplier:.4g}), but the basin of silence extends to "
        f"V = {points.basin_edge:.4g}, and networks of width {network.widths[-1]} fluctuate across that edge: "
        f"{100 * (1 - alive[half - 1]):.2g} % are silent by layer {half}, {100 * (1 - alive[-1]):.2g} % by layer "
        f"{network.depth} ({silent} of {ensemble.repeats} simulated), and between them {100 * hazard:.2g} % of the live ones "
        f"fall silent in every layer, half in about {float(f'{np.log(2) / hazard:.2g}'):,.0f} layers. The variance of live "
        f"networks is flat: its mean is {profile.variance[-1] / alive[-2]:.3g} in the last layer, over all networks "
        f"{profile.variance[-1]:.3g}."
    )


CLAIM = Claim(
    name="figure_2",
    statement="Over 100 layers Var[u] at six thresholds follows the exact finite-width theory: preserved by the "
    "gain g² = 1/P(u > θ), up to a leak that the theory predicts, and decaying with Kaiming's g² = 2.",
    source="micheli2024, figure 2; the theory is derived in vf.finite_width; he2015 for the other gain",
    quantity="mean variance of a layer's potentials",
    budgets={
        "quick": Settings(width=300, repeats=10, depth=50, probed=(("preserving", 1.0),)),
        "standard": Settings(width=1000),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(
        gain_of((rule, threshold), f"the {rule} curve at θ = {threshold:g}") for rule, threshold in settings.probed
    ),
    draw=draw,
    reading=reading,
    cheap=Settings(width=40, repeats=10, depth=12, thresholds=(0.3, 0.85)),
    dependent="curves share weights",
)
