"""Claim: narrow networks lose activity as the exact theory of their width predicts; wider ones less."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Judgement
from validation.curves import drawn, gain_of, judged
from validation.work import Work


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every width and threshold, at the preserving gain.

    ``probed``: curves whose sensitivity to the gain is measured; ``errors`` changes the gain of single curves; ``wider``
    multiplies the widths assumed by the theory.
    """

    repeats: int
    widths: tuple[int, ...] = (100, 600)
    thresholds: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0)
    depth: int = 100
    probed: tuple[tuple[int, float], ...] = ((100, 0.85), (600, 1.0))
    errors: tuple[tuple[tuple[int, float], float], ...] = ()
    wider: float = 1.0
    false_alarm: float = 0.01

    def networks(self) -> dict[tuple[int, float], vf.Network]:
        """The network of every curve."""
        wrong = dict(self.errors)
        return {
            (width, threshold): vf.Network(
                width=round(width * self.wider),
                depth=self.depth,
                gain=vf.gain(threshold=threshold) * (1 + wrong.get((width, threshold), 0.0)),
                neuron=vf.Neuron(threshold),
            )
            for width in self.widths
            for threshold in self.thresholds
        }

    @property
    def each(self) -> float:
        """False-alarm rate of one curve."""
        return self.false_alarm / (len(self.widths) * len(self.thresholds))


def theory(settings: Settings) -> list[vf.Profile]:
    return [vf.finite_width(network) for network in settings.networks().values()]


def simulate(settings: Settings, seed: int, work: Work) -> tuple[vf.Ensemble, ...]:
    """Real weight matrices, shared by all thresholds of a width."""
    return work.simulate(list(settings.networks().values()), repeats=settings.repeats, seed=seed)


def judge(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> Judgement:
    points = [f"n = {width}, θ = {threshold:g}" for width, threshold in settings.networks()]
    return judged(theory, measured, points, settings.each)


def draw(settings: Settings, theory: list[vf.Profile], seed: int) -> tuple[vf.Ensemble, ...]:
    return drawn(theory, settings.repeats, seed)


def reading(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> str:
    """The fraction alive in the last layer, predicted and simulated, and the thresholds of the remark of Micheli et al.."""
    rows = []
    curves = list(zip(settings.networks(), theory, measured, strict=True))
    for width in settings.widths:
        parts = [
            f"{_percent(profile.survival[-1])} ({_percent(ensemble.survival[:, -1].mean())}) at θ = {threshold:g}"
            for (n, threshold), profile, ensemble in curves
            if n == width
        ]
        edge = vf.largest_threshold(width=width, depth=settings.depth)
        rows.append(f"width {width}: {', '.join(parts)}; 99 % would be alive up to θ = {edge:.3f}")
    return (
        f"Networks alive at layer {settings.depth}, exact (simulated), {settings.repeats} per curve. {'. '.join(rows)}. "
        "Compared are variance, rate and survival in all layers of all curves; "
        f"the smallest errors are those of {len(settings.probed)} curves of {len(curves)}."
    )


def _percent(fraction: float) -> str:
    return f"{np.round(100 * fraction, 1):g} %"


CLAIM = Claim(
    name="figure_4",
    statement="At the gain that preserves the variance at infinite width, networks of width 100 and 600 lose activity over 100 "
    "layers as the exact theory of their width predicts: half of those of width 100 at θ = 0.86, of width 600 at 1.04.",
    source="micheli2024, figure 4, which remarks that activity is not conserved for θ > 0.85 at width 100 and that the effect "
    "is weaker at 600; the theory is derived in vf.finite_width",
    quantity="mean variance of a layer's potentials",
    budgets={"quick": Settings(repeats=20, depth=50, probed=((100, 0.85),)), "standard": Settings(repeats=100)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(
        gain_of((width, threshold), f"the curve at n = {width}, θ = {threshold:g}") for width, threshold in settings.probed
    ),
    draw=draw,
    reading=reading,
    cheap=Settings(widths=(20, 40), repeats=20, depth=12, thresholds=(0.5, 0.85)),
    dependent="curves of a width share weights",
    controls=(
        Control("the theory of networks three times as wide", lambda settings: theory(replace(settings, wider=3.0))),
        Control("the theory of networks a third as wide", lambda settings: theory(replace(settings, wider=1 / 3))),
    ),
)
