"""Claim: with leak and reset, deep layers fire at the rate predicted by the theory of infinite width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import root_scalar

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.extrapolation import Prediction, drawn, extrapolated, judged
from validation.work import Work
from varflow.init.published import spikeinit_gain
from varflow.results import Ensemble, Profile, late_steps

Key = tuple[str, float, str]  # reset, decay, drive
DRIVES = {
    "constant": vf.drives.currents(1.0),
    "white": vf.drives.white(1.0),
    "spikes": vf.drives.spikes(np.full(500, 0.2)),  # 500 trains through real first weights
}
NEAR = 2.0  # per cent


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every reset, decay and drive; compared is its rate over late steps and deep layers.

    ``gain``: of all resets but multi_spike. Its counts grow with the membrane, so that without bias activity dies or
    explodes: it has the gain ``counting`` and a bias. ``shallow``: first layers, left out. ``pilot``: number of networks from
    which the scatter is estimated. ``points``: of quasi-Monte Carlo. ``bias``: relative deviation allowed for the
    extrapolation. ``probed``: curves whose sensitivity to the gain is measured; ``errors`` changes the gain of single curves,
    ``swapped`` exchanges resets, ``remembers=False`` removes leak and reset.
    """

    repeats: int
    widths: tuple[int, int] = (500, 1000)
    resets: tuple[str, ...] = ("none", "subtract", "delayed_subtract", "zero", "gate", "multi_spike")
    decays: tuple[float, ...] = (0.5, 0.9)
    drives: tuple[str, ...] = ("constant", "white", "spikes")
    gain: float = 10**0.5
    counting: float = 1.2
    counting_bias: float = 1.0
    steps: int = 20
    depth: int = 30
    shallow: int = 10
    pilot: int = 40
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
        return [self._network(key, width) for key in self.curves()]

    def _network(self, key: Key, width: int) -> vf.Network:
        reset, decay, drive = key
        gain, bias = (self.counting, self.counting_bias) if reset == "multi_spike" else (self.gain, 0.0)
        gain *= 1 + dict(self.errors).get(key, 0.0)
        reset = dict(self.swapped).get(reset, reset)
        neuron = vf.Neuron(1.0, decay=decay, reset=reset) if self.remembers else vf.Neuron(1.0)
        shape: dict[str, Any] = {"width": width, "depth": self.depth, "steps": self.steps}
        return vf.Network(gain=gain, bias_std=bias, neuron=neuron, drive=DRIVES[drive], **shape)

    def rate(self, found: Profile | Ensemble) -> np.ndarray:
        """Mean firing rate over the compared layers and steps, one number or one per network."""
        return found.firing_rate[..., self.shallow :, late_steps(self.steps)].mean(axis=(-2, -1))

    @property
    def right(self) -> Settings:
        return replace(self, errors=(), swapped=(), remembers=True)


def theory(settings: Settings) -> Prediction:
    cases = zip(settings.networks(2), settings.curves(), strict=True)
    found = [_predicted(settings.right, net.neuron, float(net.gains[-1]), net.bias_std, key[-1]) for net, key in cases]
    value, error = np.array(found).T
    return Prediction(value, error, _scatter(settings.right))


@cache
def _predicted(settings: Settings, neuron: vf.Neuron, gain: float, bias_std: float, drive: str) -> tuple[float, float]:
    """Rate and standard error; since errors of layers and steps are correlated, their mean is used, a bound."""
    shape: dict[str, Any] = {"width": 2, "depth": settings.depth, "steps": settings.steps}
    network = vf.Network(gain=gain, bias_std=bias_std, neuron=neuron, drive=DRIVES[drive], **shape)
    profile = vf.mean_field(network, points=settings.points)
    error = profile.error.get("firing_rate", np.zeros(profile.firing_rate.shape))
    return float(settings.rate(profile)), float(error[settings.shallow :, late_steps(settings.steps)].mean())


@cache
def _scatter(settings: Settings) -> np.ndarray:
    """Standard deviation of the rate between networks, from networks without matrices; shape (curves, 2)."""
    options = {"repeats": settings.pilot, "engine": "conditional"}
    pilots = [vf.simulate(settings.networks(n), seed=1000 + n, **options) for n in settings.widths]
    return np.array([[settings.rate(ensemble).std(ddof=1) for ensemble in ensembles] for ensembles in pilots]).T


