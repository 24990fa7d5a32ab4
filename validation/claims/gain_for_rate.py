"""Claim: with the gain for a rate, networks run by snnTorch, Norse and SpikingJelly fire at it in every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.sidak import sidak
from validation.work import Work
from varflow.results import late_steps
from varflow.simulation.run import exact_products

CELLS: dict[str, tuple[str, vf.Neuron]] = {  # by name: the library that runs it, and our neuron
    "snnTorch Leaky β=0.5": ("snntorch", vf.neurons.snntorch_leaky(0.5)),
    "snnTorch Leaky β=0.9": ("snntorch", vf.neurons.snntorch_leaky(0.9)),
    "Norse LIFBoxCell": ("norse", vf.neurons.norse_lif_box()),
    "Norse LIFCell": ("norse", vf.neurons.norse_lif()),
    "SpikingJelly LIFNode": ("spikingjelly", vf.neurons.spikingjelly_lif()),
}
INSTALLED = tuple(name for name, (library, _) in CELLS.items() if find_spec(library))
ONE_EACH = {library: name for name, (library, _) in reversed(CELLS.items())}  # the first cell of each library
QUICK = tuple(name for name in INSTALLED if name in ONE_EACH.values())
SPIKEINIT = "SpikingJelly LIFNode"  # the neuron SpikeInit is for
SPIKEINIT_RATES = (0.1, 0.15, 0.2)
FIRST = 10  # the first judged layer, where the gain holds for any depth


@dataclass(frozen=True, slots=True)
class Settings:
    """``bias``: relative deviation allowed for finite width. ``scale`` multiplies every gain; ``rule``: whose gain it is."""

    repeats: int
    width: int = 1500
    depth: int = 30
    steps: int = 20
    rates: tuple[float, ...] = (0.15, 0.2, 0.3)
    cells: tuple[str, ...] = INSTALLED
    bias: float = 0.05
    points: int = 2**11
    scale: float = 1.0
    rule: str = "gain_for_rate"
    false_alarm: float = 1e-3


@dataclass(frozen=True, slots=True)
class Point:
    """A network: its cell, the wanted rate, its gain, the standard deviation of the current of layer 1 and the first judged
    layer: the last one, if a warning says that layers differ, as where first steps die out with depth.
    """

    cell: str
    rate: float
    gain: float
    input_gain: float
    first: int = FIRST

    @property
    def name(self) -> str:
        return f"{self.cell}, rate {self.rate:g}"


def points(settings: Settings) -> list[Point]:
    """The attainable rates of all cells."""
    return [point for point, _ in _answers(settings) if point is not None]


def _answers(settings: Settings) -> tuple[tuple[Point | None, str], ...]:
    return _asked(replace(settings, scale=1.0, rule="gain_for_rate", repeats=1))


@cache
def _asked(settings: Settings) -> tuple[tuple[Point | None, str], ...]:
    """The gain for each cell and rate with its warnings, or the message of its DomainError."""
    found: list[tuple[Point | None, str]] = []
    for cell in settings.cells:
        for rate in settings.rates:
            shape = dict[str, Any](steps=settings.steps, depth=settings.depth, points=settings.points)
            try:
                init = vf.gain_for_rate(CELLS[cell][1], rate=rate, **shape)
                first = settings.depth if init.warnings else FIRST
                found.append((Point(cell, rate, init.gain, init.input_gain or 1.0, first), "; ".join(init.warnings)))
            except vf.DomainError as refusal:
                found.append((None, f"{cell}: {refusal}"))
    return tuple(found)


def theory(settings: Settings) -> np.ndarray:
    """The wanted rates; for wrong gains, the rates at infinite width."""
    if not settings.cells:
        raise vf.MissingExtraError("gain_for_rate runs networks with snnTorch, Norse or SpikingJelly: install one of them")
    wanted = points(settings)
    if settings.scale == 1 and settings.rule == "gain_for_rate":
        return np.array([point.rate for point in wanted])
    return np.array([_predicted(settings, point) for point in wanted])


def _predicted(settings: Settings, point: Point) -> float:
    neuron, gain = CELLS[point.cell][1], settings.scale * point.gain
    if settings.rule == "spikeinit":
        try:
            gain = settings.scale * _spikeinit(neuron, point.rate)
        except vf.DomainError:  # SpikeInit has no gain for this rate: nothing to reject
            return point.rate
    drive = vf.drives.currents(point.input_gain)
    network = vf.Network(width=1, depth=settings.depth, gain=gain, neuron=neuron, steps=settings.steps, drive=drive)
    profile = vf.mean_field(network, points=settings.points // 2, scrambles=2)
    return float(profile.firing_rate[point.first - 1 :, late_steps(settings.steps)].mean())


def _spikeinit(neuron: vf.Neuron, rate: float) -> float:
    return vf.init.published.spikeinit_gain(
        rate, threshold=neuron.threshold, decay=neuron.decay, input_scale=neuron.input_scale
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """Late rates over the compared layers of every network, at the points and with SpikeInit's gains; (repeats, …)."""

    rates: np.ndarray
    spikeinit: np.ndarray


