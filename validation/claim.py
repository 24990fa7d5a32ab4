"""What a claim is: a theory, a simulation that could refute it, and the errors that the pair would have caught.

Only the shapes. How a claim is examined lives in ``runner``, the claims themselves in ``claims``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Claim", "Control", "Error", "Judgement", "Progress", "Result"]

Progress = Callable[[str, int, int], object]  # (what is being done, done, total)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One theory judged by one simulation.

    Attributes
    ----------
    p_value : float
        Probability, if the theory is right, of a deviation as large as the one seen, over the whole family of points.
    points : tuple of str
        Names of the places where theory and simulation are laid side by side.
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
    """A way to be wrong, of any size ε: how small may it be and still be caught?

    Attributes
    ----------
    what : str
        What is changed by a factor 1 + ε, for instance "the gain".
    wrong : callable
        ``wrong(settings, ε)``: settings of the network in error.
    rejected : callable, optional
        ``rejected(settings) -> ((ε, seed) -> bool)``: whether one simulation drawn from the network in error makes the claim's
        own verdict reject the right theory. By default ``draw`` and ``judge`` of the claim, called for all of it.
    """

    what: str
    wrong: Callable[[Any, float], Any]
    rejected: Callable[[Any], Callable[[float, int], bool]] | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A theory that is wrong in kind and must be rejected.

    ``theory(settings)`` is the wrong theory; it is judged by the claim's own simulation, or, where the *network* is the
    wrong one, by ``simulate(settings, seed)``.
    """

    what: str
    theory: Callable[[Any], Any]
    simulate: Callable[[Any, int], Any] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement that a simulation could refute.

    Attributes
    ----------
    name, statement, source : str
        ``source``: key of varflow's references and the place there.
    quantity : str
        What ``theory``, ``estimate``, ``standard_error`` and ``z`` of a judgement are.
    budgets : mapping
        ``"quick"``, ``"standard"`` and perhaps ``"long"`` to settings: a frozen dataclass with at least ``false_alarm``.
    theory : callable
        ``theory(settings)``: the prediction.
    simulate : callable
        ``simulate(settings, seed, progress)``: the measurement, with real weight matrices unless the statement says otherwise.
    judge : callable
        ``judge(settings, theory, measured) -> Judgement``.
    errors : callable
        ``errors(settings)``: ways to be wrong. For each the smallest size caught is found, and a
        control half as large again must be rejected.
    draw : callable
        ``draw(settings, theory, seed)``: what a perfect simulation of a network with this theory would have measured.
    controls : tuple of Control
        Further wrong theories.
    reading : callable
        ``reading(settings, theory, measured)``: what a reader should know, in sentences.
    """

    name: str
    statement: str
    source: str
    quantity: str
    budgets: Mapping[str, Any]
    theory: Callable[[Any], Any]
    simulate: Callable[[Any, int, Progress], Any]
    judge: Callable[[Any, Any, Any], Judgement]
    errors: Callable[[Any], tuple[Error, ...]]
    draw: Callable[[Any, Any, int], Any]
    reading: Callable[[Any, Any, Any], str]
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What examining a claim found: the content of its JSON file."""

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
    smallest_detectable_error: dict[str, Any]
    negative_control: dict[str, Any]
    further_controls: list[dict[str, Any]]
    reading: str
    verdict: str
    seconds: float

    @property
    def holds(self) -> bool:
        return self.verdict == "holds"
