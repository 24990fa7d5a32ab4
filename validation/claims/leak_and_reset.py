"""Claim: with leak and reset, deep layers fire at the rate that the theory of infinite width says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import root_scalar

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement, Progress
from validation.extrapolation import Prediction, drawn, extrapolated, judged
from varflow.init.rates import spikeinit_gain
from varflow.results import Ensemble, Profile, late_steps

Key = tuple[str, float, str]  # reset, decay, drive
DRIVES = {"constant": vf.drives.currents(1.0), "white": vf.drives.white(1.0)}
PILOT = 40  # networks from which the scatter is known


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every reset, decay and drive, all at one gain; judged is its rate over late steps and deep layers.

    ``shallow``: layers not judged. ``points``: of quasi-Monte Carlo. ``bias``: share of a rate granted to what extrapolation
    leaves. ``probed``: curves whose sensitivity to the gain is found; ``errors`` puts the gain of single curves off,
    ``swapped`` exchanges resets, ``remembers=False`` takes leak and reset away.
    """

    repeats: int
    widths: tuple[int, int] = (500, 1000)
    resets: tuple[str, ...] = ("none", "subtract", "delayed_subtract", "zero", "gate")
    decays: tuple[float, ...] = (0.5, 0.9)
    drives: tuple[str, ...] = ("constant", "white")
    gain: float = 10**0.5
    steps: int = 20
    depth: int = 30
    shallow: int = 10
    points: int = 2**12
    bias: float = 0.005
    probed: tuple[Key, ...] = (("delayed_subtract", 0.5, "constant"), ("zero", 0.9, "white"))
    errors: tuple[tuple[Key, float], ...] = ()
    swapped: tuple[tuple[str, str], ...] = ()
    remembers: bool = True
    false_alarm: float = 0.01

    def curves(self) -> list[Key]:
        return [(reset, decay, drive) for reset in self.resets for decay in self.decays for drive in self.drives]

    def networks(self, width: int) -> list[vf.Network]:
        """The network of every curve."""
        return [
            self._network(*key, gain=self.gain * (1 + dict(self.errors).get(key, 0.0)), width=width) for key in self.curves()
        ]

    def _network(self, reset: str, decay: float, drive: str, *, gain: float, width: int) -> vf.Network:
        reset = dict(self.swapped).get(reset, reset)
        neuron = vf.Neuron(1.0, decay=decay, reset=reset) if self.remembers else vf.Neuron(1.0)
        return vf.Network(width=width, depth=self.depth, gain=gain, neuron=neuron, steps=self.steps, drive=DRIVES[drive])

    def rate(self, found: Profile | Ensemble) -> np.ndarray:
        """Firing rate over what is judged, one number or one a network."""
        return found.firing_rate[..., self.shallow :, late_steps(self.steps)].mean(axis=(-2, -1))

    @property
    def right(self) -> Settings:
        return replace(self, errors=(), swapped=(), remembers=True)


def theory(settings: Settings) -> Prediction:
    found = [_predicted(settings.right, network.neuron, float(network.gains[-1]), drive) for network, drive in _cases(settings)]
    value, error = np.array(found).T
    return Prediction(value, error, _scatter(settings.right))


def _cases(settings: Settings) -> list[tuple[vf.Network, str]]:
    return [(network, key[-1]) for network, key in zip(settings.networks(2), settings.curves(), strict=True)]


@cache
def _predicted(settings: Settings, neuron: vf.Neuron, gain: float, drive: str) -> tuple[float, float]:
    """Rate and standard error of it; errors of layers and steps depend on each other: their mean is a bound."""
    network = vf.Network(width=2, depth=settings.depth, gain=gain, neuron=neuron, steps=settings.steps, drive=DRIVES[drive])
    profile = vf.mean_field(network, points=settings.points)
    error = profile.error.get("firing_rate", np.zeros(profile.firing_rate.shape))
    return float(settings.rate(profile)), float(error[settings.shallow :, late_steps(settings.steps)].mean())


@cache
def _scatter(settings: Settings) -> np.ndarray:
    """Of the rate between networks, from networks without matrices; shape (curves, 2)."""
    pilots = [vf.simulate(settings.networks(n), repeats=PILOT, seed=1000 + n, engine="conditional") for n in settings.widths]
    return np.array([[settings.rate(ensemble).std(ddof=1) for ensemble in ensembles] for ensembles in pilots]).T


def simulate(settings: Settings, seed: int, progress: Progress) -> np.ndarray:
    """Rates of networks with real weight matrices, shared by the curves of a width; shape (curves, 2, repeats)."""
    measured = []
    for number, width in enumerate(settings.widths):

        def report(now: int, total: int, before: int = number * settings.repeats) -> None:
            progress("simulating", before + now, total * 2)

        ensembles = vf.simulate(settings.networks(width), repeats=settings.repeats, seed=2 * seed + number, progress=report)
        measured.append([settings.rate(ensemble) for ensemble in ensembles])
    return np.array(measured).swapaxes(0, 1)


