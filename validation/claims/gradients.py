"""Claim: surrogate gradients have the energy that theory predicts, in every layer and step, under autograd of real networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.extrapolation import Prediction, drawn, extrapolated, judged
from validation.work import HERE, Work

BLOCK = 20  # networks


@dataclass(frozen=True, slots=True)
class Case:
    """A plain chain: its neuron, gain² and number of steps."""

    neuron: vf.Neuron
    square: float
    steps: int = 1
    surrogate: str = "atan"

    def network(self, width: int, depth: int) -> vf.Network:
        return vf.Network(width=width, depth=depth, gain=self.square**0.5, neuron=self.neuron, steps=self.steps)


CASES = {
    "memoryless": Case(vf.Neuron(1.0), 8.0),
    "snnTorch Leaky, β = 0.5": Case(vf.neurons.snntorch_leaky(0.5), 8.0, steps=5),
    "reset to zero, attached": Case(vf.Neuron(1.0, decay=0.5, reset="zero"), 8.0, 5, "spikingjelly_sigmoid"),
}
IN_TIME = tuple(name for name, case in CASES.items() if case.steps > 1)


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` networks of each of two ``widths`` for every case, each with ``inputs`` independent inputs and losses.

    ``bias``: relative deviation allowed for the extrapolation in 1/n. ``pilot``: number of networks from which the scatter is
    estimated. ``points``: of quasi-Monte Carlo. ``probed``: cases in which the smallest error caught is searched.

    Wrong theories: ``wider``, a factor on the surrogate's width, in the cases ``off``; ``detached``: resets the other way
    round; ``readout``; ``through_time=False``: growth by ``χ`` alone.
    """

    repeats: int
    widths: tuple[int, int]
    depth: int
    inputs: int = 8
    bias: float = 0.03
    pilot: int = 40
    points: int = 2**12
    probed: tuple[str, ...] = tuple(CASES)
    wider: float = 1.0
    off: tuple[str, ...] = tuple(CASES)
    detached: bool = False
    readout: str = "shared"
    through_time: bool = True
    false_alarm: float = 0.01

    @property
    def middle(self) -> int:
        return (self.depth + 1) // 2

    def points_of(self, name: str) -> tuple[str, ...]:
        first = (f"{name}, layer 1, step 1",) if CASES[name].steps > 1 else ()
        return (f"{name}, layer 1", f"{name}, layer {self.middle}", *first)

    def compared(self, energy: np.ndarray) -> np.ndarray:
        """Energies (…, depth, steps) of layer 1, of the middle layer, and of layer 1 at its first step, shape (…, points)."""
        total = energy.sum(axis=-1)
        found = [total[..., 0], total[..., self.middle - 1], energy[..., 0, 0]]
        return np.stack(found[: 2 if energy.shape[-1] == 1 else 3], axis=-1)


def theory(settings: Settings) -> Prediction:
    right = replace(settings, wider=1.0, off=(), detached=False, readout="shared", through_time=True)
    found = [_predicted(name, settings if name in settings.off else replace(settings, wider=1.0)) for name in CASES]
    value, error = np.concatenate(found, axis=1)
    return Prediction(value, error, _scatter(right))


@cache
def _predicted(name: str, settings: Settings) -> np.ndarray:
    """Value and standard error of the points of a case, shape (2, points)."""
    case = CASES[name]
    psi, reset = vf.surrogates.surrogate_of(case.surrogate), case.neuron.reset_detached
    detach = reset != settings.detached if not case.neuron.reset_rule.absent else None
    options: dict[str, Any] = {"detach_reset": detach, "readout": settings.readout, "points": settings.points}
    flow = vf.gradient_flow(case.network(2, settings.depth), psi.widened(settings.wider * psi.width), **options)
    energy = flow.energy
    if not settings.through_time:
        growth = np.append(flow.instantaneous, 1.0)[::-1].cumprod()[::-1] if flow.instantaneous is not None else 1.0
        energy = energy[-1] * np.reshape(growth, (-1, 1))
    error = flow.error.get("energy", np.zeros_like(energy))
    return np.stack([settings.compared(energy), settings.compared(error)])


@cache
def _scatter(settings: Settings) -> np.ndarray:
    """Standard deviation between networks, shape (points, 2)."""
    return simulate(replace(settings, repeats=settings.pilot), 1000, HERE).std(axis=2, ddof=1)


