"""Claim: with memory, the preserving gain loses activity over 100 layers, and a larger one keeps it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.extrapolation import Prediction, drawn, extrapolated, judged
from validation.work import HERE, Work
from varflow.results import Ensemble, Profile, late_steps

GAINS = {"Kaiming": 2**0.5, "paper": vf.gain(threshold=1.0), "temporal": 8**0.5}
JUDGED = {"Kaiming": (11, 100), "paper": (2, 8), "temporal": (11, 100)}  # layers, first and last
QUANTITIES = ("firing_rate", "variance")
DEEP = 50  # layer from which on the preserving gain leaves only volleys
PILOT = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """The three gains; compared are rate and variance over late steps, in layers where networks behave alike.

    ``points``: of quasi-Monte Carlo. ``bias``: relative deviation allowed for the extrapolation in 1/n. ``assumed``: decay
    and reset of a wrong theory. ``scale`` multiplies the gain called ``off``.
    """

    repeats: int
    widths: tuple[int, int] = (500, 1000)
    depth: int = 100
    steps: int = 20
    decay: float = 0.5
    reset: str = "delayed_subtract"
    points: int = 2**11
    bias: float = 0.01
    assumed: tuple[float, str] | None = None
    off: str = "temporal"
    scale: float = 1.0
    false_alarm: float = 0.01

    def networks(self, width: int) -> dict[str, vf.Network]:
        """The network of every gain."""
        decay, reset = self.assumed or (self.decay, self.reset)
        neuron = vf.Neuron(1.0, decay=decay, reset=reset)
        gains = {name: gain * (self.scale if name == self.off else 1.0) for name, gain in GAINS.items()}
        shape = {"width": width, "depth": self.depth, "neuron": neuron, "steps": self.steps}
        return {name: vf.Network(gain=gain, **shape) for name, gain in gains.items()}

    def over_judged(self, name: str, values: np.ndarray) -> np.ndarray:
        """Mean over the judged layers and the late steps."""
        first, last = JUDGED[name]
        return values[..., first - 1 : min(last, self.depth), late_steps(self.steps)].mean(axis=(-2, -1))

    def numbers(self, name: str, found: Profile | Ensemble) -> list[np.ndarray]:
        return [self.over_judged(name, getattr(found, quantity)) for quantity in QUANTITIES]


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of shape (points, 2, repeats), and the rates of the wide networks at the preserving gain, all layers and steps."""

    values: np.ndarray
    volleys: np.ndarray


def theory(settings: Settings) -> Prediction:
    right = replace(settings, scale=1.0, off="temporal", assumed=None)
    found = [_predicted(right, name, net.neuron, float(net.gains[-1])) for name, net in settings.networks(2).items()]
    value, error = np.concatenate(found).T
    return Prediction(value, error, _scatter(right))


@cache
def _predicted(settings: Settings, name: str, neuron: vf.Neuron, gain: float) -> np.ndarray:
    """Rows of value and standard error; since errors of layers and steps are correlated, their mean is used, a bound."""
    depth = min(JUDGED[name][1], settings.depth)
    network = vf.Network(width=2, depth=depth, gain=gain, neuron=neuron, steps=settings.steps)
    profile = vf.mean_field(network, points=settings.points)
    nothing = np.zeros(profile.variance.shape)
    pairs = [(getattr(profile, quantity), profile.error.get(quantity, nothing)) for quantity in QUANTITIES]
    return np.array([[settings.over_judged(name, values) for values in pair] for pair in pairs])


@cache
def _scatter(settings: Settings) -> np.ndarray:
    """Standard deviation of the values between networks; shape (points, 2)."""
    return _simulated(settings, PILOT, 1000, HERE).values.std(axis=2, ddof=1)


def simulate(settings: Settings, seed: int, work: Work) -> Measured:
    """Networks of normal weights, currents drawn from their distribution given the spikes below: equal in distribution."""
    return _simulated(settings, settings.repeats, seed, work)


