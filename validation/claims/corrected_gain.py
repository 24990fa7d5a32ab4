"""Claim: the corrected gain keeps alive exactly the share of narrow networks that it promises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement, Progress


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` networks at ``scale`` times the corrected gain; ``rule``: or the paper's gain in its place."""

    repeats: int
    width: int = 100
    threshold: float = 1.0
    depth: int = 100
    survival_target: float = 0.99
    scale: float = 1.0
    rule: str = "corrected"
    false_alarm: float = 1e-3

    def network(self) -> vf.Network:
        if self.rule == "corrected":
            shape = {"threshold": self.threshold, "width": self.width, "depth": self.depth}
            gain = vf.corrected_gain(**shape, survival_target=self.survival_target)
        else:
            gain = vf.gain_by_rule(self.rule, self.threshold)
        gain *= self.scale
        return vf.Network(width=self.width, depth=self.depth, gain=gain, neuron=vf.Neuron(self.threshold))


def theory(settings: Settings) -> float:
    """The exact probability that a network is alive in the last layer."""
    return float(vf.finite_width(settings.network()).survival[-1])


def simulate(settings: Settings, seed: int, progress: Progress) -> int:
    """How many are; real weight matrices."""
    network = settings.network()
    ensemble = vf.simulate(network, repeats=settings.repeats, seed=seed, progress=partial(progress, "simulating"))
    return int(ensemble.survival[:, -1].sum())


def judge(settings: Settings, theory: float, measured: int) -> Judgement:
    """The exact two-sided binomial test."""
    from scipy.stats import binomtest

    n = settings.repeats
    error, seen = np.sqrt(theory * (1 - theory) / n), measured / n
    point = f"n = {settings.width}, θ = {settings.threshold:g}, layer {settings.depth}"
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(seen == theory, 0.0, (seen - theory) / error)
    p_value = float(binomtest(measured, n, min(theory, 1.0)).pvalue)
    return Judgement(p_value, (point,), np.array([theory]), np.array([seen]), np.array([error]), np.atleast_1d(z))


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, scale=settings.scale * (1 + error))


def draw(settings: Settings, theory: float, seed: int) -> int:
    return int(np.random.default_rng([1, seed]).binomial(settings.repeats, theory))


def reading(settings: Settings, theory: float, measured: int) -> str:
    network = settings.network()
    gain = float(network.gains[-1])
    paper = replace(settings, rule="preserving", scale=1.0)
    V = vf.stable_variance(threshold=settings.threshold, gain=gain)
    return (
        f"At g² = {gain**2:.5g} {measured} of {settings.repeats} networks are alive at layer {settings.depth}, promised were "
        f"{100 * theory:.4g} %. The paper's gain, g² = {paper.network().gains[-1] ** 2:.5g}, would have kept "
        f"{100 * vf.finite_width(paper.network()).survival[-1]:.3g} %. The price: the variance settles at {V:.4g}, not at 1."
    )


CLAIM = Claim(
    name="corrected_gain",
    statement="Of networks of width 100 at θ = 1 with the gain vf.corrected_gain gives for 100 layers and 99 %, "
    "99 % are alive at layer 100; at the paper's gain hardly any are.",
    source="derived in vf.corrected_gain; micheli2024, figure 4, shows the loss that it corrects",
    quantity="share of networks alive in the last layer",
    budgets={"quick": Settings(repeats=1000), "standard": Settings(repeats=5000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the gain", wrong),),
    draw=draw,
    reading=reading,
    controls=(
        Control("the survival at the paper's gain", lambda settings: theory(replace(settings, rule="preserving"))),
        Control("the survival at a gain 2 % lower", lambda settings: theory(wrong(settings, -0.02))),
        Control(
            "networks with the paper's gain, judged by what the corrected gain promises",
            theory,
            lambda settings, seed: simulate(replace(settings, rule="preserving"), seed, lambda *_: None),
        ),
        Control(
            "networks with a gain 2 % lower, judged by what the corrected gain promises",
            theory,
            lambda settings, seed: simulate(wrong(settings, -0.02), seed, lambda *_: None),
        ),
    ),
)