def simulate(settings: Settings, seed: int, work: Work) -> Measured:
    """Real weight matrices, shared by all points up to their gain; the libraries' own cells."""
    wanted = points(settings)
    rivals = [
        Point(SPIKEINIT, rate, _spikeinit(neuron, rate), _first_layer(neuron, rate))
        for neuron in [CELLS[SPIKEINIT][1]]
        for rate in SPIKEINIT_RATES
        if SPIKEINIT in settings.cells
    ]
    everything = [replace(point, gain=settings.scale * point.gain) for point in [*wanted, *rivals]]
    shape = {"width": settings.width, "depth": settings.depth, "steps": settings.steps, "seed": seed}
    networks = [shape | {"points": everything, "repeat": repeat} for repeat in range(settings.repeats)]
    means = np.array(work.results(late_rates, networks, what="simulating"))
    return Measured(*np.split(means, [len(wanted)], axis=1))


def late_rates(points: list[Point], width: int, depth: int, steps: int, seed: int, repeat: int) -> list[float]:
    """Mean rate over the judged layers and the late steps at every point, in one network."""
    import torch

    gains = torch.tensor([point.gain for point in points])
    step = [_stepper(point.cell) for point in points]
    stream = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
    generator, rates = torch.Generator().manual_seed(stream), torch.zeros(len(points), dtype=torch.float64)
    first = torch.tensor([point.first for point in points])
    judged = (torch.arange(1, depth + 1)[:, None] >= first) / (depth - first + 1.0)
    with exact_products():
        held = torch.randn(width, generator=generator)
        currents = torch.stack([point.input_gain * held.expand(steps, width) for point in points])
        for layer in range(depth):
            spikes = torch.stack([one(current) for one, current in zip(step, currents, strict=True)])
            rates += judged[layer] * spikes[:, late_steps(steps)].mean(dim=(1, 2))
            weights = torch.randn(width, width, generator=generator) / width**0.5
            currents = (spikes.flatten(0, 1) @ weights.T).unflatten(0, (-1, steps)) * gains[:, None, None]
    return rates.tolist()


def _first_layer(neuron: vf.Neuron, rate: float) -> float:
    std = vf.init.published.spikeinit_first_layer_std(rate, threshold=neuron.threshold, decay=neuron.decay)
    return std / neuron.input_scale


def _stepper(cell: str) -> Callable[[Any], Any]:
    """The library's map from currents (steps, neurons) to spikes."""
    library, neuron = CELLS[cell]
    import torch

    if library == "snntorch":
        import snntorch

        leaky = snntorch.Leaky(beta=neuron.decay)
        return lambda currents: _loop(leaky, currents, torch.zeros(currents.shape[1]))
    if library == "norse":
        import norse.torch as norse

        box = norse.LIFBoxCell() if cell == "Norse LIFBoxCell" else norse.LIFCell()
        return lambda currents: _loop(box, currents[:, None], None)[:, 0]
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based import neuron as nodes

    node = nodes.LIFNode()

    def run(currents: Any) -> Any:
        functional.reset_net(node)
        with torch.no_grad():
            return torch.stack([node(current[None])[0] for current in currents])

    return run


