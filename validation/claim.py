"""Types: a claim is a theory, a simulation that could refute it, and errors whose smallest detectable size is measured.

``runner`` examines claims; ``claims`` contains them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from validation.work import Work

__all__ = ["FAILS", "HOLDS", "INCONCLUSIVE", "Claim", "Control", "Error", "Judgement", "Result", "number"]

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Comparison of one theory with one simulation.

    Attributes
    ----------
    p_value : float
        Probability, if the theory is right, of a deviation at least as large as that observed, over all points together.
    points : tuple of str
        Names of the points where theory and simulation are compared.
    theory, estimate, standard_error, z : ndarray, shape (points,)
    """

    p_value: float
    points: tuple[str, ...]
    theory: np.ndarray
    estimate: np.ndarray
    standard_error: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, slots=True)
class Error:
    """An error of any size ε; the smallest size detected is to be found.

    Attributes
    ----------
    what : str
        The quantity changed by a factor 1 + ε, for instance "the gain".
    wrong : callable
        ``wrong(settings, ε)``: settings of the wrong network.
    rejected : callable, optional
        ``rejected(settings) -> ((ε, seed) -> bool)``: whether the right theory is rejected by one simulation drawn from the
        wrong network. By default by ``draw`` and ``judge`` of the claim.
    """

    what: str
    wrong: Callable[[Any, float], Any]
    rejected: Callable[[Any], Callable[[float, int], bool]] | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A wrong theory, which must be rejected.

    ``theory(settings)`` is compared with the claim's own simulation, or with ``simulate(settings, seed, work)`` if given: then
    the network is wrong instead.
    """

    what: str
    theory: Callable[[Any], Any]
    simulate: Callable[[Any, int, Work], Any] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement that a simulation could refute.

    Attributes
    ----------
    name, statement, source : str
        ``source``: where the statement comes from, by the keys of varflow's references.
    quantity : str
        The quantity of which a judgement has ``theory``, ``estimate``, ``standard_error`` and ``z``.
    budgets : mapping
        ``"quick"``, ``"standard"`` and optionally ``"long"`` to settings: a frozen dataclass with at least ``false_alarm``.
    theory : callable
        ``theory(settings)``: the prediction.
    simulate : callable
        ``simulate(settings, seed, work)``: the measurement, with real weight matrices unless the statement says otherwise.
        By ``work.simulate(networks, …)``, or as blocks, ``work.results(function, arguments, …)``: then it can be continued
        after a crash, and run in several processes.
    judge : callable
        ``judge(settings, theory, measured) -> Judgement``.
    errors : callable
        ``errors(settings)``: errors. For each the smallest size detected is found, and a control 1.5 times as large must be
        rejected.
    draw : callable
        ``draw(settings, theory, seed)``: a measurement drawn from the distribution that this theory predicts.
    controls : tuple of Control
        Further wrong theories.
    reading : callable
        ``reading(settings, theory, measured)``: the result in sentences.
    devices : tuple of str
        Where ``simulate`` can run.
    cheap : settings, optional
        Those of the envelope, which repeats draws and simulations; by default the quick budget.
    conservative, dependent : str
        Why p-values of a right theory are larger than uniform ones, and what dependence ``draw`` leaves out, if so.
    """

    name: str
    statement: str
    source: str
    quantity: str
    budgets: Mapping[str, Any]
    theory: Callable[[Any], Any]
    simulate: Callable[[Any, int, Work], Any]
    judge: Callable[[Any, Any, Any], Judgement]
    errors: Callable[[Any], tuple[Error, ...]]
    draw: Callable[[Any, Any, int], Any]
    reading: Callable[[Any, Any, Any], str]
    controls: tuple[Control, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    cheap: Any = None
    conservative: str = ""
    dependent: str = ""

    def budget_of(self, settings: Any) -> str:
        """The name of the budget with these settings, else "own"."""
        return next((name for name, of_budget in self.budgets.items() if of_budget == settings), "own")


class Caught(TypedDict):
    """The smallest size detected of an error; None if none was."""

    what: str
    relative_size: float | None


class Detectable(Caught):
    """The largest of them, and ``each``."""

    power: float
    draws: int
    each: list[Caught]


class Compared(TypedDict):
    """A wrong theory compared with the claim's simulation."""

    what: str
    p_value: float
    rejected: bool
    theory: NotRequired[list[float | None]]
    z: NotRequired[list[float | None]]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of examining a claim: the content of its JSON file.

    Attributes
    ----------
    verdict : str
        ``"fails"`` if the simulation rejects the theory; ``"holds"`` if not, and it rejects every control; ``"inconclusive"``
        if it also lets a control pass: there was no power to tell right from wrong.
    budget : str
        The budget whose settings these are, or "own".
    powerful_budget : str or None
        For an inconclusive claim: the smallest of its budgets that has the power.
    """

    claim: str
    statement: str
    source: str
    configuration: dict[str, Any]
    seed: int
    version: dict[str, str]
    quantity: str
    points: list[str]
    theory: list[float | None]
    estimate: list[float | None]
    standard_error: list[float | None]
    z: list[float | None]
    p_value: float
    false_alarm: float
    smallest_detectable_error: Detectable
    negative_control: Compared
    further_controls: list[Compared]
    reading: str
    verdict: Literal["holds", "fails", "inconclusive"]
    budget: str
    powerful_budget: str | None
    seconds: float

    def __post_init__(self) -> None:
        points = len(self.points)
        columns = [self.theory, self.estimate, self.standard_error, self.z]
        controls: list[Any] = [self.negative_control, *self.further_controls]
        columns += [control[name] for control in controls for name in ("theory", "z") if name in control]
        if not points or any(len(column) != points for column in columns):
            raise ValueError(f"of its {points} points some lack a number")

    @property
    def holds(self) -> bool:
        return self.verdict == HOLDS

    @property
    def told(self) -> str:
        """The verdict, and where it is inconclusive the budget that has the power."""
        if self.verdict != INCONCLUSIVE:
            return self.verdict
        return f"{self.verdict} ({f'--budget {self.powerful_budget}' if self.powerful_budget else 'no budget'} has the power)"


def number(value: float) -> float | None:
    """Six digits; None for NaN and infinity, which JSON lacks."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