def judge(settings: Settings, theory: Prediction, measured: np.ndarray) -> Judgement:
    points = tuple(f"{reset}, β = {decay:g}, {drive} drive" for reset, decay, drive in settings.curves())
    return judged(points, theory, measured, settings.widths, settings.bias)


def draw(settings: Settings, theory: Prediction, seed: int) -> np.ndarray:
    return drawn(theory, settings.repeats, seed)


def _gain_of(key: Key) -> Error:
    what = "the gain of the curve {}, β = {:g}, {} drive".format(*key)
    return Error(what, lambda settings, error: replace(settings, errors=((key, error),)))


def spikeinit_rate(gain: float, decay: float) -> float:
    """The larger of the rates that SpikeInit's gain belongs to; 0 where there is none."""
    rates, gains = np.linspace(0.001, 0.499, 499), []
    for rate in rates:
        try:
            gains.append(spikeinit_gain(rate, decay=decay))
        except vf.DomainError:  # beyond the largest rate in reach
            break
    lowest = int(np.argmin(gains))
    if not gains[lowest] < gain < gains[-1]:
        return 0.0
    bracket = (rates[lowest], rates[len(gains) - 1])
    return float(root_scalar(lambda rate: spikeinit_gain(rate, decay=decay) - gain, bracket=bracket).root)


def by_spikeinit(settings: Settings) -> Prediction:
    """The theory, but SpikeInit's rates where reset is to zero."""
    right, keys = theory(settings), settings.curves()
    values = [spikeinit_rate(settings.gain, decay) if reset == "zero" else np.nan for reset, decay, _ in keys]
    return replace(right, value=np.where(np.isnan(values), right.value, values))


def reading(settings: Settings, theory: Prediction, measured: np.ndarray) -> str:
    seen, error = extrapolated(measured, settings.widths)
    narrow, wide = settings.widths
    places = (
        f"layers {settings.shallow + 1} to {settings.depth}, steps {late_steps(settings.steps).start + 1} to {settings.steps}"
    )
    rows = []
    for (reset, decay, drive), predicted, rate, bar in zip(settings.curves(), theory.value, seen, error, strict=True):
        rows.append(f"{reset}, β = {decay:g}, {drive}: {predicted:.4f} ({rate:.4f} ± {bar:.4f})")
    narrow_to_wide = 100 * (measured.mean(axis=2) @ [1, -1]) / theory.value
    others = [f"{spikeinit_rate(settings.gain, decay):.4f} at β = {decay:g}" for decay in settings.decays]
    largest = 100 * np.abs(seen / theory.value - 1).max()
    return (
        f"Rates at θ = 1, g² = {settings.gain**2:.4g}, {places}, theory (simulated, extrapolated from widths {narrow} and "
        f"{wide}, {settings.repeats} networks each): {'; '.join(rows)}. Largest difference {largest:.2g} %; granted are "
        f"{100 * settings.bias:.2g} %. Between the two widths rates differ by {np.abs(narrow_to_wide).max():.2g} % at most, "
        f"{narrow_to_wide.mean():.2g} % in the mean. SpikeInit's method for reset to zero, for a steady state and inputs "
        f"independent in time, predicts {' and '.join(others)}. Left out is multi_spike: counts of spikes explode at "
        "this gain."
    )


CLAIM = Claim(
    name="leak_and_reset",
    statement="With leak, with every reset of one spike a step, and with constant or white drive, deep layers fire at late "
    "steps at the rate that the theory of infinite width says, at θ = 1 and g² = 10 over 20 steps.",
    source="derived in vf.mean_field",
    quantity="firing rate over late steps and deep layers, at infinite width",
    budgets={
        "quick": Settings(repeats=12, widths=(200, 400), depth=20, points=2**11, bias=0.01, probed=(("zero", 0.9, "white"),)),
        "standard": Settings(repeats=32),
        "long": Settings(repeats=64, widths=(1000, 2000), points=2**14, bias=0.002),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(_gain_of(key) for key in settings.probed),
    draw=draw,
    reading=reading,
    controls=(
        Control("the theory without memory", lambda settings: theory(replace(settings, remembers=False))),
        Control(
            "the theory without reset",
            lambda settings: theory(replace(settings, swapped=tuple((reset, "none") for reset in settings.resets))),
        ),
        Control(
            "the theory of subtract for delayed_subtract, and the other way round",
            lambda settings: theory(
                replace(settings, swapped=(("subtract", "delayed_subtract"), ("delayed_subtract", "subtract")))
            ),
        ),
        Control("SpikeInit's rates where reset is to zero", by_spikeinit),
    ),
)