def _simulated(settings: Settings, repeats: int, seed: int, work: Work) -> Measured:
    measured, volleys = [], np.empty(0)
    for number, width in enumerate(settings.widths):
        networks = settings.networks(width)
        ensembles = work.simulate(
            list(networks.values()),
            repeats=repeats,
            seed=2 * seed + number,
            engine="conditional",
            what=f"simulating width {width}",
        )
        found = dict(zip(networks, ensembles, strict=True))
        measured.append([values for name, ensemble in found.items() for values in settings.numbers(name, ensemble)])
        volleys = found["paper"].firing_rate
    return Measured(np.array(measured).swapaxes(0, 1), volleys)


def judge(settings: Settings, theory: Prediction, measured: Measured) -> Judgement:
    points = tuple(f"{name} gain, {quantity}" for name in GAINS for quantity in QUANTITIES)
    return judged(points, theory, measured.values, settings.widths, settings.bias)


def draw(settings: Settings, theory: Prediction, seed: int) -> Measured:
    return Measured(drawn(theory, settings.repeats, seed), np.empty(0))


def _gain_of(name: str) -> Error:
    return Error(f"the {name} gain", lambda settings, error: replace(settings, off=name, scale=1 + error))


def reading(settings: Settings, theory: Prediction, measured: Measured) -> str:
    seen, bars = extrapolated(measured.values, settings.widths)
    rows = []
    for (name, gain), rates, variances in zip(GAINS.items(), range(0, 6, 2), range(1, 6, 2), strict=True):
        first, last = JUDGED[name]
        pairs = [f"{theory.value[i]:.4g} ({seen[i]:.4g} ± {bars[i]:.2g})" for i in (rates, variances)]
        rows.append(
            f"{name}, g² = {gain**2:.4g}, layers {first} to {min(last, settings.depth)}: rate {pairs[0]}, variance {pairs[1]}"
        )
    late = measured.volleys[:, DEEP:, late_steps(settings.steps)]
    start = late_steps(settings.steps).start + 1
    return (
        f"θ = 1, β = {settings.decay:g}, {settings.reset}, steps {start} to {settings.steps}; theory (simulated, extrapolated "
        f"from widths {settings.widths[0]} and {settings.widths[1]}, {settings.repeats} networks each). {'. '.join(rows)}. "
        f"Beyond layer {DEEP} the preserving gain leaves isolated volleys: at width {settings.widths[1]} a layer is active in "
        f"{100 * (late > 0).mean():.0f} % of these steps, with mean rate {late.mean():.2g}; which steps they are depends on "
        "network, width and drive, so they are shown, not compared. The figure is docs/figure-5.png."
    )


CLAIM = Claim(
    name="figure_5",
    statement="Over 20 steps at β = 0.5 with delayed subtraction, networks with Kaiming's gain fall silent, with the "
    "preserving gain the rate falls from layer to layer as the theory of infinite width predicts, and g² = 8, above the "
    "critical gain, keeps rate and variance to layer 100. Simulated without matrices, currents drawn from their distribution "
    "given the spikes below.",
    source="derived in vf.mean_field; the preserving gain is that of micheli2024",
    quantity="firing rate and variance over late steps, at infinite width",
    budgets={
        "quick": Settings(repeats=10, widths=(400, 800), points=2**10, bias=0.02, depth=60),
        "standard": Settings(repeats=32),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (_gain_of("temporal"), _gain_of("paper")),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=10, widths=(60, 120), points=2**8, bias=0.05, depth=14),
    conservative="a deviation within the allowed bias counts as none",
    dependent="gains share weights, and rate and variance come from the same networks",
    controls=(
        Control(
            "the theory of subtract for delayed_subtract", lambda settings: theory(replace(settings, assumed=(0.5, "subtract")))
        ),
        Control(
            "the theory of another leak, β = 0.6", lambda settings: theory(replace(settings, assumed=(0.6, "delayed_subtract")))
        ),
        Control(
            "the theory without memory",
            lambda settings: theory(replace(settings, assumed=(0.0, "none"))),
        ),
    ),
)
