"""Claim: with leak and reset, late rates of wide networks have the mean and the spread of the 1/n series in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.sidak import sidak
from validation.work import Work
from varflow.results import late_steps

NEURONS = {
    "SpikingJelly LIF": (vf.neurons.spikingjelly_lif(), 1.3),
    "snnTorch Leaky, β = 0.5": (vf.neurons.snntorch_leaky(0.5), 1.4),
    "snnTorch Leaky, β = 0.9": (vf.neurons.snntorch_leaky(0.9), 1.2),
}  # with gains in units of the critical one
DRIVES = {"constant": vf.drives.currents, "white": vf.drives.white}
NEXT_ORDER = 0.25, 0.03  # bias allowed for terms of order 1/n², relative to shift and variance

Cell = tuple[str, int, float, str]  # neuron, steps, threshold, drive


@dataclass(frozen=True, slots=True)
class Settings:
    """A cell for every neuron, number of steps, threshold and drive, whose standard deviation is that of the threshold.

    ``layers``: measured ones, so far apart that they are independent. ``widened``: factor on the theory's width; ``shifts``,
    ``resets``, ``remembers``: whether the theory has shifts of the mean, resets, and memory.
    """

    repeats: int
    width: int = 150
    neurons: tuple[str, ...] = tuple(NEURONS)
    steps: tuple[int, ...] = (5, 12, 24)
    thresholds: tuple[float, ...] = (0.5, 2.0)
    drives: tuple[str, ...] = tuple(DRIVES)
    layers: tuple[int, ...] = (12, 18, 24, 30)
    points: int = 2**13
    widened: float = 1.0
    shifts: bool = True
    resets: bool = True
    remembers: bool = True
    false_alarm: float = 0.01

    def cells(self) -> list[Cell]:
        cells = ((neuron, steps, theta) for neuron in self.neurons for steps in self.steps for theta in self.thresholds)
        return [(*cell, drive) for cell in cells for drive in self.drives]

    def network(self, cell: Cell) -> vf.Network:
        name, steps, theta, drive = cell
        neuron, factor = NEURONS[name]
        unit = theta / neuron.input_scale
        gain = factor * unit * vf.critical_gain(threshold=1.0)
        neuron = replace(neuron, threshold=theta)
        if not self.resets:
            neuron = replace(neuron, reset="none")
        return vf.Network(
            width=self.width,
            depth=max(self.layers),
            gain=gain,
            neuron=neuron,
            steps=steps if self.remembers else 1,
            drive=DRIVES[drive](unit),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Of each cell: the rate at infinite width and its numerical error, ``n`` times the shift and the variance at width n."""

    rate: np.ndarray
    error: np.ndarray
    shift: np.ndarray
    variance: np.ndarray


def theory(settings: Settings) -> Series:
    rows = [_series(settings, cell) for cell in settings.cells()]
    rate, error, shift, variance = np.array(rows).T
    return Series(rate, error, shift * settings.shifts / settings.widened, variance / settings.widened)


def _series(settings: Settings, cell: Cell) -> tuple[float, ...]:
    """In units of the threshold, in which cells that differ in it alone are the same."""
    name, steps, _, drive = cell
    return _in_units(replace(settings, repeats=1, widened=1.0, shifts=True), (name, steps, 1.0, drive))


@cache
def _in_units(settings: Settings, cell: Cell) -> tuple[float, ...]:
    network = settings.network(cell)
    if not settings.remembers:
        one, g2 = vf.expansion(network, order=1), (network.neuron.input_scale * float(network.gains[-1])) ** 2
        return one.fixed_point.firing_rate, 0.0, one.mean_coefficients[0] / g2, one.variance_coefficients[0] / g2**2
    found = vf.expansion(network, points=settings.points)
    shift, variance = found.late_coefficients
    error = np.diagonal(found.error["fixed_point"])[late_steps(network.steps)].mean()
    return found.late_rate - shift / settings.width, float(error), shift, variance


def simulate(settings: Settings, seed: int, work: Work) -> np.ndarray:
    """Late rates of networks with real weight matrices, shared by the drives; shape (cells, layers, repeats)."""
    cells, layers, late = settings.cells(), np.array(settings.layers) - 1, []
    for start in range(0, len(cells), len(settings.drives)):
        networks = [settings.network(cell) for cell in cells[start : start + len(settings.drives)]]
        for ensemble in work.simulate(networks, repeats=settings.repeats, seed=1000 * seed + start):
            late.append(ensemble.firing_rate[:, layers, late_steps(ensemble.network.steps)].mean(axis=-1).T)
    return np.array(late)