def simulate(settings: Settings, seed: int, work: Work) -> np.ndarray:
    """Energies of networks with real weights, by autograd; shape (points, 2, repeats)."""
    shape = {"depth": settings.depth, "inputs": settings.inputs, "seed": seed}
    blocks = range(-(-settings.repeats // BLOCK))
    wanted = [shape | {"case": name, "width": n, "block": b} for name in CASES for n in settings.widths for b in blocks]
    found = iter(work.results(energies, wanted, what="back-propagating"))
    measured = []
    for _ in CASES:
        widths = [np.concatenate([next(found)["energy"] for _ in blocks])[: settings.repeats] for _ in settings.widths]
        measured.append(settings.compared(np.array(widths)))
    return np.concatenate(measured, axis=2).transpose(2, 0, 1)


def energies(case: str, width: int, depth: int, inputs: int, seed: int, block: int) -> dict[str, np.ndarray]:
    """A block of networks."""
    from validation.torch_networks import Networks

    stream = np.random.SeedSequence([seed, list(CASES).index(case), width, block]).generate_state(1)[0]
    psi = vf.surrogates.surrogate_of(CASES[case].surrogate)
    networks = Networks(CASES[case].network(width, depth), BLOCK, int(stream), psi)
    return {"energy": networks.gradient_energies(inputs).numpy()}


def judge(settings: Settings, theory: Prediction, measured: np.ndarray) -> Judgement:
    points = tuple(point for name in CASES for point in settings.points_of(name))
    return judged(points, theory, measured, settings.widths, settings.bias)


def reading(settings: Settings, theory: Prediction, measured: np.ndarray) -> str:
    seen, bars = extrapolated(measured, settings.widths)
    points = [point for name in CASES for point in settings.points_of(name)]
    rows = ["| gradients by the currents of | theory | autograd | difference |", "|---|---|---|---|"]
    for point, value, mean, bar in zip(points, theory.value, seen, bars, strict=True):
        rows.append(f"| {point} | {value:.4g} | {mean:.4g} ± {bar:.2g} | {100 * (mean / value - 1):+.2g} % |")
    narrow, wide = settings.widths
    return (
        f"E‖∂L/∂I‖² in networks of {settings.depth} layers, θ = 1, g² = 8, of a loss Σ_t v·S_t with ‖v‖² = 1; "
        f"{settings.repeats} networks of each width, extrapolated from {narrow} and {wide}; allowed are "
        f"{100 * settings.bias:.2g} % for what does not cancel.\n\n" + "\n".join(rows)
    )


def _width_in(name: str) -> Error:
    return Error(f"the surrogate's width, {name}", lambda settings, error: replace(settings, wider=1 + error, off=(name,)))


def _control(what: str, **changed: Any) -> Control:
    wrong: Callable[[Settings], Prediction] = lambda settings: theory(replace(settings, **changed))  # noqa: E731
    return Control(what, wrong)


CLAIM = Claim(
    name="gradients",
    statement="The energy of surrogate gradients in every layer and step is G^δ = E[Jᵀ G^e J], G^e = g² G^δ of the layer "
    "above: with one step, with leak and snnTorch's delayed, detached reset, and with a reset to zero under autograd.",
    source="derived in vf.gradient_flow; for one step schoenholz2017",
    quantity="mean energy of gradients, at infinite width",
    budgets={
        "quick": Settings(repeats=100, widths=(150, 300), depth=6, bias=0.05, pilot=20, points=2**9, probed=tuple(CASES)[:2]),
        "standard": Settings(repeats=400, widths=(300, 600), depth=12),
    },
    devices=("cpu",),
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(_width_in(name) for name in settings.probed),
    draw=lambda settings, theory, seed: drawn(theory, settings.repeats, seed),
    reading=reading,
    cheap=Settings(repeats=40, widths=(50, 100), depth=4, inputs=16, bias=0.1, points=2**8),
    conservative="a relative deviation up to the bias counts as none",
    dependent="layers and steps share weights",
    controls=(
        _control("a surrogate 10 % wider", wider=1.1),
        _control("a surrogate 10 % narrower", wider=0.9),
        _control("resets attached that are detached, and the other way round", detached=True),
        _control("a readout drawn anew at every step", readout="independent"),
        _control("growth by g² E[ψ²] alone, without paths through time", through_time=False),
    ),
)