def simulate(settings: Settings, seed: int, work: Work) -> np.ndarray:
    """Rates of networks with real weight matrices, shared by the curves of a width; shape (curves, 2, repeats)."""
    measured = []
    for number, width in enumerate(settings.widths):
        networks, what = settings.networks(width), f"simulating width {width}"
        ensembles = work.simulate(networks, repeats=settings.repeats, seed=2 * seed + number, what=what)
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
    """The larger of the rates for which SpikeInit gives this gain; 0 if there is none."""
    rates, gains = np.linspace(0.001, 0.499, 499), []
    for rate in rates:
        try:
            gains.append(spikeinit_gain(rate, decay=decay))
        except vf.DomainError:  # beyond the largest attainable rate
            break
    lowest = int(np.argmin(gains))
    if not gains[lowest] < gain < gains[-1]:
        return 0.0
    bracket = (rates[lowest], rates[len(gains) - 1])
    return float(root_scalar(lambda rate: spikeinit_gain(rate, decay=decay) - gain, bracket=bracket).root)


def by_spikeinit(settings: Settings) -> Prediction:
    """The theory, with SpikeInit's rates for reset to zero."""
    right, keys = theory(settings), settings.curves()
    values = [spikeinit_rate(settings.gain, decay) if reset == "zero" else np.nan for reset, decay, _ in keys]
    return replace(right, value=np.where(np.isnan(values), right.value, values))


def reading(settings: Settings, theory: Prediction, measured: np.ndarray) -> str:
    seen, error = extrapolated(measured, settings.widths)
    narrow, wide = settings.widths
    first = late_steps(settings.steps).start + 1
    off, bars = 100 * (seen / theory.value - 1), 100 * np.hypot(error, theory.error) / theory.value
    near = np.abs(off) <= np.maximum(NEAR, 3 * bars)
    shift = 100 * (measured.mean(axis=2) @ [1, -1]) / theory.value
    table = ["| reset | β | drive | theory | simulated | difference | SpikeInit |", "|---|---|---|---|---|---|---|"]
    for (reset, decay, drive), value, rate, bar, share in zip(settings.curves(), theory.value, seen, error, off, strict=True):
        other = f"{spikeinit_rate(settings.gain, decay):.4f}" if reset == "zero" else ""
        table.append(f"| {reset} | {decay:g} | {drive} | {value:.4f} | {rate:.4f} ± {bar:.4f} | {share:+.2f} % | {other} |")
    return (
        f"Rates at θ = 1, g² = {settings.gain**2:.4g}, layers {settings.shallow + 1} to {settings.depth}, steps {first} to "
        f"{settings.steps}, simulated ones extrapolated from widths {narrow} and {wide}, {settings.repeats} networks each. "
        f"{near.sum()} of {len(near)} are within {NEAR:g} % or 3 standard errors; the largest difference is "
        f"{np.abs(off).max():.2g} %, the root mean square of all {np.sqrt(np.mean(off**2)):.2g} %; allowed are "
        f"{100 * settings.bias:.2g} %. Between the two widths rates differ by {np.abs(shift).max():.2g} % at most, "
        f"{shift.mean():.2g} % on average. With counts of spikes (multi_spike) and weights of mean 0 activity died or "
        f"exploded at every gain tried; its rates are those at g² = {settings.counting**2:.4g} with a bias of standard "
        f"deviation {settings.counting_bias:g}. SpikeInit's method is for reset to zero, a steady state and inputs "
        "independent in time.\n\n" + "\n".join(table)
    )


CLAIM = Claim(
    name="leak_and_reset",
    statement="With leak, with every reset, and with constant, white or spiking drive, deep layers fire at late steps at the "
    "rate that the theory of infinite width predicts, at θ = 1 and g² = 10 over 20 steps (multi_spike: g² = 1.44, with a "
    "bias).",
    source="derived in vf.mean_field",
    quantity="firing rate over late steps and deep layers, at infinite width",
    budgets={
        "quick": Settings(
            repeats=12, widths=(200, 400), depth=20, pilot=16, points=2**10, bias=0.01, probed=(("zero", 0.9, "white"),)
        ),
        "standard": Settings(repeats=32),
        "long": Settings(repeats=24, widths=(1000, 2000), depth=100, pilot=16),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(_gain_of(key) for key in settings.probed),
    draw=draw,
    reading=reading,
    cheap=Settings(
        repeats=12,
        widths=(60, 120),
        resets=("subtract", "zero", "gate"),
        decays=(0.5,),
        drives=("white",),
        depth=12,
        shallow=6,
        points=2**9,
        bias=0.03,
    ),
    conservative="a deviation within the allowed bias counts as none",
    dependent="curves of a width share weights and drive",
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