def judge(settings: Settings, theory: Series, measured: np.ndarray) -> Judgement:
    """Normal scores of shifts and variances of all cells, beyond the bias, and of the shift of all cells together."""
    from scipy.special import ndtr

    n = settings.width
    from_limit = n * (measured - theory.rate[:, None, None]).mean(axis=1)
    about = measured - (theory.rate + theory.shift / n)[:, None, None]
    samples = np.vstack([from_limit, n * (about**2).mean(axis=1), from_limit.mean(axis=0)])
    told = np.array([*theory.shift, *theory.variance, theory.shift.mean()])
    cells = len(theory.rate)
    bias = np.abs(told) * np.array([NEXT_ORDER[0]] * cells + [NEXT_ORDER[1]] * cells + [NEXT_ORDER[0]])
    numerical = n * np.array([*theory.error, *[0.0] * cells, theory.error.mean()])
    seen, error = samples.mean(axis=1), np.hypot(samples.std(axis=1, ddof=1) / settings.repeats**0.5, numerical)
    z = np.copysign(np.maximum(np.abs(seen - told) - bias, 0.0) / error, seen - told)
    names = [f"{neuron}, {steps} steps, θ = {theta:g}, {drive} drive" for neuron, steps, theta, drive in settings.cells()]
    points = (*(f"shift: {name}" for name in names), *(f"variance: {name}" for name in names), "shift: mean of all")
    return Judgement(sidak(float(2 * ndtr(-np.abs(z).max())), len(points)), points, told, seen, error, z)


def draw(settings: Settings, theory: Series, seed: int) -> np.ndarray:
    noise = np.random.default_rng([2, seed]).standard_normal((len(theory.rate), len(settings.layers), settings.repeats))
    mean, std = theory.rate + theory.shift / settings.width, np.sqrt(theory.variance / settings.width)
    return mean[:, None, None] + std[:, None, None] * noise


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, widened=settings.widened * (1 + error))


def reading(settings: Settings, theory: Series, measured: np.ndarray) -> str:
    found = judge(settings, theory, measured)
    shifts, variances = np.split(np.column_stack([found.theory, found.estimate, found.standard_error])[:-1], 2)
    table = ["| neuron | steps | θ | drive | shift | simulated | variance | simulated |", "|---|---|---|---|---|---|---|---|"]
    for (neuron, steps, theta, drive), (c, x, a), (v, y, b) in zip(settings.cells(), shifts, variances, strict=True):
        rows = f"{c:.3f} | {x:.3f} ± {a:.3f} | {v:.4f} | {y:.4f} ± {b:.4f}"
        table.append(f"| {neuron} | {steps} | {theta:g} | {drive} | {rows} |")
    c, x, a = found.theory[-1], found.estimate[-1], found.standard_error[-1]
    layers = ", ".join(map(str, settings.layers))
    return (
        f"Late rates of {settings.repeats} networks of width n = {settings.width}, in layers {layers}: n times the shift of "
        f"their mean from infinite width, and n times their variance over networks. The mean shift of all cells is {c:.3f} by "
        f"the series, {x:.3f} ± {a:.3f} in networks. Allowed are {100 * NEXT_ORDER[0]:.0f} % of a "
        f"shift and {100 * NEXT_ORDER[1]:.0f} % of a variance, for terms of order 1/n².\n\n" + "\n".join(table)
    )


CLAIM = Claim(
    name="finite_width_in_time",
    statement="With leak and reset, late rates of deep layers of width 150 have the mean, to 25 % of its shift from infinite "
    "width, and to 3 % the variance over networks of the series in 1/n, over 5, 12 and 24 steps, for SpikingJelly's neuron and "
    "two of snnTorch, under constant and white drive.",
    source="derived in vf.expansion",
    quantity="n times the shift of the late rate, and n times its variance over networks",
    budgets={
        "quick": Settings(repeats=1600, neurons=("SpikingJelly LIF", "snnTorch Leaky, β = 0.5"), steps=(5,), thresholds=(0.5,)),
        "standard": Settings(repeats=400),
    },
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the width", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(
        repeats=200, width=100, neurons=("snnTorch Leaky, β = 0.5",), steps=(4,), thresholds=(0.5,), layers=(8, 12, 16)
    ),
    conservative="a deviation within the allowed bias counts as none",
    dependent="cells that differ in the drive share weights",
    controls=(
        Control("no shift of the mean", lambda settings: theory(replace(settings, shifts=False))),
        Control("the theory without reset", lambda settings: theory(replace(settings, resets=False))),
        Control("the series of one step", lambda settings: theory(replace(settings, remembers=False))),
        Control("a width 20 % too large", lambda settings: theory(wrong(settings, 0.2))),
        Control("a width 20 % too small", lambda settings: theory(wrong(settings, -0.2))),
    ),
)