def _loop(cell: Any, currents: Any, state: Any) -> Any:
    import torch

    fired = []
    with torch.no_grad():
        for current in currents:
            spikes, state = cell(current, state)
            fired.append(spikes)
    return torch.stack(fired)


def judge(settings: Settings, theory: np.ndarray, measured: Measured) -> Judgement:
    """Deviation beyond the allowed bias, in standard errors; Šidák over the points."""
    from scipy.stats import t

    estimate = measured.rates.mean(axis=0)
    error = measured.rates.std(axis=0, ddof=1) / settings.repeats**0.5
    beyond = np.maximum(np.abs(estimate - theory) - settings.bias * theory, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(beyond > 0, beyond / error, 0.0)
    p = np.minimum(1.0, 2 * t.sf(z, settings.repeats - 1))
    return Judgement(sidak(p.min(), len(p)), tuple(p.name for p in points(settings)), theory, estimate, error, z)


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, scale=settings.scale * (1 + error))


def draw(settings: Settings, theory: np.ndarray, seed: int) -> Measured:
    """Networks scatter by 2 % of their rate, more than measured."""
    noise = np.random.default_rng([2, seed]).standard_normal((settings.repeats, len(theory)))
    return Measured(theory * (1 + 0.02 * noise), np.zeros((settings.repeats, 0)))


def reading(settings: Settings, theory: np.ndarray, measured: Measured) -> str:
    deviation = measured.rates.mean(axis=0) / theory - 1
    worst = int(np.argmax(np.abs(deviation)))
    steps = f"steps {settings.steps // 2 + 1} to {settings.steps}"
    layers = f"layers {FIRST} to {settings.depth} (the last one, where first steps die out with depth), {steps}"
    rows = [
        f"In {layers} of {settings.repeats} networks of width {settings.width} the mean rate is off by "
        f"{100 * np.abs(deviation).mean():.2g} % on average and by {100 * deviation[worst]:+.2g} % at most "
        f"({points(settings)[worst].name})."
    ]
    gains = "; ".join(f"{p.name}: gain {p.gain:.4g}, layer 1 {p.input_gain:.3g}" for p in points(settings))
    rows.append(f"Gains: {gains}.")
    doubtful = ", ".join(point.name for point, word in _answers(settings) if point is not None and word)
    rows += [f"For this depth only, as the warnings say, since first steps die out with depth: {doubtful}."] if doubtful else []
    refused = [word for point, word in _answers(settings) if point is None]
    rows += [f"Unattainable: {'; '.join(refused)}."] if refused else []
    if measured.spikeinit.size:
        seen = zip(SPIKEINIT_RATES, measured.spikeinit.mean(axis=0), strict=True)
        told = ", ".join(f"{rate:g} gives {found:.3g}" for rate, found in seen)
        rows.append(f"With SpikeInit's gain and first layer instead ({SPIKEINIT}), a nominal rate of {told}.")
    return " ".join(rows)


CLAIM = Claim(
    name="gain_for_rate",
    statement="Networks with the gain of vf.gain_for_rate, run by snnTorch, Norse and SpikingJelly, fire at the wanted rate to "
    "within 5 % in steps 11 to 20 and layers 10 to 30 or, where first steps die out with depth, in layer 30; unattainable "
    "rates raise DomainError.",
    source="derived in vf.gain_for_rate",
    quantity="firing rate, mean over the judged layers and the late half of the steps",
    budgets={
        "quick": Settings(repeats=8, rates=(0.15, 0.2), cells=QUICK),
        "standard": Settings(repeats=16),
    },
    devices=("cpu",),
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the gain", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=8, width=200, depth=14, steps=8, rates=(0.3,), cells=QUICK, points=2**8),
    conservative="a deviation within the allowed bias counts as none",
    dependent="points share weights",
    controls=(
        Control("the rates at a gain 10 % larger", lambda settings: theory(wrong(settings, 0.1))),
        Control("the rates that SpikeInit's gain has at infinite width", lambda s: theory(replace(s, rule="spikeinit"))),
    ),
)
