"""Claims about networks of layers: rates and variances at infinite width, against two finite widths extrapolated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.extrapolation import Prediction, drawn, extrapolated, judged
from validation.work import HERE, Work
from varflow.results import Ensemble, Profile, late_steps

__all__ = ["Curve", "Settings", "claim"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Networks of any width, and the quantity compared: its mean over the last ``layers`` and the late steps.

    ``network(width, factor)``: ``factor`` multiplies what sets the activity, by name its ``strength``.
    """

    network: Callable[[int, float], vf.Network]
    quantity: str = "firing_rate"
    layers: int = 1
    strength: str = "gain"

    @property
    def words(self) -> str:
        return self.quantity.removeprefix("firing_")

    def value(self, found: Profile | Ensemble) -> np.ndarray:
        """One number, or one per network."""
        return self.mean(getattr(found, self.quantity), found.network.steps)

    def mean(self, values: np.ndarray, steps: int) -> np.ndarray:
        over_steps = values if steps == 1 else values[..., late_steps(steps)].mean(axis=-1)
        return over_steps[..., -self.layers :].mean(axis=-1)


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` networks of each of two ``widths`` for every curve.

    ``bias``: relative deviation allowed for the extrapolation in 1/n. ``pilot``: number of networks from which the scatter is
    estimated. ``points``: of quasi-Monte Carlo. ``off``: a curve and the factor on its strength.
    """

    repeats: int
    curves: tuple[str, ...]
    widths: tuple[int, int] = (500, 1000)
    bias: float = 0.01
    pilot: int = 40
    points: int = 2**11
    off: tuple[str, float] | None = None
    false_alarm: float = 0.01

    def factor(self, name: str) -> float:
        return self.off[1] if self.off and self.off[0] == name else 1.0

    @property
    def right(self) -> Settings:
        return replace(self, off=None)


@dataclass(frozen=True, slots=True)
class _Family:
    """The curves of one claim; hashable, so that predictions and scatter are found once."""

    name: str
    curves: Mapping[str, Curve]

    def __hash__(self) -> int:
        return hash(self.name)

    def networks(self, settings: Settings, width: int) -> list[vf.Network]:
        return [self.curves[name].network(width, settings.factor(name)) for name in settings.curves]

    def theory(self, settings: Settings, instead: Mapping[str, Curve] | None = None) -> Prediction:
        """``instead``: wrong curves in place of those of these names."""
        chosen = [((instead or self.curves).get(name, self.curves[name]), settings.factor(name)) for name in settings.curves]
        value, error = np.array([_predicted(curve, factor, settings.points) for curve, factor in chosen]).T
        return Prediction(value, error, _scatter(self, settings.right))

    def simulate(self, settings: Settings, seed: int, work: Work) -> np.ndarray:
        """Values of networks with real weight matrices; shape (curves, 2, repeats)."""
        return self.values(settings, settings.repeats, seed, "dense", work)

    def values(self, settings: Settings, repeats: int, seed: int, engine: str, work: Work) -> np.ndarray:
        curves, measured = [self.curves[name] for name in settings.curves], []
        for number, width in enumerate(settings.widths):
            what = f"simulating width {width}"
            networks = self.networks(settings, width)
            ensembles = work.simulate(networks, repeats=repeats, seed=2 * seed + number, engine=engine, what=what)
            measured.append([curve.value(ensemble) for curve, ensemble in zip(curves, ensembles, strict=True)])
        return np.array(measured).swapaxes(0, 1)

    def judge(self, settings: Settings, theory: Prediction, measured: np.ndarray) -> Judgement:
        points = tuple(f"{name}, {self.curves[name].words}" for name in settings.curves)
        return judged(points, theory, measured, settings.widths, settings.bias)

    def errors(self, settings: Settings) -> tuple[Error, ...]:
        return tuple(Error(f"the {self.curves[name].strength} of {name}", partial(_off, name)) for name in settings.curves)

    def reading(self, settings: Settings, theory: Prediction, measured: np.ndarray) -> str:
        seen, bars = extrapolated(measured, settings.widths)
        rows = ["| network | quantity | theory | simulated | difference |", "|---|---|---|---|---|"]
        for name, value, mean, bar in zip(settings.curves, theory.value, seen, bars, strict=True):
            quantity = self.curves[name].words
            rows.append(f"| {name} | {quantity} | {value:.4g} | {mean:.4g} ± {bar:.2g} | {100 * (mean / value - 1):+.2g} % |")
        narrow, wide = settings.widths
        return (
            f"Means over the last layers and the late steps; {settings.repeats} networks of each width, extrapolated from "
            f"{narrow} and {wide}; allowed are {100 * settings.bias:.2g} % for what does not cancel.\n\n" + "\n".join(rows)
        )


def claim(
    *,
    name: str,
    statement: str,
    source: str,
    curves: Mapping[str, Curve],
    wrong: Mapping[str, Mapping[str, Curve]],
    budgets: Mapping[str, Settings],
    quantity: str = "rate or variance of the last layers, at infinite width",
) -> Claim:
    """A claim about these curves; each of ``wrong`` has other networks for some of them, and must be rejected."""
    family = _Family(name, curves)

    quick = budgets["quick"]
    halved = (quick.widths[0] // 2, quick.widths[1] // 2)

    def control(what: str, instead: Mapping[str, Curve]) -> Control:
        return Control(what, lambda settings: family.theory(settings, instead))

    return Claim(
        name=name,
        statement=statement,
        source=source,
        quantity=quantity,
        budgets=budgets,
        theory=family.theory,
        simulate=family.simulate,
        judge=family.judge,
        errors=family.errors,
        draw=lambda settings, theory, seed: drawn(theory, settings.repeats, seed),
        reading=family.reading,
        controls=tuple(control(what, instead) for what, instead in wrong.items()),
        cheap=replace(quick, repeats=8, widths=halved, bias=0.1, pilot=20, points=2**8),
        conservative="a relative deviation up to the bias counts as none",
        dependent="curves share weights",
    )


def _off(name: str, settings: Settings, error: float) -> Settings:
    return replace(settings, off=(name, 1 + error))


@cache
def _predicted(curve: Curve, factor: float, points: int) -> tuple[float, float]:
    """Value and standard error; errors of different steps are correlated, and their mean is a bound."""
    network = curve.network(2, factor)
    profile = vf.mean_field(network, points=points)
    error = profile.error.get(curve.quantity)
    return float(curve.value(profile)), 0.0 if error is None else float(curve.mean(error, network.steps))


@cache
def _scatter(family: _Family, settings: Settings) -> np.ndarray:
    """Standard deviation between networks, from networks without matrices; shape (curves, 2)."""
    pilot = family.values(settings, settings.pilot, 1000, "conditional", HERE)
    return pilot.std(axis=2, ddof=1)
